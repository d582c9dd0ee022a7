//! Connections that stay open: as many messages as they can carry, or as many connections as there can be.

mod clients;
mod fit;
mod machine;
mod report;
mod server;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use tokio::time::sleep;

use self::clients::{Clients, Figures, Process};
use self::fit::Fit;
use self::machine::{Config, NAME_BYTES};
use self::report::Report;
use self::server::AnyServer;
use super::serve::Bounds;
use crate::echo::PORT;
use crate::signals::{INTERRUPTED, Signals};
use crate::values::{duration, thousands};
use crate::{limits, net, output};

/// Of connections that stay open.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Connections that stay open")]
pub(super) struct StayArgs {
    /// Measure throughput instead: so many connections send as fast as it goes, or at --rate
    #[arg(long, value_name = "COUNT", env = "ECHOSPHERE_CONNECTIONS", value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    connections: Option<u32>,

    /// Messages under way on each connection
    #[arg(long, value_name = "COUNT", env = "ECHOSPHERE_ECHO_WINDOW", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    window: u32,

    /// How long to send
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_DURATION", default_value = "10s", value_parser = duration)]
    duration: Duration,

    /// Messages a second of all connections together; each counts from the moment it was to be sent
    #[arg(long, value_name = "COUNT", env = "ECHOSPHERE_RATE", value_parser = rate)]
    rate: Option<f64>,

    /// Open --connections, or as many as this machine allows, then have all send at once; close when all have their ok
    #[arg(long, env = "ECHOSPHERE_HOLD", conflicts_with = "rate")]
    hold: bool,

    /// Spread the clients over so many processes, and have the server in one of its own, with as many --io-threads as it needs
    #[arg(long, value_name = "COUNT", env = "ECHOSPHERE_SHARDS", value_parser = clap::value_parser!(u32).range(1..=fit::MOST_SHARDS as i64))]
    shards: Option<u32>,

    /// This is one of those processes
    #[arg(long, hide = true)]
    shard: bool,
}

/// What of the other arguments matters here.
pub(super) struct Common {
    pub(super) to: Option<String>,
    pub(super) size: u32,
    pub(super) json: bool,
    pub(super) bounds: Bounds,
    /// Files this process may open.
    pub(super) files: u64,
}

fn rate(text: &str) -> Result<f64, String> {
    let rate: f64 = text
        .parse()
        .map_err(|_| "expected messages a second, such as 50000".to_owned())?;
    let fits = rate.is_finite() && rate > 0.0;
    fits.then_some(rate)
        .ok_or_else(|| "more than 0 messages a second".to_owned())
}

impl StayArgs {
    /// Whether such connections are asked for.
    ///
    /// # Errors
    ///
    /// If not, but something is that only they can do.
    pub(super) fn are_meant(&self) -> anyhow::Result<bool> {
        let meant = self.hold || self.connections.is_some();
        if !meant && (self.shards.is_some() || self.rate.is_some()) {
            bail!("--shards and --rate are for connections that stay open: give --connections COUNT or --hold too");
        }
        Ok(meant)
    }

    pub(super) async fn run(self, common: Common) -> anyhow::Result<ExitCode> {
        let elsewhere = match &common.to {
            Some(to) => Some(net::resolve(to, PORT).await?),
            None => None,
        };
        let fit = Fit {
            files: common.files,
            shards: self.shards,
            own_server: elsewhere.is_none(),
            max_connections: common.bounds.max_connections() as u64,
            loopback: elsewhere.is_none_or(|to| to.is_ipv4() && to.ip().is_loopback()),
            ports: limits::ports(),
        };
        let connections = fit.check(self.connections)?;
        let config = Config {
            connections,
            window: if self.hold { 1 } else { self.window },
            size: (common.size as usize).max(NAME_BYTES),
            rate: self.rate.filter(|_| !self.hold),
            messages: self.hold.then_some(1),
            run: 0,
        };
        if self.shard
            && let Some(to) = elsewhere
        {
            clients::obey(Clients::start(to, config).await?).await?;
            return Ok(ExitCode::SUCCESS);
        }
        eprintln!("{}", fit.arithmetic());
        let server = match elsewhere {
            Some(addr) => AnyServer::Elsewhere(addr),
            None => AnyServer::start(common.bounds, self.shards.map(|_| fit.io_threads(connections))).await?,
        };
        let (figures, interrupted) = self.put_load_on(server.addr(), &config).await?;
        let report = Report::new(&config, figures, server.finish().await?)?;
        if common.json {
            output::json(&report)?;
        } else {
            output::bytes(report.to_text().as_bytes())?;
        }
        Ok(match (interrupted, report.passed()) {
            (true, _) => ExitCode::from(INTERRUPTED),
            (false, passed) => ExitCode::from(u8::from(!passed)),
        })
    }

