//! The report of a load over long-lived connections.

use std::collections::BTreeMap;

use serde::Serialize;

use super::clients::Results;
use super::machine::Config;
use crate::latency::{Bar, Latencies, Percentiles, bars};
use crate::server::State;
use crate::values::{counted, thousands};
use crate::{output, verdict};

/// Clients that use at least this share of a core limit the throughput.
const BUSY: f64 = 0.95;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    passed: bool,
    /// A sentence for each broken promise.
    missing: Vec<String>,
    connections: u32,
    opened: u64,
    window: u32,
    bytes: usize,
    rate_per_s: Option<f64>,
    elapsed_s: f64,
    sent: u64,
    /// Messages that were due and never sent.
    never_sent: u64,
    acknowledged: u64,
    answered: u64,
    lost: u64,
    /// Messages sent more than 2 ms after they were due.
    late: u64,
    round_trips_per_s: f64,
    /// From the time that a message is due to its ok, or to the end of the run without one.
    latency_us: Percentiles,
    histogram_us: Vec<Bar>,
    broken: BTreeMap<String, u64>,
    /// The share of a core that the busiest client process used.
    client_cpu: f64,
    /// Whether the clients limited the throughput, not the server.
    clients_were_the_limit: bool,
    server: Option<State>,
}

impl Report {
    pub(super) fn new(config: &Config, parts: Vec<Results>, server: Option<State>) -> anyhow::Result<Self> {
        let clients_zero = parts.iter().all(|part| part.zero);
        let mut round_trips = Latencies::new()?;
        let mut all = Results::default();
        for part in parts {
            all.opened += part.opened;
            all.sent += part.sent;
            all.acknowledged += part.acknowledged;
            all.answered += part.answered;
            all.late += part.late;
            all.never_sent += part.never_sent;
            all.elapsed_s = all.elapsed_s.max(part.elapsed_s);
            all.cpu = all.cpu.max(part.cpu);
            for (how, count) in part.broken {
                *all.broken.entry(how).or_default() += count;
            }
            round_trips.add(&part.round_trips);
        }
        let missing = missing(config, &all, clients_zero, server.as_ref());
        Ok(Self {
            passed: missing.is_empty(),
            missing,
            connections: config.connections,
            opened: all.opened,
            window: config.window,
            bytes: config.size,
            rate_per_s: config.rate,
            elapsed_s: all.elapsed_s,
            sent: all.sent,
            never_sent: all.never_sent,
            acknowledged: all.acknowledged,
            answered: all.answered,
            lost: all.sent - all.acknowledged,
            late: all.late,
            round_trips_per_s: all.acknowledged as f64 / all.elapsed_s.max(1e-9),
            latency_us: round_trips.percentiles(),
            histogram_us: round_trips.histogram(),
            broken: all.broken,
            client_cpu: all.cpu,
            clients_were_the_limit: all.cpu >= BUSY,
            server,
        })
    }

    pub(super) const fn passed(&self) -> bool {
        self.passed
    }

    pub(super) fn to_text(&self) -> String {
        let mut rows = vec![
            ("sent", thousands(self.sent)),
            ("acknowledged", thousands(self.acknowledged)),
            ("lost", thousands(self.lost)),
            (
                "throughput",
                format!("{} round trips per second", thousands(self.round_trips_per_s as u64)),
            ),
            ("clients' CPU", format!("{:.0} % of a core", self.client_cpu * 100.0)),
        ];
        if self.rate_per_s.is_some() {
            rows.push(("sent late", thousands(self.late)));
            rows.push(("never sent", thousands(self.never_sent)));
        }
        for (how, count) in &self.broken {
            rows.push(("went wrong", format!("{}: {how}", thousands(*count))));
        }
        let rate = self
            .rate_per_s
            .map_or_else(String::new, |rate| format!(" at {} per second", thousands(rate as u64)));
        let mut text = format!(
            "{} with a window of {} of {}{rate}: {:.2} s\n{}{}{}",
            counted(self.opened, "connection"),
            counted(self.window.into(), "message"),
            counted(self.bytes as u64, "byte"),
            self.elapsed_s,
            output::table(rows),
            self.latency_us.to_text(None),
            bars(&self.histogram_us)
        );
        if self.clients_were_the_limit {
            text += "the clients limited the throughput, not the server: use more --shards\n";
        }
        text += &verdict::to_text(self.server.as_ref(), &self.missing, 0, "every message got its ok");
        text
    }
}

