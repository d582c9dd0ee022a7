use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::ValueEnum;
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::endpoint::Endpoint;
use echosphere_core::numbers::{MAX_LINE, Mode, NumbersCodec, Server, ServerConfig};
use echosphere_core::wire::EitherCodec;
use echosphere_driver::Driver;
use echosphere_transport_grpc::numbers::{GetNumbers, NumbersGrpcCodec};
use echosphere_transport_grpc::{GrpcConfig, GrpcListener, Serving};
use rand_chacha::ChaCha8Rng;
use tokio::time::timeout;

use super::{ALPN, PORT, TCP_PORT};
use crate::net::Address;
use crate::server::{self, IoThreads, LinkBounds, ServeArgs, State};
use crate::signals::Signals;
use crate::tls::{self, TlsServeArgs};
use crate::values::{count, duration, time_out};
use crate::ws::{self, WsServeArgs};
use crate::{limits, seed};

/// The drain time is divided by this for HTTP/2 connections to close in after their calls have ended.
const FOR_CONNECTIONS: u32 = 10;
/// The longest request.
const MAX_MESSAGE: usize = MAX_LINE as usize;

type Codec = EitherCodec<NumbersCodec, NumbersGrpcCodec>;
type ServerEndpoint = Endpoint<Server<ChaCha8Rng>, Codec>;

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere numbers serve
  echosphere numbers serve --mode stateful --period 100ms
  echosphere numbers serve --grpc 0.0.0.0:1337 --tcp 127.0.0.1:1338
  nc 127.0.0.1 1338                        then type: START

A session can be resumed over another transport than it began with. Over gRPC, the server also answers health checks and \
reflection. Ctrl-C or SIGTERM drains: sessions continue to their end within the time of --drain, and other streams end. A \
second signal ends the server at once.

Exit codes: 0 drained with nothing left; 1 something is left, or stdout cannot be written; 2 it could not start; 130 a \
second signal ended it.")]
pub(crate) struct Args {
    /// Serve stateless streams (the client remembers its position), sessions (the server remembers it), or both
    #[arg(long, value_enum, env = "ECHOSPHERE_NUMBERS_MODE", default_value = "both")]
    mode: ModeArg,

    /// Serve gRPC on this address and port; port 0 chooses a free one [default: 127.0.0.1:1337, or none with --tcp]
    #[arg(long, value_name = "[ADDR:]PORT", env = "ECHOSPHERE_NUMBERS_GRPC")]
    pub(crate) grpc: Option<Address>,

    /// Serve TCP on this address and port, for nc and for `numbers get --transport tcp`; without a port: 1338; without --grpc, nothing serves gRPC
    #[arg(long, value_name = "[ADDR:]PORT", env = "ECHOSPHERE_NUMBERS_TCP")]
    pub(crate) tcp: Option<Address>,

    /// Send the numbers of a stream at this interval
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_PERIOD", default_value = "1s", value_parser = period)]
    period: Duration,

    /// Keep a session this long after its connection is lost, or after its client has closed the connection at the end of the session.
    /// A client can need 25s to notice a lost connection: with less than 30s here, it can be too late to resume
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_SESSION_TTL", default_value = "30s", value_parser = time_out)]
    session_ttl: Duration,

    #[command(flatten)]
    pub(crate) serve: ServeArgs,

    #[command(flatten)]
    pub(crate) ws: WsServeArgs,

    #[command(flatten)]
    pub(crate) tls: TlsServeArgs,

    /// Draw the first numbers of streams from this seed instead of the system's randomness
    #[arg(long, value_name = "NUMBER", env = "ECHOSPHERE_SEED")]
    pub(crate) seed: Option<u64>,

    #[command(flatten)]
    bounds: Bounds,
}

/// Bounds of a numbers server. Some defaults differ from those of other servers: numbers wait for a client that does not read,
/// so that the idle time-out ends such a connection.
#[derive(Clone, Debug, clap::Args)]
#[command(
    next_help_heading = "Bounds",
    mut_arg("max_connections", |arg| {
        arg.help("Refuse calls and TCP connections beyond this many with `error full`, and HTTP/2 connections with UNAVAILABLE [default: 200000, or fewer if the limit of open files is lower]")
    }),
    mut_arg("max_backlog", |arg| {
        arg.default_value("64KiB")
            .env("ECHOSPHERE_NUMBERS_MAX_BACKLOG")
            .help("Hold a stream's numbers back while more than this many bytes wait to be written to its connection")
    }),
    mut_arg("backlog_timeout", |arg| {
        arg.default_value("1day")
            .env("ECHOSPHERE_NUMBERS_BACKLOG_TIMEOUT")
            .help("Drop a connection whose numbers have waited for this long")
    }),
    mut_arg("handshake_timeout", |arg| {
        arg.help("Close a connection that sends no complete line or frame within this time; over gRPC: a connection without a complete HTTP/2 handshake, or a call without a message")
    }),
    mut_arg("idle_timeout", |arg| {
        arg.help("Close a TCP connection in length framing that sends nothing for this long, and an HTTP/2 connection that has no call")
    }),
    mut_arg("idle_timeout_text", |arg| {
        arg.default_value("1day")
            .env("ECHOSPHERE_NUMBERS_IDLE_TIMEOUT_TEXT")
            .help("Close a TCP connection in line framing that sends nothing for this long; a person at nc may read and never type")
    }),
    mut_arg("keepalive", |arg| {
        arg.default_value("10s")
            .env("ECHOSPHERE_NUMBERS_KEEPALIVE")
            .help("Send an empty frame after sending nothing for this long; over gRPC, send a ping at this interval. Clients treat 25s of silence as a loss")
    })
)]
struct Bounds {
    /// Refuse sessions beyond this many with `error too-many-sessions`
    #[arg(
        long,
        value_name = "COUNT",
        env = "ECHOSPHERE_MAX_SESSIONS",
        default_value = "1000000",
        value_parser = count::<usize>(1..=u64::MAX)
    )]
    max_sessions: usize,

    /// Allow this many calls at once on one HTTP/2 connection; the server refuses further ones
    #[arg(
        long,
        value_name = "COUNT",
        env = "ECHOSPHERE_MAX_CALLS_PER_CONNECTION",
        default_value = "1000",
        value_parser = count::<u32>(1..=u64::from(u32::MAX))
    )]
    max_calls_per_connection: u32,

    #[command(flatten)]
    links: LinkBounds,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    Both,
    Stateless,
    Stateful,
}

