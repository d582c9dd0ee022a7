//! What connections that stayed open found.

use std::collections::BTreeMap;

use serde::Serialize;

use super::clients::Results;
use super::machine::Config;
use crate::latency::{Bar, Latencies, Percentiles, bars};
use crate::server::State;
use crate::values::{counted, thousands};
use crate::{output, verdict};

/// From this share of a core on, the clients themselves are what limits the throughput.
const BUSY: f64 = 0.95;

#[derive(Debug, Serialize)]
pub(super) struct Report {
    passed: bool,
    /// What is missing, one sentence each; none if it passed.
    missing: Vec<String>,
    connections: u32,
    opened: u64,
    window: u32,
    bytes: usize,
    rate_per_s: Option<f64>,
    elapsed_s: f64,
    sent: u64,
    /// Due at the rate that was asked for, and not sent.
    never_sent: u64,
    acknowledged: u64,
    answered: u64,
    lost: u64,
    /// Sent more than 2 ms after their moment.
    late: u64,
    round_trips_per_s: f64,
    /// From a message's moment to its ok, or to the end of the run if it never came.
    latency_us: Percentiles,
    histogram_us: Vec<Bar>,
    broken: BTreeMap<String, u64>,
    /// The busiest process of clients, as a share of a core.
    client_cpu: f64,
    /// The clients, and not the server, limited the throughput.
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
                "a second",
                format!("{} round trips", thousands(self.round_trips_per_s as u64)),
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
            .map_or_else(String::new, |rate| format!(" at {} a second", thousands(rate as u64)));
        let mut text = format!(
            "{}, {} under way on each, {}{rate}: {:.2} s\n{}{}{}",
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
        missing.push("something went wrong on connections that should stay".to_owned());
    }
    if !clients_zero {
        missing.push("the clients have something left".to_owned());
    }
    if let Some(state) = server.filter(|state| !state.zero) {
        missing.push(state.summary());
    }
    missing
}
