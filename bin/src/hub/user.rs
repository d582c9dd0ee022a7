//! One user of a hub, for the commands that are one.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use echosphere_core::DialError;
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::endpoint::Endpoint;
use echosphere_core::hub::{Client, ClientConfig, Command, Failure, HubCodec, Notice, Reply, Request};
use echosphere_driver::{Driver, Handle};
use echosphere_transport_tcp::TcpConnector;
use rand_chacha::ChaCha8Rng;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::PORT;
use crate::attempts::{Failures, Insist, other_protocol};
use crate::net::{Address, Target};
use crate::stderr::complain;
use crate::values::time_out;
use crate::{seed, shown};

/// Where the hub is, and how long to wait for it.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Hub {
    /// The hub
    #[arg(
        long,
        value_name = "HOST[:PORT]",
        env = "ECHOSPHERE_HUB_TO",
        default_value = "127.0.0.1:1234"
    )]
    to: Address,

    /// Give up connecting, or waiting for an answer, after this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_TIMEOUT", default_value = "30s", value_parser = time_out)]
    timeout: Duration,

    #[command(flatten)]
    insist: Insist,
}

/// The number of the only session.
const SESSION: u64 = 1;

/// A user that is connected, or connecting.
pub(super) struct User {
    to: Target,
    handle: Handle<Client<ChaCha8Rng>, HubCodec>,
    notices: mpsc::UnboundedReceiver<Notice>,
    running: JoinHandle<()>,
    asked: u64,
    failures: Failures,
}

impl User {
    /// Starts to connect; `reconnect` says whether it comes back when the connection is lost. Must be called within a runtime.
    pub(super) async fn connect(hub: &Hub, reconnect: bool) -> anyhow::Result<Self> {
        let to = hub.to.clone().or_port(PORT);
        to.resolve().await?;
        let config = ClientConfig {
            connect_timeout: hub.timeout,
            response_timeout: hub.timeout,
            retry_refused: hub.insist.retry,
            reconnect,
            ..ClientConfig::default()
        };
        let client = Client::new(config, seed::generator(None)?);
        let endpoint = Endpoint::new(client, HubCodec::dialled(), ConnectionConfig::default());
        let (sender, notices) = mpsc::unbounded_channel();
        let notify = move |notice| {
            // Whoever does not listen any more is about to end.
            let _ = sender.send(notice);
        };
        let (driver, handle) = Driver::dial(endpoint, TcpConnector::to_host(&*to.host, to.port), notify);
        let running = tokio::spawn(async move {
            driver.run().await;
        });
        let user = Self {
            to,
            handle,
            notices,
            running,
            asked: 0,
            failures: Failures::new(hub.timeout),
        };
        user.handle.command(Command::Connect { session: SESSION }).await?;
        Ok(user)
    }

    /// Sends a request; its answer is a notice with the number that this returns.
    pub(super) async fn ask(&mut self, request: Request) -> anyhow::Result<u64> {
        self.asked += 1;
        let (session, ask) = (SESSION, self.asked);
        self.handle.command(Command::Ask { session, ask, request }).await?;
        Ok(ask)
    }

    /// Sends a request and waits for its answer. What arrives meanwhile is dropped.
    pub(super) async fn answer(&mut self, request: Request) -> anyhow::Result<Reply> {
        self.ask(request).await?;
        loop {
            match self.next().await? {
                Notice::Answered {
                    reply: Reply::Error(code, text),
                    ..
                } => bail!("the hub says: {code}: {}", shown::words(&text)),
                Notice::Answered { reply, .. } => return Ok(reply),
                Notice::Ended { failure, .. } => return Err(self.explain(failure.as_ref())),
                Notice::Retrying { why, .. } => {
                    if let Some(line) = self.retrying(&why) {
                        complain!("{line}");
                    }
                }
                Notice::Connected { .. } | Notice::Unanswered { .. } | Notice::Received { .. } => {}
            }
        }
    }

    /// What happens next.
    pub(super) async fn next(&mut self) -> anyhow::Result<Notice> {
        self.notices.recv().await.context("the user's driver has ended")
    }

    /// Has the session end once all is answered.
    pub(super) async fn leave(&self) -> anyhow::Result<()> {
        Ok(self.handle.command(Command::Leave { session: SESSION }).await?)
    }

    /// Ends at once, since the session has failed: whoever did not answer may not close either.
    pub(super) fn abandon(self) {
        self.running.abort();
    }

    /// Ends the session if it has not ended, and lets its connection close in order.
    pub(super) async fn finish(self) -> anyhow::Result<()> {
        self.leave().await?;
        drop(self.handle);
        Ok(self.running.await?)
    }

    /// Says why another attempt to connect follows, if it was not said before.
    pub(super) fn retrying(&mut self, why: &Failure) -> Option<String> {
        let why = format!("{:#}", self.explain(Some(why)));
        self.failures.note(why)
    }

    /// The hub has answered: attempts have come to an end. Says how many failed, if that was not said.
    pub(super) fn works(&mut self) -> Option<String> {
        self.failures.over()
    }

    /// Why a session has ended, and what to do.
    pub(super) fn explain(&self, failure: Option<&Failure>) -> anyhow::Error {
        let to = &self.to;
        match failure {
            None => anyhow!("the session was left"),
            Some(Failure::Dial(DialError::Refused)) => {
                anyhow!("nobody listens at {to} (start a hub there with `echosphere hub serve --listen {to}`)")
            }
            Some(Failure::Dial(DialError::Unavailable)) => anyhow!("the server at {to} takes no connections now"),
            Some(Failure::Dial(_)) => anyhow!("cannot reach {to}"),
            Some(Failure::Closed(reason)) => anyhow!("the connection to {to} ended ({reason:?})"),
            Some(Failure::Rejected(code, text)) => anyhow!("the hub says: {code}: {}", shown::words(text)),
            Some(Failure::TimedOut) => anyhow!("nothing came from {to} in time (--timeout); is it a hub?"),
            Some(Failure::ProtocolViolation) => {
                anyhow!("{to} answered something else than what was asked; is it a hub?")
            }
            Some(failure @ (Failure::ShuttingDown | Failure::Replaced)) => anyhow!("{failure}"),
            Some(Failure::OtherProtocol(protocol)) => anyhow!("{}", other_protocol(to, *protocol, "a hub")),
        }
    }
}
