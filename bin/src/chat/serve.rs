use std::process::ExitCode;
use std::time::Duration;

use echosphere_core::chat::ServerConfig;

use super::PORT;
use super::side::{Bounds, Side};
use super::talk::{Looks, Talk};
use crate::net::Address;
use crate::server;
use crate::signals::Signals;
use crate::values::duration;

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere chat serve
  echosphere chat serve --raw --once > received.bin
  nc 127.0.0.1 8001                        each line is a message; `ok 3` acknowledges message 3

It talks with one at a time: a second one is told that it is busy. A message is acknowledged once it is written. At a \
terminal, Alt-Enter begins a new line, a pasted text is one message, and Ctrl-C or Ctrl-D ends. Else, what comes on \
stdin is sent as it comes, in messages of up to 64 KiB.

Exit codes: 0 every client left, and everything was delivered and written; 1 not so: a client whose connection ends \
without a goodbye is lost, and what it sent may be cut short. A client that was started with --reconnect is first given \
the time of --keep to come back.")]
pub(crate) struct Args {
    /// Listen on this address and port; port 0 takes a free one
    #[arg(
        long,
        value_name = "[ADDR:]PORT",
        env = "ECHOSPHERE_CHAT_LISTEN",
        default_value = "127.0.0.1:8001"
    )]
    listen: Address,

    /// Wait so long for a client that comes back, after its connection was lost
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_CHAT_KEEP", default_value = "60s", value_parser = duration)]
    keep: Duration,

    /// End when the first client has left or is lost
    #[arg(long)]
    once: bool,

    #[command(flatten)]
    looks: Looks,

    #[command(flatten)]
    bounds: Bounds,
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = super::runtime()?;
    let done = runtime.block_on(async {
        let signals = Signals::catch()?;
        let addr = args.listen.or_port(PORT).resolve().await?;
        let (listener, addr) = server::bind(addr, "--listen")?;
        let config = ServerConfig {
            session_ttl: args.keep,
            exchange: args.bounds.talk(),
            ..ServerConfig::default()
        };
        let side = Side::server(listener, config, args.bounds.links()?);
        server::announce(addr, "tcp", " (Ctrl-C ends)", args.looks.json)?;
        Talk::new(side, &args.looks, args.once, false)?.run(signals).await
    });
    // Somebody may still be reading stdin.
    runtime.shutdown_background();
    done
}
