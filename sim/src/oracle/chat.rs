//! The chat: its workload, and the model of its rules in `docs/PROTOCOL.md`.
//!
//! The first bytes of a message identify it. So the model knows of each whether it was received, how
//! often, and after which other. The server's caller answers every message, so that messages go both
//! ways.

use std::time::Duration;

use echosphere_core::chat::{ChatCodec, Client, ClientConfig, Command, Message, Notice, Server, ServerConfig};
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::wire::ErrorCode;
use rand_chacha::ChaCha8Rng;

use self::clients::ClientsModel;
pub use self::machines::{SimClient, SimServer};
use self::server::ServerModel;
use self::sessions::Sessions;
use self::typed::ChatTypist;
pub use self::workload::Planned;
use super::typed::Words;
use super::{Carried, Oracle, System};
use crate::direct::Rates;
use crate::direct::history::Fact;
use crate::marks::Marks;
use crate::observe::{ActionOf, EventOf};

mod clients;
mod connecting;
mod machines;
mod server;
mod server_session;
mod sessions;
mod typed;
mod words;
mod workload;

/// A chat's server, and what those who want to talk with it shall do.
#[derive(Clone, Debug)]
pub struct Chat {
    /// How clients behave, but for `reconnect`.
    pub client: ClientConfig,
    /// How the server behaves.
    pub server: ServerConfig,
    /// Hosts whose clients do not come back after a loss.
    pub impatient: Vec<usize>,
    /// Hosts whose clients type.
    pub lines: Vec<usize>,
    /// What clients do.
    pub planned: Vec<Planned>,
    /// Bytes that may wait for long for one connection, if that is not as many as ever.
    pub max_backlog: Option<usize>,
    /// Bytes that half-received messages may hold, if those are not as many as ever.
    pub max_partial_bytes: Option<usize>,
    /// How much silence is a loss, if it is less than ever: three times that between two keepalives.
    pub idle_timeout: Option<Duration>,
    /// How many connections the server accepts, if fewer than usual.
    pub max_connections: Option<usize>,
    /// How long after hearing a message a caller reads it.
    pub lag: Duration,
    /// How long nothing is sent, if that is long.
    pub silence: Duration,
    /// Hosts whose clients take a first refusal for an answer.
    pub meek: Vec<usize>,
}

impl Chat {
    fn client_of(&self, host: usize) -> ClientConfig {
        ClientConfig {
            reconnect: !self.lines.contains(&host) && !self.impatient.contains(&host),
            retry_refused: !self.meek.contains(&host),
            ..self.client.clone()
        }
    }
}

impl System for Chat {
    type Server = SimServer;
    type Client = SimClient;
    type Codec = Words<ChatCodec, ChatTypist>;
    type Oracle = ChatOracle;

    fn server(&self, _rng: ChaCha8Rng) -> (SimServer, Self::Codec) {
        let server = Server::new(self.server.clone());
        (SimServer::new(server, self.lag), Words::Real(ChatCodec::accepted()))
    }

    fn client(&self, host: usize, rng: ChaCha8Rng) -> (SimClient, Self::Codec) {
        let types = self.lines.contains(&host);
        let config = self.client_of(host);
        let words = if types {
            Words::typed()
        } else {
            Words::Real(ChatCodec::dialled())
        };
        (SimClient::new(Client::new(config, rng), types, self.lag), words)
    }

    fn lag(&self) -> Duration {
        self.lag
    }

    fn oracle(&self, _deep: bool, marks: &Marks) -> ChatOracle {
        ChatOracle {
            sessions: Sessions::default(),
            server: ServerModel::new(self.server.clone(), marks.clone()),
            clients: ClientsModel::new(&self.planned, self.client.exchange.window, marks.clone()),
            chat: self.clone(),
        }
    }

    fn greets() -> bool {
        true
    }

