mod bounds;
mod connect;
mod conversation;
mod driver;
mod format;
mod input;
mod ping;
mod serve;

use std::ffi::OsString;
use std::process::ExitCode;

use anyhow::bail;
use clap::Subcommand;

use crate::escape;

/// The default port of a chat.
const PORT: u16 = 8001;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere chat serve                    wait for a client on 127.0.0.1:8001
  echosphere chat connect                  connect to that server
  echosphere chat ping                     measure the time until a message is acknowledged

Without a command, MODE=server or MODE=client selects `serve` or `connect`, and IP_ADDR=ADDR[:PORT] sets its address. \
Both can be variables or lines of .env.

Exit codes: those of `serve` and `connect`; 2 without a mode.")]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Run as server or client if no command is given
    #[arg(long, env = "ECHOSPHERE_CHAT_MODE")]
    pub(crate) mode: Option<String>,

    /// Listen on, or connect to, this address if no command is given
    #[arg(long, value_name = "ADDR[:PORT]", env = "ECHOSPHERE_CHAT_ADDR")]
    pub(crate) addr: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a server and talk with its clients, one at a time, until Ctrl-C
    Serve(serve::Args),
    /// Connect to a server and talk with it
    Connect(connect::Args),
    /// Measure how long a message and its acknowledgement take
    Ping(ping::Args),
}

pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.command {
        Some(Command::Serve(args)) => serve::run(args),
        Some(Command::Connect(args)) => connect::run(args),
        Some(Command::Ping(args)) => ping::run(args),
        None => match args.mode.as_deref() {
            Some("server") => serve::run(parsed(args.addr.map(|addr| format!("--listen={addr}")))?),
            Some("client") => connect::run(parsed(args.addr)?),
            Some(other) => bail!(
                "MODE is \"{}\"; expected server or client",
                escape::line(other.as_bytes())
            ),
            None => {
                bail!("no command: use `chat serve` or `chat connect`, or set MODE=server or MODE=client (see --help)")
            }
        },
    }
}

/// A runtime whose driver has a thread of its own, so that keepalives continue while stdout blocks.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
}

/// A command's arguments when at most this one is given.
fn parsed<A: clap::Args>(only: Option<String>) -> anyhow::Result<A> {
    let command = A::augment_args(clap::Command::new("chat"));
    let given = [Some("chat".to_owned()), only]
        .into_iter()
        .flatten()
        .map(OsString::from);
    Ok(A::from_arg_matches(&command.try_get_matches_from(given)?)?)
}
