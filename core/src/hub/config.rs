//! The configuration of a hub's client.

use core::time::Duration;

use crate::random::Backoff;

/// The configuration of a hub's client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// From a request to its answer; then the session ends. Default 30 s.
    pub response_timeout: Duration,
    /// From [`Command::Connect`](super::Command::Connect) to the connection; then the session ends. With `reconnect`,
    /// also from a loss to the next answer or delivery. Default 30 s.
    pub connect_timeout: Duration,
    /// From the start of an attempt to the connection; then the next attempt follows. Default 10 s.
    pub attempt_timeout: Duration,
    /// The pause before a retry. Starts over once the hub has answered or delivered something.
    pub backoff: Backoff,
    /// Whether to retry if an attempt is refused before any has connected; otherwise the session ends. Default yes.
    pub retry_refused: bool,
    /// Whether to reconnect after a loss: as another user, with no requests in progress. Default no: the session ends.
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
