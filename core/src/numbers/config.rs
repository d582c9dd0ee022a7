//! The configuration of both sides of numbers.

use core::time::Duration;

use crate::connection::ConnectionConfig;
use crate::random::Backoff;

/// Which streams a server offers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Both kinds.
    #[default]
    Both,
    /// Only stateless streams: the client keeps its position.
    Stateless,
    /// Only sessions: the server keeps the position.
    Stateful,
}

/// The configuration of a numbers server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Which streams it offers. Default both.
    pub mode: Mode,
    /// The time between two numbers of a stream; at least 1 µs. Default 1 s.
    pub period: Duration,
    /// How long a session is kept after its connection was lost, or after its client has closed once the end was sent.
    /// Default 30 s.
    pub session_ttl: Duration,
    /// How much longer a session is kept if its end was sent to a client that had finished sending: nothing shows
    /// whether that client received it. Should be the time in which such a client notices a loss. Default 60 s.
    pub unacknowledged_ttl: Duration,
    /// The most sessions. Default 1,000,000.
    pub max_sessions: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Both,
            period: Duration::from_secs(1),
            session_ttl: Duration::from_secs(30),
            unacknowledged_ttl: Duration::from_secs(60),
            max_sessions: 1_000_000,
        }
    }
}

/// The configuration of a numbers client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// From a request to its first reply, and before that for the attempt to connect, but no later than
    /// `give_up_after`. Then the next attempt follows. Default 10 s.
    pub response_timeout: Duration,
    /// From the start, or from the loss of a connection on which a reply was received, to the next reply; then the
    /// client gives up. Default 60 s.
    pub give_up_after: Duration,
    /// The pause before a retry. Starts over after any reply but an error. Default 0.5 s to 16 s.
    pub backoff: Backoff,
    /// Whether to retry if an attempt is refused before any has connected; otherwise the stream fails. Default yes.
    pub retry_refused: bool,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            response_timeout: Duration::from_secs(10),
            give_up_after: Duration::from_secs(60),
            backoff: Backoff {
                first: Duration::from_millis(500),
                max: Duration::from_secs(16),
            },
            retry_refused: true,
        }
    }
}

/// The connection settings of a client: the defaults, but with an idle time-out of 25 s. A client must notice a loss
/// before its server, which may notice it at once, discards the session ([`ServerConfig::session_ttl`]).
#[must_use]
pub fn client_connection_config() -> ConnectionConfig {
    ConnectionConfig {
        idle_timeout: Duration::from_secs(25),
        ..ConnectionConfig::default()
    }
}
