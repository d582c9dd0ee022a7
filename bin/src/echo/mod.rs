mod load;
mod send;
mod serve;

use std::process::ExitCode;

use clap::{ArgMatches, Subcommand};

#[cfg(test)]
pub(crate) use self::load::LongLivedArgs;

/// The default port of an echo server.
const PORT: u16 = 8000;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a server until Ctrl-C
    Serve(serve::Args),
    /// Send one message and wait for its acknowledgement
    Send(send::Args),
    /// Run many clients against a server and check that no message is lost
    Load(load::Args),
}

/// `matches` are the arguments of the innermost command.
pub(crate) fn run(command: Command, matches: &ArgMatches) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => serve::run(args),
        Command::Send(args) => send::run(args),
        Command::Load(args) => load::run(args, matches),
    }
}
