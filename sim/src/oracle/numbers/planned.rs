//! The plan of a run: which streams are requested, on which hosts and when.

use std::time::Duration;

use echosphere_core::numbers::Uuid;
use serde::{Deserialize, Serialize};

/// The first halves of uuids one of whose first numbers occurs twice, and at which places.
pub(super) const REPEATING: [(u64, u16, u16); 4] = [
    (3_188_318, 2, 12),
    (5_661_326, 19, 23),
    (12_801_817, 3, 11),
    (15_054_170, 3, 8),
];

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

/// A request of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// A stateless stream.
    Start,
    /// The same, after a number.
    Continue(u64),
    /// A session of this number of numbers.
    StartSession(Name, u16),
    /// A session, after the number at a place, and the count in the request.
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
    /// Requests on one connection, whatever the answers.
    #[serde(alias = "Odd")]
    Script {
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
    pub(super) const fn host(&self) -> usize {
        match self {
            Self::Get { host, .. } | Self::Script { host, .. } => *host,
        }
    }

    /// The sessions that it may begin or resume, with their numbers' count.
    pub(super) fn begins(&self) -> Vec<(Name, u16)> {
        match self {
            Self::Get {
                want: Wanted::Session { name, n, .. },
                ..
            } => vec![(*name, *n)],
            Self::Get { .. } => Vec::new(),
            Self::Script { script, .. } => {
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
            Self::Script { script, .. } => {
                let asked = script.iter().filter_map(|(_, ask)| match ask {
                    Ask::StartSession(name, _) | Ask::ContinueSession(name, ..) => Some(*name),
                    _ => None,
                });
                asked.collect()
            }
        }
    }

    pub(super) const fn plain(&self) -> u16 {
        match self {
            Self::Get {
                want: Wanted::Plain { n, .. },
                ..
            } => *n,
            _ => 0,
        }
    }
}
