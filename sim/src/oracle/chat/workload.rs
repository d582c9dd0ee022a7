//! The workload of the chat: sessions and messages.

use std::time::Duration;

use bytes::Bytes;
use echosphere_core::chat::{ClientConfig, Command, ExchangeConfig, MAX_BODY, ServerConfig};
use echosphere_core::random::Backoff;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Chat;
use super::typed::fit_a_line;
use crate::dice::{Dice, Purpose};
use crate::oracle::silence::{self, SILENCE};
use crate::oracle::{Workload, connections, escape, partial};
use crate::scenario::{BACKOFF_MAX, RESPONSE_TIMEOUT, Scenario};

/// More than a driver reads from one connection in one turn.
const LARGE: usize = 300_000;
/// Seeds have no more planned than this.
const MOST: usize = 16 * 17;
/// What a client may take to connect, and what a lost one is waited for, in these runs.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(4000);
const KEEP: Duration = Duration::from_millis(3000);
/// How many milliseconds a message may go unread: long enough for its connection to be lost before that.
const LONGEST_LAG: u64 = 300;
/// Longer than a segment may be delayed, so that a greeting may come long after a newer one.
pub(super) const HANDSHAKE_TIMEOUT: Duration = Duration::from_millis(2000);
const BEGIN_TIMEOUT: Duration = Duration::from_millis(1000);

/// Something that is planned.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Planned {
    /// A session, if the host has none then.
    Session {
        /// On which host.
        host: usize,
        /// From when, since the run began.
        at: Duration,
        /// To when, or until all is delivered.
        leaves: Duration,
    },
    /// A message.
    Say {
        /// On which host.
        host: usize,
        /// When, since the run began.
        at: Duration,
        /// What, behind the bytes that tell it from all others.
        #[serde(with = "escape")]
        body: Bytes,
    },
}

/// A message's number, unlike that of any other: its host's life and its place in the plan.
const fn key(life: u64, place: u64) -> u64 {
    life << 32 | place
}

/// A message's number as its first bytes, none of which ends a line: seven bits in each.
pub(super) fn written(key: u64) -> [u8; 8] {
    std::array::from_fn(|at| 0x80 | (key >> (7 * at)) as u8)
}

/// Reads what [`written`] writes.
pub(super) fn read(bytes: [u8; 8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |key, byte| key << 7 | u64::from(byte & 0x7F))
}

/// The place in the plan of the message of this number.
pub(super) const fn place(key: u64) -> u64 {
    key & 0xFFFF_FFFF
}

impl Planned {
    pub(super) const fn host(&self) -> usize {
        match self {
            Self::Session { host, .. } | Self::Say { host, .. } => *host,
        }
    }

    pub(super) const fn is_message(&self) -> bool {
        matches!(self, Self::Say { .. })
    }

    /// What its host is to do in this life and when, if its place in the plan is `number`.
    pub(super) fn commands(&self, life: u64, number: u64) -> Vec<(Duration, Command)> {
        match self {
            Self::Session { at, leaves, .. } => vec![(*at, Command::Connect), (*leaves, Command::Leave)],
            Self::Say { at, body, .. } => {
                let key = key(life, number);
                let body = [&written(key), &body[..]].concat().into();
                vec![(*at, Command::Send { key, body })]
            }
        }
    }
}

impl Chat {
    /// Both sides with the time-outs of these runs.
    #[must_use]
    pub fn new(planned: Vec<Planned>, part: usize) -> Self {
        let exchange = ExchangeConfig {
            part,
            window: 4 * part,
            // Never reached: the core's own tests check this bound.
            max_queued: usize::MAX,
            ..ExchangeConfig::default()
        };
        Self {
            client: ClientConfig {
                reconnect: true,
                connect_timeout: CONNECT_TIMEOUT,
                welcome_timeout: RESPONSE_TIMEOUT,
                retry_refused: true,
                backoff: Backoff {
                    first: Duration::from_millis(50),
                    max: BACKOFF_MAX,
                },
                exchange,
            },
            server: ServerConfig {
                session_ttl: KEEP,
                begin_timeout: BEGIN_TIMEOUT,
                exchange,
            },
            impatient: Vec::new(),
            lines: Vec::new(),
            planned,
            max_backlog: None,
            max_partial_bytes: None,
            max_connections: None,
            idle_timeout: None,
            lag: Duration::ZERO,
            silence: Duration::ZERO,
            meek: Vec::new(),
        }
    }

