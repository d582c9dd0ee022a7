mod get;
mod printer;
mod serve;

use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};

/// The port of numbers over gRPC unless told otherwise.
const PORT: u16 = 1337;
/// The same over TCP.
const TCP_PORT: u16 = 1338;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Send numbers to those who ask, until Ctrl-C
    Serve(serve::Args),
    /// Get numbers, whatever happens to the connection, and check them
    Get(get::Args),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Transport {
    Grpc,
    Tcp,
}

impl Transport {
    const fn port(self) -> u16 {
        match self {
            Self::Grpc => PORT,
            Self::Tcp => TCP_PORT,
        }
    }
}

pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Serve(args) => serve::run(args),
        Command::Get(args) => get::run(args),
    }
}
