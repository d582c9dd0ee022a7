//! Bounds and time-outs of a server's connections, as options.

use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::bail;
use bytesize::ByteSize;
use echosphere_core::connection::ConnectionConfig;

use crate::limits::OTHER_FILES;
use crate::stderr::complain;
use crate::values::{count, in_memory, size, thousands, time_out};

/// The default of `--max-connections`, where the limit of open files is not lower.
const MAX_CONNECTIONS: usize = 200_000;

/// The bound on memory for messages of which only a part has arrived.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct PartialBound {
    /// Allow this many bytes of half-received messages over all connections; beyond it, the connection that holds the most
    /// of them gets `error busy` and is closed
    #[arg(
        long,
        value_name = "SIZE",
        env = "ECHOSPHERE_MAX_PARTIAL_BYTES",
        default_value = "256MiB"
    )]
    max_partial_bytes: ByteSize,
}

impl PartialBound {
    /// The bound in bytes, checked against `longest`, the bytes of the longest message.
    ///
    /// # Errors
    ///
    /// If the longest message could never arrive.
    pub(crate) fn bytes(self, longest: usize) -> anyhow::Result<usize> {
        let (bound, least) = (in_memory(self.max_partial_bytes), 2 * longest);
        if bound < least {
            bail!(
                "--max-partial-bytes is too small: the longest message has {longest} bytes and takes up to {least} while it \
                 arrives; set at least {least}"
            );
        }
        Ok(bound)
    }
}

/// Time-outs and bounds of a server's connections.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Bounds")]
pub(crate) struct LinkBounds {
    /// Refuse connections beyond this number with `error full` [default: 200000, or fewer if the limit of open files is
    /// lower]
    #[arg(
        long,
        value_name = "COUNT",
        env = "ECHOSPHERE_MAX_CONNECTIONS",
        value_parser = count::<usize>(1..=u64::from(u32::MAX))
    )]
    max_connections: Option<usize>,

    /// Drop a connection as a slow consumer if more than this many bytes wait to be written to it for --backlog-timeout
    #[arg(long, value_name = "SIZE", env = "ECHOSPHERE_MAX_BACKLOG", default_value = "16MiB", value_parser = size(0..=u64::MAX))]
    max_backlog: ByteSize,

    /// Allow a backlog larger than --max-backlog for at most this long
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_BACKLOG_TIMEOUT", default_value = "5s", value_parser = time_out)]
    backlog_timeout: Duration,

    /// Drop a connection at once if more than this many bytes wait to be written to it
    #[arg(long, value_name = "SIZE", env = "ECHOSPHERE_MAX_OUTBOX", default_value = "128MiB", value_parser = size(1..=u64::MAX))]
    max_outbox: ByteSize,

    #[command(flatten)]
    partial: PartialBound,

    /// Close a connection that sends no complete frame or line within this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_HANDSHAKE_TIMEOUT", default_value = "10s", value_parser = time_out)]
    handshake_timeout: Duration,

    /// Close a connection in length framing that sends nothing for this long
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_IDLE_TIMEOUT", default_value = "60s", value_parser = time_out)]
    idle_timeout: Duration,

    /// Close a connection in line framing that sends nothing for this long
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_IDLE_TIMEOUT_TEXT", default_value = "10m", value_parser = time_out)]
    idle_timeout_text: Duration,

    /// Send an empty frame after sending nothing for this long
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_KEEPALIVE", default_value = "20s", value_parser = time_out)]
    keepalive: Duration,

    /// Drop a closing connection after this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_LINGER", default_value = "5s", value_parser = time_out)]
    linger: Duration,
}

impl LinkBounds {
    /// The most connections at once.
    pub(crate) fn max_connections(&self) -> usize {
        self.max_connections.unwrap_or(MAX_CONNECTIONS)
    }

