//! A load of users that relay to each other. It checks that every body arrives once, in order and unchanged.

mod tally;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::endpoint::Endpoint;
use echosphere_core::hub::{Client, ClientConfig, Command, HubCodec, MAX_BODY, MAX_RECEIVERS, Notice};
use echosphere_driver::Driver;
use echosphere_transport_tcp::TcpConnector;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use self::tally::{HEADER, Plan, Tally};
use super::PORT;
use super::serve::{endpoint, state};
use crate::connector::AnyConnector;
use crate::failure::Remote;
use crate::limits::OTHER_FILES;
use crate::net::ServerAddress;
use crate::server::{LinkBounds, OwnServer};
use crate::signals::Signals;
use crate::stderr::status;
use crate::tls::TlsArgs;
use crate::values::{count, in_memory, size, thousands, time_out, yes_or_no};
use crate::{limits, progress, seed, sources, verdict};

/// The time for users to finish at the end.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere hub load
  echosphere hub load --users 1000 --fan-out 10 --size 1KiB
  echosphere hub load --to 192.0.2.7:1234 --users 10 --json > report.json

Each user sends --messages bodies, each to --fan-out users chosen at random.

Exit codes: 0 every body arrived exactly once at each receiver, in order from each sender and unchanged, and the hub has \
nothing left; 1 otherwise (the report lists what is missing); 2 it could not start; 130 interrupted.")]
pub(crate) struct Args {
    /// Use this hub: an address, or the URL of a WebSocket (ws:// or wss://); without it, start one on a free port of 127.0.0.1
    #[arg(long, value_name = "HOST[:PORT]|URL", env = "ECHOSPHERE_HUB_TO")]
    pub(crate) to: Option<ServerAddress>,

    /// Run this many users
    #[arg(long, value_name = "COUNT", env = "ECHOSPHERE_USERS", default_value = "100", value_parser = count::<u32>(1..=1_000_000))]
    users: u32,

    /// Send this many bodies from each user
    #[arg(long, value_name = "COUNT", env = "ECHOSPHERE_MESSAGES", default_value = "1000", value_parser = count::<u32>(1..=u64::from(u32::MAX)))]
    messages: u32,

    /// Send each body to this many users, chosen at random
    #[arg(long, value_name = "COUNT", env = "ECHOSPHERE_FAN_OUT", default_value = "1", value_parser = count::<u32>(1..=MAX_RECEIVERS as u64))]
    fan_out: u32,

    /// Make every body this long, but at least 16 bytes
    #[arg(long, value_name = "SIZE", env = "ECHOSPHERE_HUB_SIZE", default_value = "64B", value_parser = size(0..=MAX_BODY as u64))]
    size: bytesize::ByteSize,

    /// Let each user send until this many of its relays wait for their receipt
    #[arg(long, value_name = "COUNT", env = "ECHOSPHERE_WINDOW", default_value = "16", value_parser = count::<u32>(1..=65_536))]
    window: u32,

    /// Fail if the load takes longer than this
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_TIMEOUT", default_value = "5m", value_parser = time_out)]
    timeout: Duration,

    /// Choose the receivers from this seed; without it, choose a random seed and print it in the report
    #[arg(long, value_name = "NUMBER", env = "ECHOSPHERE_SEED")]
    pub(crate) seed: Option<u64>,

    /// Print the report as one JSON object
    #[arg(long, env = "ECHOSPHERE_JSON", value_parser = yes_or_no)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) tls: TlsArgs,

    #[command(flatten)]
    pub(crate) links: LinkBounds,
}

impl Args {
    pub(crate) fn client(&self) -> ClientConfig {
        ClientConfig {
            connect_timeout: self.timeout,
            response_timeout: self.timeout,
            ..ClientConfig::default()
        }
    }

