use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::ValueEnum;
use echosphere_core::hub::{Notice, Reply, Request};
use serde_json::json;

use super::format;
use super::user::{HubArgs, User};
use crate::output::{self, Unwritable};
use crate::signals::{INTERRUPTED, Signals};
use crate::stderr::{complain, status};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere hub listen
  echosphere hub listen --format json --count 10
  echosphere hub listen --format raw --count 1 --output picture.png

The user id goes to stderr, and changes when the command reconnects. Ctrl-C ends the command.

Exit codes: 0 everything that arrived was written; 1 something could not be written, or the connection was lost and \
deliveries may be missing; 2 it could not start; 130 interrupted before --count.")]
pub(crate) struct Args {
    /// Write received messages in this format
    #[arg(long, value_enum, env = "ECHOSPHERE_FORMAT", default_value = "text")]
    pub(crate) format: Format,

    /// Write to this file instead of stdout
    #[arg(short, long, value_name = "PATH")]
    pub(crate) output: Option<PathBuf>,

    /// End after this many deliveries
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,

    #[command(flatten)]
    pub(crate) hub: HubArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// `from ID: BODY` on a line
    Text,
    /// The bytes of the bodies, without separators
    Raw,
    /// One JSON object for each event
    Json,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(listen(args))
}

/// Where deliveries are written.
struct Out {
    /// `None` for stdout.
    file: Option<(File, String)>,
    format: Format,
}

impl Out {
    fn open(args: &Args) -> anyhow::Result<Self> {
        let format = args.format;
        let create = |path: &PathBuf| {
            let name = path.display().to_string();
            let file = File::create(path).with_context(|| format!("cannot write the file {name}"))?;
            anyhow::Ok((file, name))
        };
        let file = args.output.as_ref().map(create).transpose()?;
        Ok(Self { file, format })
    }

    fn delivery(&mut self, from: u64, body: &[u8]) -> anyhow::Result<()> {
        match (self.format, &self.file) {
            (Format::Text, None) => output::line(&format::delivery(from, body)),
            (Format::Text, Some(_)) => self.bytes(format!("{}\n", format::delivery(from, body)).as_bytes()),
            (Format::Raw, _) => self.bytes(body),
            (Format::Json, _) => self.event(&format::delivery_event(from, body)),
        }
    }

    /// Writes another event, which only the JSON format has.
    fn event(&mut self, event: &serde_json::Value) -> anyhow::Result<()> {
        if self.format == Format::Json {
            self.bytes(format!("{event}\n").as_bytes())?;
        }
        Ok(())
    }

    fn ended(&mut self, why: Option<&str>) -> anyhow::Result<()> {
        self.event(&json!({ "event": "ended", "why": why }))
    }

    fn bytes(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        match &mut self.file {
            None => output::bytes(bytes),
            Some((file, name)) => file
                .write_all(bytes)
                .map_err(|error| Unwritable::new(&format!("the file {name}"), error).into()),
        }
    }
}

async fn listen(args: Args) -> anyhow::Result<ExitCode> {
    let mut out = Out::open(&args)?;
    let mut signals = Signals::catch()?;
    let mut user = User::connect(&args.hub, true).await?;
    let mut left = args.count;
    let mut connected = false;
    let mut lost = false;
    while left != Some(0) {
        let notice = tokio::select! {
            biased;
            notice = user.next() => notice?,
            () = signals.next() => break,
        };
        match notice {
            Notice::Connected { .. } => {
                connected = true;
                user.ask(Request::Identity).await?;
            }
            Notice::Answered { reply, .. } => match reply {
                Reply::Identity(id) => {
                    if let Some(line) = user.attempts_ended() {
                        complain!("{line}");
                    }
                    status!("listening as user {id}");
                    out.event(&json!({ "event": "connected", "user_id": output::exactly(id) }))?;
                }
                other => status!("{}", format::answer(&other)),
            },
            Notice::Received { from, body, .. } => {
                left = left.map(|left| left - 1);
                out.delivery(from, &body)?;
            }
            Notice::Retrying { failure: why, .. } => {
                if let Some(line) = user.attempt_failed(&why) {
                    complain!("{line}");
                }
                let was_connected = std::mem::take(&mut connected);
                lost |= was_connected;
                let event = if was_connected { "lost" } else { "retrying" };
                let why = user.explain(Some(&why));
                out.event(&json!({ "event": event, "why": why }))?;
            }
            Notice::Unanswered { .. } => {}
            Notice::Ended { failure, .. } => {
                if let Some(line) = user.attempts_ended() {
                    complain!("{line}");
                }
                let why = user.explain(failure.as_ref());
                complain!("error: {why}");
                out.ended(Some(&why))?;
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    user.finish().await?;
    if lost {
        let why = "the connection was lost and made again; deliveries sent in between are missing";
        complain!("error: {why}");
        out.ended(Some(why))?;
        return Ok(ExitCode::FAILURE);
    }
    out.ended(None)?;
    let interrupted = left.is_some_and(|left| left > 0);
    Ok(ExitCode::from(if interrupted { INTERRUPTED } else { 0 }))
}
