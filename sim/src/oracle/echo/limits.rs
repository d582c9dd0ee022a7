//! The bounds of a run. In most runs they are the defaults and never reached; in some, one or another
//! is tight.

use std::time::Duration;

use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::{MAX_MESSAGE, ServerConfig};
use serde::{Deserialize, Serialize};

use super::workload::Planned;
use crate::dice::{Dice, Purpose};
use crate::direct::Rates;
use crate::oracle::partial;
use crate::scenario::{BACKOFF_MAX, LINK, RESPONSE_TIMEOUT};

/// What may be at most: of the server, of each connection, of the clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bytes of an X that the server takes.
    pub max_message: usize,
    /// Messages of one connection that wait.
    pub max_waiting: usize,
    /// Their bytes.
    pub max_waiting_bytes: usize,
    /// Messages that the server keeps.
    pub max_flights: usize,
    /// Their bytes.
    pub max_bytes: usize,
    /// Connections of the server.
    pub max_connections: usize,
    /// Bytes that may wait to be written to one connection for long.
    pub max_backlog: usize,
    /// Bytes that may wait to be written to one connection at all.
    pub max_outbox: usize,
    /// Bytes that half-received messages of all connections may hold.
    pub max_partial_bytes: usize,
    /// Answers that a client delays at once on one connection.
    pub max_delayed_acks: usize,
}

impl Default for Limits {
    fn default() -> Self {
        let server = ServerConfig::default();
        Self {
            max_message: MAX_MESSAGE as usize,
            max_waiting: server.max_waiting,
            max_waiting_bytes: server.max_waiting_bytes,
            max_flights: server.max_flights,
            max_bytes: server.max_bytes,
            max_connections: LINK.max_connections,
            max_backlog: LINK.max_backlog,
            max_outbox: LINK.max_outbox,
            max_partial_bytes: LINK.max_partial_bytes,
            max_delayed_acks: 1024,
        }
    }
}

impl Limits {
    /// What `seed` says for these messages, none of which becomes impossible: whatever is refused for want of room can
    /// succeed later. But some may become longer than an X may be; those are made so by exactly one byte.
    pub(super) fn draw(seed: u64, messages: &mut [Planned]) -> Self {
        let mut dice = Dice::new(seed, Purpose::Limits);
        /// What a frame or line has beside X, at most.
        const WORDS: usize = 12;
        let mut limits = Self::default();
        let longest = messages.iter().map(|message| message.x.len()).max().unwrap_or(0);
        if let Some(bound) = partial::draw(seed, partial::rounded(longest + WORDS)) {
            limits.max_partial_bytes = bound;
        }
        if messages.is_empty() || !dice.chance(0.25) {
            return limits;
        }
        if dice.chance(0.3) {
            limits.max_message = dice.among(200, 400);
            for (number, message) in messages.iter_mut().enumerate() {
                if dice.chance(0.4) {
                    let len = limits.max_message + dice.below(2);
                    message.x = format!("{number:x<len$}").into();
                }
            }
        }
        let count = messages.len();
        let largest = messages.iter().map(|message| message.x.len()).max().unwrap_or(0);
        let total: usize = messages.iter().map(|message| message.x.len()).sum();
        let mut tight = |limit: &mut usize, from: usize, to: usize| {
            if dice.chance(0.3) {
                *limit = dice.among(from, to);
            }
        };
        tight(&mut limits.max_connections, 1, 2 + count / 3);
        tight(&mut limits.max_waiting, 1, 2);
        tight(&mut limits.max_waiting_bytes, largest, largest + 20);
        tight(&mut limits.max_flights, 1, 1 + count / 2);
        tight(&mut limits.max_bytes, largest, largest + 1 + total / 4);
        tight(&mut limits.max_backlog, 10, 100 + largest);
        tight(&mut limits.max_outbox, 2 * largest + 100, 2 * largest + 300);
        tight(&mut limits.max_delayed_acks, 0, 2);
        limits
    }

    pub(super) const fn server(&self) -> ServerConfig {
        ServerConfig {
            max_waiting: self.max_waiting,
            max_waiting_bytes: self.max_waiting_bytes,
            max_flights: self.max_flights,
            max_bytes: self.max_bytes,
        }
    }

    pub(super) const fn link(&self, link: ConnectionConfig) -> ConnectionConfig {
        ConnectionConfig {
            max_connections: self.max_connections,
            max_backlog: self.max_backlog,
            max_outbox: self.max_outbox,
            max_partial_bytes: self.max_partial_bytes,
            ..link
        }
    }

    /// Where little may wait to be written and windows are small, they are smaller, so that it takes few messages to be too
    /// much.
    pub(super) fn rates(&self, rates: Rates) -> Rates {
        let tight = self.max_backlog < LINK.max_backlog || self.max_outbox < LINK.max_outbox;
        let small = rates.window < Rates::SOUND.window;
        Rates {
            window: if tight && small { rates.window / 8 } else { rates.window },
            ..rates
        }
    }

    /// Whether the server may keep less than by default.
    pub(super) fn is_server_tight(&self) -> bool {
        self.server() != ServerConfig::default()
    }

    /// Whether any is below its default.
    pub(super) fn are_tight(&self) -> bool {
        *self != Self::default()
    }

    /// What this number of messages may take beyond the time that they take with room for all. Of those that wait for room,
    /// one finds it within the longest pause whenever there is some; then its attempt ends within the response time-out,
    /// and makes room again within the linger time. A client that sends twice what it may send once fails two attempts
    /// in five, so all that is taken twice.
    pub(super) fn patience(&self, messages: usize) -> Duration {
        if self.are_tight() {
            2 * messages as u32 * (BACKOFF_MAX + RESPONSE_TIMEOUT + LINK.linger)
        } else {
            Duration::ZERO
        }
    }
}
