//! Who wants which numbers, and how patient everybody is.

use std::collections::BTreeMap;
use std::time::Duration;

use echosphere_core::numbers::{ClientConfig, Mode, ServerConfig, Uuid};
use echosphere_core::random::Backoff;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Numbers, draws};
use crate::oracle::Workload;
use crate::scenario::{BACKOFF_MAX, LINK, Scenario};

/// The first halves of uuids one of whose first numbers occurs twice, and at which places.
pub(super) const REPEATING: [(u64, u16, u16); 4] = [
    (3_188_318, 2, 12),
    (5_661_326, 19, 23),
    (12_801_817, 3, 11),
    (15_054_170, 3, 8),
];
/// The pause after the first loss.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
/// What a number may take of which somebody else's request takes the connection away at once.
const CONTESTED: Duration = Duration::from_millis(350);
/// What the system may take to give up a connection on which nothing is acknowledged.
const UNACKNOWLEDGED: Duration = Duration::from_secs(3);

/// A session's uuid, in two halves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Name(pub u64, pub u64);

impl Name {
    pub(super) const fn uuid(self) -> Uuid {
        Uuid::from_u64_pair(self.0, self.1)
    }

    /// Whether one of its numbers is known to occur twice.
    pub(super) fn repeats(self) -> bool {
        REPEATING.iter().any(|(half, ..)| *half == self.0)
    }
}

/// Which numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Wanted {
    /// A stateless stream.
    Plain {
        /// How many numbers.
        n: u16,
        /// After which, if not from the begin.
        after: Option<u64>,
    },
    /// A session.
    Session {
        /// Which.
        name: Name,
        /// How many numbers it has.
        n: u16,
        /// After the number at which place, if it was begun before.
        after: Option<u16>,
    },
}

/// A request of somebody who knows no better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// A stateless stream.
    Start,
    /// The same, after a number.
    Continue(u64),
    /// A session of so many numbers.
    StartSession(Name, u16),
    /// A session, after the number at a place, and the count that is said.
    ContinueSession(Name, u16, Option<u16>),
    /// No more.
    End,
}

/// Something that is planned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Planned {
    /// A client gets numbers.
    Get {
        /// On which host.
        host: usize,
        /// From when, since the run began.
        at: Duration,
        /// Which.
        want: Wanted,
    },
    /// Somebody says requests on one connection, whatever is answered.
    Odd {
        /// On which host.
        host: usize,
        /// From when, since the run began.
        at: Duration,
        /// Each request, and how long after the one before.
        script: Vec<(Duration, Ask)>,
        /// How long after the last the connection ends.
        stays: Duration,
    },
}

impl Planned {
    const fn host(&self) -> usize {
        match self {
            Self::Get { host, .. } | Self::Odd { host, .. } => *host,
        }
    }

    /// The sessions that it may begin or go on with, and how many numbers it takes them to have.
    pub(super) fn begins(&self) -> Vec<(Name, u16)> {
        match self {
            Self::Get {
                want: Wanted::Session { name, n, .. },
                ..
            } => vec![(*name, *n)],
            Self::Get { .. } => Vec::new(),
            Self::Odd { script, .. } => {
                let begun = script.iter().filter_map(|(_, ask)| match ask {
                    Ask::StartSession(name, n) => Some((*name, *n)),
                    _ => None,
                });
                begun.collect()
            }
        }
    }

    /// The sessions that it asks for, each as often as it does.
    pub(super) fn names(&self) -> Vec<Name> {
        match self {
            Self::Get {
                want: Wanted::Session { name, .. },
                ..
            } => vec![*name],
            Self::Get { .. } => Vec::new(),
            Self::Odd { script, .. } => {
                let asked = script.iter().filter_map(|(_, ask)| match ask {
                    Ask::StartSession(name, _) | Ask::ContinueSession(name, ..) => Some(*name),
                    _ => None,
                });
                asked.collect()
            }
        }
    }

    const fn plain(&self) -> u16 {
        match self {
            Self::Get {
                want: Wanted::Plain { n, .. },
                ..
            } => *n,
            _ => 0,
        }
    }
}

