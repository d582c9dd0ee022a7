//! The command line of Echosphere: an acknowledged message relay.

mod attempts;
mod chat;
mod echo;
mod hub;
mod limits;
mod net;
mod numbers;
mod output;
mod seed;
mod server;
mod signals;
mod values;

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;

/// An acknowledged message relay: every message gets its ok.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    system: System,

    /// How log lines look; they go to stderr, and RUST_LOG chooses them (RUST_LOG=debug)
    #[arg(
        long,
        global = true,
        value_enum,
        env = "ECHOSPHERE_LOG_FORMAT",
        default_value = "text"
    )]
    log_format: LogFormat,
}

const AFTER_HELP: &str = "\
Every setting can also come from the environment or from a file .env in this folder or one above it; a flag wins over \
the environment, and the environment over the file.

Examples:
  echosphere echo load                     a server and 10,000 clients, and a report
  echosphere echo serve                    a server on 127.0.0.1:8000
  echosphere echo send \"any string\"        have one message acknowledged
  echosphere hub serve                     a hub on 127.0.0.1:1234
  echosphere hub connect                   be one of its users
  echosphere numbers serve                 numbers over gRPC on 127.0.0.1:1337
  echosphere numbers get 5                 five of them, and their sum
  echosphere chat serve                    wait for somebody to talk with

Exit codes: 0 all is well; 1 it ran, and something is missing, which is said; 2 it could not start; 130 interrupted.";

#[derive(Debug, Subcommand)]
enum System {
    /// Have messages answered by somebody chosen at random
    #[command(subcommand)]
    Echo(echo::Command),
    /// Know who is connected, and send to users by their ids
    #[command(subcommand)]
    Hub(hub::Command),
    /// Send streams of numbers that a client can go on with after a loss, or get one
    #[command(subcommand)]
    Numbers(numbers::Command),
    /// Talk with one other, every message acknowledged
    Chat(chat::Args),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

fn main() -> ExitCode {
    match dotenvy::dotenv() {
        Err(error) if !error.not_found() => {
            eprintln!(
                "error: cannot read the file .env: {error}\n\nEach line is NAME=value; quote values with spaces."
            );
            return ExitCode::from(2);
        }
        _ => {}
    }
    let cli = Cli::parse();
    log_to_stderr(cli.log_format);
    let outcome = match cli.system {
        System::Echo(command) => echo::run(command),
        System::Hub(command) => hub::run(command),
        System::Numbers(command) => numbers::run(command),
        System::Chat(args) => chat::run(args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::from(2)
    })
}

fn log_to_stderr(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
}
