//! The load over long-lived connections: their throughput and latency, or as many of them as fit.

mod clients;
mod fit;
mod machine;
mod report;
mod server;

use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::ArgMatches;
use indicatif::ProgressBar;
use tokio::time::{Instant, sleep};

use self::clients::{Clients, Instruction, Process, Results};
use self::fit::Fit;
use self::machine::{Config, NAME_BYTES};
use self::report::Report;
use self::server::{AnyServer, Elsewhere};
use super::serve::Bounds;
use crate::echo::PORT;
use crate::net::{ServerAddress, Target};
use crate::settings::{Source, source};
use crate::signals::Signals;
use crate::stderr::status;
use crate::tls::TlsArgs;
use crate::values::{count, counted, thousands, time_out, yes_or_no};
use crate::{limits, output, progress, sources, verdict};

/// Options of long-lived connections.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Long-lived connections")]
pub(crate) struct LongLivedArgs {
    /// Measure throughput instead: open this many connections, which send as fast as they can or at --rate
    #[arg(long, value_name = "COUNT", env = "ECHOSPHERE_CONNECTIONS", value_parser = count::<u32>(1..=10_000_000))]
    pub(crate) connections: Option<u32>,

    /// Send on each connection until this many of its messages wait for their ok
    #[arg(long, value_name = "COUNT", env = "ECHOSPHERE_ECHO_WINDOW", default_value = "1", value_parser = count::<u32>(1..=65_536))]
    pub(crate) window: u32,

    /// Send for this long
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_DURATION", default_value = "10s", value_parser = time_out)]
    pub(crate) duration: Duration,

    /// Send this many messages per second over all connections together; latency counts from when a message is due
    #[arg(long, value_name = "COUNT", env = "ECHOSPHERE_RATE", value_parser = rate)]
    rate: Option<f64>,

    /// Open --connections, or as many as this computer allows; then send one message on each, and close after the last ok
    #[arg(long, env = "ECHOSPHERE_HOLD", value_parser = yes_or_no)]
    pub(crate) hold: bool,

    /// Spread the clients over this many processes; the server runs in its own process, with enough --io-threads
    #[arg(long, value_name = "COUNT", env = "ECHOSPHERE_SHARDS", value_parser = count::<u32>(1..=fit::MOST_SHARDS))]
    pub(crate) shards: Option<u32>,

    /// Run one of the processes of --shards
    #[arg(long, hide = true)]
    pub(crate) shard: bool,
}

/// The options that both kinds of load have.
pub(super) struct Common {
    pub(super) to: Option<ServerAddress>,
    pub(super) tls: TlsArgs,
    pub(super) bytes: usize,
    pub(super) json: bool,
    pub(super) bounds: Bounds,
    /// The most files that this process may open.
    pub(super) files: u64,
}

fn rate(text: &str) -> Result<f64, String> {
    let digits: String = text.chars().filter(|c| !matches!(c, ',' | '_')).collect();
    let (digits, unit) = match digits.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1e3),
        None => (&*digits, 1.0),
    };
    let rate = digits.parse().ok().map(|rate: f64| rate * unit);
    rate.filter(|rate| rate.is_finite() && *rate > 0.0)
        .ok_or_else(|| "expected a number of messages per second above 0, such as 50000, 20k or 0.5".to_owned())
}

