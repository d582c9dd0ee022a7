//! How a hub's client is configured.

use core::time::Duration;

use crate::random::Backoff;

/// How a hub's users behave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// From a request to its answer; after it the session ends. Default 30 s.
    pub response_timeout: Duration,
    /// From [`Command::Connect`] to the connection; after it the session ends. Where sessions come back, also from the
    /// loss of a connection to the next on which the hub answers or delivers something. Default 30 s.
    pub connect_timeout: Duration,
    /// From the begin of an attempt to the connection; after it another attempt follows. Default 10 s.
    pub attempt_timeout: Duration,
    /// The wait before trying again to connect. It begins anew once the hub has answered or delivered something.
    pub backoff: Backoff,
    /// Try again also when an attempt is refused before any has connected; else the session ends then. Default yes.
    pub retry_refused: bool,
    /// Come back when the connection is lost: as another user, with no request under way. Default no: the session ends.
    pub reconnect: bool,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            response_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(30),
            attempt_timeout: Duration::from_secs(10),
            backoff: Backoff::default(),
            retry_refused: true,
            reconnect: false,
        }
    }
}
