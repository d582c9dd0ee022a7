mod plan;
mod report;
mod stay;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use echosphere_core::echo::{Client, ClientConfig, Command, EchoCodec, MAX_MESSAGE};
use echosphere_core::endpoint::Endpoint;
use echosphere_core::link::LinkConfig;
use echosphere_core::random::unit;
use echosphere_driver::{Driver, Handle};
use echosphere_transport_tcp::TcpConnector;
use indicatif::{ProgressBar, ProgressStyle};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tokio::sync::Notify;
use tokio::time::{Instant, interval, sleep_until};

use self::plan::Plan;
use self::report::{Report, Run, Tally};
use super::PORT;
use super::serve::{self, Bounds};
use crate::server::OwnServer;
use crate::signals::{INTERRUPTED, Signals};
use crate::values::{DelayArg, duration, thousands};
use crate::{limits, net, output, seed};

/// Clients, where the server is this program's own.
const CLIENTS: u64 = 10_000;
/// Clients, where the server is elsewhere: the kata's own number.
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

Exit code 0 only if every message got its ok, every connection was closed by the protocol, and the server kept nothing.")]
pub(crate) struct Args {
    /// Use this server; without it, one is started on a free port of 127.0.0.1
    #[arg(long, value_name = "HOST:PORT", env = "ECHOSPHERE_TO")]
    to: Option<String>,

    /// Clients, each with one message [default: 10000, or 10 with --to]
    #[arg(long, value_name = "COUNT", env = "ECHOSPHERE_CLIENTS", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    clients: Option<u64>,

    /// The clients connect at random moments of this window
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_OVER", default_value = "10s", value_parser = duration)]
    over: Duration,

    /// Wait before answering what is received: 2s, 0..5s (uniform), exp:2s (exponential)
    #[arg(long, value_name = "DELAY", env = "ECHOSPHERE_ACK_DELAY", default_value = "none")]
    ack_delay: DelayArg,

    /// Bytes of each message, at least what makes it unique
    #[arg(long, value_name = "COUNT", env = "ECHOSPHERE_SIZE", default_value_t = 24, value_parser = clap::value_parser!(u32).range(0..=MAX_MESSAGE as i64))]
    size: u32,

    /// Disconnect and try again if no ok comes within this time [default: 30s and 50 mean --ack-delays]
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_RESPONSE_TIMEOUT", value_parser = duration)]
    response_timeout: Option<Duration>,

    /// Give a message up after this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_TIMEOUT", default_value = "5m", value_parser = duration)]
    timeout: Duration,

    /// Draw moments, delays and the server's choices from this seed
    #[arg(long, value_name = "NUMBER", env = "ECHOSPHERE_SEED")]
    seed: Option<u64>,

    /// Print the report as one JSON object
    #[arg(long, env = "ECHOSPHERE_JSON")]
    json: bool,

    #[command(flatten)]
    stay: stay::StayArgs,

    #[command(flatten)]
    bounds: Bounds,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let files = limits::raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if args.stay.are_meant()? {
        let common = stay::Common {
            to: args.to,
            size: args.size,
            json: args.json,
            bounds: args.bounds,
            files,
        };
        return runtime.block_on(args.stay.run(common));
    }
    runtime.block_on(load(args, files))
}

async fn load(args: Args, files: u64) -> anyhow::Result<ExitCode> {
    let elsewhere = match &args.to {
        Some(to) => Some(net::resolve(to, PORT).await?),
        None => None,
    };
    let plan = Plan {
        clients: args.clients.unwrap_or(if elsewhere.is_some() {
            CLIENTS_ELSEWHERE
        } else {
            CLIENTS
        }),
        over: args.over,
        ack_delay: args.ack_delay.mean(),
        own_server: elsewhere.is_none(),
        loopback: elsewhere.is_none_or(|to| to.is_ipv4() && to.ip().is_loopback()),
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
        None => Some(OwnServer::start(args.bounds.endpoint(rng.fork())?)?),
    };
    let to = elsewhere.or_else(|| Some(server.as_ref()?.addr)).context("no server")?;

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
    let config = ClientConfig {
        response_timeout: args
            .response_timeout
            .unwrap_or(RESPONSE_TIMEOUT + 50 * args.ack_delay.mean()),
        give_up_after: Some(args.timeout),
        ack_delay: args.ack_delay.0,
        ..ClientConfig::default()
    };
    let endpoint = Endpoint::new(
        Client::new(config, rng.fork()),
        EchoCodec::dialled(MAX_MESSAGE),
        LinkConfig::default(),
    );
    let connector = TcpConnector::from_addresses(to, plan.sources(seed::draw()?));
    let (driver, handle) = Driver::dial(endpoint, connector, notify);

    let running = tokio::spawn(driver.run());
    let start = Instant::now();
    let mut moments: Vec<Duration> = (0..plan.clients).map(|_| args.over.mul_f64(unit(&mut rng))).collect();
    moments.sort_unstable();
    let arriving = tokio::spawn(arrive(handle.clone(), start, moments, seed, args.size as usize));

    let mut signals = Signals::catch()?;
    let bar = progress_bar(plan.clients);
    let interrupted = tokio::select! {
        biased;
        () = finished.notified() => false,
        () = show(&bar, &tally) => false,
        () = signals.next() => true,
    };
    let elapsed = start.elapsed();
    arriving.abort();
    if interrupted {
        bar.println("interrupted: clients under way have 2 s to finish (Ctrl-C again ends at once)");
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
    if args.json {
        output::json(&report)?;
    } else {
        output::bytes(report.to_text().as_bytes())?;
    }
    Ok(match (interrupted, report.passed()) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, passed) => ExitCode::from(u8::from(!passed)),
    })
}

type ClientHandle = Handle<Client<ChaCha8Rng>, EchoCodec>;

/// Has every client start at its moment.
async fn arrive(handle: ClientHandle, start: Instant, moments: Vec<Duration>, seed: u64, size: usize) {
    for (id, moment) in (0..).zip(moments) {
        sleep_until(start + moment).await;
        let x = unique(id, seed, size);
        if handle.command(Command::Send { id, x }).await.is_err() {
            return;
        }
    }
}

/// A message that no other client of this run, or of another, sends.
fn unique(id: u64, seed: u64, size: usize) -> Bytes {
    let mut x = format!("{seed:x}-{id}-").into_bytes();
    if x.len() < size {
        x.resize(size, b'.');
    }
    x.into()
}

fn progress_bar(clients: u64) -> ProgressBar {
    const LOOK: &str = "{elapsed_precise} [{wide_bar}] {human_pos} of {human_len} acknowledged{msg}";
    let style = ProgressStyle::with_template(LOOK).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(clients).with_style(style.progress_chars("=> "))
}

/// Keeps the bar up to date, for ever.
async fn show(bar: &ProgressBar, tally: &Mutex<Tally>) {
    let mut frame = interval(Duration::from_millis(100));
    loop {
        frame.tick().await;
        let (done, reconnects) = {
            let tally = locked(tally);
            (tally.done(), tally.reconnects())
        };
        bar.set_position(done);
        if reconnects > 0 {
            bar.set_message(format!(", {} reconnects", thousands(reconnects)));
        }
    }
}

fn locked(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
