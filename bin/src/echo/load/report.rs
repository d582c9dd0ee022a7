//! What a load run found, for people and for machines.

use std::collections::BTreeMap;
use std::time::Duration;

use echosphere_core::CloseReason;
use echosphere_core::echo::{Failure, Notice};
use serde::Serialize;

use crate::failure::close_reason;
use crate::latency::{Latencies, Percentiles};
use crate::server::State;
use crate::values::{counted, thousands};
use crate::{output, verdict};

/// Outcomes, counted as they come in.
#[derive(Debug)]
pub(super) struct Tally {
    round_trips: Latencies,
    acknowledged: u64,
    gave_up: u64,
    reconnects: u64,
    /// Connections that ended otherwise than by the protocol, by how.
    broken: BTreeMap<String, u64>,
    /// Attempts that made no connection.
    dials_failed: u64,
}

impl Tally {
    pub(super) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            round_trips: Latencies::new()?,
            acknowledged: 0,
            gave_up: 0,
            reconnects: 0,
            broken: BTreeMap::new(),
            dials_failed: 0,
        })
    }

    pub(super) fn note(&mut self, notice: &Notice) {
        match notice {
            Notice::Acknowledged { round_trip, .. } => {
                self.acknowledged += 1;
                self.round_trips.record(*round_trip);
            }
            Notice::Retrying { failure, .. } => {
                self.reconnects += 1;
                self.note_failure(failure);
            }
            Notice::GaveUp { failure, .. } => {
                self.gave_up += 1;
                self.note_failure(failure);
            }
        }
    }

    fn note_failure(&mut self, failure: &Failure) {
        let how = match failure {
            Failure::Dial(_) => {
                self.dials_failed += 1;
                return;
            }
            Failure::Closed(reason) => close_reason(*reason),
            Failure::Rejected(code, _) => format!("error {code}"),
            Failure::TimedOut => "no ok in time".to_owned(),
            Failure::ShuttingDown => "interrupted".to_owned(),
            Failure::OtherProtocol(protocol) => close_reason(CloseReason::OtherProtocol(*protocol)),
        };
        *self.broken.entry(how).or_default() += 1;
    }

    /// Messages acknowledged or given up.
    pub(super) const fn done(&self) -> u64 {
        self.acknowledged + self.gave_up
    }

    pub(super) const fn reconnects(&self) -> u64 {
        self.reconnects
    }
}

/// The whole report.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    passed: bool,
    /// What is missing, one sentence each; none if it passed.
    missing: Vec<String>,
    clients: u64,
    over_s: f64,
    ack_delay: String,
    bytes: usize,
    #[serde(serialize_with = "output::exact")]
    seed: u64,
    elapsed_s: f64,
    /// `message X` sent, those sent again included.
    sent: u64,
    acknowledged: u64,
    natural_closes: u64,
    reconnects: u64,
    dials_failed: u64,
    broken: BTreeMap<String, u64>,
    lost: u64,
    /// Not known of a server elsewhere.
    reforwards: Option<u64>,
    /// From `message X` to `ok X`.
    latency_us: Percentiles,
    server: Option<State>,
}

/// What a run was.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) clients: u64,
    pub(super) over: Duration,
    pub(super) ack_delay: String,
    /// Of each message, at least.
    pub(super) bytes: usize,
    pub(super) seed: u64,
    pub(super) elapsed: Duration,
    /// Clients that started; fewer than all only if the run was interrupted.
    pub(super) started: u64,
    pub(super) sent: u64,
    /// Whether the clients themselves have nothing left.
    pub(super) clients_zero: bool,
}

impl Report {
    pub(super) fn new(run: Run, tally: &Tally, server: Option<State>) -> Self {
        let lost = run.started - tally.acknowledged;
        let broken: u64 = tally.broken.values().sum();
        let mut missing = Vec::new();
        if run.started < run.clients {
            let not_started = run.clients - run.started;
            missing.push(format!("{} did not start: interrupted", counted(not_started, "client")));
        }
        if lost > 0 {
            missing.push(format!("{} did not get their ok", counted(lost, "message")));
        }
        if broken > 0 {
            missing.push(format!("{} not closed by the protocol", counted(broken, "connection")));
        }
        if !run.clients_zero {
            missing.push("the clients have connections or timers left".to_owned());
        }
        if let Some(state) = server.as_ref().filter(|state| !state.zero) {
            missing.push(state.summary());
        }
        Self {
            passed: missing.is_empty(),
            missing,
            clients: run.clients,
            over_s: run.over.as_secs_f64(),
            ack_delay: run.ack_delay,
            bytes: run.bytes,
            seed: run.seed,
            elapsed_s: run.elapsed.as_secs_f64(),
            sent: run.sent,
            acknowledged: tally.acknowledged,
            natural_closes: tally.acknowledged,
            reconnects: tally.reconnects,
            dials_failed: tally.dials_failed,
            broken: tally.broken.clone(),
            lost,
            reforwards: server
                .as_ref()
                .and_then(|state| state.counters.get("reforwards").copied()),
            latency_us: tally.round_trips.percentiles(),
            server,
        }
    }

    pub(super) const fn passed(&self) -> bool {
        self.passed
    }

    pub(super) fn to_text(&self) -> String {
        let mut rows = vec![
            ("sent", thousands(self.sent)),
            ("acknowledged", thousands(self.acknowledged)),
            ("natural closes", thousands(self.natural_closes)),
            ("reconnects", thousands(self.reconnects)),
        ];
        rows.extend(self.reforwards.map(|count| ("re-forwards", thousands(count))));
        rows.push(("lost", thousands(self.lost)));
        let peak = self
            .server
            .as_ref()
            .and_then(|state| state.counters.get("peak_connections"));
        rows.extend(peak.map(|peak| ("open at once", format!("{} at most", thousands(*peak)))));
        if self.dials_failed > 0 {
            rows.push(("failed to connect", thousands(self.dials_failed)));
        }
        for (how, count) in &self.broken {
            rows.push(("not by protocol", format!("{}: {how}", thousands(*count))));
        }
        let mut text = format!(
            "{} over {:.1} s, ack delay {}, seed {}: done in {:.2} s\n{}{}",
            counted(self.clients, "client"),
            self.over_s,
            self.ack_delay,
            self.seed,
            self.elapsed_s,
            output::table(rows),
            self.latency_us.to_text(None)
        );
        let promise = "every message got its ok and every connection was closed by the protocol";
        text += &verdict::to_text(self.server.as_ref(), &self.missing, 0, promise);
        text
    }
}