impl LongLivedArgs {
    /// The options that only this kind of load has.
    pub(super) const FLAGS: [&'static str; 6] = ["connections", "window", "duration", "rate", "hold", "shards"];

    /// Whether the options ask for this kind of load.
    pub(super) const fn are_set(&self) -> bool {
        self.hold || self.connections.is_some()
    }

    /// Ignores variables that contradict options of the command line.
    ///
    /// # Errors
    ///
    /// If options of the command line contradict each other, or one is missing.
    pub(super) fn settle(&mut self, matches: &ArgMatches) -> anyhow::Result<()> {
        let flag = |id| source(matches, id) == Source::Flag;
        if self.hold && self.rate.is_some() {
            match (flag("hold"), flag("rate")) {
                (true, true) => bail!("--hold sends one message on each connection, so that there is no --rate"),
                (false, true) => self.hold = false,
                (_, false) => self.rate = None,
            }
        }
        if let Some(idle) = ["window", "duration"].into_iter().find(|id| self.hold && flag(id)) {
            bail!("--{idle} has no effect with --hold: each connection sends once, and the run ends after the last ok");
        }
        if !self.are_set() {
            let given = Self::FLAGS.into_iter().find(|id| flag(id)).unwrap_or("window");
            bail!("--{given} is for long-lived connections: add --connections COUNT or --hold");
        }
        Ok(())
    }

    /// What `connections` clients do, with messages of at least `bytes` bytes.
    pub(crate) fn config(&self, connections: u32, bytes: usize) -> Config {
        Config {
            connections,
            window: if self.hold { 1 } else { self.window },
            size: bytes.max(NAME_BYTES),
            rate: self.rate,
            messages: self.hold.then_some(1),
            run: 0,
        }
    }

    pub(super) async fn run(self, common: Common) -> anyhow::Result<ExitCode> {
        let at = common.to.map(|to| to.or_port(PORT));
        let elsewhere = match &at {
            Some(at) => Some(at.resolve().await?),
            None => None,
        };
        let is_tls = common.tls.is_on();
        let tls = match &at {
            Some(at) => common.tls.expecting(&at.host),
            None => common.tls,
        };
        let fit = Fit {
            files: common.files,
            shards: self.shards,
            own_server: elsewhere.is_none(),
            max_connections: common.bounds.max_connections() as u64,
            loopback: elsewhere.is_none_or(sources::is_loopback),
            ports: limits::ports(),
        };
        let connections = fit.check(self.connections)?;
        let config = self.config(connections, common.bytes);
        if self.shard
            && let (Some(to), Some(at)) = (elsewhere, &at)
        {
            let tls = tls.load(at)?;
            clients::run_as_shard(Clients::start(to, tls, at.url.clone(), config).await?).await?;
            return Ok(ExitCode::SUCCESS);
        }
        if self.hold {
            status!("{}", fit.arithmetic());
        }
        let server = match elsewhere {
            Some(addr) => AnyServer::Elsewhere(Box::new(Elsewhere {
                addr,
                url: at.and_then(|at| at.url),
                tls,
            })),
            None => {
                let io_threads = self.shards.map(|_| fit.io_threads(connections));
                AnyServer::start(common.bounds, io_threads, is_tls).await?
            }
        };
        let (results, interrupted) = self.measure(&server, &config).await?;
        let report = Report::new(&config, results, server.finish().await?)?;
        if common.json {
            output::json(&report)?;
        } else {
            output::bytes(report.to_text().as_bytes())?;
        }
        Ok(verdict::exit_code(interrupted, report.passed()))
    }

    /// Opens all connections, sends on them and closes them. Returns `true` if it was interrupted: the first signal ends
    /// what it interrupts, and the second one the program.
    async fn measure(&self, server: &AnyServer, config: &Config) -> anyhow::Result<(Vec<Results>, bool)> {
        let mut signals = Some(Signals::catch()?);
        let mut groups = ClientGroup::start_all(server, config, self.shards).await?;
        let opened = until_interrupted(&mut signals, open(&mut groups)).await?;
        if let Some(opened) = opened {
            status!("{} open", counted(opened, "connection"));
            for group in &mut groups {
                group.begin().await?;
            }
            if !self.hold {
                until_interrupted(&mut signals, self.send(&mut groups)).await?;
                for group in &mut groups {
                    group.stop().await?;
                }
            }
            until_interrupted(&mut signals, finish(&mut groups)).await?;
        }
        let mut closing = pin!(close(groups));
        let results = match until_interrupted(&mut signals, closing.as_mut()).await? {
            Some(results) => results,
            None => closing.await?,
        };
        Ok((results, signals.is_none()))
    }

    /// Waits until the time is over, or until every connection is closed.
    async fn send(&self, groups: &mut [ClientGroup]) -> anyhow::Result<()> {
        let bar = progress::bar(self.duration.as_millis() as u64, "{elapsed_precise} [{wide_bar}] {msg}");
        let counter = match &*groups {
            [ClientGroup::Here(clients)] => Some(clients.counter()),
            _ => None,
        };
        let (start, mut before) = (Instant::now(), (Duration::ZERO, 0));
        let show = async |bar: &ProgressBar| {
            let elapsed = start.elapsed();
            bar.set_position(elapsed.as_millis() as u64);
            if let Some(counter) = &counter {
                let acknowledged = counter.acknowledged().await?;
                let rate = (acknowledged - before.1) as f64 / (elapsed - before.0).as_secs_f64().max(1e-3);
                before = (elapsed, acknowledged);
                bar.set_message(format!("{} round trips/s", thousands(rate as u64)));
            }
            Ok(())
        };
        let all_gone = async {
            for group in groups.iter_mut() {
                group.gone().await?;
            }
            anyhow::Ok(())
        };
        tokio::select! {
            biased;
            result = all_gone => {
                result?;
                status!("every connection is closed");
            }
            () = sleep(self.duration) => {}
            shown = progress::keep(&bar, show) => shown?,
        }
        bar.finish_and_clear();
        Ok(())
    }
}

/// Waits for `work`, or until the first signal. Returns `None` if that ends it. The second signal ends the program.
async fn until_interrupted<T>(
    signals: &mut Option<Signals>,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<Option<T>> {
    let Some(caught) = signals else {
        return work.await.map(Some);
    };
    tokio::select! {
        biased;
        () = caught.next() => {}
        result = work => return result.map(Some),
    }
    status!("interrupted: connections close (Ctrl-C again ends at once)");
    tokio::spawn(signals.take().context("no signals")?.end_at_next());
    Ok(None)
}

/// Waits until every connection is open or has failed to open. Returns the number of open ones.
async fn open(groups: &mut [ClientGroup]) -> anyhow::Result<u64> {
    let mut opened = 0;
    for group in groups {
        opened += group.opened().await?;
    }
    Ok(opened)
}

/// Waits for the last acknowledgements of all groups.
async fn finish(groups: &mut [ClientGroup]) -> anyhow::Result<()> {
    for group in &mut *groups {
        group.finish().await?;
    }
    for group in groups {
        group.done().await?;
    }
    Ok(())
}

async fn close(groups: Vec<ClientGroup>) -> anyhow::Result<Vec<Results>> {
    let mut results = Vec::new();
    for group in groups {
        results.push(group.close().await?);
    }
    Ok(results)
}

/// A part of the connections: in this process or in another one.
enum ClientGroup {
    Here(Box<Clients>),
    Elsewhere(Box<Process>),
}

impl ClientGroup {
    async fn start_all(server: &AnyServer, config: &Config, shards: Option<u32>) -> anyhow::Result<Vec<Self>> {
        let (to, target, tls) = (server.addr(), server.target(), server.client_tls());
        let Some(shards) = shards else {
            let tls = tls.load(&target)?;
            let clients = Clients::start(to, tls, target.url, *config).await?;
            return Ok(vec![Self::Here(Box::new(clients))]);
        };
        let share = |at: u32| config.connections / shards + u32::from(at < config.connections % shards);
        let start = |at| {
            Ok(Self::Elsewhere(Box::new(Process::start(&args(
                &target,
                &tls,
                config,
                share(at),
            ))?)))
        };
        (0..shards).filter(|&at| share(at) > 0).map(start).collect()
    }

    async fn opened(&mut self) -> anyhow::Result<u64> {
        match self {
            Self::Here(clients) => clients.opened().await,
            Self::Elsewhere(process) => process.opened().await,
        }
    }

    async fn begin(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Here(clients) => clients.begin().await,
            Self::Elsewhere(process) => process.instruct(Instruction::Begin).await,
        }
    }

    async fn gone(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Here(clients) => clients.gone().await,
            Self::Elsewhere(process) => process.gone().await,
        }
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Here(clients) => clients.stop().await,
            Self::Elsewhere(process) => process.instruct(Instruction::Stop).await,
        }
    }

    /// Starts the time for the last acknowledgements in another process.
    async fn finish(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Here(_) => Ok(()),
            Self::Elsewhere(process) => process.instruct(Instruction::Finish).await,
        }
    }

    async fn done(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Here(clients) => clients.done().await,
            Self::Elsewhere(process) => process.done().await,
        }
    }

    async fn close(self) -> anyhow::Result<Results> {
        match self {
            Self::Here(clients) => clients.close().await,
            Self::Elsewhere(process) => process.close().await,
        }
    }
}

