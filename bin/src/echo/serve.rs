use std::process::ExitCode;
use std::time::Duration;

use bytesize::ByteSize;
use echosphere_core::echo::{EchoCodec, Server, ServerConfig};
use echosphere_core::endpoint::Endpoint;
use echosphere_core::wire::MAX_FRAME;
use rand_chacha::ChaCha8Rng;

use super::PORT;
use crate::server::{self, LinkBounds, State, Threads, bytes};
use crate::values::duration;
use crate::{limits, net, seed};

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
    /// Address and port to listen on; port 0 takes a free one
    #[arg(
        long,
        value_name = "ADDR:PORT",
        env = "ECHOSPHERE_LISTEN",
        default_value = "127.0.0.1:8000"
    )]
    listen: String,

    #[command(flatten)]
    threads: Threads,

    /// How long connections may take to finish when the server drains
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_DRAIN", default_value = "10s", value_parser = duration)]
    drain: Duration,

    /// Make the random choices from this seed
    #[arg(long, value_name = "NUMBER", env = "ECHOSPHERE_SEED")]
    seed: Option<u64>,

    /// Print the counters as one JSON object
    #[arg(long, env = "ECHOSPHERE_JSON")]
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

    /// Bytes of X
    #[arg(long, value_name = "SIZE", env = "ECHOSPHERE_MAX_MESSAGE", default_value = "1MiB", value_parser = message_size)]
    max_message: u32,

    /// Messages of one connection that may wait for their ok
    #[arg(long, value_name = "COUNT", env = "ECHOSPHERE_MAX_WAITING", default_value_t = 65_536)]
    max_waiting: usize,

    /// Bytes of one connection's messages that may wait for their ok
    #[arg(
        long,
        value_name = "SIZE",
        env = "ECHOSPHERE_MAX_WAITING_BYTES",
        default_value = "64MiB"
    )]
    max_waiting_bytes: ByteSize,

    /// Messages of all connections that are kept
    #[arg(long, value_name = "COUNT", env = "ECHOSPHERE_MAX_KEPT", default_value_t = 4_194_304)]
    max_kept: usize,

    /// Bytes of all messages that are kept
    #[arg(long, value_name = "SIZE", env = "ECHOSPHERE_MAX_KEPT_BYTES", default_value = "1GiB")]
    max_kept_bytes: ByteSize,
}

fn message_size(text: &str) -> Result<u32, String> {
    let most = MAX_FRAME - 8;
    let size: ByteSize = text.parse()?;
    u32::try_from(size.as_u64())
        .ok()
        .filter(|&size| size <= most)
        .ok_or_else(|| format!("at most {most} bytes, so that the first byte of a frame's length is always 0"))
}

impl Bounds {
    /// Connections at once, at most.
    pub(super) fn max_connections(&self) -> usize {
        self.links.max_connections()
    }

    /// A server with these bounds.
    ///
    /// # Errors
    ///
    /// If they do not fit each other.
    pub(super) fn endpoint(&self, rng: ChaCha8Rng) -> anyhow::Result<ServerEndpoint> {
        let server = ServerConfig {
            max_waiting: self.max_waiting,
            max_waiting_bytes: bytes(self.max_waiting_bytes),
            max_flights: self.max_kept,
            max_bytes: bytes(self.max_kept_bytes),
        };
        let link = self.links.config(self.max_message as usize)?;
        let codec = EchoCodec::accepted(self.max_message);
        Ok(Endpoint::new(Server::new(server, rng), codec, link))
    }
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    limits::raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(args))
}

async fn serve(args: Args) -> anyhow::Result<ExitCode> {
    let addr = net::resolve(&args.listen, PORT).await?;
    let endpoint = args.bounds.endpoint(seed::generator(args.seed)?)?;
    let state = state(&server::serve(endpoint, addr, args.threads, args.drain).await?);
    state.print(args.json)?;
    Ok(ExitCode::from(u8::from(!state.zero)))
}

/// What an echo server has left, and what it did.
pub(super) fn state(endpoint: &ServerEndpoint) -> State {
    let machine = endpoint.machine();
    State::of(endpoint, machine.counters().iter(), Some(machine.flight_count()))
}
