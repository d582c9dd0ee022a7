use std::process::ExitCode;
use std::time::Duration;

use echosphere_core::chat::{ChatCodec, ServerConfig};

use super::PORT;
use super::bounds::Bounds;
use super::conversation::{Conversation, OutputArgs};
use super::driver::ChatDriver;
use crate::server::{self, ListenArg};
use crate::signals::Signals;
use crate::tls::{self, TlsServeArgs};
use crate::values::duration;
use crate::ws::{self, WsServeArgs};

#[derive(Clone, Debug, clap::Args)]
#[command(
    mut_arg("listen", |arg| arg.env("ECHOSPHERE_CHAT_LISTEN").default_value("127.0.0.1:8001")),
    after_help = "\
Examples:
  echosphere chat serve
  echosphere chat serve --raw --once > received.bin
  nc 127.0.0.1 8001                        each line is a message; `ok 3` acknowledges message 3

The server talks to one client at a time; another one gets `error busy`. A message is acknowledged once it is written to \
stdout. At a terminal, Alt-Enter starts a new line, pasted text is one message, and Ctrl-C or Ctrl-D ends the chat. \
Without a terminal, stdin is sent as it arrives, in messages of up to 64 KiB.

Exit codes: 0 every client left, and every message was delivered and written; 1 a client was lost, or a message was not \
delivered or not written; 2 it could not start; 130 a second signal ended it. A client whose connection ends without a \
goodbye is lost, and its last message may be incomplete. A client with --reconnect gets the time of --keep to return."
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) listen: ListenArg,

    /// Wait this long for a client with --reconnect whose connection was lost
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_CHAT_KEEP", default_value = "60s", value_parser = duration)]
    keep: Duration,

    /// End when the first client has left or is lost
    #[arg(long)]
    pub(crate) once: bool,

    #[command(flatten)]
    pub(crate) output: OutputArgs,

    #[command(flatten)]
    pub(crate) ws: WsServeArgs,

    #[command(flatten)]
    pub(crate) tls: TlsServeArgs,

    #[command(flatten)]
    pub(crate) bounds: Bounds,
}

impl Args {
    pub(crate) fn server(&self) -> ServerConfig {
        ServerConfig {
            session_ttl: self.keep,
            exchange: self.bounds.session(),
            ..ServerConfig::default()
        }
    }
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = super::runtime()?;
    let done = runtime.block_on(async {
        let at = args.listen.or_port(PORT);
        let tls = args.tls.load(&at.host)?;
        let signals = Signals::catch()?.reloading(tls.as_ref());
        let (listener, addr) = server::bind(at.resolve().await?, "--listen")?;
        server::announce(addr, "tcp", " (Ctrl-C ends)", tls.as_ref(), args.output.json)?;
        let ws = args.ws.bind("chat", tls.as_ref(), args.output.json).await?;
        let driver = ChatDriver::server(args.server(), args.bounds.links()?, |driver| {
            let limit = ws::limit(&ChatCodec::accepted());
            ws::listen(tls::listen(driver, listener, tls.as_ref()), ws, limit, tls.as_ref())
        });
        Conversation::of_server(driver, &args.output, args.once)?
            .run(signals)
            .await
    });
    // A thread may still be blocked on stdin.
    runtime.shutdown_background();
    done
}
