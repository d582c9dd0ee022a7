//! How both sides of a chat are configured.

use core::time::Duration;

use super::message::MAX_BODY;
use crate::random::Backoff;

/// How a chat's server behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// How long a session is kept whose connection was lost. Default 60 s.
    pub session_ttl: Duration,
    /// A connection must say what it wants within this time. Default 10 s.
    pub begin_timeout: Duration,
    /// The bounds of what is said.
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

/// How a chat's client behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Come back when the connection was lost. Default no: the session ends.
    pub reconnect: bool,
    /// From [`Command::Connect`], or from the loss of the connection, to the server's welcome; after it the session ends.
    /// Default 60 s.
    pub connect_timeout: Duration,
    /// From a connection to the server's welcome on it, and before that as long for the connection, but no longer than
    /// until the session ends; after it the attempt counts as lost. Default 10 s.
    pub welcome_timeout: Duration,
    /// The wait before trying again to connect. A welcome begins it anew.
    pub backoff: Backoff,
    /// Try again also when an attempt is refused before any has connected; else the session ends then. Default yes.
    pub retry_refused: bool,
    /// The bounds of what is said.
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

/// Bounds of what is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExchangeConfig {
    /// The longest body, said or heard. Default [`MAX_BODY`].
    pub max_body: usize,
    /// Bytes said and not acknowledged that are kept; what would be more is refused. Default 16 MiB.
    pub max_queued: usize,
    /// Bytes sent and not answered: an acknowledgement for the peer waits behind no more than that. Default 256 KiB.
    pub window: usize,
    /// Longer bodies are sent in parts of so many bytes, each answered for itself. Default 64 KiB.
    pub part: usize,
    /// Bytes heard and not read by the caller; a peer that sends more is closed. A peer stops at its own window, as it gets
    /// no acknowledgement of what the caller has not read. Default 8 MiB.
    pub max_unread: usize,
    /// Nobody reads what is heard: a message is acknowledged as soon as it is whole. Default no.
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
