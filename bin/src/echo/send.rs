use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use bytes::Bytes;
use echosphere_core::DialError;
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::{Client, ClientConfig, Command, EchoCodec, Failure, Notice};
use echosphere_core::endpoint::Endpoint;
use echosphere_core::random::Backoff;
use echosphere_core::wire::MAX_FRAME;
use echosphere_driver::Driver;
use echosphere_transport_tcp::TcpConnector;
use serde_json::json;
use tokio::sync::mpsc;

use super::PORT;
use crate::attempts::{Failures, Insist, other_protocol};
use crate::net::{Address, Target};
use crate::signals::{INTERRUPTED, Signals};
use crate::stderr::{complain, status};
use crate::values::{DelayArg, counted, short, time_out, yes_or_no};
use crate::{output, seed, shown, stdin};

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
        value_name = "HOST[:PORT]",
        env = "ECHOSPHERE_TO",
        default_value = "127.0.0.1:8000"
    )]
    to: Address,

    /// Give up after this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_TIMEOUT", default_value = "30s", value_parser = time_out)]
    timeout: Duration,

    #[command(flatten)]
    insist: Insist,

    /// Disconnect and try again if no ok comes within this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_RESPONSE_TIMEOUT", default_value = "10s", value_parser = time_out)]
    response_timeout: Duration,

    /// Wait before answering what is received: 2s, 0..5s, exp:2s
    #[arg(long, value_name = "DELAY", env = "ECHOSPHERE_ACK_DELAY", default_value = "none")]
    ack_delay: DelayArg,

    /// Print one JSON object
    #[arg(long, env = "ECHOSPHERE_JSON", value_parser = yes_or_no)]
    json: bool,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let x = stdin::to_send(args.message.as_deref(), args.file.as_deref(), LONGEST)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(send(args, x))
}

async fn send(args: Args, x: Bytes) -> anyhow::Result<ExitCode> {
    let to = args.to.clone().or_port(PORT);
    to.resolve().await?;
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
    let endpoint = Endpoint::new(client, EchoCodec::dialled(LONGEST as u32), ConnectionConfig::default());
    let (sender, mut notices) = mpsc::unbounded_channel();
    let notify = move |notice| {
        // The receiver is gone only once the outcome is known.
        let _ = sender.send(notice);
    };
    let (driver, handle) = Driver::dial(endpoint, TcpConnector::to_host(&*to.host, to.port), notify);
    let running = tokio::spawn(driver.run());
    handle.command(Command::Send { id: 0, x: x.clone() }).await?;

    let mut failures = Failures::new(args.timeout);
    let outcome = loop {
        let notice = tokio::select! {
            biased;
            notice = notices.recv() => notice,
            () = signals.next() => {
                complain!("interrupted before the ok came");
                return Ok(ExitCode::from(INTERRUPTED));
            }
        };
        match notice {
            Some(Notice::Retrying { failure, .. }) => {
                if let Some(line) = failures.note(explain(&failure, &to)) {
                    complain!("{line}");
                }
            }
            Some(notice) => break notice,
            None => bail!("the client ended without an outcome"),
        }
    };
    if let Some(line) = failures.over() {
        complain!("{line}");
    }
    if let Notice::Acknowledged { .. } = outcome {
        // Let the connection close in order before the process goes.
        drop(handle);
        running.await?;
    } else {
        // Whoever did not answer may not close either.
        running.abort();
    }
    report(&args, &to, &x, outcome)
}

fn report(args: &Args, to: &Target, x: &Bytes, outcome: Notice) -> anyhow::Result<ExitCode> {
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
                output::line(&format!("ok {}", printed(x)))?;
                status!(
                    "acknowledged after {} ({}, {})",
                    short(round_trip),
                    counted(x.len() as u64, "byte"),
                    counted(retries.into(), "retry")
                );
            }
            Ok(ExitCode::SUCCESS)
        }
        Notice::GaveUp { failure, attempts, .. } => {
            let why = explain(&failure, to);
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
                attempts => format!(" ({})", counted(attempts.into(), "attempt")),
            };
            complain!("error: not acknowledged: {why}{tried}");
            Ok(ExitCode::FAILURE)
        }
        Notice::Retrying { .. } => bail!("a retry is no outcome"),
    }
}

/// X in one line, if that is not long.
fn printed(x: &[u8]) -> String {
    if x.len() <= PRINTED {
        shown::line(x)
    } else {
        format!("({})", counted(x.len() as u64, "byte"))
    }
}

/// What went wrong, and what to do.
fn explain(failure: &Failure, to: &Target) -> String {
    match failure {
        Failure::Dial(DialError::Refused) => {
            format!("nobody listens at {to} (start a server there with `echosphere echo serve --listen {to}`)")
        }
        Failure::Dial(DialError::Unavailable) => format!("the server at {to} takes no connections now"),
        Failure::Dial(_) => format!("cannot reach {to}"),
        Failure::Closed(reason) => format!("the connection to {to} ended before the ok ({reason:?})"),
        Failure::Rejected(code, text) => format!("the server says: {code}: {}", shown::words(text)),
        Failure::TimedOut => format!("no ok from {to} in time (--response-timeout)"),
        Failure::ShuttingDown | Failure::ProtocolViolation | Failure::Replaced => failure.to_string(),
        Failure::OtherProtocol(protocol) => other_protocol(to, *protocol, "an echo server"),
    }
}
