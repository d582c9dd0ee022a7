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

/// The port of a chat unless told otherwise.
const PORT: u16 = 8001;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere chat serve                    wait for somebody
  echosphere chat connect                  talk with whoever serves on 127.0.0.1:8001
  echosphere chat ping                     how long a message and its acknowledgement take

Without a command, MODE=server or MODE=client and IP_ADDR=ADDR[:PORT] in the environment or in .env choose one.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Option<Command>,

    /// Without a command: server or client
    #[arg(long, env = "ECHOSPHERE_CHAT_MODE")]
    mode: Option<String>,

    /// Without a command: where to listen, or whom to connect to
    #[arg(long, value_name = "ADDR[:PORT]", env = "ECHOSPHERE_CHAT_ADDR")]
    addr: Option<String>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Wait for somebody to talk with, until Ctrl-C
    Serve(serve::Args),
    /// Talk with a server
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
            Some(other) => bail!("MODE is {other:?}; expected server or client"),
            None => bail!("say `chat serve` or `chat connect`, or set MODE=server or MODE=client (--help says more)"),
        },
    }
}

/// Where a chat runs: its driver on a thread of its own, so that connections are kept up while stdout takes no more.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
}

/// A command's arguments as they are when only this one is given.
fn parsed<A: clap::Args>(only: Option<String>) -> anyhow::Result<A> {
    let command = A::augment_args(clap::Command::new("chat"));
    let given = [Some("chat".to_owned()), only]
        .into_iter()
        .flatten()
        .map(OsString::from);
    Ok(A::from_arg_matches(&command.try_get_matches_from(given)?)?)
}
