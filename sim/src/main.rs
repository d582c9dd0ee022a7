//! The simulator's command line.

mod commands;
mod mutants;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Run the relay's machines under seeded faults and check every step against a model of the protocol
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
  cargo run --release -p sim -- shrink SEED -o failing.json    (the seed of a failing run)
  cargo run --release -p sim -- replay failing.json
  cargo run --release -p sim -- exhaust --clients 2
  cargo run --release -p sim -- crowd --clients 100000 --faults
  cargo run --release -p sim -- draw failing.json -o failing.html

Exit codes: 0 passed; 1 a rule was broken; 2 the command line is wrong; 3 a run did not finish in time after all \
faults had ended, or hangs; 4 a panic; 5 two runs of one seed differed; 6 the campaign \
never reached a situation that it must reach; 130 stopped by Ctrl-C. draw and hashes exit with 0 whatever the runs do.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run many seeds on all cores
    #[command(after_help = "Example:\n  cargo run --release -p sim -- campaign --system hub --minutes 5")]
    Campaign(commands::campaign::Args),
    /// Replay one run: a seed, or a file that shrink wrote
    #[command(after_help = "Example:\n  cargo run --release -p sim -- replay 17 --system chat --trace")]
    Replay(commands::one::ReplayArgs),
    /// Shrink a failing seed's run and write it to a file
    #[command(after_help = "Example:\n  cargo run --release -p sim -- shrink SEED -o failing.json")]
    Shrink(commands::one::ShrinkArgs),
    /// Draw a run as an HTML page: a seed, or a file that shrink wrote
    #[command(after_help = "Example:\n  cargo run --release -p sim -- draw 17 -o run.html --shiviz run.log")]
    Draw(commands::one::DrawArgs),
    /// Print the hashes of seeds' traces to compare machines, builds or versions
    #[command(after_help = "Example:\n  cargo run --release -p sim -- hashes --seeds 200 --system numbers")]
    Hashes(commands::hashes::Args),
    /// Run every schedule of a few clients up to a depth
    #[command(after_help = "Example:\n  cargo run --release -p sim -- exhaust --clients 2 --disturbances 2 --depth 14")]
    Exhaust(commands::exhaust::Args),
    /// Run a very large number of clients at once and print the cost
    #[command(after_help = "Example:\n  cargo run --release -p sim -- crowd --clients 100000 --faults")]
    Crowd(commands::crowd::Args),
    /// Plant bugs in a copy of the code, one at a time, and check that they are caught
    #[command(after_help = "Example:\n  cargo run --release -p sim -- mutants --only 03- --shrink")]
    Mutants(mutants::Args),
}

fn main() -> ExitCode {
    // A panic inside a run is a failure, which is reported with the seed.
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
