//! The commands that ask one thing.

use std::fs;
use std::io::{self, IsTerminal, Read};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use bytes::Bytes;
use echosphere_core::hub::{Ids, MAX_BODY, Reply, Request, Unsent};
use serde_json::json;

use super::show;
use super::user::{Hub, User};
use crate::output;
use crate::signals::{INTERRUPTED, Signals};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  echosphere hub identity --to 192.0.2.7:1234")]
pub(crate) struct IdentityArgs {
    #[command(flatten)]
    hub: Hub,

    /// Print one JSON object
    #[arg(long, env = "ECHOSPHERE_JSON")]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  echosphere hub list | wc -l")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    hub: Hub,

    /// Print one JSON object
    #[arg(long, env = "ECHOSPHERE_JSON")]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere hub relay 2,3 \"any string\"
  echosphere hub relay 2 --file picture.png
  head -c 1000 /dev/urandom | echosphere hub relay 2,3 --json

Exit code 0 only if it was sent to every receiver.")]
pub(crate) struct RelayArgs {
    /// The receivers' user ids, 1 to 255, with commas between them
    #[arg(value_name = "IDS")]
    receivers: Ids,

    /// What to send; - or nothing reads it from stdin, to its end
    body: Option<String>,

    /// Send what this file holds, whatever bytes they are
    #[arg(long, value_name = "PATH", conflicts_with = "body")]
    file: Option<PathBuf>,

    #[command(flatten)]
    hub: Hub,

    /// Print one JSON object
    #[arg(long, env = "ECHOSPHERE_JSON")]
    json: bool,
}

/// Connects, asks, and has `tell` print the answer and choose the exit code.
fn ask(hub: &Hub, request: Request, tell: impl FnOnce(Reply) -> anyhow::Result<ExitCode>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::catch()?;
        let mut user = User::connect(hub, false).await?;
        let answer = tokio::select! {
            biased;
            answer = user.answer(request) => answer,
            () = signals.next() => {
                eprintln!("interrupted before the answer came");
                return Ok(ExitCode::from(INTERRUPTED));
            }
        };
        match answer {
            Ok(reply) => {
                let code = tell(reply)?;
                user.finish().await?;
                Ok(code)
            }
            Err(error) => {
                eprintln!("error: {error:#}");
                user.abandon();
                Ok(ExitCode::FAILURE)
            }
        }
    })
}

pub(super) fn identity(args: IdentityArgs) -> anyhow::Result<ExitCode> {
    ask(&args.hub, Request::Identity, |reply| {
        let Reply::Identity(id) = reply else {
            bail!("no answer to identity: {reply:?}");
        };
        if args.json {
            output::json(&json!({ "user_id": id }))?;
        } else {
            output::bytes(format!("{id}\n").as_bytes())?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

pub(super) fn list(args: ListArgs) -> anyhow::Result<ExitCode> {
    ask(&args.hub, Request::List, |reply| {
        let Reply::List(ids) = reply else {
            bail!("no answer to list: {reply:?}");
        };
        if args.json {
            output::json(&json!({ "user_ids": ids.iter().collect::<Vec<u64>>() }))?;
        } else {
            let lines: String = ids.iter().map(|id| format!("{id}\n")).collect();
            output::bytes(lines.as_bytes())?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

pub(super) fn relay(args: RelayArgs) -> anyhow::Result<ExitCode> {
    let body = read(&args)?;
    if body.len() > MAX_BODY {
        bail!("{} bytes to send; a body has at most {MAX_BODY}", body.len());
    }
    let to = args.receivers.clone();
    ask(&args.hub, Request::Relay { to, body }, |reply| {
        let Reply::Relayed { sent, unsent } = reply else {
            bail!("no answer to relay: {reply:?}");
        };
        if args.json {
            let of = |what| unsent.iter().filter(move |(_, why)| *why == what).map(|(id, _)| *id);
            output::json(&json!({
                "sent": sent,
                "unknown": of(Unsent::Unknown).collect::<Vec<u64>>(),
                "too_slow": of(Unsent::TooSlow).collect::<Vec<u64>>(),
            }))?;
        } else {
            output::bytes(format!("{}\n", show::receipt(sent, &unsent)).as_bytes())?;
        }
        Ok(ExitCode::from(u8::from(!unsent.is_empty())))
    })
}

fn read(args: &RelayArgs) -> anyhow::Result<Bytes> {
    if let Some(path) = &args.file {
        let read = fs::read(path).with_context(|| format!("cannot read the file {}", path.display()))?;
        return Ok(read.into());
    }
    match &args.body {
        Some(text) if text != "-" => Ok(text.clone().into()),
        _ => {
            if io::stdin().is_terminal() {
                eprintln!("reading the body from this terminal; Ctrl-D ends it");
            }
            let mut all = Vec::new();
            let most = MAX_BODY as u64 + 1;
            let mut input = io::stdin().take(most);
            input.read_to_end(&mut all).context("cannot read stdin")?;
            Ok(all.into())
        }
    }
}
