use std::process::ExitCode;
use std::time::Duration;

use echosphere_core::chat::ClientConfig;

use super::PORT;
use super::bounds::Bounds;
use super::conversation::{Conversation, OutputArgs};
use super::driver::ChatDriver;
use crate::net::ServerAddress;
use crate::retry::RetryArgs;
use crate::signals::Signals;
use crate::tls::TlsArgs;
use crate::values::{time_out, yes_or_no};

#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echosphere chat connect
  echosphere chat connect example.org:9000 --reconnect
  echosphere chat connect < file.bin       send a file in messages of up to 64 KiB, then leave

At a terminal, Alt-Enter starts a new line, pasted text is one message, and Ctrl-C or Ctrl-D leaves. A message is \
delivered once the other side has written it.

Exit codes: 0 every message was delivered and written; 1 a message was not delivered or not written, or the connection \
was lost; 2 it could not start; 130 interrupted.")]
pub(crate) struct Args {
    /// Connect to this server: an address, whose default port is 8001, or the URL of a WebSocket (ws:// or wss://)
    #[arg(value_name = "HOST[:PORT]|URL")]
    pub(crate) address: Option<ServerAddress>,

    /// Connect to this server, unless the argument names one
    #[arg(
        long,
        value_name = "HOST[:PORT]|URL",
        env = "ECHOSPHERE_CHAT_TO",
        default_value = "127.0.0.1:8001"
    )]
    pub(crate) to: ServerAddress,

    /// Connect again after the connection was lost, and deliver what was not delivered
    #[arg(long, env = "ECHOSPHERE_RECONNECT", value_parser = yes_or_no)]
    pub(crate) reconnect: bool,

    #[command(flatten)]
    pub(crate) retry: RetryArgs,

    /// Give up connecting after this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_TIMEOUT", default_value = "30s", value_parser = time_out)]
    timeout: Duration,

    #[command(flatten)]
    pub(crate) output: OutputArgs,

    #[command(flatten)]
    pub(crate) tls: TlsArgs,

    #[command(flatten)]
    pub(crate) bounds: Bounds,
}

impl Args {
    /// The server to connect to.
    pub(crate) fn to(&self) -> &ServerAddress {
        self.address.as_ref().unwrap_or(&self.to)
    }

    pub(crate) fn client(&self) -> ClientConfig {
        ClientConfig {
            reconnect: self.reconnect,
            connect_timeout: self.timeout,
            retry_refused: self.retry.retry,
            exchange: self.bounds.session(),
            ..ClientConfig::default()
        }
    }
}

pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let runtime = super::runtime()?;
    let done = runtime.block_on(async {
        let signals = Signals::catch()?;
        let to = args.to().clone().or_port(PORT);
        to.resolve().await?;
        let tls = args.tls.load(&to)?;
        let config = args.client();
        let driver = ChatDriver::client(&to, tls, config.clone(), args.bounds.links()?).await?;
        Conversation::of_client(driver, &args.output, &config)?
            .run(signals)
            .await
    });
    // A thread may still be blocked on stdin.
    runtime.shutdown_background();
    done
}
