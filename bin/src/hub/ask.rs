//! The commands that send one request: `identity`, `list` and `relay`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::bail;
use echosphere_core::hub::{MAX_BODY, Reply, Request, UserIds, receipt};
use serde_json::json;

use super::format;
use super::user::{HubArgs, User};
use crate::signals::{INTERRUPTED, Signals};
use crate::stderr::complain;
use crate::values::yes_or_no;
use crate::{output, stdin};

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere hub identity
  echosphere hub identity --to 192.0.2.7:1234

Exit codes: 0 answered; 1 no answer, or stdout cannot be written; 2 it could not start; 130 interrupted.")]
pub(crate) struct IdentityArgs {
    #[command(flatten)]
    pub(crate) hub: HubArgs,

    /// Print the result as one JSON object
    #[arg(long, env = "ECHOSPHERE_JSON", value_parser = yes_or_no)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  echosphere hub list | wc -l

Exit codes: 0 answered; 1 no answer, or stdout cannot be written; 2 it could not start; 130 interrupted.")]
pub(crate) struct ListArgs {
    #[command(flatten)]
    pub(crate) hub: HubArgs,

    /// Print the result as one JSON object
    #[arg(long, env = "ECHOSPHERE_JSON", value_parser = yes_or_no)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere hub relay 2,3 \"any string\"
  echosphere hub relay 2 --file picture.png
  head -c 1000 /dev/urandom | echosphere hub relay 2,3 --json

Exit codes: 0 sent to every receiver; 1 not sent to every receiver; 2 it could not start; 130 interrupted.")]
pub(crate) struct RelayArgs {
    /// Send to the users with these ids: 1 to 255 ids, separated by commas
    #[arg(value_name = "IDS")]
    pub(crate) receivers: UserIds,

    /// Send this text; without it, or with -, send stdin to its end
    pub(crate) body: Option<String>,

    /// Send the bytes of this file
    #[arg(long, value_name = "PATH", conflicts_with = "body")]
    pub(crate) file: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) hub: HubArgs,

    /// Print the result as one JSON object
    #[arg(long, env = "ECHOSPHERE_JSON", value_parser = yes_or_no)]
    pub(crate) json: bool,
}

/// Connects and sends a request. `tell` prints the answer and chooses the exit code.
fn ask(
    hub: &HubArgs,
    json: bool,
    request: Request,
    tell: impl FnOnce(Reply) -> anyhow::Result<ExitCode>,
) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::catch()?;
        let mut user = User::connect(hub, false).await?;
        let answer = tokio::select! {
            biased;
            answer = user.answer(request) => answer,
            () = signals.next() => {
                complain!("interrupted before the answer arrived");
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
                let error = format!("{error:#}");
                complain!("error: {error}");
                if json {
                    output::failure(&error)?;
                }
                user.abort();
                Ok(ExitCode::FAILURE)
            }
        }
    })
}

pub(super) fn identity(args: IdentityArgs) -> anyhow::Result<ExitCode> {
    ask(&args.hub, args.json, Request::Identity, |reply| {
        let Reply::Identity(id) = reply else {
            bail!("the hub sent another answer than a user id");
        };
        if args.json {
            output::json(&json!({ "user_id": output::exactly(id) }))?;
        } else {
            output::line(&id.to_string())?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

pub(super) fn list(args: ListArgs) -> anyhow::Result<ExitCode> {
    ask(&args.hub, args.json, Request::List, |reply| {
        let Reply::List(ids) = reply else {
            bail!("the hub sent another answer than a list");
        };
        if args.json {
            output::json(&json!({ "user_ids": format::exact(ids.iter()) }))?;
        } else {
            let lines: String = ids.iter().map(|id| format!("{id}\n")).collect();
            output::bytes(lines.as_bytes())?;
        }
        Ok(ExitCode::SUCCESS)
    })
}

pub(super) fn relay(args: RelayArgs) -> anyhow::Result<ExitCode> {
    let body = stdin::to_send(args.body.as_deref(), args.file.as_deref(), MAX_BODY)?;
    let to = args.receivers.clone();
    ask(&args.hub, args.json, Request::Relay { to, body }, |reply| {
        let Reply::Relayed { sent, unsent } = reply else {
            bail!("the hub sent another answer than a receipt");
        };
        if args.json {
            output::json(&format::receipt_object(sent, &unsent))?;
        } else {
            output::line(&receipt(sent, &unsent))?;
        }
        Ok(ExitCode::from(u8::from(!unsent.is_empty())))
    })
}