    fn error_frame() -> &'static [u8] {
        b"\xFF"
    }

    fn bodies_of_lines() -> bool {
        true
    }

    fn size(message: &Message) -> (usize, Carried) {
        let bytes = match message {
            Message::Part { body, .. } | Message::Error(_, body) => body.len(),
            _ => 0,
        };
        let carried = match message {
            Message::Part { .. } | Message::Taken { .. } => Carried::Always,
            // Connections send some `busy` themselves.
            Message::Error(ErrorCode::UnknownSession, _) => Carried::Always,
            Message::Error(..) => Carried::ByConnections,
            Message::Begin { .. } | Message::Resume { .. } | Message::Welcome { .. } | Message::Bye => {
                Carried::ByLength
            }
        };
        (bytes + 32, carried)
    }

    fn part(server: &SimServer, message: &Message) -> Option<(usize, bool)> {
        match message {
            // What is sent again, and is there, is not joined again.
            Message::Part { id, last: false, .. } if *id <= server.heard => None,
            Message::Part { body, last, .. } => Some((body.len(), *last)),
            _ => None,
        }
    }

    fn link(&self, link: ConnectionConfig) -> ConnectionConfig {
        ConnectionConfig {
            max_backlog: self.max_backlog.unwrap_or(link.max_backlog),
            max_partial_bytes: self.max_partial_bytes.unwrap_or(link.max_partial_bytes),
            idle_timeout: self.idle_timeout.unwrap_or(link.idle_timeout),
            max_connections: self.max_connections.unwrap_or(link.max_connections),
            handshake_timeout: workload::HANDSHAKE_TIMEOUT,
            keepalive_interval: self.idle_timeout.map_or(link.keepalive_interval, |idle| idle / 3),
            ..link
        }
    }

    fn rates(&self, rates: Rates) -> Rates {
        // One at a time talks, so few segments are under way; and a greeting must be late to be overtaken.
        Rates {
            stall: rates.stall * 4.0,
            ..rates
        }
    }

    fn patience(&self) -> Duration {
        self.says_much().unwrap_or_default() + self.reads_late() + self.silence
    }

    fn silence(&self) -> Duration {
        self.silence
    }

    fn is_roomy(&self) -> bool {
        // A caller that reads late can let a client that types become idle.
        let tight = [self.max_backlog, self.max_partial_bytes, self.max_connections];
        tight == [None; 3] && (self.lines.is_empty() || self.reads_late().is_zero())
    }

    fn facts(server: &SimServer) -> Vec<Fact> {
        let peer = server.inner.peer();
        peer.map(|conn| ("peer", format!("on {conn:?}"))).into_iter().collect()
    }
}

/// What was seen of one run of the chat, and is to be expected next.
#[derive(Debug)]
pub struct ChatOracle {
    sessions: Sessions,
    server: ServerModel,
    clients: ClientsModel,
    chat: Chat,
}

impl Oracle<Chat> for ChatOracle {
    fn server_starts(&mut self) {
        self.server.restart();
    }

    fn client_starts(&mut self, host: usize) -> Vec<(Duration, Command)> {
        let life = self.clients.restart(host, self.chat.client_of(host));
        let numbered = (0..)
            .zip(&self.chat.planned)
            .filter(|(_, planned)| planned.host() == host);
        // Those who come back begin their sessions again, and say what has not come to an end.
        let left = numbered.filter(|(number, planned)| !planned.is_message() || !self.clients.is_done(*number));
        let mut plan: Vec<_> = left
            .flat_map(|(number, planned)| planned.commands(life, number))
            .collect();
        plan.sort_by_key(|(at, _)| *at);
        plan
    }

    fn server_did(
        &mut self,
        server: &SimServer,
        event: &EventOf<SimServer>,
        actions: &[ActionOf<SimServer>],
    ) -> Result<(), String> {
        server.inner.audit()?;
        self.server.step(&mut self.sessions, server, event, actions)?;
        self.server.compare(server)
    }

    fn client_did(
        &mut self,
        host: usize,
        client: &SimClient,
        event: &EventOf<SimClient>,
        actions: &[ActionOf<SimClient>],
    ) -> Result<(), String> {
        client.inner.audit()?;
        self.clients.step(&mut self.sessions, host, client, event, actions)
    }

    fn client_told(&mut self, host: usize, notice: &Notice) -> Result<(), String> {
        self.clients.told(host, notice)
    }

    fn unfinished(&self) -> Option<String> {
        self.clients.unfinished()
    }

    fn ends(&self) -> Result<(), String> {
        self.clients.ends()?;
        self.server.ends()
    }
}
