mod long_lived;
mod plan;
mod report;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use bytesize::ByteSize;
use clap::{ArgMatches, Args as _};
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::{Client, ClientConfig, Command, EchoCodec, MAX_MESSAGE};
use echosphere_core::endpoint::Endpoint;
use echosphere_core::random::unit;
use echosphere_driver::{Driver, Handle};
use echosphere_transport_tcp::TcpConnector;
use indicatif::ProgressBar;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

pub(crate) use self::long_lived::LongLivedArgs;
use self::plan::Plan;
use self::report::{Report, Run, Tally};
use super::PORT;
use super::serve::{self, Bounds};
use crate::connector::{AnyConnector, NegotiationError};
use crate::net::ServerAddress;
use crate::server::OwnServer;
use crate::settings::{Source, source};
use crate::signals::Signals;
use crate::stderr::status;
use crate::tls::TlsArgs;
use crate::values::{DelayArg, count, counted, duration, in_memory, size, time_out, yes_or_no};
use crate::{limits, output, progress, seed, sources, verdict};

/// The default number of clients, with a server of this process.
const CLIENTS: u64 = 10_000;
/// The default number of clients, with --to.
const CLIENTS_ELSEWHERE: u64 = 10;
/// How long an ok may take if nobody delays it. With delays, one client in a hundred thousand waits for twelve of their
/// means, as receiver after receiver leaves before it has answered.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(30);
/// How long the clients may take to finish after Ctrl-C.
const INTERRUPT_DRAIN: Duration = Duration::from_secs(2);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere echo load
  echosphere echo load --clients 100000 --over 60s
  echosphere echo load --ack-delay 0..5s --json > report.json
  echosphere echo load --to 192.0.2.7:8000 --clients 10
  echosphere echo load --connections 100 --window 16 --size 64
  echosphere echo load --connections 100 --rate 20000 --duration 30s --json
  echosphere echo load --hold --connections 100000 --shards 6

Exit codes: 0 every message got its ok, every connection was closed by the protocol, and the server has nothing left; 1 \
otherwise (the report lists what is missing); 2 it could not start; 130 interrupted.")]
pub(crate) struct Args {
    /// Use this server: an address, or the URL of a WebSocket (ws:// or wss://); without it, start one on a free port of 127.0.0.1
    #[arg(long, value_name = "HOST[:PORT]|URL", env = "ECHOSPHERE_TO")]
    pub(crate) to: Option<ServerAddress>,

    /// Make every message at least this long; a message that would not be unique is made longer
    #[arg(
        long,
        value_name = "SIZE",
        env = "ECHOSPHERE_SIZE",
        default_value = "24B",
        value_parser = size(0..=u64::from(MAX_MESSAGE))
    )]
    pub(crate) size: ByteSize,

    /// Print the report as one JSON object
    #[arg(long, env = "ECHOSPHERE_JSON", value_parser = yes_or_no)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) tls: TlsArgs,

    #[command(flatten)]
    pub(crate) arrivals: ArrivalArgs,

    #[command(flatten)]
    pub(crate) long_lived: LongLivedArgs,

    #[command(flatten)]
    pub(crate) bounds: Bounds,
}

/// Options of clients that each send one message.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Clients that each send one message")]
pub(crate) struct ArrivalArgs {
    /// Run this many clients [default: 10000, or 10 with --to]
    #[arg(long, value_name = "COUNT", env = "ECHOSPHERE_CLIENTS", value_parser = count::<u64>(1..=10_000_000))]
    pub(crate) clients: Option<u64>,

    /// Connect the clients at random moments within this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_OVER", default_value = "10s", value_parser = duration)]
    pub(crate) over: Duration,

    /// Wait before acknowledging a received message: 2s, 0..5s (uniform), exp:2s (exponential)
    #[arg(long, value_name = "DELAY", env = "ECHOSPHERE_ACK_DELAY", default_value = "none")]
    ack_delay: DelayArg,

    /// Disconnect and try again if no ok arrives within this time [default: 30s plus 50 times the mean of --ack-delay]
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_RESPONSE_TIMEOUT", value_parser = time_out)]
    response_timeout: Option<Duration>,

