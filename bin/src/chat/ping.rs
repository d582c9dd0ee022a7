//! Measures round trips of messages, and of bare bytes for comparison.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use bytesize::ByteSize;
use echosphere_core::chat::{ChatCodec, ClientConfig, ExchangeConfig, MAX_BODY, Notice, Server, ServerConfig};
use serde_json::json;
use tokio::time::Instant;

use super::PORT;
use super::bounds::Bounds;
use super::driver::{ChatDriver, ServerEndpoint};
use crate::latency::{Latencies, bars};
use crate::net::ServerAddress;
use crate::output;
use crate::server::{OwnServer, State};
use crate::signals::{INTERRUPTED, Signals};
use crate::stderr::complain;
use crate::tls::TlsArgs;
use crate::values::{count, counted, in_memory, size, time_out, yes_or_no};

/// The first round trips, which are not counted.
const WARM_UP: u64 = 100;

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere chat ping                     measure a server that this command starts
  echosphere chat ping --baseline          compare it with two bare sockets
  echosphere chat ping example.org --count 20 --size 1KiB

A server that this command did not start displays the messages like those of any client.

Exit codes: 0 all round trips are measured; 1 the server cannot be reached, was lost or took longer than --timeout; 2 it could not start; 130 interrupted.")]
pub(crate) struct Args {
    /// Send to this server: an address, whose default port is 8001, or the URL of a WebSocket (ws:// or wss://); without it, start one on a free port of 127.0.0.1
    #[arg(value_name = "HOST[:PORT]|URL")]
    pub(crate) address: Option<ServerAddress>,

    /// Send to this server, unless the argument names one
    #[arg(long, value_name = "HOST[:PORT]|URL", env = "ECHOSPHERE_CHAT_TO")]
    pub(crate) to: Option<ServerAddress>,

    /// Send this many messages, one after another
    #[arg(long, value_name = "COUNT", env = "ECHOSPHERE_COUNT", default_value = "1000", value_parser = count::<u64>(1..=u64::MAX))]
    pub(crate) count: u64,

    /// Make every message this long
    #[arg(long, value_name = "SIZE", env = "ECHOSPHERE_CHAT_SIZE", default_value = "64B", value_parser = size(1..=MAX_BODY as u64))]
    pub(crate) size: ByteSize,

    /// Give up after this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_TIMEOUT", default_value = "30s", value_parser = time_out)]
    timeout: Duration,

    /// Measure two blocking sockets on the loopback address as well, which exchange the same number of bytes
    #[arg(long)]
    pub(crate) baseline: bool,

    /// Print one JSON object
    #[arg(long, env = "ECHOSPHERE_JSON", value_parser = yes_or_no)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) tls: TlsArgs,

    #[command(flatten)]
    pub(crate) bounds: Bounds,
}

impl Args {
    /// The server to connect to; `None` for a server of this process.
    pub(crate) fn to(&self) -> Option<&ServerAddress> {
        self.address.as_ref().or(self.to.as_ref())
    }

    pub(crate) fn client(&self) -> ClientConfig {
        ClientConfig {
            connect_timeout: self.timeout,
            retry_refused: false,
            exchange: self.bounds.session(),
            ..ClientConfig::default()
        }
    }

