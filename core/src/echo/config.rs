//! The configuration of both sides of echo.

use core::time::Duration;

use crate::random::{Backoff, Delay};

/// Limits of an echo server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Unacknowledged messages of one connection. Default 65,536.
    pub max_waiting: usize,
    /// Bytes of one connection's unacknowledged messages. Default 64 MiB.
    pub max_waiting_bytes: usize,
    /// Unacknowledged messages of all connections. Default 4,194,304.
    pub max_flights: usize,
    /// Bytes of all unacknowledged messages; an X that was sent twice counts twice. Default 1 GiB.
    pub max_bytes: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            max_waiting: 64 * 1024,
            max_waiting_bytes: 64 * 1024 * 1024,
            max_flights: 4 * 1024 * 1024,
            max_bytes: 1024 * 1024 * 1024,
        }
    }
}

/// The configuration of an echo client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// From the start of an attempt to the `ok X`; then the client disconnects and retries. Default 30 s.
    pub response_timeout: Duration,
    /// The pause before a retry.
    pub backoff: Backoff,
    /// From [`Command::Send`](super::Command::Send) on; then the client gives up. `None`: never. Default 5 min.
    pub give_up_after: Option<Duration>,
    /// Whether to retry if an attempt is refused before any has connected; otherwise the client gives up. Default yes.
    pub retry_refused: bool,
    /// The delay between receiving `message Y` and sending `ok Y`. Default none.
    pub ack_delay: Delay,
    /// Delayed acknowledgements of one connection. Further ones are sent at once. Default 65,536.
    pub max_delayed_acks: usize,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            response_timeout: Duration::from_secs(30),
            backoff: Backoff::default(),
            give_up_after: Some(Duration::from_secs(300)),
            retry_refused: true,
            ack_delay: Delay::None,
            max_delayed_acks: 64 * 1024,
        }
    }
}
