//! Long-lived clients: those of this process, and those of a process that receives instructions on stdin.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::{EchoCodec, MAX_MESSAGE};
use echosphere_core::endpoint::Endpoint;
use echosphere_driver::Handle;
use echosphere_transport_tcp::TcpConnector;
use echosphere_transport_tls::ClientTls;
use echosphere_transport_ws::WsUrl;
use rustix::time::{ClockId, clock_gettime};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines, stdin};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::{Instant, timeout};

use super::machine::{self, Config, LongLivedClients, Notice};
use crate::connector::{AnyConnector, NegotiationError};
use crate::running::Running;
use crate::stderr::status;
use crate::{limits, output, seed, sources};

/// The time for all connections to open.
const OPENING: Duration = Duration::from_secs(30);
/// The time for the last acknowledgements at the end.
const FINISHING: Duration = Duration::from_secs(10);

/// The results of one process.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Results {
    pub(super) opened: u64,
    pub(super) sent: u64,
    pub(super) never_sent: u64,
    pub(super) acknowledged: u64,
    pub(super) answered: u64,
    pub(super) late: u64,
    pub(super) broken: BTreeMap<String, u64>,
    /// Round trips: nanoseconds, and the number of round trips that took as long.
    pub(super) round_trips: Vec<(u64, u64)>,
    pub(super) elapsed_s: f64,
    /// The share of a core that the clients used.
    pub(super) cpu: f64,
    pub(super) zero: bool,
}

/// Connections of this process.
pub(super) struct Clients {
    clients: Running<LongLivedClients, EchoCodec>,
    noted: BTreeSet<Notice>,
    began: Option<(Instant, Duration)>,
    took: (Duration, f64),
}

/// Counts the acknowledged messages of running clients.
pub(super) struct Counter(Handle<LongLivedClients, EchoCodec>);

impl Counter {
    /// The number so far.
    pub(super) async fn acknowledged(&self) -> anyhow::Result<u64> {
        let count = |endpoint: &Endpoint<LongLivedClients, _>| endpoint.machine().counts().acknowledged;
        Ok(self.0.inspect(count).await?)
    }
}

impl Clients {
    /// Starts to open connections, with a new random `run` in `config`.
    pub(super) async fn start(
        to: SocketAddr,
        tls: Option<ClientTls>,
        url: Option<WsUrl>,
        config: Config,
    ) -> anyhow::Result<Self> {
        let run = seed::draw()?;
        let from = if sources::is_loopback(to) {
            sources::loopback(config.connections.into(), limits::ports(), run)
        } else {
            Vec::new()
        };
        let stay = LongLivedClients::new(Config { run, ..config })?;
        let endpoint = Endpoint::new(stay, EchoCodec::dialled(MAX_MESSAGE), ConnectionConfig::default());
        let tcp = TcpConnector::from_addresses(to, from);
        let connector = AnyConnector::new(tcp, tls, url, NegotiationError::default());
        connector.try_negotiation().await?;
        let clients = Running::dial(endpoint, connector);
        clients.command(machine::Command::Open).await?;
        Ok(Self {
            clients,
            noted: BTreeSet::new(),
            began: None,
            took: Default::default(),
        })
    }

    /// Waits until every connection is open or has failed to open, for a bounded time. Returns the number of open ones.
    pub(super) async fn opened(&mut self) -> anyhow::Result<u64> {
        match timeout(OPENING, self.wait_for(Notice::Open)).await {
            Ok(result) => result?,
            Err(_) => status!("some connections are not open after {}", seconds(OPENING)),
        }
        Ok(self
            .clients
            .inspect(|endpoint| endpoint.machine().counts().opened.into())
            .await?)
    }

    pub(super) async fn begin(&mut self) -> anyhow::Result<()> {
        self.began = Some((Instant::now(), thread_cpu_time()));
        Ok(self.clients.command(machine::Command::Begin).await?)
    }

    pub(super) fn counter(&self) -> Counter {
        Counter(self.clients.clone())
    }

    /// Waits until every connection is closed.
    pub(super) async fn gone(&mut self) -> anyhow::Result<()> {
        self.wait_for(Notice::Gone).await
    }

    pub(super) async fn stop(&mut self) -> anyhow::Result<()> {
        self.note_time();
        Ok(self.clients.command(machine::Command::Stop).await?)
    }

    /// Waits for the last acknowledgements, for a bounded time.
    pub(super) async fn done(&mut self) -> anyhow::Result<()> {
        match timeout(FINISHING, self.wait_for(Notice::Done)).await {
            Ok(result) => result?,
            Err(_) => status!("some messages have no ok after {}", seconds(FINISHING)),
        }
        self.note_time();
        Ok(())
    }

    /// Closes all connections.
    pub(super) async fn close(self) -> anyhow::Result<Results> {
        self.clients.command(machine::Command::Close).await?;
        let endpoint = self.clients.finish().await?;
        let counts = endpoint.machine().counts().clone();
        Ok(Results {
            opened: counts.opened.into(),
            sent: counts.sent,
            never_sent: counts.never_sent,
            acknowledged: counts.acknowledged,
            answered: counts.answered,
            late: counts.late,
            broken: counts.broken,
            round_trips: counts.round_trips.recorded(),
            elapsed_s: self.took.0.as_secs_f64(),
            cpu: self.took.1,
            zero: endpoint.is_zero(),
        })
    }

