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

/// The port a hub listens on unless told otherwise.
const PORT: u16 = 1234;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a hub until Ctrl-C
    Serve(serve::Args),
    /// Be a user of a hub, at this terminal or from a script
    Connect(connect::Args),
    /// Print a user id: that of this command's own connection, as long as it lasts
    Identity(ask::IdentityArgs),
    /// Print the ids of all connected users, one a line
    List(ask::ListArgs),
    /// Send a body to users by their ids
    Relay(ask::RelayArgs),
    /// Print what arrives, or write it to a file
    Listen(listen::Args),
    /// Run many users, against a hub of its own or one elsewhere, and check that every body arrives
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
