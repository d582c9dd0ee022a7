//! The plan of a run on the direct lane: everything that is decided before the run.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use echosphere_core::connection::ConnectionConfig;
use serde::{Deserialize, Serialize};

use super::net::{MILLISECOND, Nanos};
use crate::dice::{Dice, Purpose};
use crate::hosts::CLIENTS;
use crate::scenario::{LATENCY_MAX, LINK, patience};
use crate::strangers::StrangerKind;

/// How often what goes wrong on a connection goes wrong, until the network is healed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rates {
    /// An attempt to connect is refused.
    pub refuse: f64,
    /// An attempt to connect is never answered.
    pub blackhole: f64,
    /// A write is split in two segments.
    pub split: f64,
    /// A segment is read together with the one before.
    pub join: f64,
    /// A segment takes up to 1.6 s longer.
    pub stall: f64,
    /// An end of stream never arrives.
    pub lost_fin: f64,
    /// A reader takes a few bytes at a time.
    pub slow_reader: f64,
    /// Bytes that may be under way in one direction of a connection.
    pub window: usize,
    /// A connection is negotiated before its first byte, which takes up to 1.5 s.
    #[serde(default)]
    pub negotiation: f64,
    /// A negotiation fails.
    #[serde(default)]
    pub failed_negotiation: f64,
}

impl Rates {
    /// Nothing goes wrong.
    pub const SOUND: Self = Self {
        refuse: 0.0,
        blackhole: 0.0,
        split: 0.0,
        join: 0.0,
        stall: 0.0,
        lost_fin: 0.0,
        slow_reader: 0.0,
        window: 256 * 1024,
        negotiation: 0.0,
        failed_negotiation: 0.0,
    };

    /// Everything goes wrong now and then.
    pub const ALL: Self = Self {
        refuse: 0.01,
        blackhole: 0.01,
        split: 0.05,
        join: 0.05,
        stall: 0.01,
        lost_fin: 0.01,
        slow_reader: 0.01,
        negotiation: 0.05,
        failed_negotiation: 0.1,
        ..Self::SOUND
    };
}

/// Something that happens to a host, by its number, to its link, or to the server. Those that last say for how long;
/// they end with all others when the network is healed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fault {
    /// Segments take so much longer.
    Slow(usize, Duration, Duration),
    /// The link keeps everything back, then lets go of it, connections in any order.
    Clog(usize, Duration),
    /// Nothing passes, new attempts to connect are lost.
    Partition(usize, Duration),
    /// The same for what clients send.
    PartitionToServer(usize, Duration),
    /// The same for what the server sends.
    PartitionToClient(usize, Duration),
    /// Each of the host's connections is reset with this probability.
    Reset(usize, f64),
    /// Each of the host's connections dies unnoticed with this probability.
    HalfOpen(usize, f64),
    /// The host loses its state; its connections are reset.
    ClientCrash(usize, Duration),
    /// The host loses its state; its connections die unnoticed.
    ClientPowerLoss(usize, Duration),
    /// The server loses its state; its connections are reset.
    ServerCrash(Duration),
    /// The server loses its state; its connections die unnoticed.
    ServerPowerLoss(Duration),
    /// The server drains; then it ends, and starts again.
    ServerDrain(Duration),
    /// The host drains; then it ends, and starts again.
    ClientDrain(usize, Duration),
    /// The host does nothing; what arrives waits. The number after the last is the server's.
    Pause(usize, Duration),
    /// Each byte on one of the link's connections takes this time, and no more are in flight than fit into [`NARROW`].
    Narrow(usize, Duration, Duration),
    /// A stranger connects from the host and stays until the server closes it or the network is healed.
    Stranger(usize, StrangerKind),
}

/// How fast clocks go that the rules allow for.
const CLOCKS: RangeInclusive<f64> = 0.9..=1.1;
/// No time of a case is longer.
const LONGEST: Duration = Duration::from_secs(86_400);

