use std::process::ExitCode;
use std::time::Duration;

use echosphere_core::chat::ClientConfig;

use super::PORT;
use super::side::{Bounds, Side};
use super::talk::{Looks, Talk};
use crate::attempts::Insist;
use crate::net::Address;
use crate::signals::Signals;
use crate::values::{time_out, yes_or_no};

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere chat connect
  echosphere chat connect example.org:9000 --reconnect
  echosphere chat connect < file.bin       send any bytes, in messages of up to 64 KiB, and leave

At a terminal, Alt-Enter begins a new line, a pasted text is one message, and Ctrl-C or Ctrl-D leaves. A message is \
delivered once the other side has written it. Exit codes: 0 everything was delivered and written; 1 something was not, \
or the connection was lost; 130 interrupted.")]
pub(crate) struct Args {
    /// Whom to talk with; port 8001 unless it says another
    #[arg(
        value_name = "HOST[:PORT]",
        env = "ECHOSPHERE_CHAT_TO",
        default_value = "127.0.0.1:8001"
    )]
    to: Address,

    /// Connect again when the connection was lost, and deliver then what was not
    #[arg(long, env = "ECHOSPHERE_RECONNECT", value_parser = yes_or_no)]
    reconnect: bool,

    #[command(flatten)]
    insist: Insist,

    /// Give up connecting after this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_TIMEOUT", default_value = "30s", value_parser = time_out)]
    timeout: Duration,

    #[command(flatten)]
    looks: Looks,

    #[command(flatten)]
    bounds: Bounds,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = super::runtime()?;
    let done = runtime.block_on(async {
        let signals = Signals::catch()?;
        let to = args.to.or_port(PORT);
        to.resolve().await?;
        let config = ClientConfig {
            reconnect: args.reconnect,
            connect_timeout: args.timeout,
            retry_refused: args.insist.retry,
            exchange: args.bounds.talk(),
            ..ClientConfig::default()
        };
        let side = Side::client(&to, config, args.bounds.links()?).await?;
        Talk::new(side, &args.looks, false, args.reconnect)?.run(signals).await
    });
    // Somebody may still be reading stdin.
    runtime.shutdown_background();
    done
}
