//! The server under load: in this process, in a process of its own, or elsewhere.

use std::env;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args as _;
use echosphere_core::echo::{EchoCodec, Server};
use echosphere_transport_ws::WsUrl;
use rand_chacha::ChaCha8Rng;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::echo::serve::{self, Bounds};
use crate::net::{ServerAddress, Target};
use crate::seed;
use crate::server::{OwnServer, ServerEvent, State};
use crate::tls::TlsArgs;

/// The time for a server process to end.
const ENDING: Duration = Duration::from_secs(20);

type Here = OwnServer<Server<ChaCha8Rng>, EchoCodec>;

pub(super) enum AnyServer {
    Here(Box<Here>),
    Process(Box<Process>),
    Elsewhere(Box<Elsewhere>),
}

/// A server that someone else has started.
pub(super) struct Elsewhere {
    pub(super) addr: SocketAddr,
    /// If it is reached over WebSocket.
    pub(super) url: Option<WsUrl>,
    pub(super) tls: TlsArgs,
}

/// A server in a process of its own. It prints its address and its final state as JSON.
pub(super) struct Process {
    addr: SocketAddr,
    tls: TlsArgs,
    child: Child,
    output: Lines<BufReader<ChildStdout>>,
}

impl AnyServer {
    /// Starts a server: in a process of its own if `io_threads` is given, otherwise in this one. With `tls`, it speaks TLS.
    pub(super) async fn start(bounds: Bounds, io_threads: Option<u32>, tls: bool) -> anyhow::Result<Self> {
        match io_threads {
            None => {
                let server = OwnServer::start(bounds.endpoint(seed::generator(None)?)?, tls)?;
                Ok(Self::Here(Box::new(server)))
            }
            Some(io_threads) => Ok(Self::Process(Box::new(Process::start(io_threads, tls).await?))),
        }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        match self {
            Self::Here(server) => server.addr,
            Self::Process(process) => process.addr,
            Self::Elsewhere(server) => server.addr,
        }
    }

    /// The server as its clients connect to it.
    pub(super) fn target(&self) -> Target {
        let url = match self {
            Self::Elsewhere(server) => server.url.clone(),
            Self::Here(_) | Self::Process(_) => None,
        };
        match url {
            Some(url) => ServerAddress::Url(url).or_port(0),
            None => self.addr().into(),
        }
    }

    /// What its clients need for TLS.
    pub(super) fn client_tls(&self) -> TlsArgs {
        match self {
            Self::Here(server) => server.client_tls(),
            Self::Process(process) => process.tls.clone(),
            Self::Elsewhere(server) => server.tls.clone(),
        }
    }

    /// Ends the server and returns its final state; `None` if it is elsewhere.
    pub(super) async fn finish(self) -> anyhow::Result<Option<State>> {
        match self {
            Self::Here(server) => server.finish(serve::state).await.map(Some),
            Self::Process(process) => Ok(Some(process.finish().await?)),
            Self::Elsewhere(..) => Ok(None),
        }
    }
}

impl Process {
    async fn start(io_threads: u32, tls: bool) -> anyhow::Result<Self> {
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
        for variable in ["CERT", "KEY", "CLIENT_CA", "SELF_SIGNED"] {
            command.env_remove(format!("ECHOSPHERE_TLS_{variable}"));
        }
        for variable in ["ECHOSPHERE_WS", "ECHOSPHERE_WS_ORIGIN"] {
            command.env_remove(variable);
        }
        if tls {
            command.arg("--tls-self-signed");
        }
        if io_threads > 1 {
            command.args(["--io-threads", &io_threads.to_string()]);
        }
        // Ctrl-C must reach the load alone, which drains the server.
        command.process_group(0);
        let mut child = command.spawn()?;
        let mut output = BufReader::new(child.stdout.take().context("no output")?).lines();
        match next(&mut output).await.context("the server does not start")? {
            ServerEvent::Listening {
                address,
                tls_fingerprint,
                ..
            } => Ok(Self {
                addr: address,
                tls: TlsArgs::trusting(tls_fingerprint.map(|it| it.parse()).transpose()?),
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

/// The next event that a server prints.
async fn next(output: &mut Lines<BufReader<ChildStdout>>) -> anyhow::Result<ServerEvent> {
    let line = output.next_line().await?.context("it has ended")?;
    Ok(serde_json::from_str(&line)?)
}

/// The bounds on this program's command line. The server inherits those of the environment.
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
