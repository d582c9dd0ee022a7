//! The connections of one process, and those of another that is told line by line what to do.

use std::collections::BTreeMap;
use std::env;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use echosphere_core::echo::{EchoCodec, MAX_MESSAGE};
use echosphere_core::endpoint::Endpoint;
use echosphere_core::link::LinkConfig;
use echosphere_driver::{Driver, Handle};
use echosphere_transport_tcp::TcpConnector;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, stdin};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::machine::{self, Config, Notice, Stay};
use crate::echo::load::plan;
use crate::{output, seed};

/// How long all connections may take to open.
const OPENING: Duration = Duration::from_secs(120);
/// How long what is under way may take to be answered.
const FINISHING: Duration = Duration::from_secs(60);

/// What the connections of one process did.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Figures {
    pub(super) opened: u64,
    pub(super) dials_failed: u64,
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    pub(super) answered: u64,
    pub(super) late: u64,
    pub(super) broken: BTreeMap<String, u64>,
    /// Nanoseconds, and how many round trips took so long.
    pub(super) round_trips: Vec<(u64, u64)>,
    pub(super) elapsed_s: f64,
    /// The clients' own share of a core.
    pub(super) cpu: f64,
    pub(super) zero: bool,
}

/// Connections of this process.
pub(super) struct Clients {
    handle: Handle<Stay, EchoCodec>,
    notices: UnboundedReceiver<Notice>,
    driver: JoinHandle<Endpoint<Stay, EchoCodec>>,
    began: Option<(Instant, Duration)>,
    took: (Duration, f64),
}

impl Clients {
    /// Starts to open them; `run` in `config` is drawn here.
    pub(super) async fn start(to: SocketAddr, config: Config) -> anyhow::Result<Self> {
        let run = seed::draw()?;
        let sources = if to.ip().is_loopback() && to.is_ipv4() {
            plan::loopback_sources(config.connections.into(), run)
        } else {
            Vec::new()
        };
        let stay = Stay::new(Config { run, ..config })?;
        let endpoint = Endpoint::new(stay, EchoCodec::dialled(MAX_MESSAGE), LinkConfig::default());
        let (told, notices) = unbounded_channel();
        let notify = move |notice| {
            // Nobody listens any more: the run is over.
            let _ = told.send(notice);
        };
        let (driver, handle) = Driver::dial(endpoint, TcpConnector::from_addresses(to, sources), notify);
        let driver = tokio::spawn(driver.run());
        handle.command(machine::Command::Open).await?;
        Ok(Self {
            handle,
            notices,
            driver,
            began: None,
            took: Default::default(),
        })
    }

    /// Waits until every connection is open, or has failed to. Returns how many are.
    pub(super) async fn opened(&mut self) -> anyhow::Result<u64> {
        self.wait_for(Notice::Open, OPENING).await?;
        Ok(self
            .handle
            .inspect(|endpoint| endpoint.machine().counts().opened.into())
            .await?)
    }

    pub(super) async fn begin(&mut self) -> anyhow::Result<()> {
        self.began = Some((Instant::now(), thread_cpu_time()));
        Ok(self.handle.command(machine::Command::Begin).await?)
    }

    pub(super) async fn stop(&mut self) -> anyhow::Result<()> {
        self.note_time();
        Ok(self.handle.command(machine::Command::Stop).await?)
    }

    /// Waits until all is answered, but not for ever: what is missing then is in the figures.
    pub(super) async fn done(&mut self) -> anyhow::Result<()> {
        // Not having come in time is counted as lost.
        let _ = self.wait_for(Notice::Done, FINISHING).await;
        self.note_time();
        Ok(())
    }

    /// Closes all connections.
    pub(super) async fn close(self) -> anyhow::Result<Figures> {
        self.handle.command(machine::Command::Close).await?;
        drop(self.handle);
        let endpoint = self.driver.await?;
        let counts = endpoint.machine().counts().clone();
        let recorded = counts.round_trips.iter_recorded();
        Ok(Figures {
            opened: counts.opened.into(),
            dials_failed: counts.dials_failed.into(),
            sent: counts.sent,
            acknowledged: counts.acknowledged,
            answered: counts.answered,
            late: counts.late,
            broken: counts.broken,
            round_trips: recorded
                .map(|value| (value.value_iterated_to(), value.count_at_value()))
                .collect(),
            elapsed_s: self.took.0.as_secs_f64(),
            cpu: self.took.1,
            zero: endpoint.is_zero(),
        })
    }

    async fn wait_for(&mut self, wanted: Notice, at_most: Duration) -> anyhow::Result<()> {
        let wait = async {
            while self.notices.recv().await.context("the clients have ended")? != wanted {}
            Ok(())
        };
        timeout(at_most, wait)
            .await
            .with_context(|| format!("not all is {wanted:?} after {at_most:?}"))?
    }

    fn note_time(&mut self) {
        if let Some((since, cpu)) = self.began.take() {
            let elapsed = since.elapsed();
            let cpu = thread_cpu_time().saturating_sub(cpu);
            self.took = (elapsed, cpu.as_secs_f64() / elapsed.as_secs_f64().max(1e-9));
        }
    }
}

/// CPU time of this thread, which the clients have for themselves.
fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

/// Connections of a process that this one has started.
pub(super) struct Process {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// Starts it with these arguments after `echo load`.
    pub(super) fn start(args: &[String]) -> anyhow::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        // With this program's own settings out of the way: all are in the arguments.
        command.args(["echo", "load"]).args(args).env_clear().current_dir("/");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        Ok(Self {
            input: child.stdin.take().context("no input")?,
            output: BufReader::new(child.stdout.take().context("no output")?).lines(),
            child,
        })
    }

    pub(super) async fn opened(&mut self) -> anyhow::Result<u64> {
        Ok(self.line().await?.parse()?)
    }

    pub(super) async fn tell(&mut self, word: &str) -> anyhow::Result<()> {
        Ok(self.input.write_all(format!("{word}\n").as_bytes()).await?)
    }

    pub(super) async fn done(&mut self) -> anyhow::Result<()> {
        self.line().await?;
        Ok(())
    }

    pub(super) async fn close(mut self) -> anyhow::Result<Figures> {
        self.tell("close").await?;
        let figures = serde_json::from_str(&self.line().await?)?;
        self.child.wait().await?;
        Ok(figures)
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let line = self.output.next_line().await?;
        line.context("a process of clients has ended before it should")
    }
}

/// What such a process does: says how many connections are open, begins, stops and closes when it is told to.
pub(super) async fn obey(mut clients: Clients) -> anyhow::Result<()> {
    let mut words = BufReader::new(stdin()).lines();
    let opened = clients.opened().await?;
    output::bytes(format!("{opened}\n").as_bytes())?;
    while let Some(word) = words.next_line().await? {
        match word.as_str() {
            "begin" => clients.begin().await?,
            "stop" => clients.stop().await?,
            "finish" => {
                clients.done().await?;
                output::bytes(b"done\n")?;
            }
            "close" => return output::json(&clients.close().await?),
            other => bail!("an unknown word: {other}"),
        }
    }
    bail!("whoever started this has ended")
}
