//! The results of a load whose clients send one message each, and their report.

use std::collections::BTreeMap;
use std::time::Duration;

use echosphere_core::echo::Notice;
use echosphere_core::failure::Failure;
use serde::Serialize;

use crate::latency::{Latencies, Percentiles};
use crate::server::State;
use crate::values::{counted, thousands};
use crate::{output, verdict};

/// Counts of outcomes.
#[derive(Debug)]
pub(super) struct Tally {
    round_trips: Latencies,
    acknowledged: u64,
    gave_up: u64,
    reconnects: u64,
    /// Connections that the protocol did not end, by cause.
    broken: BTreeMap<String, u64>,
    /// Failed attempts to connect.
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
            Failure::Closed(reason) => reason.to_string(),
            // Without the server's text, which can differ each time.
            Failure::Rejected(code, _) => format!("error {code}"),
            failure => failure.to_string(),
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

/// The report.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    passed: bool,
    /// A sentence for each broken promise.
    missing: Vec<String>,
    clients: u64,
    over_s: f64,
    ack_delay: String,
    bytes: usize,
    #[serde(serialize_with = "output::exact")]
    seed: u64,
    elapsed_s: f64,
    /// Messages sent, including those sent again.
    sent: u64,
    acknowledged: u64,
    natural_closes: u64,
    reconnects: u64,
    dials_failed: u64,
    broken: BTreeMap<String, u64>,
    lost: u64,
    /// `None` with `--to`.
    reforwards: Option<u64>,
    /// From `message X` to `ok X`.
    latency_us: Percentiles,
    server: Option<State>,
}

/// The options and totals of a run.
#[derive(Clone, Debug)]
pub(super) struct Run {
    pub(super) clients: u64,
    pub(super) over: Duration,
    pub(super) ack_delay: String,
    /// The least length of a message.
    pub(super) bytes: usize,
    pub(super) seed: u64,
    pub(super) elapsed: Duration,
    /// Clients that started; fewer than all after an interruption.
    pub(super) started: u64,
    pub(super) sent: u64,
    /// Whether the clients have nothing left.
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
            missing.push("the clients have connections or timers left at the end".to_owned());
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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use echosphere_core::wire::ErrorCode;
    use echosphere_core::{CloseReason, DialError};
    use serde_json::{Value, json};

    use super::*;

    /// 1,000 acknowledgements, and between them failures of every kind.
    fn notices() -> Vec<Notice> {
        let failures = [
            Failure::Dial(DialError::Refused),
            Failure::Closed(CloseReason::Reset),
            Failure::Rejected(ErrorCode::Busy, Bytes::from_static(b"one text")),
            Failure::Rejected(ErrorCode::Busy, Bytes::from_static(b"another text")),
            Failure::TimedOut,
        ];
        let acknowledged = (1..=1000_u64).map(|id| Notice::Acknowledged {
            key: id,
            round_trip: Duration::from_micros(id * 7919 % 1009),
            total: Duration::from_secs(id),
            retries: 0,
        });
        let mut notices: Vec<Notice> = acknowledged.collect();
        for (at, failure) in failures.iter().cycle().take(52).enumerate() {
            let (id, failure) = (at as u64, failure.clone());
            let notice = match at % 4 {
                0 => Notice::GaveUp {
                    key: id,
                    failure,
                    attempts: 1,
                },
                _ => Notice::Retrying {
                    key: id,
                    failure,
                    after: Duration::ZERO,
                },
            };
            notices.insert(at * 19, notice);
        }
        notices
    }

    fn run() -> Run {
        Run {
            clients: 1013,
            over: Duration::from_millis(1500),
            ack_delay: "none".to_owned(),
            bytes: 24,
            seed: u64::MAX,
            elapsed: Duration::from_secs(2),
            started: 1013,
            sent: 1065,
            clients_zero: true,
        }
    }

    fn state(zero: bool) -> State {
        State {
            zero,
            connections: 0,
            waiting: Some(1),
            timers: 0,
            counters: [("reforwards".to_owned(), 17), ("peak_connections".to_owned(), 99)].into(),
        }
    }

    fn report(notices: &[Notice], run: Run, server: Option<State>) -> Report {
        let mut tally = Tally::new().unwrap();
        notices.iter().for_each(|notice| tally.note(notice));
        assert_eq!(
            tally.done(),
            notices
                .iter()
                .filter(|notice| !matches!(notice, Notice::Retrying { .. }))
                .count() as u64
        );
        let retrying = notices
            .iter()
            .filter(|notice| matches!(notice, Notice::Retrying { .. }));
        assert_eq!(tally.reconnects(), retrying.count() as u64);
        let report = Report::new(run, &tally, server);
        assert_eq!(report.passed(), report.missing.is_empty());
        report
    }

