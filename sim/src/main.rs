//! The simulator's command line.

mod commands;
mod mutants;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Runs the relay's machines under seeded faults, and checks every step against a model of the protocol.
#[derive(Debug, Parser)]
#[command(name = "sim", version, about, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  cargo run --release -p sim -- campaign --seeds 10000
  cargo run --release -p sim -- replay 17 --trace
  cargo run --release -p sim -- shrink SEED -o failing.json    (the seed of a run that fails)
  cargo run --release -p sim -- replay failing.json
  cargo run --release -p sim -- exhaust --clients 2
  cargo run --release -p sim -- crowd --clients 100000 --faults
  cargo run --release -p sim -- draw failing.json -o failing.html

Exit codes: 0 all is well; 1 a rule was broken; 2 wrong use; 3 a run did not come to its end \
in time after all faults had ended, or hangs; 4 a panic; \
5 one seed did two different things; 6 the campaign missed a mark that it must reach; 130 it was stopped by Ctrl-C. draw \
and hashes say 0 whatever the runs come to.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run many seeds, on all cores
    #[command(after_help = "Example:\n  cargo run --release -p sim -- campaign --system hub --minutes 5")]
    Campaign(commands::campaign::Args),
    /// Run one again: a seed, or a file that shrink wrote
    #[command(after_help = "Example:\n  cargo run --release -p sim -- replay 17 --system chat --trace")]
    Replay(commands::one::ReplayArgs),
    /// Make a failing seed's run small, and write it to a file
    #[command(after_help = "Example:\n  cargo run --release -p sim -- shrink SEED -o failing.json")]
    Shrink(commands::one::ShrinkArgs),
    /// Draw a run as a page for the browser: a seed, or a file that shrink wrote
    #[command(after_help = "Example:\n  cargo run --release -p sim -- draw 17 -o run.html --shiviz run.log")]
    Draw(commands::one::DrawArgs),
    /// Print the hashes of seeds' traces, to compare machines, builds or versions
    #[command(after_help = "Example:\n  cargo run --release -p sim -- hashes --seeds 200 --system numbers")]
    Hashes(commands::hashes::Args),
    /// Go through every schedule of a few clients, up to a depth
    #[command(after_help = "Example:\n  cargo run --release -p sim -- exhaust --clients 2 --disturbances 2 --depth 14")]
    Exhaust(commands::exhaust::Args),
    /// Run a great many clients at once, and say what that cost
    #[command(after_help = "Example:\n  cargo run --release -p sim -- crowd --clients 100000 --faults")]
    Crowd(commands::crowd::Args),
    /// Plant bugs in a copy of the code, one at a time, and see whether the simulator catches them
    #[command(after_help = "Example:\n  cargo run --release -p sim -- mutants --only 03- --shrink")]
    Mutants(mutants::Args),
}

fn main() -> ExitCode {
    // Panics inside a run are failures that are reported with its seed.
    sim::panics::hush();
    match Cli::parse().command {
        Command::Campaign(args) => commands::campaign::run(&args),
        Command::Replay(args) => commands::one::replay(&args),
        Command::Shrink(args) => commands::one::shrink(&args),
        Command::Draw(args) => commands::one::draw(&args),
        Command::Hashes(args) => commands::hashes::run(&args),
        Command::Exhaust(args) => commands::exhaust::run(&args),
        Command::Crowd(args) => commands::crowd::run(&args),
        Command::Mutants(args) => mutants::mutants(&args),
    }
}