    /// Lowers the number of connections to what `files` open files in each I/O thread allow, and warns if the user asked
    /// for more.
    pub(crate) fn lower_to_open_files(&mut self, files: u64, threads: IoThreads) {
        let most = files
            .saturating_sub(OTHER_FILES)
            .max(1)
            .saturating_mul(threads.io_threads.into());
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if let Some(wanted) = self.max_connections.filter(|wanted| *wanted > most) {
            complain!(
                "warning: --max-connections {} is lowered to {}, as this process may open {} files; raise that limit \
                 (ulimit -n), or use more --io-threads",
                thousands(wanted as u64),
                thousands(most as u64),
                thousands(files)
            );
        }
        self.max_connections = Some(self.max_connections().min(most));
    }

    /// The configuration of connections whose longest message has `max_message` bytes.
    ///
    /// # Errors
    ///
    /// If the bounds do not allow a message of that length.
    pub(crate) fn config(&self, max_message: usize) -> anyhow::Result<ConnectionConfig> {
        Ok(ConnectionConfig {
            handshake_timeout: self.handshake_timeout,
            idle_timeout: self.idle_timeout,
            idle_timeout_text: self.idle_timeout_text,
            keepalive_interval: self.keepalive,
            linger: self.linger,
            max_backlog: in_memory(self.max_backlog),
            backlog_timeout: self.backlog_timeout,
            max_outbox: in_memory(self.max_outbox).max(max_message + 64),
            max_partial_bytes: self.partial.bytes(max_message)?,
            max_connections: self.max_connections(),
        })
    }
}

/// The threads that read and write a server's sockets.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct IoThreads {
    /// Read and write sockets on this many threads, each with its own limit of open files
    #[arg(
        long,
        value_name = "COUNT",
        env = "ECHOSPHERE_IO_THREADS",
        default_value = "1",
        value_parser = count::<u16>(1..=256)
    )]
    pub(crate) io_threads: u16,
}

impl IoThreads {
    /// One thread: the server's own.
    pub(crate) const ONE: Self = Self { io_threads: 1 };

    /// The number of threads beside the server's own; `None` if it does its I/O itself.
    pub(super) fn separate(self) -> Option<NonZeroUsize> {
        NonZeroUsize::new(self.io_threads.into()).filter(|count| count.get() > 1)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        links: LinkBounds,
    }

    fn bounds(args: &[&str]) -> LinkBounds {
        let args = ["program"].iter().chain(args);
        Program::try_parse_from(args).expect("options of a server").links
    }

    #[test]
    fn an_outbox_holds_the_longest_message_whatever_the_option_says() {
        let least = |size| bounds(&["--max-outbox", size]).config(1000).unwrap().max_outbox;
        assert_eq!([least("1B"), least("1064B"), least("1065B")], [1064, 1064, 1065]);
    }

    #[test]
    fn one_io_thread_is_the_servers_own() {
        let separate = |io_threads| IoThreads { io_threads }.separate().map(NonZeroUsize::get);
        assert_eq!([separate(1), separate(2), separate(256)], [None, Some(2), Some(256)]);
    }

    #[test]
    fn unfinished_messages_need_room_for_twice_the_longest() {
        let config = |size| bounds(&["--max-partial-bytes", size]).config(1000);
        assert_eq!(config("2000B").unwrap().max_partial_bytes, 2000);
        let error = config("1999B").unwrap_err().to_string();
        assert!(error.contains("set at least 2000"), "{error}");
    }

    #[test]
    fn connections_are_lowered_to_what_the_open_files_allow() {
        let lowered = |args: &[&str], files, io_threads| {
            let mut bounds = bounds(args);
            bounds.lower_to_open_files(files, IoThreads { io_threads });
            bounds.max_connections()
        };
        assert_eq!(lowered(&[], 1_000_000, 1), 200_000);
        assert_eq!(lowered(&[], 20_000, 1), 19_936);
        assert_eq!(lowered(&[], 20_000, 6), 119_616);
        assert_eq!(lowered(&[], 64, 1), 1);
        assert_eq!(lowered(&["--max-connections", "100"], 20_000, 1), 100);
        assert_eq!(lowered(&["--max-connections", "100"], 144, 1), 80);
    }
}
