//! Round trips of messages one after another, and of bare bytes beside them.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use bytesize::ByteSize;
use echosphere_core::chat::{ChatCodec, ClientConfig, MAX_BODY, Notice, Server, ServerConfig, TalkConfig};
use serde_json::json;
use tokio::time::Instant;

use super::PORT;
use super::rtt::{RoundTrips, milliseconds};
use super::show;
use super::side::{Bounds, ServerEndpoint, Side};
use crate::server::{OwnServer, State, bytes};
use crate::signals::{INTERRUPTED, Signals};
use crate::values::{duration, thousands};
use crate::{net, output};

/// Round trips that are not counted, at the beginning.
const WARM_UP: u64 = 100;

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere chat ping                     a server of its own on the loopback address
  echosphere chat ping --baseline          and beside it two bare sockets that play ping-pong
  echosphere chat ping example.org --count 20 --size 1KiB

A server elsewhere shows what it is sent, as it shows any message.")]
pub(crate) struct Args {
    /// Send to this server; without it, one is started on a free port of 127.0.0.1
    #[arg(value_name = "HOST[:PORT]", env = "ECHOSPHERE_CHAT")]
    to: Option<String>,

    /// Messages, one after another
    #[arg(long, value_name = "COUNT", env = "ECHOSPHERE_COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,

    /// Bytes of each
    #[arg(long, value_name = "SIZE", env = "ECHOSPHERE_BODY", default_value = "64B")]
    size: ByteSize,

    /// Give up after this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_TIMEOUT", default_value = "30s", value_parser = duration)]
    timeout: Duration,

    /// Measure two blocking sockets on the loopback address too, which send as many bytes to and fro
    #[arg(long)]
    baseline: bool,

    /// Print one JSON object
    #[arg(long, env = "ECHOSPHERE_JSON")]
    json: bool,

    #[command(flatten)]
    bounds: Bounds,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let size = bytes(args.size);
    if size > MAX_BODY {
        bail!("a message has at most {MAX_BODY} bytes, not {size}");
    }
    // One thread: a second would be scheduled between a message and its acknowledgement.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let trips = runtime.block_on(async {
        let mut signals = Signals::catch()?;
        tokio::select! {
            biased;
            trips = ping(&args, size) => trips.map(Some),
            () = signals.next() => Ok(None),
        }
    });
    let trips = match trips {
        Ok(Some(trips)) => trips,
        Ok(None) => return Ok(ExitCode::from(INTERRUPTED)),
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(ExitCode::FAILURE);
        }
    };
    let bare = match args.baseline {
        true => Some(ping_pong(args.count, size)?),
        false => None,
    };
    report(&args, &trips, bare.as_ref())?;
    Ok(ExitCode::SUCCESS)
}

async fn ping(args: &Args, size: usize) -> anyhow::Result<RoundTrips> {
    let own = match &args.to {
        Some(_) => None,
        None => Some(OwnServer::start(deaf_server(args))?),
    };
    let to = match (&args.to, &own) {
        (Some(to), _) => net::resolve(to, PORT).await?,
        (None, Some(own)) => own.addr,
        (None, None) => bail!("no server"),
    };
    let config = ClientConfig {
        connect_timeout: args.timeout,
        retry_refused: false,
        talk: args.bounds.talk(),
        ..ClientConfig::default()
    };
    let mut side = Side::client(to, config, args.bounds.links()).await?;
    let body = Bytes::from(vec![b'x'; size]);
    let trips = tokio::time::timeout(args.timeout, exchange(&mut side, args.count, &body)).await;
    if let Ok(Ok(_)) = trips {
        side.leave(Duration::from_secs(1)).await?;
        side.finish().await?;
    } else {
        side.abandon();
    }
    if let Some(own) = own {
        let state = own.finish(state).await?;
        anyhow::ensure!(state.zero, state.summary());
    }
    trips.context("it took too long (--timeout)")?
}

/// A server that hears and tells nobody.
fn deaf_server(args: &Args) -> ServerEndpoint {
    let talk = TalkConfig {
        max_unread: usize::MAX,
        ..args.bounds.talk()
    };
    let server = Server::new(ServerConfig {
        talk,
        ..ServerConfig::default()
    });
    ServerEndpoint::new(server, ChatCodec::accepted(), args.bounds.links())
}

