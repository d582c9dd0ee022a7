//! The plan of a run, drawn from one seed. As in swarm testing, each kind of fault is on or off for the
//! whole run, so that some runs have none of a kind and others many.

use std::time::Duration;

use echosphere_core::connection::ConnectionConfig;
use echosphere_driver::Budgets;

use crate::dice::{Dice, Purpose};
use crate::injector::{TurmoilFault, Way};
use crate::net::Chop;
use crate::strangers::StrangerKind;

/// What a run is given; the messages are the system's part.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Where all randomness comes from.
    pub seed: u64,
    /// Hosts of clients, at most [`CLIENTS`](crate::hosts::CLIENTS).
    pub hosts: usize,
    /// How far virtual time goes in one step of turmoil.
    pub tick: Duration,
    /// The shortest and the longest time that a segment is under way.
    pub latency: (Duration, Duration),
    /// turmoil's window in segments, and its bound on connections that wait to be accepted.
    pub tcp_capacity: usize,
    /// How likely a link that broke by itself is whole again at the next segment.
    pub repair_rate: f64,
    /// How streams are chopped.
    pub chop: Chop,
    /// Time-outs of both sides' connections.
    pub link: ConnectionConfig,
    /// How long there may be faults.
    pub safety: Duration,
    /// How long all may take from the end of the faults to the zero state; see [`patience`].
    pub liveness: Duration,
    /// What happens to the network and the hosts, in order.
    pub faults: Vec<(Duration, TurmoilFault)>,
    /// The strangers that connect, and when.
    pub strangers: Vec<(Duration, StrangerKind)>,
    /// How much drivers do in a turn.
    pub budgets: Budgets,
    /// How many readable streams a reactor reports at a time.
    pub events: usize,
    /// How often machines have a deadline at which nothing is due.
    pub ticks: Option<Duration>,
    /// Whether the oracle makes the checks whose cost grows with what is under way.
    pub deep: bool,
}

/// The time-outs that the runs use, a fraction of the defaults so that a run is seconds and not minutes. Nothing
/// depends on their absolute length, only on their order: a keepalive or two and the longest latency fit into the idle
/// time-out.
pub const LINK: ConnectionConfig = ConnectionConfig {
    handshake_timeout: Duration::from_millis(1000),
    idle_timeout: Duration::from_millis(2000),
    idle_timeout_text: Duration::from_millis(3000),
    keepalive_interval: Duration::from_millis(600),
    linger: Duration::from_millis(500),
    max_backlog: 16 * 1024 * 1024,
    backlog_timeout: Duration::from_millis(1000),
    max_outbox: 128 * 1024 * 1024,
    max_partial_bytes: 256 * 1024 * 1024,
    max_connections: 10_000,
};
/// The clients' response time-out in these runs.
pub const RESPONSE_TIMEOUT: Duration = Duration::from_millis(1500);
/// The clients' longest pause before another attempt in these runs.
pub const BACKOFF_MAX: Duration = Duration::from_millis(500);
/// The longest a client takes to answer in these runs.
pub const ACK_DELAY_MAX: Duration = Duration::from_millis(300);
/// The longest regular latency in these runs.
pub const LATENCY_MAX: Duration = Duration::from_millis(60);

/// How long all may take from the end of the faults until everything is acknowledged and both sides are at zero:
///
/// 1. the longer idle time-out, until the server has forgotten every connection that died unnoticed, and forwarded anew what
///    those held. Connections that died before they sent anything are gone after the handshake time-out, which is
///    shorter;
/// 2. four attempts, each a response time-out and the longest pause. The first is the one under way, which may have
///    been doomed. On sound connections an attempt only fails if its message is handed on again and again because
///    each holder gets its own ok and leaves before it answers: with at most [`ACK_DELAY_MAX`] and two latencies each,
///    at least three times in a row within the response time-out. Three attempts of the same message that all do would
///    be one in millions;
/// 3. the linger time, for connections that do not close cleanly;
/// 4. a second, for latencies, ticks, and how often the hosts are asked whether they are at zero.
#[must_use]
pub fn patience() -> Duration {
    LINK.idle_timeout_text + 4 * (RESPONSE_TIMEOUT + BACKOFF_MAX) + LINK.linger + Duration::from_secs(1)
}

impl Scenario {
    /// No faults, sound streams, a constant latency of 5 ms.
    #[must_use]
    pub fn calm(seed: u64, hosts: usize) -> Self {
        Self {
            seed,
            hosts,
            tick: Duration::from_millis(1),
            latency: (Duration::from_millis(5), Duration::from_millis(5)),
            tcp_capacity: 4096,
            repair_rate: 1.0,
            chop: Chop::default(),
            link: LINK,
            safety: Duration::ZERO,
            liveness: patience(),
            faults: Vec::new(),
            strangers: Vec::new(),
            budgets: Budgets::default(),
            events: usize::MAX,
            ticks: None,
            deep: true,
        }
    }

    /// The scenario of `seed`.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut dice = Dice::new(seed, Purpose::Scenario);
        let hosts = dice.among(1, 4);
        let safety = dice.millis(1500, 6000);
        let shortest = dice.millis(0, 20);
        let longest = if dice.chance(0.8) {
            dice.millis(shortest.as_millis() as u64, LATENCY_MAX.as_millis() as u64)
        } else {
            shortest
        };
        let mut scenario = Self {
            hosts,
            tick: Duration::from_millis([1, 1, 2, 5][dice.below(4)]),
            latency: (shortest, longest),
            tcp_capacity: [512, 2048][dice.below(2)],
            repair_rate: dice.scaled(0.01, 1.0),
            chop: Chop::draw(&mut dice),
            safety,
            faults: draw_faults(&mut dice, hosts, safety),
            strangers: draw_strangers(&mut dice, safety),
            ..Self::calm(seed, hosts)
        };
        scenario.budgets = draw_budgets(&mut dice);
        scenario.events = [usize::MAX, 3, 1][dice.below(3)];
        scenario.ticks = dice.chance(0.5).then(|| dice.millis(10, 200));
        scenario.faults.extend(draw_pauses(&mut dice, hosts, safety));
        scenario.faults.sort_by_key(|(at, _)| *at);
        scenario
    }
}

