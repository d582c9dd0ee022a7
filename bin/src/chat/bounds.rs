//! Bounds and time-outs of a chat, the same on both sides.

use std::time::Duration;

use bytesize::ByteSize;
use echosphere_core::chat::{ExchangeConfig, MAX_BODY};
use echosphere_core::connection::ConnectionConfig;

use crate::server::PartialBound;
use crate::values::{in_memory, size, time_out};

/// Connections at once: that of the session, those that get `busy`, and those that resume.
const MAX_CONNECTIONS: usize = 64;

#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Bounds")]
pub(crate) struct Bounds {
    /// Drop a connection that sends nothing for this long
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_CHAT_IDLE_TIMEOUT", default_value = "15s", value_parser = time_out)]
    idle_timeout: Duration,

    /// Send an empty frame after sending nothing for this long
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_CHAT_KEEPALIVE", default_value = "5s", value_parser = time_out)]
    keepalive: Duration,

    /// Stop sending while this many bytes of sent messages are unacknowledged
    #[arg(long, value_name = "SIZE", env = "ECHOSPHERE_CHAT_WINDOW", default_value = "256KiB", value_parser = size(1..=u64::MAX))]
    window: ByteSize,

    #[command(flatten)]
    partial: PartialBound,
}

impl Bounds {
    /// The bounds of connections.
    ///
    /// # Errors
    ///
    /// If they do not allow the longest body.
    pub(crate) fn links(&self) -> anyhow::Result<ConnectionConfig> {
        Ok(ConnectionConfig {
            idle_timeout: self.idle_timeout,
            keepalive_interval: self.keepalive,
            max_connections: MAX_CONNECTIONS,
            // The parts of a body, and beside them a frame that may be as long.
            max_partial_bytes: self.partial.bytes(2 * MAX_BODY)?,
            ..ConnectionConfig::default()
        })
    }

    /// The bounds of a session.
    pub(crate) fn session(&self) -> ExchangeConfig {
        ExchangeConfig {
            window: in_memory(self.window),
            ..ExchangeConfig::default()
        }
    }
}
