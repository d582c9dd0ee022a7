//! What connections that stayed open found.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use serde_json::Value;

use super::clients::Figures;
use super::machine::Config;
use crate::output;
use crate::values::{short, thousands};

/// From this share of a core on, the clients themselves are what limits the throughput.
const BUSY: f64 = 0.95;

/// From a message's moment to its ok, in microseconds.
#[derive(Debug, Serialize)]
struct Latency {
    p50: f64,
    p90: f64,
    p99: f64,
    p99_9: f64,
    max: f64,
}

#[derive(Debug, Serialize)]
pub(super) struct Report {
    passed: bool,
    /// What is missing, one sentence each; none if it passed.
    missing: Vec<String>,
    connections: u32,
    opened: u64,
    window: u32,
    size: usize,
    rate: Option<f64>,
    elapsed_s: f64,
    sent: u64,
    acknowledged: u64,
    answered: u64,
    lost: u64,
    /// Sent more than 2 ms after their moment.
    late: u64,
    round_trips_per_s: f64,
    latency_us: Latency,
    /// Upper ends in microseconds, and how many round trips took up to that and more than the one before.
    histogram_us: Vec<(f64, u64)>,
    broken: BTreeMap<String, u64>,
    /// The busiest process of clients, as a share of a core.
    client_cpu: f64,
    /// The clients, and not the server, limited the throughput.
    clients_were_the_limit: bool,
    server: Option<Value>,
}

impl Report {
    pub(super) fn new(config: &Config, parts: Vec<Figures>, server: Option<Value>) -> anyhow::Result<Self> {
        let clients_zero = parts.iter().all(|part| part.zero);
        let mut round_trips = Histogram::<u64>::new(3)?;
        let mut all = Figures::default();
        for part in parts {
            all.opened += part.opened;
            all.sent += part.sent;
            all.acknowledged += part.acknowledged;
            all.answered += part.answered;
            all.late += part.late;
            all.elapsed_s = all.elapsed_s.max(part.elapsed_s);
            all.cpu = all.cpu.max(part.cpu);
            for (how, count) in part.broken {
                *all.broken.entry(how).or_default() += count;
            }
            for (value, count) in part.round_trips {
                round_trips.record_n(value, count)?;
            }
        }
        let at = |quantile| round_trips.value_at_quantile(quantile) as f64 / 1e3;
        let missing = missing(config, &all, clients_zero, server.as_ref());
        Ok(Self {
            passed: missing.is_empty(),
            missing,
            connections: config.connections,
            opened: all.opened,
            window: config.window,
            size: config.size,
            rate: config.rate,
            elapsed_s: all.elapsed_s,
            sent: all.sent,
            acknowledged: all.acknowledged,
            answered: all.answered,
            lost: all.sent - all.acknowledged,
            late: all.late,
            round_trips_per_s: all.acknowledged as f64 / all.elapsed_s.max(1e-9),
            latency_us: Latency {
                p50: at(0.5),
                p90: at(0.9),
                p99: at(0.99),
                p99_9: at(0.999),
                max: at(1.0),
            },
            histogram_us: powers(&round_trips),
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
        let us = |micros: f64| short(Duration::from_secs_f64(micros / 1e6));
        let latency = &self.latency_us;
        let quantiles = [
            ("p50", latency.p50),
            ("p90", latency.p90),
            ("p99", latency.p99),
            ("p99.9", latency.p99_9),
            ("max", latency.max),
        ];
        let mut rows = vec![
            ("sent", thousands(self.sent)),
            ("acknowledged", thousands(self.acknowledged)),
            ("lost", thousands(self.lost)),
            (
                "a second",
                format!("{} round trips", thousands(self.round_trips_per_s as u64)),
            ),
            (
                "latency",
                quantiles
                    .map(|(name, micros)| format!("{name} {}", us(micros)))
                    .join("   "),
            ),
            ("clients' CPU", format!("{:.0} % of a core", self.client_cpu * 100.0)),
        ];
        if self.rate.is_some() {
            rows.push(("sent late", thousands(self.late)));
        }
        for (how, count) in &self.broken {
            rows.push(("went wrong", format!("{}: {how}", thousands(*count))));
        }
        let rate = self
            .rate
            .map_or_else(String::new, |rate| format!(" at {} a second", thousands(rate as u64)));
        let mut text = format!(
            "{} connections, {} messages under way on each, {} bytes{rate}: {:.2} s\n{}",
            thousands(self.opened),
            self.window,
            thousands(self.size as u64),
            self.elapsed_s,
            output::table(rows)
        );
        text.push_str(&bars(&self.histogram_us));
        let zero = self.server.as_ref().map(|server| server["zero"] == true);
        // Writing to a String does not fail.
        let _ = match zero {
            Some(true) => writeln!(text, "server at zero"),
            Some(false) => writeln!(text, "server NOT at zero"),
            None => writeln!(text, "server elsewhere: its state is not known here"),
        };
        if self.clients_were_the_limit {
            text.push_str("the clients were the limit, not the server: use more --shards\n");
        }
        for missing in &self.missing {
            let _ = writeln!(text, "missing: {missing}");
        }
        text.push_str(if self.passed {
            "PASSED: every message got its ok\n"
        } else {
            "FAILED\n"
        });
        text
    }
}

fn missing(config: &Config, all: &Figures, clients_zero: bool, server: Option<&Value>) -> Vec<String> {
    let mut missing = Vec::new();
    let not_opened = u64::from(config.connections) - all.opened;
    if not_opened > 0 {
        missing.push(format!("{} connections did not open", thousands(not_opened)));
    }
    let lost = all.sent - all.acknowledged;
    if lost > 0 {
        missing.push(format!("{} messages did not get their ok", thousands(lost)));
    }
    if !all.broken.is_empty() {
        missing.push("something went wrong on connections that should stay".to_owned());
    }
    if !clients_zero {
        missing.push("the clients have something left".to_owned());
    }
    if server.is_some_and(|server| server["zero"] != true) {
        missing.push("the server has something left".to_owned());
    }
    missing
}

/// Counts between powers of two.
fn powers(round_trips: &Histogram<u64>) -> Vec<(f64, u64)> {
    let steps = round_trips.iter_log(1024, 2.0);
    let steps = steps.map(|step| {
        (
            (step.value_iterated_to() + 1) as f64 / 1e3,
            step.count_since_last_iteration(),
        )
    });
    steps.skip_while(|(_, count)| *count == 0).collect()
}

/// One line a step, with a bar as long as its share.
fn bars(steps: &[(f64, u64)]) -> String {
    const WIDTH: u64 = 40;
    let most = steps.iter().map(|(_, count)| *count).max().unwrap_or(0).max(1);
    let line = |(micros, count): &(f64, u64)| {
        let bar = "=".repeat((count * WIDTH).div_ceil(most) as usize);
        let up_to = short(Duration::from_secs_f64(micros / 1e6));
        format!("  {up_to:>9}  {bar:40}  {}\n", thousands(*count))
    };
    steps.iter().map(line).collect()
}
