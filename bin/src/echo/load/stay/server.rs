//! The server that the load is put on: of this process, a process of its own, or elsewhere.

use std::env;
use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::Context;
use clap::Args as _;
use echosphere_core::echo::{EchoCodec, Server};
use rand_chacha::ChaCha8Rng;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::echo::serve::{self, Bounds};
use crate::seed;
use crate::server::OwnServer;

type Here = OwnServer<Server<ChaCha8Rng>, EchoCodec>;

pub(super) enum AnyServer {
    Here(Box<Here>),
    Process(SocketAddr, Box<Child>),
    Elsewhere(SocketAddr),
}

impl AnyServer {
    /// Starts one of this program's own; with a number of threads of IO, in a process of its own.
    pub(super) async fn start(bounds: Bounds, io_threads: Option<u32>) -> anyhow::Result<Self> {
        let Some(io_threads) = io_threads else {
            let server = OwnServer::start(bounds.endpoint(seed::generator(None)?)?)?;
            return Ok(Self::Here(Box::new(server)));
        };
        let mut command = Command::new(env::current_exe()?);
        command
            .args(["echo", "serve", "--json", "--drain", "10s", "--listen", "127.0.0.1:0"])
            .args(bounds_given());
        if io_threads > 1 {
            command.args(["--io-threads", &io_threads.to_string()]);
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // A Ctrl-C is for the load alone, which ends the server in order.
        command.process_group(0);
        let mut child = command.spawn()?;
        let mut words = BufReader::new(child.stderr.take().context("no output")?);
        let mut line = String::new();
        words.read_line(&mut line).await?;
        let addr = line
            .strip_prefix("listening on ")
            .and_then(|rest| rest.split(' ').next()?.parse().ok());
        let addr = addr.with_context(|| format!("the server does not start: {line}"))?;
        // What it says on is for people who run it themselves, but its output must not be full.
        tokio::spawn(async move { words.read_to_end(&mut Vec::new()).await });
        Ok(Self::Process(addr, Box::new(child)))
    }

    pub(super) fn addr(&self) -> SocketAddr {
        match self {
            Self::Here(server) => server.addr,
            Self::Process(addr, _) | Self::Elsewhere(addr) => *addr,
        }
    }

    /// Ends it, and returns what it has left; `None` of one elsewhere.
    pub(super) async fn finish(self) -> anyhow::Result<Option<Value>> {
        match self {
            Self::Here(server) => {
                let state = server.finish(serve::state).await?;
                Ok(Some(serde_json::to_value(state)?))
            }
            Self::Process(_, child) => {
                let pid = child.id().and_then(|pid| Pid::from_raw(pid.cast_signed()));
                kill_process(pid.context("the server has ended by itself")?, Signal::TERM)?;
                let output = child.wait_with_output().await?;
                Ok(Some(
                    serde_json::from_slice(&output.stdout).context("the server has ended without its counters")?,
                ))
            }
            Self::Elsewhere(_) => Ok(None),
        }
    }
}

/// The bounds that this program was given as flags, as they were given. (Those of the environment reach the server by it.)
fn bounds_given() -> Vec<String> {
    let known = Bounds::augment_args(clap::Command::new("bounds"));
    let flags: Vec<String> = known
        .get_arguments()
        .filter_map(|arg| Some(format!("--{}", arg.get_long()?)))
        .collect();
    let mut given = Vec::new();
    let mut args = env::args();
    while let Some(arg) = args.next() {
        if flags.contains(&arg) {
            given.push(arg);
            given.extend(args.next());
        } else if arg
            .split_once('=')
            .is_some_and(|(flag, _)| flags.iter().any(|known| known == flag))
        {
            given.push(arg);
        }
    }
    given
}
