//! How both sides of numbers are configured.

use core::time::Duration;

use crate::connection::ConnectionConfig;
use crate::random::Backoff;

/// Which streams a server gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Both kinds.
    #[default]
    Both,
    /// Only those whose client keeps its place.
    Stateless,
    /// Only sessions.
    Stateful,
}

/// How a numbers server behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Which streams it gives. Default both.
    pub mode: Mode,
    /// From one number of a stream to the next; at least 1 µs. Default 1 s.
    pub period: Duration,
    /// How long a session is kept once its connection is known to be lost, or its client has closed after its end.
    /// Default 30 s.
    pub session_ttl: Duration,
    /// How much longer a session is kept whose end was sent to a client that had finished sending: nothing shows whether
    /// that client received it. Should be the time in which such a client notices a loss. Default 60 s.
    pub unacknowledged_ttl: Duration,
    /// Sessions kept at once. Default 1,000,000.
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

/// How a numbers client behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// From a request to the first reply, and before that as long for the connection, but no longer than until it gives up;
    /// after it the attempt counts as lost. Default 10 s.
    pub response_timeout: Duration,
    /// From the loss of the connection that the last reply came on, or from the begin if there was none: without another
    /// reply by then, the client gives up. Default 60 s.
    pub give_up_after: Duration,
    /// The wait before trying again. Any reply but an error begins it anew. Default from 0.5 s to 16 s.
    pub backoff: Backoff,
    /// Try again also when an attempt is refused before any has connected; else the stream fails then. Default yes.
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

/// Time-outs and bounds of a client's connections: those of all connections, but a silence of 25 s is a loss. A client must
/// notice a loss that its server has noticed at once before the server forgets the session ([`ServerConfig::session_ttl`]).
#[must_use]
pub fn client_connection_config() -> ConnectionConfig {
    ConnectionConfig {
        idle_timeout: Duration::from_secs(25),
        ..ConnectionConfig::default()
    }
}
