mod ask;
mod commands;
mod connect;
mod format;
mod listen;
mod load;
mod serve;
mod user;

use std::process::ExitCode;

use clap::Subcommand;

/// The default port of a hub.
const PORT: u16 = 1234;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a hub until Ctrl-C
    Serve(serve::Args),
    /// Connect as a user, and run commands from the terminal or from stdin
    Connect(connect::Args),
    /// Print the user id of this command's own connection
    Identity(ask::IdentityArgs),
    /// Print the ids of all connected users, one per line
    List(ask::ListArgs),
    /// Send a message to users by their ids
    Relay(ask::RelayArgs),
    /// Print the messages that arrive, or write them to a file
    Listen(listen::Args),
    /// Run many users against a hub, and check that every message arrives
    Load(load::Args),
}

pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => serve::run(args),
        Command::Connect(args) => connect::run(args),
        Command::Identity(args) => ask::identity(args),
        Command::List(args) => ask::list(args),
        Command::Relay(args) => ask::relay(args),
        Command::Listen(args) => listen::run(args),
        Command::Load(args) => load::run(args),
    }
}
