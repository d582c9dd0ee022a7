//! The configuration of both sides of a chat.

use core::time::Duration;

use super::message::MAX_BODY;
use crate::random::Backoff;

/// The configuration of a chat's server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// How long a session is kept after its connection was lost. Default 60 s.
    pub session_ttl: Duration,
    /// From a connection to its first message; then it is closed. Default 10 s.
    pub begin_timeout: Duration,
    /// The limits of the exchange of messages.
    pub exchange: ExchangeConfig,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            session_ttl: Duration::from_secs(60),
            begin_timeout: Duration::from_secs(10),
            exchange: ExchangeConfig::default(),
        }
    }
}

/// The configuration of a chat's client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Whether to reconnect and resume the session after a loss. Default no: the session ends.
    pub reconnect: bool,
    /// From [`Command::Connect`](super::Command::Connect), or from a loss, to the server's welcome; then the session
    /// ends. Default 60 s.
    pub connect_timeout: Duration,
    /// The limit of an attempt to connect, and again from the connection to the welcome, but no later than the end of
    /// the session. Then the next attempt follows. Default 10 s.
    pub welcome_timeout: Duration,
    /// The pause before a retry. Starts over after a welcome.
    pub backoff: Backoff,
    /// Whether to retry if an attempt is refused before any has connected; otherwise the session ends. Default yes.
    pub retry_refused: bool,
    /// The limits of the exchange of messages.
    pub exchange: ExchangeConfig,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            reconnect: false,
            connect_timeout: Duration::from_secs(60),
            welcome_timeout: Duration::from_secs(10),
            backoff: Backoff::default(),
            retry_refused: true,
            exchange: ExchangeConfig::default(),
        }
    }
}

/// The limits of one side's exchange of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExchangeConfig {
    /// The longest body in either direction, in bytes. Default [`MAX_BODY`].
    pub max_body: usize,
    /// Bytes of unacknowledged messages to the peer; a message that would exceed this is refused. Default 16 MiB.
    pub max_queued: usize,
    /// Bytes sent and not answered. At most this much is queued before an acknowledgement to the peer. Default 256 KiB.
    pub window: usize,
    /// Longer bodies are sent in parts of this many bytes, each with its own answer. Default 64 KiB.
    pub part: usize,
    /// Bytes received that the caller has not read; a peer that sends more is disconnected. A peer of this
    /// implementation stops earlier, at its window, because unread messages are not acknowledged. Default 8 MiB.
    pub max_unread: usize,
    /// Acknowledge each message when it is complete, without [`Command::Read`](super::Command::Read). Default no.
    pub acknowledge_on_receipt: bool,
}

impl Default for ExchangeConfig {
    fn default() -> Self {
        Self {
            max_body: MAX_BODY,
            max_queued: 16 * 1024 * 1024,
            window: 256 * 1024,
            part: 64 * 1024,
            max_unread: 8 * 1024 * 1024,
            acknowledge_on_receipt: false,
        }
    }
}
