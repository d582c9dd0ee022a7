use std::fs;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use echosphere_core::DialError;
use echosphere_core::echo::{Client, ClientConfig, Command, EchoCodec, Failure, Notice};
use echosphere_core::endpoint::Endpoint;
use echosphere_core::link::LinkConfig;
use echosphere_core::random::Backoff;
use echosphere_core::wire::MAX_FRAME;
use echosphere_driver::Driver;
use echosphere_transport_tcp::TcpConnector;
use serde_json::json;
use tokio::sync::mpsc;

use super::PORT;
use crate::attempts::{Failures, Insist, other_protocol};
use crate::signals::{INTERRUPTED, Signals};
use crate::values::{DelayArg, duration, short};
use crate::{net, output, seed};

/// The longest X that a frame can carry.
const LONGEST: usize = MAX_FRAME as usize - 8;
/// The longest X that is printed in full.
const PRINTED: usize = 200;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere echo send \"any string\"
  echosphere echo send --file picture.png --to 192.0.2.7:8000
  head -c 1000 /dev/urandom | echosphere echo send --json

While it waits it answers what it is sent, as every client does. Prints `ok X` when X is acknowledged.")]
pub(crate) struct Args {
    /// What to send; - or nothing reads it from stdin, to its end
    message: Option<String>,

    /// Send what this file holds, whatever bytes they are
    #[arg(long, value_name = "PATH", conflicts_with = "message")]
    file: Option<PathBuf>,

    /// The server
    #[arg(
        long,
        value_name = "HOST:PORT",
        env = "ECHOSPHERE_TO",
        default_value = "127.0.0.1:8000"
    )]
    to: String,

    /// Give up after this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_TIMEOUT", default_value = "30s", value_parser = duration)]
    timeout: Duration,

    #[command(flatten)]
    insist: Insist,

    /// Disconnect and try again if no ok comes within this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_RESPONSE_TIMEOUT", default_value = "10s", value_parser = duration)]
    response_timeout: Duration,

    /// Wait before answering what is received: 2s, 0..5s, exp:2s
    #[arg(long, value_name = "DELAY", env = "ECHOSPHERE_ACK_DELAY", default_value = "none")]
    ack_delay: DelayArg,

    /// Print one JSON object
    #[arg(long, env = "ECHOSPHERE_JSON")]
    json: bool,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let x = read(&args)?;
    if x.len() > LONGEST {
        bail!("{} bytes to send; a frame carries at most {LONGEST}", x.len());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(send(args, x))
}

fn read(args: &Args) -> anyhow::Result<Bytes> {
    if let Some(path) = &args.file {
        let read = fs::read(path).with_context(|| format!("cannot read the file {}", path.display()))?;
        return Ok(read.into());
    }
    match &args.message {
        Some(text) if text != "-" => Ok(text.clone().into()),
        _ => {
            if io::stdin().is_terminal() {
                eprintln!("reading the message from this terminal; Ctrl-D ends it");
            }
            let mut all = Vec::new();
            let most = LONGEST as u64 + 1;
            io::stdin()
                .take(most)
                .read_to_end(&mut all)
                .context("cannot read stdin")?;
            Ok(all.into())
        }
    }
}

async fn send(args: Args, x: Bytes) -> anyhow::Result<ExitCode> {
    let to = net::resolve(&args.to, PORT).await?;
    let mut signals = Signals::catch()?;
    let config = ClientConfig {
        response_timeout: args.response_timeout,
        backoff: Backoff::default(),
        give_up_after: Some(args.timeout),
        retry_refused: args.insist.retry,
        ack_delay: args.ack_delay.0,
        ..ClientConfig::default()
    };
    let client = Client::new(config, seed::generator(None)?);
    let endpoint = Endpoint::new(client, EchoCodec::dialled(LONGEST as u32), LinkConfig::default());
    let (sender, mut notices) = mpsc::unbounded_channel();
    let notify = move |notice| {
        // The receiver is gone only once the outcome is known.
        let _ = sender.send(notice);
    };
    let (driver, handle) = Driver::dial(endpoint, TcpConnector::new(to), notify);
    let running = tokio::spawn(driver.run());
    handle.command(Command::Send { id: 0, x: x.clone() }).await?;

    let mut failures = Failures::new(args.timeout);
    let outcome = loop {
        let notice = tokio::select! {
            biased;
            notice = notices.recv() => notice,
            () = signals.next() => {
                eprintln!("interrupted before the ok came");
                return Ok(ExitCode::from(INTERRUPTED));
            }
        };
        match notice {
            Some(Notice::Retrying { failure, .. }) => {
                if let Some(line) = failures.note(explain(&failure, &args.to)) {
                    eprintln!("{line}");
                }
            }
            Some(notice) => break notice,
            None => bail!("the client ended without an outcome"),
        }
    };
    if let Some(line) = failures.over() {
        eprintln!("{line}");
    }
    if let Notice::Acknowledged { .. } = outcome {
        // Let the connection close in order before the process goes.
        drop(handle);
        running.await?;
    } else {
        // Whoever did not answer may not close either.
        running.abort();
    }
    report(&args, &x, outcome)
}

fn report(args: &Args, x: &Bytes, outcome: Notice) -> anyhow::Result<ExitCode> {
    match outcome {
        Notice::Acknowledged {
            round_trip, retries, ..
        } => {
            if args.json {
                output::json(&json!({
                    "acknowledged": true,
                    "bytes": x.len(),
                    "round_trip_us": round_trip.as_nanos() as f64 / 1e3,
                    "retries": retries,
                }))?;
            } else {
                output::bytes(format!("ok {}\n", shown(x)).as_bytes())?;
                eprintln!(
                    "acknowledged after {} ({} bytes, {retries} retries)",
                    short(round_trip),
                    x.len()
                );
            }
            Ok(ExitCode::SUCCESS)
        }
        Notice::GaveUp { failure, attempts, .. } => {
            let why = explain(&failure, &args.to);
            if args.json {
                output::json(&json!({
                    "acknowledged": false,
                    "bytes": x.len(),
                    "attempts": attempts,
                    "error": why,
                }))?;
            }
            let tried = match attempts {
                0 | 1 => String::new(),
                attempts => format!(" ({attempts} attempts)"),
            };
            eprintln!("error: not acknowledged: {why}{tried}");
            Ok(ExitCode::FAILURE)
        }
        Notice::Retrying { .. } => bail!("a retry is no outcome"),
    }
}

/// X for a terminal: nothing in it can control the terminal, and it is not long.
fn shown(x: &[u8]) -> String {
    match std::str::from_utf8(x) {
        Ok(text) if x.len() <= PRINTED && !text.chars().any(char::is_control) => text.to_owned(),
        _ => format!("({} bytes)", x.len()),
    }
}

/// What went wrong, and what to do.
fn explain(failure: &Failure, to: &str) -> String {
    match failure {
        Failure::Dial(DialError::Refused) => {
            format!("nobody listens at {to} (start a server there with `echosphere echo serve --listen {to}`)")
        }
        Failure::Dial(_) => format!("cannot reach {to}"),
        Failure::Closed(reason) => format!("the connection to {to} ended before the ok ({reason:?})"),
        Failure::Rejected(code, text) => {
            let text: String = String::from_utf8_lossy(text)
                .chars()
                .filter(|c| !c.is_control())
                .collect();
            format!("the server says: {code}: {text}")
        }
        Failure::TimedOut => format!("no ok from {to} in time (--response-timeout)"),
        Failure::ShuttingDown => "shutting down".to_owned(),
        Failure::OtherProtocol(protocol) => other_protocol(to, *protocol, "an echo server"),
    }
}