    /// Give up a message after this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_TIMEOUT", default_value = "5m", value_parser = time_out)]
    timeout: Duration,

    /// Make all random choices from this seed; without it, choose a random seed and print it in the report
    #[arg(long, value_name = "NUMBER", env = "ECHOSPHERE_SEED")]
    pub(crate) seed: Option<u64>,
}

impl ArrivalArgs {
    /// The options that only this kind of load has.
    const FLAGS: [&'static str; 6] = ["clients", "over", "ack_delay", "response_timeout", "timeout", "seed"];

    pub(crate) fn client(&self) -> ClientConfig {
        let response_timeout = RESPONSE_TIMEOUT + 50 * self.ack_delay.mean();
        ClientConfig {
            response_timeout: self.response_timeout.unwrap_or(response_timeout),
            give_up_after: Some(self.timeout),
            ack_delay: self.ack_delay.0,
            ..ClientConfig::default()
        }
    }
}

pub(super) fn run(mut args: Args, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    let files = limits::raise_open_files();
    let is_long_lived = is_long_lived(&args, matches)?;
    check_bounds(&args, matches)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if is_long_lived {
        args.long_lived.settle(matches)?;
        let common = long_lived::Common {
            to: args.to,
            tls: args.tls,
            bytes: in_memory(args.size),
            json: args.json,
            bounds: args.bounds,
            files,
        };
        return runtime.block_on(args.long_lived.run(common));
    }
    runtime.block_on(load(args, files))
}

/// Whether the load uses long-lived connections: as the command line says, or else the environment.
fn is_long_lived(args: &Args, matches: &ArgMatches) -> anyhow::Result<bool> {
    let flag = |ids: &[&'static str]| ids.iter().copied().find(|id| source(matches, id) == Source::Flag);
    match (flag(&ArrivalArgs::FLAGS), flag(&LongLivedArgs::FLAGS)) {
        (Some(arrival), Some(long_lived)) => bail!(
            "--{} is for clients that each send one message, and --{long_lived} for long-lived connections; use one or the other",
            arrival.replace('_', "-")
        ),
        (Some(_), None) => Ok(false),
        (None, Some(_)) => Ok(true),
        (None, None) => Ok(args.long_lived.are_set()),
    }
}

/// Refuses bounds of a server together with --to.
fn check_bounds(args: &Args, matches: &ArgMatches) -> anyhow::Result<()> {
    let bounds = Bounds::augment_args(clap::Command::new("bounds"));
    let given = bounds
        .get_arguments()
        .find(|arg| source(matches, arg.get_id().as_str()) == Source::Flag);
    match given.and_then(clap::Arg::get_long) {
        Some(flag) if args.to.is_some() => {
            bail!("--{flag} is a bound of the server that this command starts, and with --to it starts none")
        }
        _ => Ok(()),
    }
}

async fn load(args: Args, files: u64) -> anyhow::Result<ExitCode> {
    let at = args.to.map(|to| to.or_port(PORT));
    let elsewhere = match &at {
        Some(at) => Some(at.resolve().await?),
        None => None,
    };
    let tls = args.tls;
    let (args, bytes, json, bounds) = (args.arrivals, in_memory(args.size), args.json, args.bounds);
    let plan = Plan {
        clients: args.clients.unwrap_or(if elsewhere.is_some() {
            CLIENTS_ELSEWHERE
        } else {
            CLIENTS
        }),
        over: args.over,
        ack_delay: args.ack_delay.mean(),
        own_server: elsewhere.is_none(),
        loopback: elsewhere.is_none_or(sources::is_loopback),
        files,
        ports: limits::ports(),
    };
    plan.check()?;
    let seed = match args.seed {
        Some(seed) => seed,
        None => seed::draw()?.into(),
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let server = match elsewhere {
        Some(_) => None,
        None => Some(OwnServer::start(bounds.endpoint(rng.fork())?, tls.is_on())?),
    };
    let to = elsewhere.or_else(|| Some(server.as_ref()?.addr)).context("no server")?;
    let tls = server.as_ref().map_or(tls, OwnServer::client_tls);
    let tls = tls.load(&at.clone().unwrap_or_else(|| to.into()))?;

    let tally = Arc::new(Mutex::new(Tally::new()?));
    let finished = Arc::new(Notify::new());
    let (noted, all_done) = (Arc::clone(&tally), Arc::clone(&finished));
    let notify = move |notice| {
        let mut tally = locked(&noted);
        tally.note(&notice);
        if tally.done() == plan.clients {
            all_done.notify_one();
        }
    };
    let endpoint = Endpoint::new(
        Client::new(args.client(), rng.fork()),
        EchoCodec::dialled(MAX_MESSAGE),
        ConnectionConfig::default(),
    );
    let tcp = TcpConnector::from_addresses(to, plan.sources(seed::draw()?));
    let connector = AnyConnector::new(tcp, tls, at.and_then(|at| at.url), NegotiationError::default());
    connector.try_negotiation().await?;
    let (driver, handle) = Driver::new(endpoint);
    let driver = driver.connect(connector).with_notices(notify);

    let running = tokio::spawn(driver.run());
    let start = Instant::now();
    let mut moments: Vec<Duration> = (0..plan.clients).map(|_| args.over.mul_f64(unit(&mut rng))).collect();
    moments.sort_unstable();
    let arriving = tokio::spawn(arrive(handle.clone(), start, moments, seed, bytes));

    let mut signals = Signals::catch()?;
    let bar = progress::bar(
        plan.clients,
        "{elapsed_precise} [{wide_bar}] {human_pos} of {human_len} acknowledged{msg}",
    );
    let interrupted = tokio::select! {
        biased;
        () = finished.notified() => false,
        kept = progress::keep(&bar, async |bar| { show(bar, &tally); Ok(()) }) => { kept?; false }
        () = signals.next() => true,
    };
    let elapsed = start.elapsed();
    arriving.abort();
    if interrupted {
        status!("interrupted: running clients have 2 s to finish (Ctrl-C again ends at once)");
        tokio::spawn(signals.end_at_next());
        handle.drain(INTERRUPT_DRAIN).await?;
    }
    drop(handle);
    let clients = running.await?;
    bar.finish_and_clear();

    let run = Run {
        clients: plan.clients,
        over: args.over,
        ack_delay: args.ack_delay.to_string(),
        bytes,
        seed,
        elapsed,
        started: clients.machine().counters().commands,
        sent: clients.machine().counters().sent,
        clients_zero: clients.is_zero(),
    };
    let state = match server {
        Some(server) => Some(server.finish(serve::state).await?),
        None => None,
    };
    let report = Report::new(run, &locked(&tally), state);
    if json {
        output::json(&report)?;
    } else {
        output::bytes(report.to_text().as_bytes())?;
    }
    Ok(verdict::exit_code(interrupted, report.passed()))
}

type ClientHandle = Handle<Client<ChaCha8Rng>, EchoCodec>;

/// Starts every client at its moment.
async fn arrive(handle: ClientHandle, start: Instant, moments: Vec<Duration>, seed: u64, size: usize) {
    for (id, moment) in (0..).zip(moments) {
        sleep_until(start + moment).await;
        let x = unique(id, seed, size);
        if handle.command(Command::Send { key: id, x }).await.is_err() {
            return;
        }
    }
}

/// A message that no other client sends, in this run or in another one.
fn unique(id: u64, seed: u64, size: usize) -> Bytes {
    let mut x = format!("{seed:x}-{id}-").into_bytes();
    if x.len() < size {
        x.resize(size, b'.');
    }
    x.into()
}

fn show(bar: &ProgressBar, tally: &Mutex<Tally>) {
    let (done, reconnects) = {
        let tally = locked(tally);
        (tally.done(), tally.reconnects())
    };
    bar.set_position(done);
    if reconnects > 0 {
        bar.set_message(format!(", {}", counted(reconnects, "reconnect")));
    }
}

fn locked(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_of_its_client_and_run_and_at_least_as_long_as_it_should_be() {
        assert_eq!(unique(7, 0xab, 10), "ab-7-.....");
        assert_eq!(unique(7, 0xab, 5), "ab-7-");
        assert_eq!(unique(7, 0xab, 0), "ab-7-");
    }
}
