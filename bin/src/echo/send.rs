use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::bail;
use bytes::Bytes;
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::{Client, ClientConfig, Command, EchoCodec, Notice};
use echosphere_core::endpoint::Endpoint;
use echosphere_core::wire::MAX_FRAME;
use echosphere_transport_tcp::TcpConnector;
use serde_json::json;

use super::PORT;
use crate::connector::AnyConnector;
use crate::failure::Remote;
use crate::latency::micros;
use crate::net::ServerAddress;
use crate::retry::{FailedAttempts, RetryArgs};
use crate::running::Running;
use crate::signals::{INTERRUPTED, Signals};
use crate::stderr::{complain, status};
use crate::tls::TlsArgs;
use crate::values::{DelayArg, counted, short, time_out, yes_or_no};
use crate::{escape, output, seed, stdin};

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

Prints `ok X` when X is acknowledged. Until then it acknowledges the messages that it receives, as every client does.

Exit codes: 0 acknowledged; 1 not acknowledged, or stdout cannot be written; 2 it could not start; 130 interrupted.")]
pub(crate) struct Args {
    /// Send this text; without it, or with -, send stdin to its end
    pub(crate) message: Option<String>,

    /// Send the bytes of this file
    #[arg(long, value_name = "PATH", conflicts_with = "message")]
    pub(crate) file: Option<PathBuf>,

    /// Connect to this server: an address, or the URL of a WebSocket (ws:// or wss://)
    #[arg(
        long,
        value_name = "HOST[:PORT]|URL",
        env = "ECHOSPHERE_TO",
        default_value = "127.0.0.1:8000"
    )]
    pub(crate) to: ServerAddress,

    /// Give up after this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_TIMEOUT", default_value = "30s", value_parser = time_out)]
    timeout: Duration,

    #[command(flatten)]
    pub(crate) retry: RetryArgs,

    /// Disconnect and try again if no ok arrives within this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_RESPONSE_TIMEOUT", default_value = "10s", value_parser = time_out)]
    response_timeout: Duration,

    /// Wait before acknowledging a received message: 2s, 0..5s (uniform), exp:2s (exponential)
    #[arg(long, value_name = "DELAY", env = "ECHOSPHERE_ACK_DELAY", default_value = "none")]
    ack_delay: DelayArg,

    /// Print the result as one JSON object
    #[arg(long, env = "ECHOSPHERE_JSON", value_parser = yes_or_no)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) tls: TlsArgs,
}

impl Args {
    pub(crate) fn client(&self) -> ClientConfig {
        ClientConfig {
            response_timeout: self.response_timeout,
            give_up_after: Some(self.timeout),
            retry_refused: self.retry.retry,
            ack_delay: self.ack_delay.0,
            ..ClientConfig::default()
        }
    }
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let x = stdin::to_send(args.message.as_deref(), args.file.as_deref(), LONGEST)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(send(args, x))
}

async fn send(args: Args, x: Bytes) -> anyhow::Result<ExitCode> {
    let to = args.to.clone().or_port(PORT);
    to.resolve().await?;
    let tls = args.tls.load(&to)?;
    let mut signals = Signals::catch()?;
    let client = Client::new(args.client(), seed::generator(None)?);
    let endpoint = Endpoint::new(client, EchoCodec::dialled(LONGEST as u32), ConnectionConfig::default());
    let remote = Remote::server(&to, "an echo server", "echo serve --listen", "--response-timeout");
    let connector = AnyConnector::new(
        TcpConnector::to_host(&*to.host, to.port),
        tls,
        to.url.clone(),
        remote.negotiation(),
    );
    let mut client = Running::dial(endpoint, connector);
    client.command(Command::Send { key: 0, x: x.clone() }).await?;

    let mut failed = FailedAttempts::new(args.timeout);
    let outcome = loop {
        let notice = tokio::select! {
            biased;
            notice = client.notice() => notice?,
            () = signals.next() => {
                complain!("interrupted before the ok arrived");
                return Ok(ExitCode::from(INTERRUPTED));
            }
        };
        match notice {
            Notice::Retrying { failure, .. } => {
                if let Some(line) = failed.note(remote.explain(&failure)) {
                    complain!("{line}");
                }
            }
            notice => break notice,
        }
    };
    if let Some(line) = failed.finish() {
        complain!("{line}");
    }
    if let Notice::Acknowledged { .. } = outcome {
        client.finish().await?;
    } else {
        client.abort();
    }
    report(&args, &remote, &x, outcome)
}

fn report(args: &Args, remote: &Remote, x: &Bytes, outcome: Notice) -> anyhow::Result<ExitCode> {
    match outcome {
        Notice::Acknowledged {
            round_trip, retries, ..
        } => {
            if args.json {
                output::json(&json!({
                    "acknowledged": true,
                    "bytes": x.len(),
                    "round_trip_us": micros(round_trip),
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
            let why = remote.explain(&failure);
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
        Notice::Retrying { .. } => bail!("the client ended while it was retrying"),
    }
}

/// X in one line, or its length if it is long.
fn printed(x: &[u8]) -> String {
    if x.len() <= PRINTED {
        escape::line(x)
    } else {
        format!("({})", counted(x.len() as u64, "byte"))
    }
}
