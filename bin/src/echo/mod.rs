mod load;
mod send;
mod serve;

use std::process::ExitCode;

use clap::Subcommand;

/// The port an echo server listens on unless told otherwise.
const PORT: u16 = 8000;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a server until Ctrl-C
    Serve(serve::Args),
    /// Have one message acknowledged
    Send(send::Args),
    /// Run many clients, against a server of its own or one elsewhere, and check that nothing is lost
    Load(load::Args),
}

pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => serve::run(args),
        Command::Send(args) => send::run(args),
        Command::Load(args) => load::run(args),
    }
}