    /// How much longer than others those take who say more than any seed has them say: a window's bytes, there and back again,
    /// take less than this.
    pub(super) fn says_much(&self) -> Option<Duration> {
        const ROUND_TRIP: Duration = Duration::from_millis(250);
        (self.planned.len() > MOST).then(|| ROUND_TRIP * self.windows())
    }

    /// How much longer those take who read late: each window waits until its last message is read, on both sides.
    pub(super) fn reads_late(&self) -> Duration {
        if self.lag > Duration::from_millis(LONGEST_LAG) {
            2 * self.lag * self.windows()
        } else {
            Duration::ZERO
        }
    }

    /// At most as many windows as it takes to send everything one way.
    fn windows(&self) -> u32 {
        let windows = self.planned.iter().map(|planned| match planned {
            Planned::Say { body, .. } => 1 + body.len() / self.server.exchange.window,
            Planned::Session { .. } => 1,
        });
        windows.sum::<usize>() as u32
    }

    /// What the longest body counts with once nothing goes wrong any more: its parts, and, where a frame may come in two
    /// halves since it is longer than what may be under way, half a frame beside them.
    fn longest(&self) -> usize {
        /// What a frame has beside its body, and a body beside the planned bytes.
        const WORDS: usize = 32;
        /// Shorter parts are under way in one piece.
        const SHORT: usize = 4000;
        let bodies = self.planned.iter().map(|planned| match planned {
            Planned::Say { body, .. } => body.len() + WORDS,
            Planned::Session { .. } => WORDS,
        });
        let (longest, part) = (bodies.max().unwrap_or(WORDS), self.server.exchange.part + WORDS);
        let frame = partial::rounded(longest.min(part));
        match longest {
            longest if longest <= part => frame,
            _ if part <= SHORT + WORDS => partial::rounded(longest).max(frame),
            longest => partial::rounded(longest) + frame,
        }
    }

    /// The workload of the scenario's seed.
    #[must_use]
    pub fn of(scenario: &Scenario) -> Self {
        Self::draw(scenario.seed, scenario.hosts, scenario.safety, None)
    }
}

impl Workload for Chat {
    const NAME: &'static str = "chat";

    fn draw(seed: u64, hosts: usize, window: Duration, clients: Option<usize>) -> Self {
        let mut dice = Dice::new(seed, Purpose::Workload);
        let count = clients.unwrap_or_else(|| {
            if dice.chance(0.3) {
                dice.among(1, 2)
            } else {
                dice.among(2, 16)
            }
        });
        // One host with a long session that no other client interrupts.
        let alone = dice.chance(0.5).then(|| dice.below(hosts));
        let (count, busy) = match alone {
            Some(_) if clients.is_none() => (1, dice.among(1, 60)),
            _ => (count, dice.among(1, 16)),
        };
        let part = [1000, 4000, 64 * 1024, MAX_BODY][dice.below(4)];
        let mut planned = Vec::new();
        for _ in 0..count {
            let host = alone.unwrap_or_else(|| dice.below(hosts));
            let (one, other) = (window.mul_f64(dice.unit()), window.mul_f64(1.3 * dice.unit()));
            let (at, leaves) = match alone {
                Some(_) => (one.mul_f64(0.2), window.max(other)),
                None => (one.min(other), one.max(other)),
            };
            planned.push(Planned::Session { host, at, leaves });
            // Most while the session lasts, some too late; many at once, or one by one.
            let at_once = if alone.is_some() { 0.6 } else { 0.3 };
            let stretch = if dice.chance(at_once) { 0.0 } else { 1.1 };
            for _ in 0..dice.below(busy + 1) {
                let at = at + (leaves - at).mul_f64(stretch * dice.unit());
                let body = draw_body(&mut dice, part);
                planned.push(Planned::Say { host, at, body });
            }
        }
        let impatient = (0..hosts).filter(|_| dice.chance(0.25)).collect();
        let tight = dice.chance(0.2).then(|| dice.among(1000, 70_000));
        let max_backlog = tight.filter(|_| clients.is_none());
        // Less than a segment may be delayed, so that the next attempt overtakes the one that is given up.
        let welcome_timeout = if dice.chance(0.5) {
            dice.millis(150, 400)
        } else {
            RESPONSE_TIMEOUT
        };
        let idle_timeout = dice.chance(0.4).then(|| dice.millis(250, 500));
        let lines: Vec<usize> = (0..hosts).filter(|_| dice.chance(0.15)).collect();
        for planned in &mut planned {
            if let Planned::Say { host, body, .. } = planned
                && lines.contains(host)
            {
                *body = fit_a_line(body);
            }
        }
        let lag = if dice.chance(0.4) {
            dice.millis(1, LONGEST_LAG)
        } else {
            Duration::ZERO
        };
        let mut chat = Self::new(planned, part);
        chat.client.welcome_timeout = welcome_timeout;
        let meek = (0..hosts).filter(|_| dice.chance(0.15)).collect();
        // For longer than a lost session is kept.
        let lag = if dice.chance(0.1) {
            dice.millis(LONGEST_LAG, 4000)
        } else {
            lag
        };
        Self {
            max_partial_bytes: partial::draw(seed, chat.longest()),
            max_connections: connections::draw(seed, clients),
            lag,
            meek,
            impatient,
            lines,
            max_backlog,
            idle_timeout,
            ..chat
        }
    }