/// Every bound is met in some runs. No time-out may be judged before all is read, however long that takes.
fn draw_budgets(dice: &mut Dice) -> Budgets {
    let all = Budgets::default();
    let mut budget = |all| [all, all, 2, 1][dice.below(4)];
    Budgets {
        keys: budget(all.keys),
        reads: budget(all.reads),
        accepts: budget(all.accepts),
        requests: budget(all.requests),
        rounds: usize::MAX,
    }
}

/// In four of ten runs a host is paused, half of the times for longer than any peer may be silent.
fn draw_pauses(dice: &mut Dice, hosts: usize, safety: Duration) -> Vec<(Duration, TurmoilFault)> {
    if !dice.chance(0.4) {
        return Vec::new();
    }
    let most = safety.as_millis() as u64;
    let one = |_| {
        let at = dice.millis(1, most);
        let host = (!dice.chance(0.5)).then(|| dice.below(hosts));
        let lasts = if dice.chance(0.5) {
            dice.millis(2000, 4000)
        } else {
            Duration::from_secs_f64(dice.scaled(0.05, 2.0))
        };
        (at, TurmoilFault::Pause(host, lasts.min(safety - at)))
    };
    (0..3).map(one).collect()
}

fn draw_faults(dice: &mut Dice, hosts: usize, safety: Duration) -> Vec<(Duration, TurmoilFault)> {
    type Kind = fn(&mut Dice, usize) -> (TurmoilFault, TurmoilFault);
    const KINDS: [Kind; 11] = [
        |dice, host| {
            (
                TurmoilFault::Latency(host, dice.millis(100, 500)),
                TurmoilFault::LatencyNormal(host),
            )
        },
        |_, host| (TurmoilFault::Hold(host), TurmoilFault::Release(host)),
        |_, host| {
            (
                TurmoilFault::Partition(host, Way::Both),
                TurmoilFault::Repair(host, Way::Both),
            )
        },
        |_, host| {
            (
                TurmoilFault::Partition(host, Way::ToServer),
                TurmoilFault::Repair(host, Way::ToServer),
            )
        },
        |_, host| {
            (
                TurmoilFault::Partition(host, Way::ToClient),
                TurmoilFault::Repair(host, Way::ToClient),
            )
        },
        |dice, host| {
            (
                TurmoilFault::FailRate(host, dice.scaled(0.001, 0.05)),
                TurmoilFault::FailRate(host, 0.0),
            )
        },
        |_, host| {
            (
                TurmoilFault::CrashClient { host, unnoticed: false },
                TurmoilFault::RestartClient(host),
            )
        },
        |_, host| {
            (
                TurmoilFault::CrashClient { host, unnoticed: true },
                TurmoilFault::RestartClient(host),
            )
        },
        |dice, _| {
            let unnoticed = dice.chance(0.5);
            (TurmoilFault::CrashServer { unnoticed }, TurmoilFault::RestartServer)
        },
        |dice, _| {
            (
                TurmoilFault::DrainServer(dice.millis(0, 1000)),
                TurmoilFault::RestartServer,
            )
        },
        |dice, host| {
            (
                TurmoilFault::DrainClient(host, dice.millis(0, 1000)),
                TurmoilFault::RestartClient(host),
            )
        },
    ];
    let mut faults = Vec::new();
    let most = safety.as_millis() as u64;
    for kind in KINDS {
        if dice.chance(0.65) {
            continue;
        }
        for _ in 0..dice.among(1, 3) {
            let host = dice.below(hosts);
            let (begin, end) = kind(dice, host);
            let at = dice.millis(1, most);
            let lasts = Duration::from_secs_f64(dice.scaled(0.01, 4.0));
            if matches!(begin, TurmoilFault::DrainServer(_)) && dice.chance(0.5) {
                faults.extend(drain_of_the_busy(dice, host, safety));
                continue;
            }
            faults.push((at, begin));
            // What is not over by then is ended with all other faults.
            if at + lasts < safety {
                faults.push((at + lasts, end));
            }
        }
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}

/// In a fifth of the runs some come.
fn draw_strangers(dice: &mut Dice, safety: Duration) -> Vec<(Duration, StrangerKind)> {
    if !dice.chance(0.2) {
        return Vec::new();
    }
    let most = safety.as_millis() as u64;
    let one = |_| {
        (
            dice.millis(1, most),
            StrangerKind::ALL[dice.below(StrangerKind::ALL.len())],
        )
    };
    (0..6).map(one).collect()
}

/// A drain that is given all the time it needs, while a client that the server waits for is cut off: in order to end, it
/// must close what is not finished.
fn drain_of_the_busy(dice: &mut Dice, host: usize, safety: Duration) -> [(Duration, TurmoilFault); 2] {
    let within = dice.millis(0, 300);
    let cut = dice.millis(1, 100);
    let most = safety.saturating_sub(cut + within + LINK.linger + Duration::from_millis(100));
    let at = dice.millis(1, most.as_millis() as u64);
    let way = [Way::Both, Way::ToServer][dice.below(2)];
    [
        (at, TurmoilFault::Partition(host, way)),
        (at + cut, TurmoilFault::DrainServer(within)),
    ]
}
