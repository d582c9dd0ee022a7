use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use echosphere_core::endpoint::Endpoint;
use echosphere_core::link::LinkConfig;
use echosphere_core::numbers::{Mode, NumbersCodec, Server, ServerConfig, server_links};
use echosphere_core::wire::EitherCodec;
use echosphere_driver::{Both, Driver};
use echosphere_transport_grpc::numbers::{GetNumbers, NumbersGrpcCodec};
use echosphere_transport_grpc::{GrpcConfig, GrpcListener, Serving};
use rand_chacha::ChaCha8Rng;
use tokio::time::timeout;
use tokio_util::either::Either;

use super::{PORT, TCP_PORT};
use crate::server::{self, State};
use crate::values::duration;
use crate::{limits, net, seed};

/// How long the last words may take to reach those who are still there.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Where it listens if it is not said.
const DEFAULT_GRPC: &str = "127.0.0.1:1337";
/// Bytes of numbers that may wait for somebody who does not read.
const MAX_BACKLOG: usize = 64 * 1024;

type Codec = EitherCodec<NumbersCodec, NumbersGrpcCodec>;
type ServerEndpoint = Endpoint<Server<ChaCha8Rng>, Codec>;

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere numbers serve
  echosphere numbers serve --mode stateful --period 100ms
  echosphere numbers serve --grpc 0.0.0.0:1337 --tcp 127.0.0.1:1338
  nc 127.0.0.1 1338                        then type: START

A session that was begun over one transport can be gone on with over the other. Over gRPC, the server also answers \
health checks and reflection. Ctrl-C or SIGTERM drains: sessions under way may be sent to their end, all else ends. A \
second one ends at once.")]
pub(crate) struct Args {
    /// Which streams to send: those whose clients keep their place, sessions, or both
    #[arg(long, value_enum, env = "ECHOSPHERE_NUMBERS_MODE", default_value = "both")]
    mode: ModeArg,

    /// Address and port of gRPC; port 0 takes a free one [default: 127.0.0.1:1337, and none if there is --tcp]
    #[arg(long, value_name = "ADDR[:PORT]", env = "ECHOSPHERE_NUMBERS_GRPC")]
    grpc: Option<String>,

    /// Address and port of TCP, for people with nc and for `numbers get --transport tcp` [port: 1338]
    #[arg(long, value_name = "ADDR[:PORT]", env = "ECHOSPHERE_NUMBERS_TCP")]
    tcp: Option<String>,

    /// From one number of a stream to the next
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_PERIOD", default_value = "1s", value_parser = period)]
    period: Duration,

    /// Keep a session this long after its connection is known to be lost, or its client has closed at its end. Clients
    /// notice a silent loss within 25s: with less than 30s, sessions can be lost
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_SESSION_TTL", default_value = "30s", value_parser = duration)]
    session_ttl: Duration,

    /// How long sessions under way may take to finish when the server drains
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_DRAIN", default_value = "10s", value_parser = duration)]
    drain: Duration,

    /// Draw the first numbers of streams from this seed, else from the system
    #[arg(long, env = "ECHOSPHERE_SEED")]
    seed: Option<u64>,

    /// Print the counters as one JSON object
    #[arg(long, env = "ECHOSPHERE_JSON")]
    json: bool,

    #[command(flatten)]
    bounds: Bounds,
}

/// Bounds of the server.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Bounds")]
struct Bounds {
    /// Sessions kept at once; one more is told `error too-many-sessions`
    #[arg(
        long,
        value_name = "COUNT",
        env = "ECHOSPHERE_MAX_SESSIONS",
        default_value_t = 1_000_000
    )]
    max_sessions: usize,

    /// Connections and calls at once; one more is told `error full`
    #[arg(
        long,
        value_name = "COUNT",
        env = "ECHOSPHERE_MAX_CONNECTIONS",
        default_value_t = 200_000
    )]
    max_connections: usize,

    /// A person who types nothing is gone after this time; people who only look on are silent
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_NUMBERS_IDLE_TIMEOUT_TEXT", default_value = "1day", value_parser = duration)]
    idle_timeout_text: Duration,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    Both,
    Stateless,
    Stateful,
}

/// Reads a period.
fn period(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        period if period < Duration::from_micros(1) => Err("too short; write 1us or more".to_owned()),
        period => Ok(period),
    }
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    limits::raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let grpc = match (&args.grpc, &args.tcp) {
            (Some(addr), _) => Some(addr.as_str()),
            (None, None) => Some(DEFAULT_GRPC),
            (None, Some(_)) => None,
        };
        let (calls, serving) = match grpc {
            Some(addr) => listen_grpc(net::resolve(addr, PORT).await?)
                .await
                .map(|(one, other)| (Some(one), Some(other)))?,
            None => (None, None),
        };
        let connections = match &args.tcp {
            Some(addr) => {
                let (listener, addr) = server::bind(net::resolve(addr, TCP_PORT).await?, "--tcp")?;
                eprintln!("listening on {addr} for TCP (Ctrl-C drains)");
                Some(listener)
            }
            None => None,
        };
        let (driver, handle) = Driver::serve(endpoint(&args)?, Both(connections, calls));
        let driver = driver.speaking(|stream| match stream {
            Either::Left(_) => EitherCodec::Left(NumbersCodec::accepted()),
            Either::Right(_) => EitherCodec::Right(NumbersGrpcCodec::accepted()),
        });
        let endpoint = server::until_drained(driver, handle, args.drain).await?;
        if let Some(serving) = serving {
            // Whoever does not read by then will not.
            let _ = timeout(LAST_WORDS, serving.ended()).await;
        }
        let state = State::of(&endpoint, endpoint.machine().counters().iter(), None);
        state.print(args.json)?;
        Ok(ExitCode::from(u8::from(!state.zero)))
    })
}

async fn listen_grpc(addr: SocketAddr) -> anyhow::Result<(GrpcListener<GetNumbers>, Serving)> {
    let (listener, serving) = GrpcListener::bind(addr, GrpcConfig::default())
        .await
        .with_context(|| server::cannot_listen(addr, "--grpc"))?;
    eprintln!("listening on {} for gRPC (Ctrl-C drains)", listener.local_addr());
    Ok((listener, serving))
}

fn endpoint(args: &Args) -> anyhow::Result<ServerEndpoint> {
    let links = LinkConfig {
        idle_timeout_text: args.bounds.idle_timeout_text,
        max_connections: args.bounds.max_connections,
        max_backlog: MAX_BACKLOG,
        // Numbers wait for those who do not read: silence ends such a connection, and nothing else needs to.
        backlog_timeout: args.bounds.idle_timeout_text,
        ..server_links()
    };
    let config = ServerConfig {
        mode: match args.mode {
            ModeArg::Both => Mode::Both,
            ModeArg::Stateless => Mode::Stateless,
            ModeArg::Stateful => Mode::Stateful,
        },
        period: args.period,
        session_ttl: args.session_ttl,
        unacknowledged_ttl: links.idle_timeout,
        max_sessions: args.bounds.max_sessions,
    };
    let server = Server::new(config, seed::generator(args.seed)?);
    Ok(Endpoint::new(
        server,
        EitherCodec::Left(NumbersCodec::accepted()),
        links,
    ))
}
