//! Measures Echosphere's servers next to a raw epoll loop and the message brokers that are installed. `bench/README.md` has
//! methods and results.

mod baseline;
mod compare;
mod generator;
mod loads;
mod plot;
mod process;
mod report;
mod servers;
mod slow;
mod sockets;
mod wire;

use std::process::ExitCode;

use clap::Parser;

/// Measure the echo server next to a raw epoll loop and other message brokers
#[derive(Debug, Parser)]
enum Cli {
    /// Measure every server under every load, and print the medians and their ratios
    Compare(compare::Args),
    /// Measure whether long bodies and slow consumers disturb other users, and what they cost
    Slow(slow::Args),
    /// Run the baseline, an echo server on a raw epoll loop, until killed
    Baseline(baseline::Args),
}

/// Prints a line to stderr. A failed write is ignored.
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
