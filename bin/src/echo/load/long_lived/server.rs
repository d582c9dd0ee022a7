//! The server that the load is put on: of this process, a process of its own, or elsewhere.

use std::env;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args as _;
use echosphere_core::echo::{EchoCodec, Server};
use rand_chacha::ChaCha8Rng;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::echo::serve::{self, Bounds};
use crate::seed;
use crate::server::{OwnServer, ServerEvent, State};

/// How long a server in a process of its own may take to end.
const ENDING: Duration = Duration::from_secs(20);

type Here = OwnServer<Server<ChaCha8Rng>, EchoCodec>;

pub(super) enum AnyServer {
    Here(Box<Here>),
    Process(Box<Process>),
    Elsewhere(SocketAddr),
}

/// A server in a process of its own, which tells as JSON where it listens and what it has left.
pub(super) struct Process {
    addr: SocketAddr,
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl AnyServer {
    /// Starts one of this program's own; with a number of threads of IO, in a process of its own.
    pub(super) async fn start(bounds: Bounds, io_threads: Option<u32>) -> anyhow::Result<Self> {
        match io_threads {
            None => {
                let server = OwnServer::start(bounds.endpoint(seed::generator(None)?)?)?;
                Ok(Self::Here(Box::new(server)))
            }
            Some(io_threads) => Ok(Self::Process(Box::new(Process::start(io_threads).await?))),
        }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        match self {
            Self::Here(server) => server.addr,
            Self::Process(process) => process.addr,
            Self::Elsewhere(addr) => *addr,
        }
    }

    /// Ends it, and returns what it has left; `None` of one elsewhere.
    pub(super) async fn finish(self) -> anyhow::Result<Option<State>> {
        match self {
            Self::Here(server) => server.finish(serve::state).await.map(Some),
            Self::Process(process) => Ok(Some(process.finish().await?)),
            Self::Elsewhere(_) => Ok(None),
        }
    }
}

impl Process {
    async fn start(io_threads: u32) -> anyhow::Result<Self> {
        let mut command = Command::new(env::current_exe()?);
        command
            .args([
                "--quiet",
                "echo",
                "serve",
                "--json",
                "--drain",
                "10s",
                "--listen",
                "127.0.0.1:0",
            ])
            .args(bounds_given())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true);
        if io_threads > 1 {
            command.args(["--io-threads", &io_threads.to_string()]);
        }
        // A Ctrl-C is for the load alone, which ends the server in order.
        command.process_group(0);
        let mut child = command.spawn()?;
        let mut output = BufReader::new(child.stdout.take().context("no output")?).lines();
        match next(&mut output).await.context("the server does not start")? {
            ServerEvent::Listening { address, .. } => Ok(Self {
                addr: address,
                child,
                output,
            }),
            ServerEvent::Stopped(_) => bail!("the server has stopped before it listened"),
        }
    }

    async fn finish(mut self) -> anyhow::Result<State> {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
        kill_process(pid.context("the server has ended by itself")?, Signal::TERM)?;
        let last = timeout(ENDING, next(&mut self.output)).await;
        let last = last.with_context(|| format!("the server does not end within {} s", ENDING.as_secs()))?;
        match last.context("the server has ended without its counters")? {
            ServerEvent::Stopped(state) => Ok(state),
            ServerEvent::Listening { .. } => bail!("the server has reported its address twice"),
        }
    }
}

/// The next object that a server prints.
async fn next(output: &mut Lines<BufReader<ChildStdout>>) -> anyhow::Result<ServerEvent> {
    let line = output.next_line().await?.context("it has ended")?;
    Ok(serde_json::from_str(&line)?)
}

/// The bounds that this program was given as flags, as they were given. (Those of the environment reach the server by it.)
fn bounds_given() -> Vec<OsString> {
    let known = Bounds::augment_args(clap::Command::new("bounds"));
    let flags: Vec<String> = known
        .get_arguments()
        .filter_map(|arg| Some(format!("--{}", arg.get_long()?)))
        .collect();
    let mut given = Vec::new();
    let mut args = env::args_os();
    while let Some(arg) = args.next() {
        let flag = arg.to_string_lossy();
        let name = flag.split('=').next().unwrap_or_default();
        if flags.iter().any(|known| known == name) {
            let has_value = flag.contains('=');
            given.push(arg);
            given.extend(if has_value { None } else { args.next() });
        }
    }
    given
}
