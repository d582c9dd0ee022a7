use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::ValueEnum;
use echosphere_core::hub::{Notice, Reply, Request};

use super::show;
use super::user::{Hub, User};
use crate::signals::Signals;

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere hub listen
  echosphere hub listen --format json --count 10
  echosphere hub listen --format raw --count 1 --output picture.png

The user id goes to stderr; it is another one after the connection was lost. Ctrl-C ends it.")]
pub(crate) struct Args {
    /// How what arrives is written
    #[arg(long, value_enum, env = "ECHOSPHERE_FORMAT", default_value = "text")]
    format: Format,

    /// Write it to this file instead of stdout
    #[arg(short, long, value_name = "PATH")]
    output: Option<PathBuf>,

    /// End after so many bodies
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    #[command(flatten)]
    hub: Hub,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// `from ID: BODY`, for people
    Text,
    /// The bodies' bytes, with nothing between them
    Raw,
    /// One JSON object a line
    Json,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(listen(args))
}

async fn listen(args: Args) -> anyhow::Result<ExitCode> {
    let mut out: Box<dyn Write> = match &args.output {
        Some(path) => {
            let file = File::create(path).with_context(|| format!("cannot write the file {}", path.display()))?;
            Box::new(file)
        }
        None => Box::new(io::stdout()),
    };
    let mut signals = Signals::catch()?;
    let mut user = User::connect(&args.hub, true).await?;
    let mut left = args.count;
    while left != Some(0) {
        let notice = tokio::select! {
            biased;
            notice = user.next() => notice?,
            () = signals.next() => break,
        };
        match notice {
            Notice::Connected { .. } => {
                user.ask(Request::Identity).await?;
            }
            Notice::Answered { reply, .. } => match reply {
                Reply::Identity(id) => {
                    if let Some(line) = user.works() {
                        eprintln!("{line}");
                    }
                    eprintln!("listening as user {id}");
                }
                other => eprintln!("{}", show::answer(&other)),
            },
            Notice::Delivered { from, body, .. } => {
                left = left.map(|left| left - 1);
                let written = write(&mut out, args.format, from, &body).and_then(|()| out.flush());
                match written {
                    // Whoever reads has enough.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
                    result => result.context("cannot write what arrived")?,
                }
            }
            Notice::Retrying { why, .. } => {
                if let Some(line) = user.retrying(&why) {
                    eprintln!("{line}");
                }
            }
            Notice::Unanswered { .. } => {}
            Notice::Ended { failure, .. } => {
                if let Some(line) = user.works() {
                    eprintln!("{line}");
                }
                eprintln!("error: {:#}", user.explain(failure.as_ref()));
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    user.finish().await?;
    Ok(ExitCode::SUCCESS)
}

fn write(out: &mut impl Write, format: Format, from: u64, body: &[u8]) -> io::Result<()> {
    match format {
        Format::Text => writeln!(out, "{}", show::delivery(from, body)),
        Format::Raw => out.write_all(body),
        Format::Json => writeln!(out, "{}", show::delivery_json(from, body)),
    }
}
