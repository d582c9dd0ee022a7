//! Numbers: the workload, and the model of the rules in `docs/PROTOCOL.md`.
//!
//! The server draws only the first number of a stateless stream, and a client only its pauses. So both
//! models predict the result of each event exactly, at its exact time. The notices of clients are
//! compared with the sequences that the uuids define, over all lives of a host.

use std::collections::BTreeMap;
use std::time::Duration;

use echosphere_core::Event;
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::numbers::{Client, ClientConfig, Message, Notice, NumbersCodec, Server, ServerConfig};
use echosphere_core::wire::ErrorCode;
use rand_chacha::ChaCha8Rng;

use self::clients::ClientModel;
use self::machines::for_client;
pub use self::machines::{SimClient, SimServer};
pub use self::planned::{Ask, Name, Planned, Wanted};
pub use self::scripts::SimCommand;
use self::server::ServerModel;
use self::streams::StreamsModel;
use self::typed::NumbersTypist;
use super::typed::Words;
use super::{Carried, Oracle, System};
use crate::dice::{Dice, Purpose};
use crate::direct::history::Fact;
use crate::fairness::Fairness;
use crate::marks::Marks;
use crate::observe::{ActionOf, EventOf};
use crate::oracle::silence::SILENCE;

mod clients;
mod draws;
mod machines;
mod planned;
mod scripts;
mod sequence;
mod server;
mod streams;
mod typed;
mod words;
mod workload;

/// A numbers server, and what its clients shall do.
#[derive(Clone, Debug)]
pub struct Numbers {
    /// How the server behaves.
    pub server: ServerConfig,
    /// How clients behave.
    pub client: ClientConfig,
    /// What is asked for.
    pub planned: Vec<Planned>,
    /// Bytes that may wait for long for one connection, if that is not as many as ever.
    pub max_backlog: Option<usize>,
    /// Bytes that half-received messages may hold, if those are not as many as ever.
    pub max_partial_bytes: Option<usize>,
    /// How many connections the server accepts, if fewer than usual.
    pub max_connections: Option<usize>,
    /// Hosts whose callers type.
    pub lines: Vec<usize>,
    /// Hosts whose clients take a first refusal for an answer.
    pub meek: Vec<usize>,
}

impl Numbers {
    fn client_of(&self, host: usize) -> ClientConfig {
        ClientConfig {
            retry_refused: !self.meek.contains(&host),
            ..self.client.clone()
        }
    }
}

impl System for Numbers {
    type Server = SimServer;
    type Client = SimClient;
    type Codec = Words<NumbersCodec, NumbersTypist>;
    type Oracle = NumbersOracle;

    fn server(&self, rng: ChaCha8Rng) -> (SimServer, Self::Codec) {
        let server = Server::new(self.server.clone(), rng);
        (SimServer::new(server), Words::Real(NumbersCodec::accepted()))
    }

    fn client(&self, host: usize, rng: ChaCha8Rng) -> (SimClient, Self::Codec) {
        let client = Client::new(self.client_of(host), rng);
        let words = if self.lines.contains(&host) {
            Words::typed()
        } else {
            Words::Real(NumbersCodec::dialled())
        };
        (SimClient::new(client), words)
    }

    fn oracle(&self, deep: bool, marks: &Marks) -> NumbersOracle {
        let backlog = self.link(ConnectionConfig::default()).max_backlog;
        NumbersOracle {
            server: ServerModel::new(self.server.clone(), backlog, deep, marks.clone()),
            clients: BTreeMap::new(),
            streams: StreamsModel::new(self),
            started: false,
            numbers: self.clone(),
            marks: marks.clone(),
        }
    }

    fn size(message: &Message) -> (usize, Carried) {
        let bytes = match message {
            Message::Error(_, text) => text.len(),
            _ => 0,
        };
        let own = [
            ErrorCode::AlreadyRunning,
            ErrorCode::WrongMode,
            ErrorCode::UuidTaken,
            ErrorCode::TooManySessions,
            ErrorCode::UnknownSession,
            ErrorCode::TakenOver,
        ];
        let by_connections = matches!(message, Message::Error(code, _) if !own.contains(code));
        (bytes + 96, Carried::unless(by_connections))
    }

    fn link(&self, link: ConnectionConfig) -> ConnectionConfig {
        ConnectionConfig {
            max_backlog: self.max_backlog.unwrap_or(link.max_backlog),
            max_partial_bytes: self.max_partial_bytes.unwrap_or(link.max_partial_bytes),
            max_connections: self.max_connections.unwrap_or(link.max_connections),
            ..link
        }
    }

    fn patience(&self) -> Duration {
        workload::patience(self)
    }

    fn silence(&self) -> Duration {
        if self.server.period >= SILENCE {
            self.server.period
        } else {
            Duration::ZERO
        }
    }

    fn is_roomy(&self) -> bool {
        [self.max_backlog, self.max_partial_bytes, self.max_connections] == [None; 3] && self.lines.is_empty()
    }

    fn keeps_open_after_fin() -> bool {
        true
    }

    fn facts(server: &SimServer) -> Vec<Fact> {
        vec![("sessions", server.inner.sessions().to_string())]
    }
}

/// What was seen of one run, and is to be expected next.
#[derive(Debug)]
pub struct NumbersOracle {
    server: ServerModel,
    clients: BTreeMap<usize, ClientModel>,
    streams: StreamsModel,
    /// The server has started before.
    started: bool,
    numbers: Numbers,
    marks: Marks,
}

impl Oracle<Numbers> for NumbersOracle {
    fn server_starts(&mut self) {
        self.server.restart();
        if std::mem::replace(&mut self.started, true) {
            self.streams.server_ends();
        }
    }

    fn client_starts(&mut self, host: usize) -> Vec<(Duration, SimCommand)> {
        let client = ClientModel::new(self.numbers.client_of(host), self.marks.clone());
        self.clients.insert(host, client);
        self.streams.commands(host)
    }

    fn server_did(
        &mut self,
        server: &SimServer,
        event: &EventOf<SimServer>,
        actions: &[ActionOf<SimServer>],
    ) -> Result<(), String> {
        if matches!(event, Event::Drain) {
            self.streams.server_ends();
        }
        self.server.step(server, event, actions)
    }

    fn client_did(
        &mut self,
        host: usize,
        client: &SimClient,
        event: &EventOf<SimClient>,
        actions: &[ActionOf<SimClient>],
    ) -> Result<(), String> {
        let model = self.clients.get_mut(&host).ok_or("a host that has not begun")?;
        match (client.by_inner, for_client(event.clone())) {
            (Some(count), Some(event)) => model.step(client, &event, &actions[..count]),
            _ => Ok(()),
        }
    }

    fn client_told(&mut self, host: usize, notice: &Notice) -> Result<(), String> {
        let model = self.clients.get_mut(&host).ok_or("a host that has not begun")?;
        model.told(notice)?;
        self.streams.told(notice)
    }

    fn unfinished(&self) -> Option<String> {
        self.streams.unfinished()
    }

    fn add_choices(&self, seed: u64, fairness: &mut Fairness) {
        let mut dice = Dice::new(seed, Purpose::Statistics);
        for first in &self.server.drawn {
            let rank = *first as usize - 1;
            fairness.ranked("first number", rank, server::LARGEST_FIRST as usize, dice.unit());
        }
    }

    fn ends(&self) -> Result<(), String> {
        self.clients.values().try_for_each(ClientModel::ends)?;
        self.server.ends()
    }
}