    /// Opens, has all send, and closes. `true` if that was interrupted.
    async fn put_load_on(&self, to: SocketAddr, config: &Config) -> anyhow::Result<(Vec<Figures>, bool)> {
        let mut signals = Signals::catch()?;
        let mut parts = Part::start_all(to, config, self.shards).await?;
        let mut opened = 0;
        for part in &mut parts {
            opened += part.opened().await?;
        }
        eprintln!("{} connections are open", thousands(opened));
        for part in &mut parts {
            part.begin().await?;
        }
        let mut interrupted = false;
        if !self.hold {
            interrupted = tokio::select! {
                biased;
                () = signals.next() => true,
                () = sleep(self.duration) => false,
            };
            for part in &mut parts {
                part.stop().await?;
            }
        }
        let done = async {
            for part in &mut parts {
                part.done().await?;
            }
            anyhow::Ok(())
        };
        tokio::select! {
            biased;
            () = signals.next() => interrupted = true,
            result = done => result?,
        }
        let mut figures = Vec::new();
        for part in parts {
            figures.push(part.close().await?);
        }
        Ok((figures, interrupted))
    }
}

/// Some of the connections.
enum Part {
    Here(Box<Clients>),
    Elsewhere(Box<Process>),
}

impl Part {
    async fn start_all(to: SocketAddr, config: &Config, shards: Option<u32>) -> anyhow::Result<Vec<Self>> {
        let Some(shards) = shards else {
            return Ok(vec![Self::Here(Box::new(Clients::start(to, *config).await?))]);
        };
        let share = |at: u32| config.connections / shards + u32::from(at < config.connections % shards);
        let start = |at| {
            Ok(Self::Elsewhere(Box::new(Process::start(&args(
                to,
                config,
                share(at),
                shards,
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
            Self::Elsewhere(process) => process.tell("begin").await,
        }
    }

    async fn stop(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Here(clients) => clients.stop().await,
            Self::Elsewhere(process) => process.tell("stop").await,
        }
    }

    async fn done(&mut self) -> anyhow::Result<()> {
        match self {
            Self::Here(clients) => clients.done().await,
            Self::Elsewhere(process) => {
                process.tell("finish").await?;
                process.done().await
            }
        }
    }

    async fn close(self) -> anyhow::Result<Figures> {
        match self {
            Self::Here(clients) => clients.close().await,
            Self::Elsewhere(process) => process.close().await,
        }
    }
}

/// The arguments of a process with `connections` of them.
fn args(to: SocketAddr, config: &Config, connections: u32, shards: u32) -> Vec<String> {
    let mut args = vec!["--shard".to_owned()];
    let mut set = |flag: &str, value: String| args.extend([flag.to_owned(), value]);
    set("--to", to.to_string());
    set("--connections", connections.to_string());
    set("--window", config.window.to_string());
    set("--size", config.size.to_string());
    if let Some(rate) = config.rate {
        set("--rate", (rate / f64::from(shards)).to_string());
    }
    if config.messages.is_some() {
        args.push("--hold".to_owned());
    }
    args
}
