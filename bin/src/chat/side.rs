//! One side of a chat with its driver running, whichever side it is.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use bytesize::ByteSize;
use echosphere_core::chat::{
    ChatCodec, Client, ClientConfig, Command, ExchangeConfig, MAX_BODY, Notice, Server, ServerCommand, ServerConfig,
};
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::endpoint::Endpoint;
use echosphere_driver::{Driver, Gone, Handle};
use echosphere_transport_tcp::{TcpConnector, TcpListener};
use rand_chacha::ChaCha8Rng;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::net::Target;
use crate::seed;
use crate::server::{PartialBound, bytes};
use crate::values::{size, time_out};

/// Connections at once: the one that is talked with, those that are told busy, and those that come back.
const MAX_CONNECTIONS: usize = 64;

/// How long an abandoned side may take to tell the other.
const FAREWELL: Duration = Duration::from_secs(1);

/// Time-outs and bounds, the same on both sides.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Bounds")]
pub(super) struct Bounds {
    /// A peer that is silent for so long is gone
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_CHAT_IDLE_TIMEOUT", default_value = "15s", value_parser = time_out)]
    idle_timeout: Duration,

    /// Send an empty frame after sending nothing for this time
    #[arg(long, value_name = "TIME", env = "ECHOSPHERE_CHAT_KEEPALIVE", default_value = "5s", value_parser = time_out)]
    keepalive: Duration,

    /// Bytes sent and not answered at once: an acknowledgement waits behind no more
    #[arg(long, value_name = "SIZE", env = "ECHOSPHERE_CHAT_WINDOW", default_value = "256KiB", value_parser = size(1..=u64::MAX))]
    window: ByteSize,

    #[command(flatten)]
    partial: PartialBound,
}

impl Bounds {
    /// Those of connections.
    ///
    /// # Errors
    ///
    /// If they do not allow for the longest body.
    pub(super) fn links(&self) -> anyhow::Result<ConnectionConfig> {
        Ok(ConnectionConfig {
            idle_timeout: self.idle_timeout,
            keepalive_interval: self.keepalive,
            max_connections: MAX_CONNECTIONS,
            // Parts of a body, and a frame beside them that may be as long.
            max_partial_bytes: self.partial.bytes(2 * MAX_BODY)?,
            ..ConnectionConfig::default()
        })
    }

    pub(super) fn talk(&self) -> ExchangeConfig {
        ExchangeConfig {
            window: bytes(self.window),
            ..ExchangeConfig::default()
        }
    }
}

/// A chat server's endpoint, with its sockets left out.
pub(super) type ServerEndpoint = Endpoint<Server, ChatCodec>;

enum Ends {
    Client(Handle<Client<ChaCha8Rng>, ChatCodec>),
    Server(Handle<Server, ChatCodec>),
}

/// One side of a chat, and what it is told.
pub(super) struct Side {
    ends: Ends,
    notices: mpsc::UnboundedReceiver<Notice>,
    /// Whether everything was at zero in the end.
    running: JoinHandle<bool>,
}

impl Side {
    /// Starts to connect. Must be called within a runtime.
    pub(super) async fn client(to: &Target, config: ClientConfig, links: ConnectionConfig) -> anyhow::Result<Self> {
        let client = Client::new(config, seed::generator(None)?);
        let endpoint = Endpoint::new(client, ChatCodec::dialled(), links);
        let (sender, notices) = mpsc::unbounded_channel();
        let (driver, handle) = Driver::dial(endpoint, TcpConnector::to_host(&*to.host, to.port), notifier(sender));
        let running = tokio::spawn(async move { driver.run().await.is_zero() });
        let ends = Ends::Client(handle);
        let side = Self { ends, notices, running };
        side.connect().await?;
        Ok(side)
    }

    /// Starts to listen. Must be called within a runtime.
    pub(super) fn server(listener: TcpListener, config: ServerConfig, links: ConnectionConfig) -> Self {
        let endpoint = ServerEndpoint::new(Server::new(config), ChatCodec::accepted(), links);
        let (sender, notices) = mpsc::unbounded_channel();
        let (driver, handle) = Driver::serve(endpoint, listener);
        let driver = driver.notifying(notifier(sender));
        let running = tokio::spawn(async move { driver.run().await.is_zero() });
        let ends = Ends::Server(handle);
        Self { ends, notices, running }
    }

    /// Whether this side connects.
    pub(super) const fn is_client(&self) -> bool {
        matches!(self.ends, Ends::Client(_))
    }

    /// What happens next; `None` once the driver has ended.
    pub(super) async fn next(&mut self) -> Option<Notice> {
        self.notices.recv().await
    }

    /// Begins a session, on a client.
    pub(super) async fn connect(&self) -> Result<(), Gone> {
        match &self.ends {
            Ends::Client(handle) => handle.command(Command::Connect).await,
            Ends::Server(_) => Ok(()),
        }
    }

    pub(super) async fn say(&self, key: u64, body: Bytes) -> Result<(), Gone> {
        match &self.ends {
            Ends::Client(handle) => handle.command(Command::Send { key, body }).await,
            Ends::Server(handle) => handle.command(ServerCommand::Send { key, body }).await,
        }
    }

    /// A message was heard and is done with: it is acknowledged.
    pub(super) async fn read(&self, session: u64, id: u64) -> Result<(), Gone> {
        match &self.ends {
            Ends::Client(handle) => handle.command(Command::Read { session, id }).await,
            Ends::Server(handle) => handle.command(ServerCommand::Read { session, id }).await,
        }
    }

    /// Ends this side at once: nothing more can be read or said.
    pub(super) async fn abandon(self) {
        // One that has ended already needs no ending.
        let _ = match &self.ends {
            Ends::Client(handle) => handle.command(Command::HangUp).await,
            Ends::Server(_) => Ok(()),
        };
        let _ = self.leave(Duration::ZERO).await;
        drop(self.ends);
        let _ = timeout(FAREWELL, self.running).await;
    }

    /// Ends the session once everything said is delivered, on a client.
    pub(super) async fn leave_when_delivered(&self) -> Result<(), Gone> {
        match &self.ends {
            Ends::Client(handle) => handle.command(Command::Leave).await,
            Ends::Server(_) => Ok(()),
        }
    }

    /// Ends this side, and gives what is not acknowledged so long.
    pub(super) async fn leave(&self, within: Duration) -> Result<(), Gone> {
        match &self.ends {
            Ends::Client(handle) => handle.drain(within).await,
            Ends::Server(handle) => handle.drain(within).await,
        }
    }

    /// Ends at once, since the session has failed: whoever did not answer may not close either.
    pub(super) fn give_up(self) {
        self.running.abort();
    }

    /// Waits for the driver's end, and says whether everything was at zero.
    pub(super) async fn finish(self) -> anyhow::Result<bool> {
        drop(self.ends);
        self.running.await.context("the driver has panicked")
    }
}

fn notifier(sender: mpsc::UnboundedSender<Notice>) -> impl FnMut(Notice) + Send + 'static {
    move |notice| {
        // Whoever does not listen any more is about to end.
        let _ = sender.send(notice);
    }
}