/// In words, as a trace notes it.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f64| share * 100.0;
        match *self {
            Self::Slow(host, by, lasts) => write!(f, "client-{host}'s link is slower by {by:?}, for {lasts:?}"),
            Self::Clog(host, lasts) => write!(f, "client-{host}'s link holds everything back, for {lasts:?}"),
            Self::Partition(host, lasts) => write!(f, "client-{host} is cut off, for {lasts:?}"),
            Self::PartitionToServer(host, lasts) => {
                write!(f, "client-{host} is cut off on the way to the server, for {lasts:?}")
            }
            Self::PartitionToClient(host, lasts) => {
                write!(f, "client-{host} is cut off on the way from the server, for {lasts:?}")
            }
            Self::Reset(host, share) => {
                write!(
                    f,
                    "client-{host}'s connections are reset, each with {:.0} %",
                    percent(share)
                )
            }
            Self::HalfOpen(host, share) => write!(
                f,
                "client-{host}'s connections die unnoticed, each with {:.0} %",
                percent(share)
            ),
            Self::ClientCrash(host, lasts) => write!(f, "client-{host} crashes, for {lasts:?}"),
            Self::ClientPowerLoss(host, lasts) => write!(f, "client-{host} loses its power, for {lasts:?}"),
            Self::ServerCrash(lasts) => write!(f, "the server crashes, for {lasts:?}"),
            Self::ServerPowerLoss(lasts) => write!(f, "the server loses its power, for {lasts:?}"),
            Self::ServerDrain(lasts) => write!(f, "the server drains, for {lasts:?}"),
            Self::ClientDrain(host, lasts) => write!(f, "client-{host} drains, for {lasts:?}"),
            Self::Pause(host, lasts) => write!(f, "client-{host} pauses, for {lasts:?}"),
            Self::Narrow(host, byte, lasts) => {
                write!(f, "client-{host}'s link takes {byte:?} per byte, for {lasts:?}")
            }
            Self::Stranger(host, kind) => write!(f, "a stranger connects from client-{host} and sends {kind}"),
        }
    }
}

impl Fault {
    /// Checks the numbers of one that begins then.
    fn check(self, at: Duration) -> Result<(), String> {
        let (time, share) = match self {
            Self::Slow(_, by, lasts) | Self::Narrow(_, by, lasts) => (by.max(lasts), 0.0),
            Self::Clog(_, lasts)
            | Self::Partition(_, lasts)
            | Self::PartitionToServer(_, lasts)
            | Self::PartitionToClient(_, lasts)
            | Self::ClientCrash(_, lasts)
            | Self::ClientPowerLoss(_, lasts)
            | Self::ServerCrash(lasts)
            | Self::ServerPowerLoss(lasts)
            | Self::ServerDrain(lasts)
            | Self::ClientDrain(_, lasts)
            | Self::Pause(_, lasts) => (lasts, 0.0),
            Self::Reset(_, share) | Self::HalfOpen(_, share) => (Duration::ZERO, share),
            Self::Stranger(..) => (Duration::ZERO, 0.0),
        };
        if at.max(time) > LONGEST || !(0.0..=1.0).contains(&share) {
            return Err(format!(
                "its fault at {at:?} ({self}) should have no time longer than a day, and shares of 0 to 1"
            ));
        }
        Ok(())
    }

    /// The host of clients that it affects, where there are `hosts`.
    const fn host(self, hosts: usize) -> Option<usize> {
        match self {
            Self::ServerCrash(_) | Self::ServerPowerLoss(_) | Self::ServerDrain(_) => None,
            Self::Pause(host, _) if host == hosts => None,
            Self::Slow(host, ..)
            | Self::Clog(host, _)
            | Self::Partition(host, _)
            | Self::PartitionToServer(host, _)
            | Self::PartitionToClient(host, _)
            | Self::Reset(host, _)
            | Self::HalfOpen(host, _)
            | Self::ClientCrash(host, _)
            | Self::ClientPowerLoss(host, _)
            | Self::ClientDrain(host, _)
            | Self::Pause(host, _)
            | Self::Narrow(host, ..)
            | Self::Stranger(host, _) => Some(host),
        }
    }
}

/// How much time's bytes may be under way in one direction of a connection on a narrow link.
pub const NARROW: Duration = Duration::from_millis(250);

/// A run's plan; the messages are the system's part.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Where all other randomness comes from.
    pub seed: u64,
    /// Hosts of clients.
    pub hosts: usize,
    /// The shortest and the longest time that a segment is under way.
    pub latency: (Duration, Duration),
    /// What goes wrong on the way.
    pub rates: Rates,
    /// How fast each host's clock goes, the server's last: 1.0 is right.
    pub clocks: Vec<f64>,
    /// Keepalives come and idle time-outs end sooner, so that a connection lives through several.
    #[serde(default)]
    pub impatient: bool,
    /// How long there may be faults.
    pub safety: Duration,
    /// How long all may take from the end of the faults to the zero state.
    pub liveness: Duration,
    /// What happens when, in order.
    pub faults: Vec<(Duration, Fault)>,
    /// Whether the oracle makes the checks whose cost grows with what is under way.
    pub deep: bool,
}

impl Case {
    /// No faults, a constant latency of 5 ms.
    #[must_use]
    pub fn calm(seed: u64, hosts: usize) -> Self {
        Self {
            seed,
            hosts,
            latency: (Duration::from_millis(5), Duration::from_millis(5)),
            rates: Rates::SOUND,
            clocks: vec![1.0; hosts + 1],
            impatient: false,
            safety: Duration::ZERO,
            liveness: patience(),
            faults: Vec::new(),
            deep: true,
        }
    }

