//! The command line of Echosphere: an acknowledged message relay.

mod chat;
mod echo;
mod escape;
mod failure;
mod hub;
mod latency;
mod limits;
mod net;
mod numbers;
mod output;
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
mod values;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{ArgAction, ArgMatches, CommandFactory, FromArgMatches, Parser, Subcommand};

use crate::output::Unwritable;
use crate::stderr::{Format, complain};

/// An acknowledged message relay: every message gets its ok.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    system: System,

    #[command(flatten)]
    common: Common,
}

/// What every command understands.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Common options")]
struct Common {
    /// Write log lines to stderr as text or as JSON
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORMAT",
        env = "ECHOSPHERE_LOG_FORMAT",
        default_value = "text"
    )]
    log_format: Format,

    /// Log more: -v connections, -vv how each goes, -vvv everything [without it, RUST_LOG chooses]
    #[arg(short, long, global = true, action = ArgAction::Count, conflicts_with = "quiet")]
    verbose: u8,

    /// Write nothing but results and errors
    #[arg(short, long, global = true)]
    quiet: bool,

    /// Read settings from this file instead of .env
    // It is read before the command line is parsed.
    #[arg(long, global = true, value_name = "PATH")]
    env_file: Option<PathBuf>,
}

const AFTER_HELP: &str = "\
Each setting can also come from an environment variable or from a file .env in the working folder. A flag wins over \
the environment, and the environment over the file.

Examples:
  echosphere echo load                     a server and 10,000 clients, and a report
  echosphere echo serve                    a server on 127.0.0.1:8000
  echosphere echo send \"any string\"        have one message acknowledged
  echosphere hub serve                     a hub on 127.0.0.1:1234
  echosphere hub connect                   be one of its users
  echosphere numbers serve                 numbers over gRPC on 127.0.0.1:1337
  echosphere numbers get 5                 five of them, and their sum
  echosphere chat serve                    wait for a peer on 127.0.0.1:8001

Exit codes: 0 success; 1 it ran and something failed or is missing; 2 it could not start; 130 interrupted.";

#[derive(Debug, Subcommand)]
enum System {
    /// Relay each message to a random client and return its acknowledgement
    #[command(subcommand)]
    Echo(echo::Command),
    /// List connected users and send messages to them by id
    #[command(subcommand)]
    Hub(hub::Command),
    /// Send streams of numbers that a client can resume after a lost connection
    #[command(subcommand)]
    Numbers(numbers::Command),
    /// Talk with one peer; every message is acknowledged
    Chat(chat::Args),
}

fn main() -> ExitCode {
    terminal::close_at_panic();
    run().unwrap_or_else(|error| {
        complain!("error: {error:#}");
        // What could not be written had been started.
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

/// Names the systems that have a command which was given without one, such as `echosphere serve`.
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
mod tests {
    use super::*;

    /// Every command, with its path.
    fn commands(command: &clap::Command, path: &str, all: &mut Vec<(String, clap::Command)>) {
        all.push((path.to_owned(), command.clone()));
        for inner in command.get_subcommands() {
            commands(inner, &format!("{path} {}", inner.get_name()), all);
        }
    }

    #[test]
    fn each_variable_is_named_after_its_flag() {
        Cli::command().debug_assert();
        let mut all = Vec::new();
        commands(&Cli::command(), "echosphere", &mut all);
        for (path, command) in &all {
            let system = path.split(' ').nth(1).unwrap_or_default().to_uppercase();
            for arg in command.get_arguments() {
                let Some(variable) = arg.get_env().and_then(|variable| variable.to_str()) else {
                    continue;
                };
                let flag = arg.get_id().as_str().to_uppercase();
                let names = [format!("ECHOSPHERE_{flag}"), format!("ECHOSPHERE_{system}_{flag}")];
                assert!(names.contains(&variable.to_owned()), "{path} --{flag}: {variable}");
            }
        }
    }
}
