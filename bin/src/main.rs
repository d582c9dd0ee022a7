//! The command line of Echosphere: an acknowledged message relay.

mod chat;
mod connector;
mod echo;
mod escape;
mod failure;
mod hub;
mod latency;
mod limits;
mod net;
mod numbers;
mod output;
mod page;
mod progress;
mod prompt;
mod retry;
mod running;
mod seed;
mod server;
mod settings;
mod signals;
mod sources;
mod stderr;
mod stdin;
mod terminal;
mod tls;
mod values;
mod verdict;
mod ws;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::output::Unwritable;
use crate::stderr::{Format, complain};

/// An acknowledged message relay
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    system: System,

    #[command(flatten)]
    common: Common,
}

/// Options of every command.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Common options")]
struct Common {
    /// Write log lines to stderr in this format
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        env = "ECHOSPHERE_LOG_FORMAT",
        default_value = "text"
    )]
    log_format: Format,

    /// Log more: connections (-v), their progress (-vv), everything (-vvv) [default: as RUST_LOG says]
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,

    /// Print only results and errors
    #[arg(short, long, global = true)]
    quiet: bool,

    /// Read settings from this file instead of .env
    // `settings` reads it before clap parses the command line.
    #[arg(long, global = true, value_name = "PATH")]
    env_file: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Every option with an `env` entry in its help can also be an environment variable or a line of the file .env in the \
working directory. The command line overrides the environment, and the environment overrides the file.

Examples:
  echosphere echo load                     run a server and 10,000 clients, and print a report
  echosphere echo serve                    serve echo on 127.0.0.1:8000
  echosphere echo send \"any string\"        send a message and wait for its ok
  echosphere hub serve                     serve a hub on 127.0.0.1:1234
  echosphere hub connect                   connect to it as a user
  echosphere numbers serve                 serve numbers over gRPC on 127.0.0.1:1337
  echosphere numbers get 5                 get five numbers and their sum
  echosphere chat serve                    wait for a chat client on 127.0.0.1:8001

Exit codes: 0 success; 1 the command ran, but it failed or its result is incomplete; 2 it could not start; \
130 interrupted.";

#[derive(Debug, Subcommand)]
enum System {
    /// Relay each message to a random client and return its acknowledgement
    #[command(subcommand)]
    Echo(echo::Command),
    /// List connected users and send messages to them by id
    #[command(subcommand)]
    Hub(hub::Command),
    /// Serve and get streams of numbers that resume after a lost connection
    #[command(subcommand)]
    Numbers(numbers::Command),
    /// Chat with one peer; every message is acknowledged
    Chat(chat::Args),
}

fn main() -> ExitCode {
    terminal::close_at_panic();
    run().unwrap_or_else(|error| {
        complain!("error: {error:#}");
        // A command that could not write had started.
        ExitCode::from(if error.is::<Unwritable>() { 1 } else { 2 })
    })
}

fn run() -> anyhow::Result<ExitCode> {
    settings::load(std::env::args().skip(1))?;
    let matches = Cli::command()
        .try_get_matches()
        .unwrap_or_else(|error| suggest(error).exit());
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let verbosity = if cli.common.quiet {
        -1
    } else {
        cli.common.verbose.min(3).cast_signed()
    };
    stderr::set_up(cli.common.log_format, verbosity);
    match cli.system {
        System::Echo(command) => echo::run(command, of_command(&matches)),
        System::Hub(command) => hub::run(command),
        System::Numbers(command) => numbers::run(command),
        System::Chat(args) => chat::run(args),
    }
}

/// The arguments of the innermost command.
fn of_command(mut matches: &ArgMatches) -> &ArgMatches {
    while let Some((_, inner)) = matches.subcommand() {
        matches = inner;
    }
    matches
}

/// Suggests the systems that have a command, for a command without its system such as `echosphere serve`.
fn suggest(mut error: clap::Error) -> clap::Error {
    if error.kind() != ErrorKind::InvalidSubcommand {
        return error;
    }
    let Some(ContextValue::String(word)) = error.get(ContextKind::InvalidSubcommand).cloned() else {
        return error;
    };
    let cli = Cli::command();
    let with = |system: &&clap::Command| system.find_subcommand(&word).is_some();
    let systems: Vec<String> = cli
        .get_subcommands()
        .filter(with)
        .map(|system| format!("echosphere {} {word}", system.get_name()))
        .collect();
    if !systems.is_empty() {
        error.insert(ContextKind::SuggestedSubcommand, ContextValue::Strings(systems));
    }
    error
}

#[cfg(test)]
mod options_tests;