    /// The case of `seed`. Each kind of fault is on or off for the whole run.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut dice = Dice::new(seed, Purpose::Scenario);
        let hosts = dice.among(1, 4);
        let safety = dice.millis(1500, 6000);
        let shortest = dice.millis(0, 20);
        let longest = dice.millis(shortest.as_millis() as u64, LATENCY_MAX.as_millis() as u64);
        // Where all takes the same time, things happen at the very same moment.
        let longest = if seed % 16 == 15 { shortest } else { longest };
        let mut rates = draw_rates(&mut dice);
        let skewed = dice.chance(0.3);
        let clocks: Vec<f64> = (0..=hosts)
            .map(|_| if skewed { 0.9 + 0.2 * dice.unit() } else { 1.0 })
            .collect();
        let mut faults = draw_faults(&mut dice, hosts, safety);
        let impatient = dice.chance(0.3);
        let calm = dice.chance(0.03);
        let most = nanos(safety) / MILLISECOND;
        for (kind, share, count) in RARE {
            if dice.chance(share) {
                for _ in 0..dice.among(1, count) {
                    faults.push(draw_fault(&mut dice, kind, hosts, most));
                }
            }
        }
        faults.sort_by_key(|(at, _)| *at);
        if dice.chance(0.3) {
            rates.negotiation = dice.scaled(0.03, 1.0);
            rates.failed_negotiation = dice.scaled(0.01, 0.3);
        }
        let case = Self {
            hosts,
            latency: (shortest, longest),
            rates,
            clocks,
            safety,
            // A slow clock's time-outs take longer.
            liveness: patience().mul_f64(1.2),
            faults,
            impatient,
            ..Self::calm(seed, hosts)
        };
        if calm { case.without_faults() } else { case }
    }

    /// A run whose clients arrive within `over`; with `faults`, some of every kind.
    #[must_use]
    pub fn crowd(seed: u64, over: Duration, faults: bool) -> Self {
        let mut dice = Dice::new(seed, Purpose::Scenario);
        let case = Self {
            latency: (Duration::from_millis(1), Duration::from_millis(50)),
            safety: over,
            ..Self::calm(seed, CLIENTS.len())
        };
        if !faults {
            return case;
        }
        let most = nanos(over) / MILLISECOND;
        let kinds = KINDS.into_iter().chain(RARE.map(|(kind, ..)| kind));
        let mut faults: Vec<_> = kinds
            .map(|kind| draw_fault(&mut dice, kind, case.hosts, most))
            .collect();
        faults.sort_by_key(|(at, _)| *at);
        Self {
            rates: Rates::ALL,
            faults,
            ..case
        }
    }

    /// Checks that it can be run with hosts of clients up to this number.
    ///
    /// # Errors
    ///
    /// What is not as it should be, and how it should.
    pub fn check(&self, most_host: usize) -> Result<(), String> {
        let hosts = self.hosts;
        if !(1..=CLIENTS.len()).contains(&hosts) {
            return Err(format!("its `case.hosts` is {hosts}, should be 1 to {}", CLIENTS.len()));
        }
        let (clocks, wanted) = (self.clocks.len(), hosts + 1);
        if clocks != wanted || self.clocks.iter().any(|clock| !CLOCKS.contains(clock)) {
            let (slowest, fastest) = CLOCKS.into_inner();
            let ought = format!("one for each host and the server, each {slowest} to {fastest}");
            return Err(format!("its `case.clocks` are {clocks}, should be {wanted}: {ought}"));
        }
        let (shortest, longest) = self.latency;
        if shortest > longest || longest > LONGEST || self.safety > LONGEST || self.liveness > LONGEST {
            return Err(
                "its `case.latency` should not fall, and no time of the `case` be longer than a day".to_owned(),
            );
        }
        for (at, fault) in &self.faults {
            fault.check(*at)?;
        }
        let Rates {
            refuse,
            blackhole,
            split,
            join,
            stall,
            lost_fin,
            slow_reader,
            window,
            negotiation,
            failed_negotiation,
        } = self.rates;
        let broken = [refuse, blackhole, split, join, stall, lost_fin, slow_reader];
        let mut rates = broken.iter().chain([&negotiation, &failed_negotiation]);
        if rates.any(|rate| !(0.0..=1.0).contains(rate)) || window == 0 {
            return Err("its `case.rates` should be 0 to 1, and the window more than 0".to_owned());
        }
        let faults = self.faults.iter().filter_map(|(_, fault)| fault.host(hosts));
        match faults.chain([most_host]).find(|host| *host >= hosts) {
            Some(host) => Err(format!(
                "something happens on host {host}, and there are {hosts}, from 0 on"
            )),
            None => Ok(()),
        }
    }

    /// Whether nothing goes wrong.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.rates == Rates::SOUND && self.faults.is_empty()
    }

    /// Time-outs of both sides' connections.
    #[must_use]
    pub fn link(&self) -> ConnectionConfig {
        if self.impatient {
            ConnectionConfig {
                idle_timeout: LINK.idle_timeout / 3,
                keepalive_interval: LINK.keepalive_interval / 3,
                ..LINK
            }
        } else {
            LINK
        }
    }

    /// The same with nothing going wrong.
    #[must_use]
    pub fn without_faults(self) -> Self {
        Self {
            rates: Rates::SOUND,
            clocks: vec![1.0; self.hosts + 1],
            faults: Vec::new(),
            ..self
        }
    }

    pub(super) fn latency_nanos(&self) -> (Nanos, Nanos) {
        (nanos(self.latency.0), nanos(self.latency.1))
    }
}