    #[test]
    fn every_figure_is_that_of_the_notices_one_by_one() {
        let notices = notices();
        let count = |is: fn(&Notice) -> bool| notices.iter().filter(|notice| is(notice)).count();
        let failed = |is: fn(&Failure) -> bool| {
            let failure = |notice: &Notice| match notice {
                Notice::Retrying { failure, .. } | Notice::GaveUp { failure, .. } => is(failure),
                Notice::Acknowledged { .. } => false,
            };
            notices.iter().filter(|notice| failure(notice)).count()
        };
        let mut broken = json!({
            "error busy": failed(|failure| matches!(failure, Failure::Rejected(ErrorCode::Busy, _))),
        });
        broken[CloseReason::Reset.to_string()] =
            failed(|failure| *failure == Failure::Closed(CloseReason::Reset)).into();
        broken[Failure::TimedOut.to_string()] = failed(|failure| *failure == Failure::TimedOut).into();
        let lost = 1013 - count(|notice| matches!(notice, Notice::Acknowledged { .. }));
        let broken_count: u64 = broken.as_object().unwrap().values().filter_map(Value::as_u64).sum();
        let expected = json!({
            "passed": false,
            "missing": [
                format!("{lost} messages did not get their ok"),
                format!("{broken_count} connections not closed by the protocol"),
            ],
            "clients": 1013, "over_s": 1.5, "ack_delay": "none", "bytes": 24, "seed": "18446744073709551615",
            "elapsed_s": 2.0, "sent": 1065, "acknowledged": 1000, "natural_closes": 1000,
            "reconnects": count(|notice| matches!(notice, Notice::Retrying { .. })),
            "dials_failed": failed(|failure| *failure == Failure::Dial(DialError::Refused)),
            "broken": broken, "lost": lost, "reforwards": 17, "server": state(true),
        });
        let mut report = serde_json::to_value(report(&notices, run(), Some(state(true)))).unwrap();
        let latency = report.as_object_mut().unwrap().remove("latency_us").unwrap();
        assert_eq!(report, expected);
        let round_trips = notices.iter().filter_map(|notice| match notice {
            Notice::Acknowledged { round_trip, .. } => Some(round_trip.as_micros() as f64),
            _ => None,
        });
        let longest = round_trips.fold(0.0, f64::max);
        assert!(
            (latency["max"].as_f64().unwrap() / longest - 1.0).abs() < 2e-3,
            "{latency}"
        );
    }

    #[test]
    fn each_broken_promise_fails_the_load() {
        let acknowledged: Vec<Notice> = notices()
            .into_iter()
            .filter(|notice| matches!(notice, Notice::Acknowledged { .. }))
            .collect();
        let run = || Run {
            clients: 1000,
            started: 1000,
            ..run()
        };
        let missing = |run, server| report(&acknowledged, run, server).missing;
        assert_eq!(missing(run(), None), Vec::<String>::new());
        assert_eq!(missing(run(), Some(state(true))), Vec::<String>::new());
        let interrupted = Run { clients: 1001, ..run() };
        assert_eq!(missing(interrupted, None), ["1 client did not start: interrupted"]);
        let left = Run {
            clients_zero: false,
            ..run()
        };
        assert_eq!(
            missing(left, None),
            ["the clients have connections or timers left at the end"]
        );
        assert_eq!(missing(run(), Some(state(false))), [state(false).summary()]);
    }

    #[test]
    fn the_text_has_the_figures_of_the_report() {
        let text = report(&notices(), run(), Some(state(true))).to_text();
        for line in [
            "1,013 clients over 1.5 s, ack delay none, seed 18446744073709551615: done in 2.00 s",
            "  sent               1,065\n",
            "  acknowledged       1,000\n",
            "  reconnects         39\n",
            "  re-forwards        17\n",
            "  lost               13\n",
            "  open at once       99 at most\n",
            "  failed to connect  11\n",
            "server at zero: 0 connections, 1 waiting message, 0 timers\nmissing: 13 messages",
            "FAILED\n",
        ] {
            assert!(text.contains(line), "no {line:?} in\n{text}");
        }
    }
}
