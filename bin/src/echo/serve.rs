use std::process::ExitCode;
use std::time::Duration;

use bytesize::ByteSize;
use echosphere_core::echo::{EchoCodec, Server, ServerConfig};
use echosphere_core::endpoint::Endpoint;
use echosphere_core::wire::MAX_FRAME;
use rand_chacha::ChaCha8Rng;

use super::PORT;
use crate::net::Address;
use crate::server::{self, LinkBounds, State, Threads, bytes};
use crate::values::{count, duration, size, yes_or_no};
use crate::{limits, seed};

/// An echo server's endpoint, with its sockets left out.
pub(super) type ServerEndpoint = Endpoint<Server<ChaCha8Rng>, EchoCodec>;

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere echo serve
  echosphere echo serve --listen 0.0.0.0:8000 --json > counters.json
  echosphere echo serve --io-threads 6     for more connections than a process may have open files
  nc 127.0.0.1 8000                        then type: message hello

Ctrl-C or SIGTERM drains: no new connections, and those under way have --drain to finish. A second one ends at once.")]
pub(crate) struct Args {
    /// Listen on this address and port; port 0 takes a free one
    #[arg(
        long,
        value_name = "[ADDR:]PORT",
        env = "ECHOSPHERE_LISTEN",
        default_value = "127.0.0.1:8000"
    )]
    listen: Address,

    #[command(flatten)]
    threads: Threads,

    /// Give connections this long to finish when the server drains
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_DRAIN", default_value = "10s", value_parser = duration)]
    drain: Duration,

    /// Make the random choices from this seed
    #[arg(long, value_name = "NUMBER", env = "ECHOSPHERE_SEED")]
    seed: Option<u64>,

    /// Print where it listens, and the counters at the end, as JSON objects
    #[arg(long, env = "ECHOSPHERE_JSON", value_parser = yes_or_no)]
    json: bool,

    #[command(flatten)]
    bounds: Bounds,
}

/// Bounds of a server.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Bounds")]
pub(super) struct Bounds {
    #[command(flatten)]
    links: LinkBounds,

    /// Refuse messages longer than this
    // So that the first byte of a frame's length is always 0.
    #[arg(
        long,
        value_name = "SIZE",
        env = "ECHOSPHERE_MAX_MESSAGE",
        default_value = "1MiB",
        value_parser = size(0..=u64::from(MAX_FRAME) - 8)
    )]
    max_message: ByteSize,

    /// Refuse a message of a connection that has this many waiting for their ok
    #[arg(
        long,
        value_name = "COUNT",
        env = "ECHOSPHERE_MAX_WAITING",
        default_value = "65536",
        value_parser = count::<usize>(1..=u64::MAX)
    )]
    max_waiting: usize,

    /// Refuse a message of a connection that would have more than this many bytes waiting for their ok
    #[arg(
        long,
        value_name = "SIZE",
        env = "ECHOSPHERE_MAX_WAITING_BYTES",
        default_value = "64MiB",
        value_parser = size(1..=u64::MAX)
    )]
    max_waiting_bytes: ByteSize,

    /// Refuse messages while the server holds this many of all connections
    #[arg(
        long,
        value_name = "COUNT",
        env = "ECHOSPHERE_MAX_KEPT",
        default_value = "4194304",
        value_parser = count::<usize>(1..=u64::MAX)
    )]
    max_kept: usize,

    /// Refuse messages while the server holds this many bytes of all connections
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
    /// Connections at once, at most.
    pub(super) fn max_connections(&self) -> usize {
        self.links.max_connections()
    }

    /// A server with these bounds.
    pub(super) fn endpoint(&self, rng: ChaCha8Rng) -> ServerEndpoint {
        let server = ServerConfig {
            max_waiting: self.max_waiting,
            max_waiting_bytes: bytes(self.max_waiting_bytes),
            max_flights: self.max_kept,
            max_bytes: bytes(self.max_kept_bytes),
        };
        let max_message = bytes(self.max_message);
        let codec = EchoCodec::accepted(max_message as u32);
        Endpoint::new(Server::new(server, rng), codec, self.links.config(max_message))
    }
}

pub(super) fn run(mut args: Args) -> anyhow::Result<ExitCode> {
    let files = limits::raise_open_files();
    args.bounds.links.fit(files, args.threads);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(args))
}

async fn serve(args: Args) -> anyhow::Result<ExitCode> {
    let addr = args.listen.or_port(PORT).resolve().await?;
    let endpoint = args.bounds.endpoint(seed::generator(args.seed)?);
    let state = state(&server::serve(endpoint, addr, args.threads, args.drain, args.json).await?);
    state.print(args.json)?;
    Ok(ExitCode::from(u8::from(!state.zero)))
}

/// What an echo server has left, and what it did.
pub(super) fn state(endpoint: &ServerEndpoint) -> State {
    let machine = endpoint.machine();
    State::of(endpoint, machine.counters().iter(), Some(machine.flight_count()))
}