/// The arguments of a process with `connections` connections.
fn args(to: &Target, tls: &TlsArgs, config: &Config, connections: u32) -> Vec<String> {
    let mut args = vec!["--shard".to_owned()];
    let mut set = |flag: &str, value: String| args.extend([flag.to_owned(), value]);
    set("--to", to.to_string());
    set("--connections", connections.to_string());
    set("--size", config.size.to_string());
    if let Some(rate) = config.rate {
        let share = f64::from(connections) / f64::from(config.connections);
        set("--rate", (rate * share).to_string());
    }
    if config.messages.is_some() {
        args.push("--hold".to_owned());
    } else {
        args.extend(["--window".to_owned(), config.window.to_string()]);
    }
    args.extend(tls.to_args());
    args
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_read_as_people_write_it() {
        for (text, expected) in [("50,000", 50_000.0), ("20k", 20_000.0), ("1.5K", 1_500.0), ("0.5", 0.5)] {
            assert_eq!(rate(text), Ok(expected), "{text}");
        }
        for text in ["", "0", "-1", "inf", "nan", "fast", "k"] {
            rate(text).unwrap_err();
        }
    }

    #[test]
    fn a_process_gets_its_share_of_the_rate() {
        let config = Config {
            connections: 8,
            window: 3,
            size: 100,
            rate: Some(10.0),
            messages: None,
            run: 0,
        };
        let to = Target::from(std::net::SocketAddr::from(([127, 0, 0, 1], 9)));
        let tls = TlsArgs::default();
        let all = "--shard --to 127.0.0.1:9 --connections 2 --size 100 --rate 2.5 --window 3";
        assert_eq!(args(&to, &tls, &config, 2).join(" "), all);
        let held = Config {
            rate: None,
            messages: Some(1),
            ..config
        };
        let all = "--shard --to 127.0.0.1:9 --connections 2 --size 100 --hold";
        assert_eq!(args(&to, &tls, &held, 2).join(" "), all);
    }
}