    pub(crate) fn plan(&self, seed: u64) -> Plan {
        Plan {
            users: self.users,
            messages: self.messages,
            fan_out: self.fan_out,
            size: in_memory(self.size).max(HEADER),
            window: self.window,
            seed,
        }
    }
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let files = limits::raise_open_files();
    let each = if args.to.is_some() { 1 } else { 2 };
    let needed = u64::from(args.users) * each + OTHER_FILES;
    if needed > files {
        bail!(
            "the load needs {} open files, and this process may open {}: use at most {} --users, or raise the limit (ulimit -n)",
            thousands(needed),
            thousands(files),
            thousands(files.saturating_sub(OTHER_FILES) / each)
        );
    }
    if args.fan_out > args.users {
        bail!(
            "--fan-out {} is more than --users {}: a body goes to each receiver once",
            args.fan_out,
            args.users
        );
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(load(args))
}

async fn load(args: Args) -> anyhow::Result<ExitCode> {
    let at = args.to.clone().map(|to| to.or_port(PORT));
    let elsewhere = match &at {
        Some(at) => Some(at.resolve().await?),
        None => None,
    };
    let seed = match args.seed {
        Some(seed) => seed,
        None => seed::draw()?.into(),
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let hub = match elsewhere {
        Some(_) => None,
        None => Some(OwnServer::start(endpoint(&args.links)?, args.tls.is_on())?),
    };
    let to = elsewhere.or_else(|| Some(hub.as_ref()?.addr)).context("no hub")?;
    let tls = hub.as_ref().map_or_else(|| args.tls.clone(), OwnServer::client_tls);
    let tls = tls.load(&at.clone().unwrap_or_else(|| to.into()))?;

    let client = Client::new(args.client(), rng.fork());
    let users = Endpoint::new(client, HubCodec::dialled(), ConnectionConfig::default());
    let plan = args.plan(seed);
    let url = at.and_then(|at| at.url);
    let remote = Remote::server(&to.into(), "a hub", "hub serve --listen", "--timeout");
    let negotiation = remote.negotiation();
    let (commands, mut asked) = mpsc::unbounded_channel();
    let tally = Arc::new(Mutex::new(Tally::new(plan, remote, rng, commands)?));
    let noted = Arc::clone(&tally);
    let notify = move |notice: Notice| locked(&noted).note(notice);
    let from = if sources::is_loopback(to) {
        sources::loopback(args.users.into(), limits::ports(), seed::draw()?)
    } else {
        Vec::new()
    };
    let connector = AnyConnector::new(TcpConnector::from_addresses(to, from), tls, url, negotiation);
    connector.try_negotiation().await?;
    let (driver, handle) = Driver::new(users);
    let driver = driver.connect(connector).with_notices(notify);
    let running = tokio::spawn(driver.run());

    let start = Instant::now();
    let mut signals = Signals::catch()?;
    let bar = progress::bar(
        plan.deliveries(),
        "{elapsed_precise} [{wide_bar}] {human_pos} of {human_len} delivered, {per_sec}",
    );
    let work = async {
        for session in 0..u64::from(args.users) {
            handle.command(Command::Connect { session }).await?;
        }
        while let Some(command) = asked.recv().await {
            handle.command(command).await?;
        }
        anyhow::Ok(())
    };
    let interrupted = tokio::select! {
        biased;
        worked = timeout(args.timeout, work) => { worked.unwrap_or(Ok(()))?; false }
        kept = progress::keep(&bar, async |bar| { bar.set_position(locked(&tally).delivered()); Ok(()) }) => { kept?; false }
        () = signals.next() => true,
    };
    let elapsed = start.elapsed();
    if interrupted {
        status!("interrupted: users have 5 s to finish (Ctrl-C again ends at once)");
        tokio::spawn(signals.end_at_next());
    }
    handle.drain(DRAIN).await?;
    running.await?;
    bar.finish_and_clear();

    let state = match hub {
        Some(hub) => Some(hub.finish(state).await?),
        None => None,
    };
    let report = locked(&tally).report(elapsed, state);
    report.print(args.json)?;
    Ok(verdict::exit_code(interrupted, report.passed()))
}

fn locked(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