fn missing(config: &Config, all: &Results, clients_zero: bool, server: Option<&State>) -> Vec<String> {
    let mut missing = Vec::new();
    let not_opened = u64::from(config.connections) - all.opened;
    if not_opened > 0 {
        missing.push(format!("{} did not open", counted(not_opened, "connection")));
    }
    let lost = all.sent - all.acknowledged;
    if lost > 0 {
        missing.push(format!("{} did not get their ok", counted(lost, "message")));
    }
    if all.never_sent > 0 {
        missing.push(format!(
            "{} due and never sent: the server, or this machine, was too slow",
            counted(all.never_sent, "message")
        ));
    }
    if !all.broken.is_empty() {
        missing.push("connections broke or messages went wrong".to_owned());
    }
    if !clients_zero {
        missing.push("the clients have connections left at the end".to_owned());
    }
    if let Some(state) = server.filter(|state| !state.zero) {
        missing.push(state.summary());
    }
    missing
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const CONFIG: Config = Config {
        connections: 30,
        window: 4,
        size: 100,
        rate: Some(500.0),
        messages: None,
        run: 1,
    };

    /// The results of two processes.
    fn results() -> [Results; 2] {
        let part = |opened, sent, acknowledged, elapsed_s, cpu, round_trips: &[(u64, u64)]| Results {
            opened,
            sent,
            never_sent: 2,
            acknowledged,
            answered: acknowledged + 1,
            late: 3,
            broken: [("a cause".to_owned(), 1)].into(),
            round_trips: round_trips.to_vec(),
            elapsed_s,
            cpu,
            zero: true,
        };
        [
            part(10, 100, 99, 2.0, 0.5, &[(1_000, 50), (2_000, 49)]),
            part(15, 200, 197, 4.0, 0.95, &[(4_000, 197)]),
        ]
    }

    fn state(zero: bool) -> State {
        State {
            zero,
            connections: 1,
            waiting: None,
            timers: 0,
            counters: [].into(),
        }
    }

    #[test]
    fn every_figure_is_the_sum_or_the_extreme_of_the_processes() {
        let report = Report::new(&CONFIG, results().into(), Some(state(true))).unwrap();
        let text = report.to_text();
        let mut report = serde_json::to_value(report).unwrap();
        let object = report.as_object_mut().unwrap();
        let latency = object.remove("latency_us").unwrap();
        let bars = object.remove("histogram_us").unwrap();
        let expected = json!({
            "passed": false,
            "missing": [
                "5 connections did not open",
                "4 messages did not get their ok",
                "4 messages due and never sent: the server, or this machine, was too slow",
                "connections broke or messages went wrong",
            ],
            "connections": 30, "opened": 25, "window": 4, "bytes": 100, "rate_per_s": 500.0, "elapsed_s": 4.0,
            "sent": 300, "never_sent": 4, "acknowledged": 296, "answered": 298, "lost": 4, "late": 6,
            "round_trips_per_s": 74.0, "broken": { "a cause": 2 },
            "client_cpu": 0.95, "clients_were_the_limit": true, "server": state(true),
        });
        assert_eq!(report, expected);
        let at = |name: &str| latency[name].as_f64().unwrap();
        let mean = (50.0 + 2.0 * 49.0 + 4.0 * 197.0) / 296.0;
        for (found, expected) in [(at("min"), 1.0), (at("mean"), mean), (at("p50"), 4.0), (at("max"), 4.0)] {
            assert!((found / expected - 1.0).abs() < 2e-3, "{found} should be {expected}");
        }
        let counts = bars.as_array().unwrap().iter().filter_map(|bar| bar["count"].as_u64());
        assert_eq!(counts.sum::<u64>(), 296);
        for line in [
            "25 connections with a window of 4 messages of 100 bytes at 500 per second: 4.00 s\n",
            "  throughput    74 round trips per second\n",
            "  clients' CPU  95 % of a core\n",
            "  sent late     6\n",
            "  never sent    4\n",
            "  went wrong    2: a cause\n",
            "the clients limited the throughput",
        ] {
            assert!(text.contains(line), "no {line:?} in\n{text}");
        }
    }

    #[test]
    fn what_is_left_fails_the_load() {
        let whole = |zero| Results {
            opened: 30,
            sent: 1,
            acknowledged: 1,
            elapsed_s: 1.0,
            cpu: 0.94,
            zero,
            ..Results::default()
        };
        let missing = |clients_zero, server| {
            let report = Report::new(&CONFIG, vec![whole(clients_zero)], server).unwrap();
            assert!(!report.clients_were_the_limit);
            assert_eq!(report.passed(), report.missing.is_empty());
            report.missing
        };
        assert_eq!(missing(true, Some(state(true))), Vec::<String>::new());
        assert_eq!(missing(true, None), Vec::<String>::new());
        assert_eq!(missing(false, None), ["the clients have connections left at the end"]);
        assert_eq!(missing(true, Some(state(false))), [state(false).summary()]);
    }
}