/// What all may take beyond what the network and the hosts are the cause of.
pub(super) fn patience(numbers: &Numbers) -> Duration {
    let period = numbers.server.period;
    let kept = numbers.server.session_ttl + numbers.server.unacknowledged_ttl + LINK.idle_timeout;
    let mut names: BTreeMap<Name, Vec<u16>> = BTreeMap::new();
    for (name, n) in numbers.planned.iter().flat_map(Planned::begins) {
        names.entry(name).or_default().push(n);
    }
    let each = names.values().map(|counts| {
        let all: u32 = counts.iter().map(|n| u32::from(*n) + 3).sum();
        let contested = if counts.len() > 1 { CONTESTED } else { Duration::ZERO };
        all * (period + contested) + kept + BACKOFF_MAX
    });
    // Where there is no room for all, one waits for another.
    let sessions = if numbers.server.max_sessions < names.len() {
        each.sum()
    } else {
        each.max().unwrap_or_default()
    };
    let plain = numbers.planned.iter().map(Planned::plain).max().unwrap_or(0);
    // Who types is cut off for their silence again and again, and comes back.
    let typed = if numbers.lines.is_empty() { 1.25 } else { 2.5 };
    (sessions + u32::from(plain) * period + UNACKNOWLEDGED).mul_f64(typed)
}

impl Numbers {
    /// Both sides with the time-outs of these runs.
    #[must_use]
    pub const fn new(
        planned: Vec<Planned>,
        server: ServerConfig,
        response_timeout: Duration,
        give_up: Duration,
    ) -> Self {
        Self {
            server,
            client: ClientConfig {
                response_timeout,
                give_up_after: give_up,
                backoff: Backoff {
                    first: FIRST_PAUSE,
                    max: BACKOFF_MAX,
                },
                retry_refused: true,
            },
            planned,
            max_backlog: None,
            max_partial_bytes: None,
            lines: Vec::new(),
            meek: Vec::new(),
        }
    }

    /// What the scenario's seed says.
    #[must_use]
    pub fn of(scenario: &Scenario) -> Self {
        Self::draw(scenario.seed, scenario.hosts, scenario.safety, None)
    }
}

impl Workload for Numbers {
    const NAME: &'static str = "numbers";

    fn draw(seed: u64, hosts: usize, window: Duration, clients: Option<usize>) -> Self {
        draws::draw(seed, hosts, window, clients)
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

    fn to_json(&self) -> Value {
        json!({
            "mode": match self.server.mode {
                Mode::Both => "both",
                Mode::Stateless => "stateless",
                Mode::Stateful => "stateful",
            },
            "period": self.server.period,
            "session_ttl": self.server.session_ttl,
            "unacknowledged_ttl": self.server.unacknowledged_ttl,
            "max_sessions": self.server.max_sessions,
            "response_timeout": self.client.response_timeout,
            "give_up": self.client.give_up_after,
            "max_backlog": self.max_backlog,
            "max_partial_bytes": self.max_partial_bytes,
            "lines": self.lines,
            "meek": self.meek,
            "planned": self.planned,
        })
    }

    fn from_json(value: &Value) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Whole {
            mode: String,
            period: Duration,
            session_ttl: Duration,
            unacknowledged_ttl: Duration,
            max_sessions: usize,
            response_timeout: Duration,
            give_up: Duration,
            max_backlog: Option<usize>,
            #[serde(default)]
            max_partial_bytes: Option<usize>,
            #[serde(default)]
            lines: Vec<usize>,
            #[serde(default)]
            meek: Vec<usize>,
            planned: Vec<Planned>,
        }
        let whole = Whole::deserialize(value).map_err(|error| error.to_string())?;
        let server = ServerConfig {
            mode: match whole.mode.as_str() {
                "both" => Mode::Both,
                "stateless" => Mode::Stateless,
                "stateful" => Mode::Stateful,
                other => return Err(format!("no mode is called {other}")),
            },
            period: whole.period,
            session_ttl: whole.session_ttl,
            unacknowledged_ttl: whole.unacknowledged_ttl,
            max_sessions: whole.max_sessions,
        };
        Ok(Self {
            max_backlog: whole.max_backlog,
            max_partial_bytes: whole.max_partial_bytes,
            lines: whole.lines,
            meek: whole.meek,
            ..Self::new(whole.planned, server, whole.response_timeout, whole.give_up)
        })
    }
}