    pub(crate) fn own_server(&self) -> ServerConfig {
        let exchange = ExchangeConfig {
            acknowledge_on_receipt: true,
            ..self.bounds.session()
        };
        ServerConfig {
            exchange,
            ..ServerConfig::default()
        }
    }
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let size = in_memory(args.size);
    // On two threads, a context switch would stand between a message and its acknowledgement.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let trips = runtime.block_on(async {
        let mut signals = Signals::catch()?;
        tokio::select! {
            biased;
            trips = async { anyhow::Ok(ping(start(&args).await?, &args, size).await) } => trips.map(Some),
            () = signals.next() => Ok(None),
        }
    })?;
    let trips = match trips {
        Some(Ok(trips)) => trips,
        None => return Ok(ExitCode::from(INTERRUPTED)),
        Some(Err(error)) => {
            let error = format!("{error:#}");
            complain!("error: {error}");
            if args.json {
                output::failure(&error)?;
            }
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

type OwnChatServer = OwnServer<Server, ChatCodec>;

/// Starts a server, unless the options name one, and a client of it.
async fn start(args: &Args) -> anyhow::Result<(Option<OwnChatServer>, ChatDriver)> {
    let own = match args.to() {
        Some(_) => None,
        None => Some(OwnServer::start(silent_server(args)?, args.tls.is_on())?),
    };
    let to = match (args.to(), &own) {
        (Some(to), _) => to.clone().or_port(PORT),
        (None, Some(own)) => own.addr.into(),
        (None, None) => bail!("no server"),
    };
    to.resolve().await?;
    let tls = match &own {
        Some(own) => own.client_tls().load(&to)?,
        None => args.tls.load(&to)?,
    };
    let driver = ChatDriver::client(&to, tls, args.client(), args.bounds.links()?).await?;
    Ok((own, driver))
}

async fn ping(
    (own, mut driver): (Option<OwnChatServer>, ChatDriver),
    args: &Args,
    size: usize,
) -> anyhow::Result<Latencies> {
    let body = Bytes::from(vec![b'x'; size]);
    let trips = tokio::time::timeout(args.timeout, exchange(&mut driver, args.count, &body)).await;
    if let Ok(Ok(_)) = trips {
        driver.drain(Duration::from_secs(1)).await?;
        driver.finish().await?;
    } else {
        driver.abort();
    }
    if let Some(own) = own {
        let state = own.finish(state).await?;
        anyhow::ensure!(state.zero, state.summary());
    }
    trips.context("the round trips took longer than --timeout")?
}

/// A server that acknowledges messages without printing them.
fn silent_server(args: &Args) -> anyhow::Result<ServerEndpoint> {
    let server = Server::new(args.own_server());
    Ok(ServerEndpoint::new(server, ChatCodec::accepted(), args.bounds.links()?))
}

fn state(endpoint: &ServerEndpoint) -> State {
    State::of(endpoint, endpoint.machine().counters().iter(), None)
}

/// Sends messages one by one, each after the acknowledgement of the one before.
async fn exchange(driver: &mut ChatDriver, count: u64, body: &Bytes) -> anyhow::Result<Latencies> {
    let mut trips = Latencies::new()?;
    let last = count + WARM_UP;
    while let Some(notice) = driver.next().await {
        match notice {
            Notice::Connected { .. } => driver.say(1, body.clone()).await?,
            Notice::Acknowledged { key, round_trip, .. } => {
                if let Some(round_trip) = round_trip.filter(|_| key > WARM_UP) {
                    trips.record(round_trip);
                }
                if key == last {
                    return Ok(trips);
                }
                driver.say(key + 1, body.clone()).await?;
            }
            Notice::Received { session, id, .. } => driver.read(session, id).await?,
            Notice::Ended { failure } => {
                let explain = |failure| driver.remote().explain(failure);
                bail!(
                    failure
                        .as_ref()
                        .map_or_else(|| "the session has ended".to_owned(), explain)
                );
            }
            Notice::Retrying { .. }
            | Notice::Lost(_)
            | Notice::Unacknowledged { .. }
            | Notice::Refused { .. }
            | Notice::PeerRefused => {}
        }
    }
    bail!("the client's driver has ended")
}

/// Measures two blocking sockets that exchange as many bytes as a message and its acknowledgement have.
fn ping_pong(count: u64, size: usize) -> anyhow::Result<Latencies> {
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
        // The end of the stream ends the loop.
        while far.read_exact(&mut heard).is_ok() && far.write_all(&[b'x'; ACKNOWLEDGEMENT]).is_ok() {}
    })?;
    let mut trips = Latencies::new()?;
    for round in 0..count + WARM_UP {
        let start = Instant::now();
        near.write_all(&message)?;
        near.read_exact(&mut message[..ACKNOWLEDGEMENT])?;
        if round >= WARM_UP {
            trips.record(start.elapsed());
        }
    }
    drop(near);
    if answering.join().is_err() {
        bail!("the answering thread panicked");
    }
    Ok(trips)
}

fn report(args: &Args, trips: &Latencies, bare: Option<&Latencies>) -> anyhow::Result<()> {
    let (found, beside) = (trips.percentiles(), bare.map(Latencies::percentiles));
    if args.json {
        return output::json(&json!({
            "count": trips.count(),
            "bytes": args.size.as_u64(),
            "latency_us": found,
            "baseline_latency_us": beside,
        }));
    }
    let mut text = format!(
        "{} of {}, one at a time\n{}",
        counted(trips.count(), "message"),
        counted(args.size.as_u64(), "byte"),
        found.to_text(beside.as_ref())
    );
    text += &bars(&trips.histogram());
    output::bytes(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_baseline_has_as_many_round_trips_as_the_ping() {
        assert_eq!(ping_pong(5, 10).unwrap().count(), 5);
        assert_eq!(ping_pong(3, 0).unwrap().count(), 3);
    }
}
