//! A chat's client or server with its driver running.

use std::time::Duration;

use bytes::Bytes;
use echosphere_core::chat::{ChatCodec, Client, ClientConfig, Command, Notice, Server, ServerCommand, ServerConfig};
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::endpoint::Endpoint;
use echosphere_driver::{Driver, Gone};
use echosphere_transport_tcp::TcpConnector;
use echosphere_transport_tls::ClientTls;
use rand_chacha::ChaCha8Rng;
use tokio::time::timeout;

use crate::connector::AnyConnector;
use crate::failure::Remote;
use crate::net::Target;
use crate::running::Running;
use crate::seed;

/// Time for the last messages of a session that is given up.
const FAREWELL: Duration = Duration::from_secs(1);

/// A chat server's endpoint.
pub(super) type ServerEndpoint = Endpoint<Server, ChatCodec>;

enum Machine {
    Client(Running<Client<ChaCha8Rng>, ChatCodec>),
    Server(Running<Server, ChatCodec>),
}

/// A client or a server, with the same operations.
pub(super) struct ChatDriver {
    machine: Machine,
    remote: Remote,
}

impl ChatDriver {
    /// Starts to connect to `to`. Must be called within a runtime.
    pub(super) async fn client(
        to: &Target,
        tls: Option<ClientTls>,
        config: ClientConfig,
        links: ConnectionConfig,
    ) -> anyhow::Result<Self> {
        let client = Client::new(config, seed::generator(None)?);
        let endpoint = Endpoint::new(client, ChatCodec::dialled(), links);
        let remote = Remote::server(to, "a chat server", "chat serve --listen", "--timeout");
        let connector = AnyConnector::new(
            TcpConnector::to_host(&*to.host, to.port),
            tls,
            to.url.clone(),
            remote.negotiation(),
        );
        let driver = Self {
            machine: Machine::Client(Running::dial(endpoint, connector)),
            remote,
        };
        driver.connect().await?;
        Ok(driver)
    }

    /// Starts a server; `listen` adds its listeners. Must be called within a runtime.
    pub(super) fn server(
        config: ServerConfig,
        links: ConnectionConfig,
        listen: impl FnOnce(Driver<Server, ChatCodec>) -> Driver<Server, ChatCodec>,
    ) -> Self {
        let endpoint = ServerEndpoint::new(Server::new(config), ChatCodec::accepted(), links);
        Self {
            machine: Machine::Server(Running::serve(endpoint, listen)),
            remote: Remote::client("a chat client"),
        }
    }

    /// The other side, as error messages name it.
    pub(super) const fn remote(&self) -> &Remote {
        &self.remote
    }

    pub(super) const fn is_client(&self) -> bool {
        matches!(self.machine, Machine::Client(_))
    }

    /// The next notice; `None` once the driver has ended. Cancel safe.
    pub(super) async fn next(&mut self) -> Option<Notice> {
        match &mut self.machine {
            Machine::Client(client) => client.next().await,
            Machine::Server(server) => server.next().await,
        }
    }

    /// Begins a session. Does nothing on a server.
    pub(super) async fn connect(&self) -> Result<(), Gone> {
        match &self.machine {
            Machine::Client(client) => client.command(Command::Connect).await,
            Machine::Server(_) => Ok(()),
        }
    }

    /// Sends a message. Notices about it have this `key`.
    pub(super) async fn say(&self, key: u64, body: Bytes) -> Result<(), Gone> {
        match &self.machine {
            Machine::Client(client) => client.command(Command::Send { key, body }).await,
            Machine::Server(server) => server.command(ServerCommand::Send { key, body }).await,
        }
    }

    /// Acknowledges a received message.
    pub(super) async fn read(&self, session: u64, id: u64) -> Result<(), Gone> {
        match &self.machine {
            Machine::Client(client) => client.command(Command::Read { session, id }).await,
            Machine::Server(server) => server.command(ServerCommand::Read { session, id }).await,
        }
    }

    /// Ends the session without waiting for acknowledgements, and the driver with it.
    pub(super) async fn abandon(self) {
        // A session that has ended already needs nothing.
        let _ = match &self.machine {
            Machine::Client(client) => client.command(Command::HangUp).await,
            Machine::Server(_) => Ok(()),
        };
        let _ = self.drain(Duration::ZERO).await;
        let _ = timeout(FAREWELL, self.finish()).await;
    }

    /// Ends the session once every message is acknowledged. Does nothing on a server.
    pub(super) async fn leave_when_delivered(&self) -> Result<(), Gone> {
        match &self.machine {
            Machine::Client(client) => client.command(Command::Leave).await,
            Machine::Server(_) => Ok(()),
        }
    }

    /// Ends the driver, and waits at most this long for acknowledgements.
    pub(super) async fn drain(&self, within: Duration) -> Result<(), Gone> {
        match &self.machine {
            Machine::Client(client) => client.drain(within).await,
            Machine::Server(server) => server.drain(within).await,
        }
    }

    /// Drops the connections at once, after the session has failed.
    pub(super) fn abort(self) {
        match self.machine {
            Machine::Client(client) => client.abort(),
            Machine::Server(server) => server.abort(),
        }
    }

    /// Waits for the driver's end. Returns whether nothing is left.
    pub(super) async fn finish(self) -> anyhow::Result<bool> {
        match self.machine {
            Machine::Client(client) => Ok(client.finish().await?.is_zero()),
            Machine::Server(server) => Ok(server.finish().await?.is_zero()),
        }
    }
}
