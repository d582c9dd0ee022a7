mod get;
mod printer;
mod serve;

use std::process::ExitCode;

use clap::{Subcommand, ValueEnum};

/// The default port over gRPC.
const PORT: u16 = 1337;
/// The default port over TCP.
const TCP_PORT: u16 = 1338;

/// What gRPC is called in the negotiation of TLS (ALPN).
const ALPN: &[u8] = b"h2";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a server until Ctrl-C
    Serve(Box<serve::Args>),
    /// Get numbers, resume after lost connections, and check the result
    Get(Box<get::Args>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
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
        Command::Serve(args) => serve::run(*args),
        Command::Get(args) => get::run(*args),
    }
}