    async fn wait_for(&mut self, wanted: Notice) -> anyhow::Result<()> {
        while !self.noted.contains(&wanted) {
            self.noted.insert(self.clients.notice().await?);
        }
        Ok(())
    }

    fn note_time(&mut self) {
        if let Some((since, cpu)) = self.began.take() {
            let elapsed = since.elapsed();
            let cpu = thread_cpu_time().saturating_sub(cpu);
            self.took = (elapsed, cpu.as_secs_f64() / elapsed.as_secs_f64().max(1e-9));
        }
    }
}

fn seconds(duration: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(duration)
}

/// CPU time of this thread, which only the clients use.
fn thread_cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.cast_unsigned(), time.tv_nsec as u32)
}

/// An instruction to a client process: a line of JSON on its stdin.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Instruction {
    Begin,
    Stop,
    Finish,
    Close,
}

/// A client process's answer: a line of JSON on its stdout.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Opened(u64),
    Gone,
    Done,
    Closed(Box<Results>),
}

/// A client process that this process has started.
pub(super) struct Process {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    is_gone: bool,
}

impl Process {
    /// Starts `echo load` with these arguments.
    pub(super) fn start(args: &[String]) -> anyhow::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        // Without this process's settings, as the arguments have all of them.
        command.args(["echo", "load"]).args(args).env_clear().current_dir("/");
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            // Ctrl-C must reach the load alone, which ends its clients.
            .process_group(0)
            .spawn()?;
        Ok(Self {
            input: child.stdin.take().context("no input")?,
            output: BufReader::new(child.stdout.take().context("no output")?).lines(),
            child,
            is_gone: false,
        })
    }

    pub(super) async fn opened(&mut self) -> anyhow::Result<u64> {
        match self.answer().await? {
            Answer::Opened(count) => Ok(count),
            Answer::Gone | Answer::Done | Answer::Closed(_) => bail!("a client process answered out of order"),
        }
    }

    pub(super) async fn instruct(&mut self, instruction: Instruction) -> anyhow::Result<()> {
        let mut line = serde_json::to_vec(&instruction)?;
        line.push(b'\n');
        Ok(self.input.write_all(&line).await?)
    }

    /// Waits until every connection is closed.
    pub(super) async fn gone(&mut self) -> anyhow::Result<()> {
        while !self.is_gone {
            self.is_gone = matches!(self.answer().await?, Answer::Gone);
        }
        Ok(())
    }

    pub(super) async fn done(&mut self) -> anyhow::Result<()> {
        while !matches!(self.answer().await?, Answer::Done) {}
        Ok(())
    }

    pub(super) async fn close(mut self) -> anyhow::Result<Results> {
        self.instruct(Instruction::Close).await?;
        loop {
            if let Answer::Closed(results) = self.answer().await? {
                self.child.wait().await?;
                return Ok(*results);
            }
        }
    }

    async fn answer(&mut self) -> anyhow::Result<Answer> {
        let line = self.output.next_line().await?;
        let line = line.context("a client process has ended too early")?;
        Ok(serde_json::from_str(&line)?)
    }
}

/// Runs a client process: follows the instructions on stdin and answers on stdout.
pub(super) async fn run_as_shard(mut clients: Clients) -> anyhow::Result<()> {
    let mut orders = BufReader::new(stdin()).lines();
    let (mut is_open, mut is_gone) = (false, false);
    loop {
        let change = async {
            if is_open {
                clients.gone().await?;
                return Ok(Answer::Gone);
            }
            clients.opened().await.map(Answer::Opened)
        };
        let order = tokio::select! {
            biased;
            order = orders.next_line() => order?.context("the process that started this one has ended")?,
            answer = change, if !is_gone => {
                (is_open, is_gone) = (true, is_open);
                output::json(&answer?)?;
                continue;
            }
        };
        match serde_json::from_str(&order)? {
            Instruction::Begin => clients.begin().await?,
            Instruction::Stop => clients.stop().await?,
            Instruction::Finish => {
                clients.done().await?;
                output::json(&Answer::Done)?;
            }
            Instruction::Close => return output::json(&Answer::Closed(Box::new(clients.close().await?))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::ready;

    use super::*;
    use crate::echo::load::long_lived::server::AnyServer;
    use crate::echo::serve::Bounds;

    #[tokio::test]
    async fn the_last_ok_is_noted_while_something_else_is_awaited() {
        let bounds = <Bounds as clap::Args>::augment_args(clap::Command::new("bounds")).get_matches_from(["bounds"]);
        let bounds = <Bounds as clap::FromArgMatches>::from_arg_matches(&bounds).unwrap();
        let server = AnyServer::start(bounds, None, false).await.unwrap();
        let config = Config {
            connections: 1,
            window: 1,
            size: 16,
            rate: None,
            messages: Some(1),
            run: 0,
        };
        let mut clients = Clients::start(server.addr(), None, None, config).await.unwrap();
        assert_eq!(clients.opened().await.unwrap(), 1);
        let counter = clients.counter();
        clients.begin().await.unwrap();
        while counter.acknowledged().await.unwrap() == 0 {}
        tokio::select! {
            biased;
            _ = clients.gone() => panic!("no connection is closed"),
            () = ready(()) => {}
        }
        tokio::select! {
            biased;
            done = clients.done() => done.unwrap(),
            () = ready(()) => panic!("the last ok has arrived"),
        }
        // The driver ends with its last handle.
        drop(counter);
        assert_eq!(clients.close().await.unwrap().acknowledged, 1);
        assert!(server.finish().await.unwrap().unwrap().zero);
    }
}
