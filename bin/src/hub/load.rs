//! Many users that relay to each other, and whether every body arrives once, in order and whole.

mod tally;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use echosphere_core::endpoint::Endpoint;
use echosphere_core::hub::{Client, ClientConfig, Command, HubCodec, MAX_BODY, MAX_RECEIVERS, Notice};
use echosphere_core::link::LinkConfig;
use echosphere_driver::Driver;
use echosphere_transport_tcp::TcpConnector;
use indicatif::{ProgressBar, ProgressStyle};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tokio::sync::mpsc;
use tokio::time::{Instant, interval, timeout};

use self::tally::{HEADER, Plan, Tally};
use super::PORT;
use super::serve::{endpoint, state};
use crate::server::{LinkBounds, OwnServer};
use crate::signals::{INTERRUPTED, Signals};
use crate::values::{duration, thousands};
use crate::{limits, net, seed};

/// Open files of this process that are not connections.
const OTHER_FILES: u64 = 64;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere hub load
  echosphere hub load --users 1000 --fan-out 10 --size 1KiB
  echosphere hub load --to 192.0.2.7:1234 --users 10 --json > report.json

Each user sends --messages bodies, each to --fan-out others, chosen at random. Exit code 0 only if every body arrived \
exactly once at each of them, in order from each sender, byte for byte, and the hub kept nothing.")]
pub(crate) struct Args {
    /// Use this hub; without it, one is started on a free port of 127.0.0.1
    #[arg(long, value_name = "HOST:PORT", env = "ECHOSPHERE_HUB")]
    to: Option<String>,

    /// Users
    #[arg(long, value_name = "COUNT", env = "ECHOSPHERE_USERS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    users: u32,

    /// Bodies that each user sends
    #[arg(long, value_name = "COUNT", env = "ECHOSPHERE_MESSAGES", default_value_t = 1000)]
    messages: u32,

    /// Receivers of each
    #[arg(long, value_name = "COUNT", env = "ECHOSPHERE_FAN_OUT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=MAX_RECEIVERS as i64))]
    fan_out: u32,

    /// Bytes of each body, at least what tells it from others
    #[arg(long, value_name = "SIZE", env = "ECHOSPHERE_BODY", default_value = "64B")]
    size: bytesize::ByteSize,

    /// Relays of one user whose receipts it has not got
    #[arg(long, value_name = "COUNT", env = "ECHOSPHERE_WINDOW", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    window: u32,

    /// Fail if it is not done in this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_TIMEOUT", default_value = "5m", value_parser = duration)]
    timeout: Duration,

    /// Draw the receivers from this seed
    #[arg(long, value_name = "NUMBER", env = "ECHOSPHERE_SEED")]
    seed: Option<u64>,

    /// Print the report as one JSON object
    #[arg(long, env = "ECHOSPHERE_JSON")]
    json: bool,

    #[command(flatten)]
    links: LinkBounds,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let files = limits::raise_open_files();
    let each = if args.to.is_some() { 1 } else { 2 };
    let needed = u64::from(args.users) * each + OTHER_FILES;
    if needed > files {
        bail!(
            "{} open files needed, and this process may open {}: ask for at most {} --users, or raise the limit (ulimit -n)",
            thousands(needed),
            thousands(files),
            thousands(files.saturating_sub(OTHER_FILES) / each)
        );
    }
    let size = crate::server::bytes(args.size);
    if size > MAX_BODY {
        bail!("a body has at most {MAX_BODY} bytes, not {size}");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(load(args, size.max(HEADER)))
}

async fn load(args: Args, size: usize) -> anyhow::Result<ExitCode> {
    let elsewhere = match &args.to {
        Some(to) => Some(net::resolve(to, PORT).await?),
        None => None,
    };
    let seed = match args.seed {
        Some(seed) => seed,
        None => seed::draw()?.into(),
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let hub = match elsewhere {
        Some(_) => None,
        None => Some(OwnServer::start(endpoint(&args.links)?)?),
    };
    let to = elsewhere.or_else(|| Some(hub.as_ref()?.addr)).context("no hub")?;

    let client = Client::new(
        ClientConfig {
            connect_timeout: args.timeout,
            response_timeout: args.timeout,
            ..ClientConfig::default()
        },
        rng.fork(),
    );
    let users = Endpoint::new(client, HubCodec::dialled(), LinkConfig::default());
    let plan = Plan {
        users: args.users,
        messages: args.messages,
        fan_out: args.fan_out.min(args.users),
        size,
        window: args.window,
        seed,
    };
    let (commands, mut asked) = mpsc::unbounded_channel();
    let tally = Arc::new(Mutex::new(Tally::new(plan, rng, commands)?));
    let noted = Arc::clone(&tally);
    let notify = move |notice: Notice| locked(&noted).note(notice);
    let (driver, handle) = Driver::dial(users, TcpConnector::new(to), notify);
    let running = tokio::spawn(driver.run());

    let start = Instant::now();
    let mut signals = Signals::catch()?;
    let bar = progress_bar(plan.deliveries());
    let work = async {
        for session in 0..u64::from(args.users) {
            handle.command(Command::Connect { session }).await?;
        }
        // Ends once the tally has nothing more to ask.
        while let Some(command) = asked.recv().await {
            handle.command(command).await?;
            if locked(&tally).is_done() {
                break;
            }
        }
        anyhow::Ok(())
    };
    let interrupted = tokio::select! {
        biased;
        worked = timeout(args.timeout, work) => { worked.unwrap_or(Ok(()))?; false }
        () = show(&bar, &tally) => false,
        () = signals.next() => true,
    };
    let elapsed = start.elapsed();
    handle.drain(Duration::from_secs(5)).await?;
    running.await?;
    bar.finish_and_clear();

    let state = match hub {
        Some(hub) => Some(hub.finish(state).await?),
        None => None,
    };
    let report = locked(&tally).report(elapsed, state);
    report.print(args.json)?;
    Ok(match (interrupted, report.passed()) {
        (true, _) => ExitCode::from(INTERRUPTED),
        (false, passed) => ExitCode::from(u8::from(!passed)),
    })
}

fn progress_bar(deliveries: u64) -> ProgressBar {
    const LOOK: &str = "{elapsed_precise} [{wide_bar}] {human_pos} of {human_len} delivered, {per_sec}";
    let style = ProgressStyle::with_template(LOOK).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(deliveries).with_style(style.progress_chars("=> "))
}

/// Keeps the bar up to date, for ever.
async fn show(bar: &ProgressBar, tally: &Mutex<Tally>) {
    let mut frame = interval(Duration::from_millis(100));
    loop {
        frame.tick().await;
        bar.set_position(locked(tally).delivered());
    }
}

fn locked(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
