use std::process::ExitCode;

use bytesize::ByteSize;
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::{EchoCodec, Server, ServerConfig};
use echosphere_core::endpoint::Endpoint;
use echosphere_core::wire::MAX_FRAME;
use rand_chacha::ChaCha8Rng;

use super::PORT;
use crate::server::{self, LinkBounds, State, TcpServeArgs};
use crate::values::{count, in_memory, size};
use crate::{limits, seed};

/// An echo server's endpoint.
pub(super) type ServerEndpoint = Endpoint<Server<ChaCha8Rng>, EchoCodec>;

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere echo serve
  echosphere echo serve --listen 0.0.0.0:8000 --json > counters.json
  echosphere echo serve --io-threads 6     allow more connections than the limit of open files
  nc 127.0.0.1 8000                        then type: message hello

Ctrl-C or SIGTERM drains: the server accepts no new connections, and open connections have the time of \
--drain to finish. A second signal ends it at once.

Exit codes: 0 drained with nothing left; 1 something is left, or stdout cannot be written; 2 it could not start; 130 a \
second signal ended it.")]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) tcp: TcpServeArgs,

    /// Make the random choices from this seed instead of the system's randomness
    #[arg(long, value_name = "NUMBER", env = "ECHOSPHERE_SEED")]
    pub(crate) seed: Option<u64>,

    #[command(flatten)]
    pub(crate) bounds: Bounds,
}

/// Bounds of an echo server.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Bounds")]
pub(crate) struct Bounds {
    #[command(flatten)]
    links: LinkBounds,

    /// Refuse messages longer than this
    // The upper end keeps the first byte of a frame's length at 0.
    #[arg(
        long,
        value_name = "SIZE",
        env = "ECHOSPHERE_MAX_MESSAGE",
        default_value = "1MiB",
        value_parser = size(0..=u64::from(MAX_FRAME) - 8)
    )]
    max_message: ByteSize,

    /// Refuse a message while this many messages of its connection wait for their ok
    #[arg(
        long,
        value_name = "COUNT",
        env = "ECHOSPHERE_MAX_WAITING",
        default_value = "65536",
        value_parser = count::<usize>(1..=u64::MAX)
    )]
    max_waiting: usize,

    /// Refuse a message that would make more than this many bytes of its connection wait for their ok
    #[arg(
        long,
        value_name = "SIZE",
        env = "ECHOSPHERE_MAX_WAITING_BYTES",
        default_value = "64MiB",
        value_parser = size(1..=u64::MAX)
    )]
    max_waiting_bytes: ByteSize,

    /// Refuse messages while this many messages, over all connections, wait for their ok
    #[arg(
        long,
        value_name = "COUNT",
        env = "ECHOSPHERE_MAX_KEPT",
        default_value = "4194304",
        value_parser = count::<usize>(1..=u64::MAX)
    )]
    max_kept: usize,

    /// Refuse messages while this many bytes of messages, over all connections, wait for their ok
    #[arg(
        long,
        value_name = "SIZE",
        env = "ECHOSPHERE_MAX_KEPT_BYTES",
        default_value = "1GiB",
        value_parser = size(1..=u64::MAX)
    )]
    max_kept_bytes: ByteSize,
}

impl Bounds {
    /// The most connections at once.
    pub(super) fn max_connections(&self) -> usize {
        self.links.max_connections()
    }

    /// The bounds of connections.
    ///
    /// # Errors
    ///
    /// If they do not allow the longest message.
    pub(crate) fn links(&self) -> anyhow::Result<ConnectionConfig> {
        self.links.config(self.max_message() as usize)
    }

    /// The bounds of the machine.
    pub(crate) fn server(&self) -> ServerConfig {
        ServerConfig {
            max_waiting: self.max_waiting,
            max_waiting_bytes: in_memory(self.max_waiting_bytes),
            max_flights: self.max_kept,
            max_bytes: in_memory(self.max_kept_bytes),
        }
    }

    /// The longest X in bytes.
    pub(crate) fn max_message(&self) -> u32 {
        in_memory(self.max_message) as u32
    }

    /// A server with these bounds.
    ///
    /// # Errors
    ///
    /// If they contradict each other.
    pub(super) fn endpoint(&self, rng: ChaCha8Rng) -> anyhow::Result<ServerEndpoint> {
        let codec = EchoCodec::accepted(self.max_message());
        Ok(Endpoint::new(Server::new(self.server(), rng), codec, self.links()?))
    }
}

pub(super) fn run(mut args: Args) -> anyhow::Result<ExitCode> {
    let files = limits::raise_open_files();
    args.bounds.links.lower_to_open_files(files, args.tcp.threads);
    let endpoint = args.bounds.endpoint(seed::generator(args.seed)?)?;
    server::run("echo", endpoint, &args.tcp, PORT, state)
}

/// The state of an echo server.
pub(super) fn state(endpoint: &ServerEndpoint) -> State {
    let machine = endpoint.machine();
    State::of(endpoint, machine.counters().iter(), Some(machine.flight_count()))
}
