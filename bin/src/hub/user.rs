//! One user of a hub, as the commands of this folder need it.

use std::time::Duration;

use anyhow::{anyhow, bail};
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::endpoint::Endpoint;
use echosphere_core::failure::Failure;
use echosphere_core::hub::{Client, ClientConfig, Command, HubCodec, Notice, Reply, Request};
use echosphere_transport_tcp::TcpConnector;
use rand_chacha::ChaCha8Rng;

use super::PORT;
use crate::connector::AnyConnector;
use crate::failure::{Remote, protocol_error};
use crate::net::ServerAddress;
use crate::retry::{FailedAttempts, RetryArgs};
use crate::running::Running;
use crate::seed;
use crate::stderr::complain;
use crate::tls::TlsArgs;
use crate::values::time_out;

/// The address of the hub, and the time to wait for it.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct HubArgs {
    /// Connect to this hub: an address, or the URL of a WebSocket (ws:// or wss://)
    #[arg(
        long,
        value_name = "HOST[:PORT]|URL",
        env = "ECHOSPHERE_HUB_TO",
        default_value = "127.0.0.1:1234"
    )]
    pub(crate) to: ServerAddress,

    /// Give up connecting, or waiting for an answer, after this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_TIMEOUT", default_value = "30s", value_parser = time_out)]
    timeout: Duration,

    #[command(flatten)]
    pub(crate) retry: RetryArgs,

    #[command(flatten)]
    pub(crate) tls: TlsArgs,
}

impl HubArgs {
    pub(crate) fn client(&self, reconnect: bool) -> ClientConfig {
        ClientConfig {
            connect_timeout: self.timeout,
            response_timeout: self.timeout,
            retry_refused: self.retry.retry,
            reconnect,
            ..ClientConfig::default()
        }
    }
}

/// The number of the only session.
const SESSION: u64 = 1;

/// A user that is connected or connecting.
pub(super) struct User {
    remote: Remote,
    client: Running<Client<ChaCha8Rng>, HubCodec>,
    asked: u64,
    failed: FailedAttempts,
}

impl User {
    /// Starts to connect. With `reconnect`, a lost connection is made again. Must be called within a runtime.
    pub(super) async fn connect(hub: &HubArgs, reconnect: bool) -> anyhow::Result<Self> {
        let to = hub.to.clone().or_port(PORT);
        to.resolve().await?;
        let tls = hub.tls.load(&to)?;
        let remote = Remote::server(&to, "a hub", "hub serve --listen", "--timeout");
        let connector = AnyConnector::new(
            TcpConnector::to_host(&*to.host, to.port),
            tls,
            to.url.clone(),
            remote.negotiation(),
        );
        let client = Client::new(hub.client(reconnect), seed::generator(None)?);
        let endpoint = Endpoint::new(client, HubCodec::dialled(), ConnectionConfig::default());
        let user = Self {
            remote,
            client: Running::dial(endpoint, connector),
            asked: 0,
            failed: FailedAttempts::new(hub.timeout),
        };
        user.client.command(Command::Connect { session: SESSION }).await?;
        Ok(user)
    }

    /// Sends a request. The notice of its answer has the number that this returns.
    pub(super) async fn ask(&mut self, request: Request) -> anyhow::Result<u64> {
        self.asked += 1;
        let (session, ask) = (SESSION, self.asked);
        self.client.command(Command::Ask { session, ask, request }).await?;
        Ok(ask)
    }

    /// Sends a request and waits for its answer. Deliveries that arrive meanwhile are dropped.
    pub(super) async fn answer(&mut self, request: Request) -> anyhow::Result<Reply> {
        self.ask(request).await?;
        loop {
            match self.next().await? {
                Notice::Answered {
                    reply: Reply::Error(code, text),
                    ..
                } => bail!("the hub reports {}", protocol_error(code, &text)),
                Notice::Answered { reply, .. } => return Ok(reply),
                Notice::Ended { failure, .. } => return Err(anyhow!(self.explain(failure.as_ref()))),
                Notice::Retrying { failure: why, .. } => {
                    if let Some(line) = self.attempt_failed(&why) {
                        complain!("{line}");
                    }
                }
                Notice::Connected { .. } | Notice::Unanswered { .. } | Notice::Received { .. } => {}
            }
        }
    }

    /// The next notice.
    pub(super) async fn next(&mut self) -> anyhow::Result<Notice> {
        self.client.notice().await
    }

    /// Ends the session once every request is answered.
    pub(super) async fn leave(&self) -> anyhow::Result<()> {
        Ok(self.client.command(Command::Leave { session: SESSION }).await?)
    }

    /// Drops the connection after the session has failed.
    pub(super) fn abort(self) {
        self.client.abort();
    }

    /// Ends the session, if it has not ended, and closes its connection cleanly.
    pub(super) async fn finish(self) -> anyhow::Result<()> {
        self.leave().await?;
        self.client.finish().await.map(drop)
    }

    /// Notes a failed attempt that another follows. Returns what to print, if it is news.
    pub(super) fn attempt_failed(&mut self, why: &Failure) -> Option<String> {
        let why = self.explain(Some(why));
        self.failed.note(why)
    }

    /// Notes that the hub has answered. Returns what to print about earlier attempts, if anything is left.
    pub(super) fn attempts_ended(&mut self) -> Option<String> {
        self.failed.finish()
    }

    /// Why a session has ended, and what to do.
    pub(super) fn explain(&self, failure: Option<&Failure>) -> String {
        match failure {
            Some(failure) => self.remote.explain(failure),
            None => "this user has left".to_owned(),
        }
    }
}
