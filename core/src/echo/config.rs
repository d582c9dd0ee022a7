//! How both sides of echo are configured.

use core::time::Duration;

use crate::random::{Backoff, Delay};

/// Bounds of an echo server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Messages of one connection that may wait for their ok. Default 65,536.
    pub max_waiting: usize,
    /// Bytes of one connection's messages that may wait for their ok. Default 64 MiB.
    pub max_waiting_bytes: usize,
    /// Messages of all connections that are kept. Default 4 Mi.
    pub max_flights: usize,
    /// Bytes of all messages that are kept, the same X as often as it was sent. Default 1 GiB.
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

/// How an echo client behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// From the start of an attempt to connect to the `ok X`; after it the client disconnects and tries again.
    /// Default 30 s.
    pub response_timeout: Duration,
    /// The wait before trying again.
    pub backoff: Backoff,
    /// From [`Command::Send`] on; after it the client gives up. `None`: never. Default 5 min.
    pub give_up_after: Option<Duration>,
    /// Try again also when an attempt is refused before any has connected; else give up then. Default yes.
    pub retry_refused: bool,
    /// Between receiving `message Y` and answering `ok Y`. Default none.
    pub ack_delay: Delay,
    /// Answers of one connection that may be delayed at once; over it, answers are sent at once. Default 65,536.
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