fn state(endpoint: &ServerEndpoint) -> State {
    State::of(endpoint, endpoint.machine().counters().iter(), None)
}

/// Sends one message after another, each when the one before is acknowledged.
async fn exchange(side: &mut Side, count: u64, body: &Bytes) -> anyhow::Result<RoundTrips> {
    let mut trips = RoundTrips::new()?;
    let last = count + WARM_UP;
    while let Some(notice) = side.next().await {
        match notice {
            Notice::Connected { .. } => side.say(1, body.clone()).await?,
            Notice::Delivered { key, round_trip, .. } => {
                if let Some(round_trip) = round_trip.filter(|_| key > WARM_UP) {
                    trips.note(round_trip);
                }
                if key == last {
                    return Ok(trips);
                }
                side.say(key + 1, body.clone()).await?;
            }
            Notice::Heard { body, .. } => side.read(body.len()).await?,
            Notice::Ended { failure } => {
                let why = failure
                    .as_ref()
                    .map_or_else(|| "it has ended".to_owned(), show::failure);
                bail!("{why}");
            }
            Notice::Retrying { .. }
            | Notice::Lost(_)
            | Notice::Undelivered { .. }
            | Notice::Refused { .. }
            | Notice::TurnedAway => {}
        }
    }
    bail!("the client's driver has ended")
}

/// What two blocking sockets need that send as many bytes to and fro as a message and its acknowledgement have.
fn ping_pong(count: u64, size: usize) -> anyhow::Result<RoundTrips> {
    const MESSAGE_HEAD: usize = 7;
    const ACKNOWLEDGEMENT: usize = 7;
    let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let mut message = vec![b'x'; MESSAGE_HEAD + size];
    let mut heard = message.clone();
    let answering = thread::Builder::new().name("answers".to_owned()).spawn(move || {
        // The end of the stream ends it.
        while far.read_exact(&mut heard).is_ok() && far.write_all(&[b'x'; ACKNOWLEDGEMENT]).is_ok() {}
    })?;
    let mut trips = RoundTrips::new()?;
    for round in 0..count + WARM_UP {
        let start = Instant::now();
        near.write_all(&message)?;
        near.read_exact(&mut message[..ACKNOWLEDGEMENT])?;
        if round >= WARM_UP {
            trips.note(start.elapsed());
        }
    }
    drop(near);
    if answering.join().is_err() {
        bail!("the answering thread panicked");
    }
    Ok(trips)
}

const SHARES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

fn report(args: &Args, trips: &RoundTrips, bare: Option<&RoundTrips>) -> anyhow::Result<()> {
    if args.json {
        let micros = |trips: &RoundTrips| {
            let mut fields = json!({
                "min": show::micros(Some(trips.min())),
                "mean": show::micros(Some(trips.mean())),
                "max": show::micros(Some(trips.max())),
            });
            for (name, share) in SHARES {
                fields[name] = show::micros(Some(trips.quantile(share)));
            }
            fields
        };
        return output::json(&json!({
            "count": trips.count(),
            "bytes": args.size.as_u64(),
            "rtt_us": micros(trips),
            "baseline_us": bare.map(micros),
        }));
    }
    let row = |name: &str, of: &dyn Fn(&RoundTrips) -> Duration| {
        let beside = bare.map(|bare| {
            let ratio = of(trips).as_secs_f64() / of(bare).as_secs_f64().max(f64::MIN_POSITIVE);
            format!("{:>12} {ratio:>6.2}×", milliseconds(of(bare)))
        });
        format!(
            "  {name:<6}{:>12}{}\n",
            milliseconds(of(trips)),
            beside.unwrap_or_default()
        )
    };
    let mut text = format!("{} messages of {} bytes", thousands(trips.count()), args.size.as_u64());
    text += if bare.is_some() {
        "; beside them, bare sockets\n"
    } else {
        "\n"
    };
    text += &row("min", &RoundTrips::min);
    text += &row("mean", &RoundTrips::mean);
    for (name, share) in SHARES {
        text += &row(name, &|trips| trips.quantile(share));
    }
    text += &row("max", &RoundTrips::max);
    text += &trips.bars();
    output::bytes(text.as_bytes())
}