pub(super) fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}

fn draw_rates(dice: &mut Dice) -> Rates {
    let mut rate = |most: f64| {
        if dice.chance(0.6) {
            0.0
        } else {
            dice.scaled(most / 30.0, most)
        }
    };
    let sound = Rates::SOUND;
    Rates {
        refuse: rate(0.3),
        blackhole: rate(0.2),
        split: rate(0.8),
        join: rate(0.8),
        stall: rate(0.1),
        lost_fin: rate(0.3),
        slow_reader: rate(0.3),
        window: if rate(1.0) > 0.0 { 700 } else { sound.window },
        ..sound
    }
}

type Kind = fn(&mut Dice, usize, Duration) -> Fault;
const KINDS: [Kind; 13] = [
    |dice, host, lasts| Fault::Slow(host, dice.millis(100, 500), lasts),
    |_, host, lasts| Fault::Clog(host, lasts),
    |_, host, lasts| Fault::Partition(host, lasts),
    |_, host, lasts| Fault::PartitionToServer(host, lasts),
    |_, host, lasts| Fault::PartitionToClient(host, lasts),
    |dice, host, _| Fault::Reset(host, dice.scaled(0.05, 1.0)),
    |dice, host, _| Fault::HalfOpen(host, dice.scaled(0.05, 1.0)),
    |_, host, lasts| Fault::ClientCrash(host, lasts),
    |_, host, lasts| Fault::ClientPowerLoss(host, lasts),
    |_, _, lasts| Fault::ServerCrash(lasts),
    |_, _, lasts| Fault::ServerPowerLoss(lasts),
    |_, _, lasts| Fault::ServerDrain(lasts),
    |_, host, lasts| Fault::Pause(host, lasts),
];
/// Drawn after all else, with the share of runs that have some, and how many at most.
const RARE: [(Kind, f64, usize); 5] = [
    (|_, host, lasts| Fault::ClientDrain(host, lasts), 0.2, 1),
    (
        |dice, host, lasts| Fault::Narrow(host, Duration::from_nanos(dice.among(5_000, 100_000) as u64), lasts),
        0.15,
        2,
    ),
    (
        |dice, host, _| Fault::Stranger(host, StrangerKind::ALL[dice.below(StrangerKind::ALL.len())]),
        0.2,
        6,
    ),
    (|_, host, _| Fault::Stranger(host, StrangerKind::LongHalf), 0.1, 5),
    // For longer than any peer may be silent.
    (|dice, host, _| Fault::Pause(host, dice.millis(2000, 5000)), 0.15, 2),
];

fn draw_faults(dice: &mut Dice, hosts: usize, safety: Duration) -> Vec<(Duration, Fault)> {
    let mut faults = Vec::new();
    let most = nanos(safety) / MILLISECOND;
    for kind in KINDS {
        if dice.chance(0.7) {
            continue;
        }
        for _ in 0..dice.among(1, 3) {
            faults.push(draw_fault(dice, kind, hosts, most));
        }
    }
    faults.sort_by_key(|(at, _)| *at);
    faults
}

/// One fault, at the latest after `most` milliseconds.
fn draw_fault(dice: &mut Dice, kind: Kind, hosts: usize, most: u64) -> (Duration, Fault) {
    let at = dice.millis(1, most);
    let lasts = Duration::from_secs_f64(dice.scaled(0.01, 4.0));
    // A pause may be the server's; the others are only drawn for hosts of clients.
    let host = dice.below(hosts);
    let fault = match kind(dice, host, lasts) {
        Fault::Pause(_, lasts) if dice.chance(0.5) => Fault::Pause(hosts, lasts),
        fault => fault,
    };
    (at, fault)
}