impl Args {
    /// The address to serve gRPC on, if it is served.
    pub(crate) fn grpc_address(&self) -> Option<Address> {
        match (&self.grpc, &self.tcp) {
            (Some(addr), _) => Some(addr.clone()),
            (None, None) => Some(Address::loopback(PORT)),
            (None, Some(_)) => None,
        }
    }

    pub(crate) fn links(&self) -> anyhow::Result<ConnectionConfig> {
        self.bounds.links.config(MAX_MESSAGE)
    }

    pub(crate) fn grpc_config(&self) -> anyhow::Result<GrpcConfig> {
        Ok(GrpcConfig {
            connections: self.links()?,
            max_calls: self.bounds.max_calls_per_connection,
        })
    }

    pub(crate) fn server_config(&self) -> anyhow::Result<ServerConfig> {
        Ok(ServerConfig {
            mode: match self.mode {
                ModeArg::Both => Mode::Both,
                ModeArg::Stateless => Mode::Stateless,
                ModeArg::Stateful => Mode::Stateful,
            },
            period: self.period,
            session_ttl: self.session_ttl,
            unacknowledged_ttl: self.links()?.idle_timeout,
            max_sessions: self.bounds.max_sessions,
        })
    }
}

/// Reads a period.
fn period(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        period if period < Duration::from_micros(1) => Err("too short; write 1us or more".to_owned()),
        period => Ok(period),
    }
}

pub(super) fn run(mut args: Args) -> anyhow::Result<ExitCode> {
    let files = limits::raise_open_files();
    args.bounds.links.lower_to_open_files(files, IoThreads::ONE);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // A reader of the address may send a signal at once.
        let grpc = args.grpc_address().map(|addr| addr.or_port(PORT));
        let tcp = args.tcp.clone().map(|addr| addr.or_port(TCP_PORT));
        let host = grpc.as_ref().or(tcp.as_ref()).map_or("", |at| &*at.host);
        let tls = args.tls.load(host)?;
        let signals = Signals::catch()?.reloading(tls.as_ref());
        let (calls, serving) = match grpc {
            Some(at) => {
                listen_grpc(at.resolve().await?, &args, tls.as_ref()).map(|(one, other)| (Some(one), Some(other)))?
            }
            None => (None, None),
        };
        let connections = match tcp {
            Some(at) => {
                let (listener, addr) = server::bind(at.resolve().await?, "--tcp")?;
                server::announce(addr, "tcp", " for TCP (Ctrl-C drains)", tls.as_ref(), args.serve.json)?;
                Some(listener)
            }
            None => None,
        };
        let ws = args.ws.bind("numbers", tls.as_ref(), args.serve.json).await?;
        let (driver, handle) = Driver::new(endpoint(&args)?);
        let mut driver = ws::listen(driver, ws, ws::limit(&NumbersCodec::accepted()), tls.as_ref());
        if let Some(connections) = connections {
            driver = tls::listen(driver, connections, tls.as_ref());
        }
        if let Some(calls) = calls {
            driver = driver.listen_with(calls, EitherCodec::Right(NumbersGrpcCodec::accepted()));
        }
        let last = serving
            .as_ref()
            .map_or(Duration::ZERO, |_| args.serve.drain / FOR_CONNECTIONS);
        let endpoint = server::until_drained(driver, handle, signals, args.serve.drain, args.serve.drain - last).await;
        if let Some(serving) = serving {
            let _ = timeout(last, serving.ended()).await;
        }
        let state = State::of(&endpoint, endpoint.machine().counters().iter(), None);
        let code = ExitCode::from(u8::from(!state.zero));
        state.print(args.serve.json)?;
        Ok(code)
    })
}

fn listen_grpc(
    addr: SocketAddr,
    args: &Args,
    tls: Option<&tls::Serving>,
) -> anyhow::Result<(GrpcListener<GetNumbers>, Serving)> {
    let (tcp, addr) = server::bind(addr, "--grpc")?;
    let served = match tls {
        Some(tls) => GrpcListener::over(tls.over(tcp).with_alpn(&[ALPN]), args.grpc_config()?)?,
        None => GrpcListener::over(tcp, args.grpc_config()?)?,
    };
    server::announce(addr, "grpc", " for gRPC (Ctrl-C drains)", tls, args.serve.json)?;
    Ok(served)
}

fn endpoint(args: &Args) -> anyhow::Result<ServerEndpoint> {
    let server = Server::new(args.server_config()?, seed::generator(args.seed)?);
    let codec = EitherCodec::Left(NumbersCodec::accepted());
    Ok(Endpoint::new(server, codec, args.links()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_period_is_a_microsecond_or_more() {
        assert_eq!(period("1us"), Ok(Duration::from_micros(1)));
        assert_eq!(period("2s"), Ok(Duration::from_secs(2)));
        for text in ["0s", "999ns", "1"] {
            period(text).unwrap_err();
        }
    }
}
