use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use bytesize::ByteSize;
use echosphere_core::echo::{EchoCodec, Server, ServerConfig};
use echosphere_core::endpoint::Endpoint;
use echosphere_core::link::LinkConfig;
use echosphere_core::wire::MAX_FRAME;
use echosphere_transport_tcp::{Driver, Handle, TcpListener};
use rand_chacha::ChaCha8Rng;
use serde::Serialize;

use super::PORT;
use crate::signals::Signals;
use crate::values::{duration, thousands};
use crate::{limits, net, output, seed};

/// An echo server's endpoint, with its sockets left out.
pub(super) type ServerEndpoint = Endpoint<Server<ChaCha8Rng>, EchoCodec>;
/// Speaks to a running echo server.
pub(super) type ServerHandle = Handle<Server<ChaCha8Rng>, EchoCodec>;

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere echo serve
  echosphere echo serve --listen 0.0.0.0:8000 --json > counters.json
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

/// Time-outs and bounds of a server.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Bounds")]
pub(super) struct Bounds {
    /// Connections at once; one more is told `error full`
    #[arg(
        long,
        value_name = "COUNT",
        env = "ECHOSPHERE_MAX_CONNECTIONS",
        default_value_t = 200_000
    )]
    max_connections: usize,

    /// Bytes of X
    #[arg(long, value_name = "SIZE", env = "ECHOSPHERE_MAX_MESSAGE", default_value = "1MiB", value_parser = message_size)]
    max_message: u32,

    /// Bytes that may wait to be written to one connection for long; with more, it is dropped as a slow consumer
    #[arg(long, value_name = "SIZE", env = "ECHOSPHERE_MAX_BACKLOG", default_value = "16MiB")]
    max_backlog: ByteSize,

    /// How long more may wait
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_BACKLOG_TIMEOUT", default_value = "5s", value_parser = duration)]
    backlog_timeout: Duration,

    /// Bytes that may wait to be written to one connection at all
    #[arg(long, value_name = "SIZE", env = "ECHOSPHERE_MAX_OUTBOX", default_value = "128MiB")]
    max_outbox: ByteSize,

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

    /// A connection must send its first whole frame or line within this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_HANDSHAKE_TIMEOUT", default_value = "10s", value_parser = duration)]
    handshake_timeout: Duration,

    /// A silent program is gone after this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_IDLE_TIMEOUT", default_value = "60s", value_parser = duration)]
    idle_timeout: Duration,

    /// A silent person is gone after this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_IDLE_TIMEOUT_TEXT", default_value = "10m", value_parser = duration)]
    idle_timeout_text: Duration,

    /// Send an empty frame after sending nothing for this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_KEEPALIVE", default_value = "20s", value_parser = duration)]
    keepalive: Duration,

    /// How long a closing connection may take
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_LINGER", default_value = "5s", value_parser = duration)]
    linger: Duration,
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
    /// A server with these bounds.
    pub(super) fn endpoint(&self, rng: ChaCha8Rng) -> ServerEndpoint {
        let bytes = |size: ByteSize| usize::try_from(size.as_u64()).unwrap_or(usize::MAX);
        let server = ServerConfig {
            max_waiting: self.max_waiting,
            max_waiting_bytes: bytes(self.max_waiting_bytes),
            max_flights: self.max_kept,
            max_bytes: bytes(self.max_kept_bytes),
        };
        let link = LinkConfig {
            handshake_timeout: self.handshake_timeout,
            idle_timeout: self.idle_timeout,
            idle_timeout_text: self.idle_timeout_text,
            keepalive_interval: self.keepalive,
            linger: self.linger,
            max_backlog: bytes(self.max_backlog),
            backlog_timeout: self.backlog_timeout,
            max_outbox: bytes(self.max_outbox).max(self.max_message as usize + 64),
            max_connections: self.max_connections,
        };
        Endpoint::new(Server::new(server, rng), EchoCodec::accepted(self.max_message), link)
    }
}

/// Binds to an address, and says what to do where that fails. Must be called within a runtime.
pub(super) fn bind(addr: SocketAddr) -> anyhow::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(addr).with_context(|| {
        format!("cannot listen on {addr}; if another server runs there, choose another address with --listen ADDR:PORT (port 0 takes a free one)")
    })?;
    let addr = listener.local_addr()?;
    Ok((listener, addr))
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    limits::raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve(args))
}

async fn serve(args: Args) -> anyhow::Result<ExitCode> {
    let (listener, addr) = bind(net::resolve(&args.listen, PORT).await?)?;
    let endpoint = args.bounds.endpoint(seed::generator(args.seed)?);
    let (driver, handle) = Driver::serve(endpoint, listener);
    let mut signals = Signals::catch()?;
    eprintln!("listening on {addr} (Ctrl-C drains)");

    let drain = async move {
        signals.next().await;
        eprintln!(
            "draining: connections under way have {} to finish (Ctrl-C again ends at once)",
            humantime::format_duration(args.drain)
        );
        // If the driver has ended already, there is nothing to drain.
        let _ = handle.drain(args.drain).await;
        signals.end_at_next().await;
    };
    let mut run = std::pin::pin!(driver.run());
    let endpoint = tokio::select! {
        biased;
        endpoint = &mut run => endpoint,
        () = drain => run.await,
    };

    let state = State::of(&endpoint);
    if args.json {
        output::json(&state)?;
    } else {
        output::bytes(state.to_text().as_bytes())?;
    }
    Ok(ExitCode::from(u8::from(!state.zero)))
}

/// What a server has left, and what it did.
#[derive(Clone, Debug, Serialize)]
pub(super) struct State {
    /// Whether nothing is left.
    pub(super) zero: bool,
    /// Connections left.
    pub(super) connections: usize,
    /// Messages left that wait for their ok.
    pub(super) waiting: usize,
    /// Timers left.
    pub(super) timers: usize,
    /// Counters of the echo machine and of its connections.
    pub(super) counters: BTreeMap<&'static str, u64>,
}

impl State {
    pub(super) fn of(endpoint: &ServerEndpoint) -> Self {
        let machine = endpoint.machine();
        Self {
            zero: endpoint.is_zero(),
            connections: endpoint.connections(),
            waiting: machine.flight_count(),
            timers: endpoint.timers(),
            counters: machine.counters().iter().chain(endpoint.counters().iter()).collect(),
        }
    }

    fn to_text(&self) -> String {
        let counters = self.counters.iter().filter(|(_, count)| **count > 0);
        let table = output::table(counters.map(|(name, count)| (*name, thousands(*count))));
        format!("{}\n{table}", self.summary())
    }

    /// One line on what is left.
    pub(super) fn summary(&self) -> String {
        let Self {
            connections,
            waiting,
            timers,
            ..
        } = self;
        let verdict = if self.zero { "at zero" } else { "NOT at zero" };
        format!("server {verdict}: {connections} connections, {waiting} waiting messages, {timers} timers")
    }
}
