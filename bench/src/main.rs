//! Measures Echosphere's echo server beside a raw epoll loop and whatever other message brokers are installed. What it
//! measures and how, and what came of it, is in `bench/README.md`.

mod baseline;
mod compare;
mod generator;
mod peers;
mod plot;
mod process;
mod report;
mod shapes;
mod slow;
mod sockets;
mod wire;

use std::process::ExitCode;

use clap::Parser;

/// Measures the echo server beside its peers.
#[derive(Debug, Parser)]
enum Cli {
    /// Run every server under every load, in turn, and print the medians and their ratios
    Compare(compare::Args),
    /// Have some send long bodies, some of them to users who do not read: does it disturb others, and what does it cost?
    Slow(slow::Args),
    /// Serve echo as a raw epoll loop does, until killed: what the others are measured against
    Baseline(baseline::Args),
}

/// Prints a line to stderr, if that can be.
macro_rules! note {
    ($($what:tt)*) => { {
        use std::io::Write;
        let _ = writeln!(std::io::stderr(), $($what)*);
    } };
}
pub(crate) use note;

fn main() -> ExitCode {
    let outcome = match Cli::parse() {
        Cli::Compare(args) => compare::run(&args),
        Cli::Slow(args) => slow::run(&args),
        Cli::Baseline(args) => baseline::run(&args).map(|()| ExitCode::SUCCESS),
    };
    outcome.unwrap_or_else(|error| {
        note!("error: {error:#}");
        ExitCode::from(2)
    })
}