    fn draw_silent(seed: u64, hosts: usize, window: Duration) -> Self {
        let mut dice = Dice::new(seed, Purpose::Workload);
        let host = dice.below(hosts);
        let at = window.mul_f64(0.2 * dice.unit());
        let len = dice.among(1, silence::LONGEST);
        let long = dice.bytes(len);
        let say = |at, body| Planned::Say { host, at, body };
        let planned = vec![
            Planned::Session {
                host,
                at,
                leaves: at + SILENCE + window,
            },
            say(at, long.into()),
            say(at + SILENCE, Bytes::from_static(b"after")),
        ];
        Self {
            silence: SILENCE + window,
            ..Self::new(planned, MAX_BODY)
        }
    }

    fn len(&self) -> usize {
        self.planned.len()
    }

    fn most_host(&self) -> usize {
        self.planned.iter().map(Planned::host).max().unwrap_or_default()
    }

    fn keep(&self, keep: &dyn Fn(usize) -> bool) -> Self {
        let kept = self.planned.iter().enumerate().filter(|(at, _)| keep(*at));
        Self {
            planned: kept.map(|(_, planned)| planned.clone()).collect(),
            ..self.clone()
        }
    }

    fn bodies(&mut self) -> Vec<&mut Bytes> {
        let bodies = self.planned.iter_mut().filter_map(|planned| match planned {
            Planned::Say { body, .. } => Some(body),
            Planned::Session { .. } => None,
        });
        bodies.collect()
    }

    fn to_json(&self) -> Value {
        json!({
            "max_backlog": self.max_backlog,
            "max_partial_bytes": self.max_partial_bytes,
            "max_connections": self.max_connections,
            "idle_timeout": self.idle_timeout,
            "lag": self.lag,
            "silence": self.silence,
            "impatient": self.impatient,
            "meek": self.meek,
            "lines": self.lines,
            "welcome_timeout": self.client.welcome_timeout,
            "part": self.server.exchange.part,
            "planned": self.planned,
        })
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct WrittenWorkload {
            max_backlog: Option<usize>,
            #[serde(default)]
            max_partial_bytes: Option<usize>,
            #[serde(default)]
            max_connections: Option<usize>,
            idle_timeout: Option<Duration>,
            #[serde(default)]
            lag: Duration,
            #[serde(default)]
            silence: Duration,
            impatient: Vec<usize>,
            #[serde(default)]
            meek: Vec<usize>,
            #[serde(default)]
            lines: Vec<usize>,
            welcome_timeout: Duration,
            part: usize,
            planned: Vec<Planned>,
        }
        let written_workload = WrittenWorkload::deserialize(value).map_err(|error| error.to_string())?;
        if !(1..=MAX_BODY).contains(&written_workload.part) {
            return Err(format!(
                "`part` is {}, should be 1 to {MAX_BODY}",
                written_workload.part
            ));
        }
        let mut chat = Self::new(written_workload.planned, written_workload.part);
        chat.client.welcome_timeout = written_workload.welcome_timeout;
        Ok(Self {
            max_backlog: written_workload.max_backlog,
            max_partial_bytes: written_workload.max_partial_bytes,
            max_connections: written_workload.max_connections,
            idle_timeout: written_workload.idle_timeout,
            lag: written_workload.lag,
            silence: written_workload.silence,
            impatient: written_workload.impatient,
            meek: written_workload.meek,
            lines: written_workload.lines,
            ..chat
        })
    }
}

fn draw_body(dice: &mut Dice, part: usize) -> Bytes {
    let len = match dice.below(12) {
        0 => 0,
        // About the size of a part, or many.
        1 | 2 => dice.among(part - 30, part + 30).min(LARGE),
        3 => dice.among(part, 10 * part).min(LARGE),
        _ => dice.among(1, 40),
    };
    dice.bytes(len).into()
}
