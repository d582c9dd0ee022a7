//! The hub: its workload, and the model of its rules in `docs/PROTOCOL.md`.
//!
//! The hub makes no random choice, so the model of the server predicts the result of each event
//! exactly. The model of the users compares each notice with what the user requested and what arrived
//! on its connection. That messages arrive whole and in order is checked for all systems by the direct
//! lane.

use std::time::Duration;

use echosphere_core::connection::ConnectionConfig;
use echosphere_core::hub::{Client, ClientConfig, Command, HubCodec, Message, Notice, Reply, Request};
use rand_chacha::ChaCha8Rng;

pub use self::machines::SimServer;
pub use self::planned::Planned;
use self::server::ServerModel;
use self::typed::{HubTypist, Requests};
use self::users::{SimClient, UsersModel};
use super::clocked::Clocked;
use super::typed::{Typing, Words};
use super::{Carried, Oracle, System};
use crate::direct::history::Fact;
use crate::marks::{Mark, Marks};
use crate::observe::{ActionOf, EventOf};

mod machines;
mod planned;
mod server;
mod typed;
mod users;
mod words;
mod workload;

/// A hub, and what its users shall do.
#[derive(Clone, Debug)]
pub struct Hub {
    /// How users behave.
    pub client: ClientConfig,
    /// What they do.
    pub planned: Vec<Planned>,
    /// Bytes that may wait for long for one user, if that is not as many as ever.
    pub max_backlog: Option<usize>,
    /// Bytes that half-received messages may hold, if those are not as many as ever.
    pub max_partial_bytes: Option<usize>,
    /// How many connections the server accepts, if fewer than usual.
    pub max_connections: Option<usize>,
    /// How long nothing is sent, if that is long.
    pub silence: Duration,
    /// Hosts whose users type. None of them asks for the echo of what a line cannot carry.
    pub lines: Vec<usize>,
    /// Hosts whose users come back after a loss.
    pub come_back: Vec<usize>,
    /// Hosts whose users take a first refusal for an answer.
    pub meek: Vec<usize>,
}

impl Hub {
    fn client_of(&self, host: usize) -> ClientConfig {
        ClientConfig {
            reconnect: self.come_back.contains(&host),
            retry_refused: !self.meek.contains(&host),
            ..self.client.clone()
        }
    }
}

impl System for Hub {
    type Server = SimServer;
    type Client = SimClient;
    type Codec = Words<HubCodec, HubTypist>;
    type Oracle = HubOracle;

    fn server(&self, _rng: ChaCha8Rng) -> (SimServer, Self::Codec) {
        (SimServer::default(), Words::Real(HubCodec::accepted()))
    }

    fn client(&self, host: usize, rng: ChaCha8Rng) -> (SimClient, Self::Codec) {
        let words = if self.lines.contains(&host) {
            Words::typed()
        } else {
            Words::Real(HubCodec::dialled())
        };
        (Clocked::new(Client::new(self.client_of(host), rng)), words)
    }

    fn oracle(&self, deep: bool, marks: &Marks) -> HubOracle {
        let backlog = self.link(ConnectionConfig::default()).max_backlog;
        HubOracle {
            server: ServerModel::new(deep, backlog, marks.clone()),
            users: UsersModel::new(&self.planned, marks.clone()),
            hub: self.clone(),
        }
    }

    fn size(message: &Message) -> (usize, Carried) {
        /// An id in decimal, and a comma.
        const ID: usize = 22;
        let bytes = match message {
            Message::Request(Request::Echo(body)) | Message::Reply(Reply::Echo(body) | Reply::Error(_, body)) => {
                body.len()
            }
            Message::Request(Request::Relay { to, body }) => to.len() * ID + body.len(),
            Message::Request(Request::Identity | Request::List) | Message::Reply(Reply::Identity(_)) => 0,
            Message::Reply(Reply::List(ids)) => ids.len() * ID,
            Message::Reply(Reply::Relayed { unsent, .. }) => unsent.len() * ID,
            Message::Reply(Reply::Delivery { body, .. }) => body.len(),
        };
        (
            bytes + 64,
            Carried::unless(matches!(message, Message::Reply(Reply::Error(..)))),
        )
    }

    fn link(&self, link: ConnectionConfig) -> ConnectionConfig {
        ConnectionConfig {
            max_backlog: self.max_backlog.unwrap_or(link.max_backlog),
            max_partial_bytes: self.max_partial_bytes.unwrap_or(link.max_partial_bytes),
            max_connections: self.max_connections.unwrap_or(link.max_connections),
            ..link
        }
    }

    fn is_roomy(&self) -> bool {
        self.max_partial_bytes.is_none() && self.max_connections.is_none()
    }

    fn patience(&self) -> Duration {
        self.silence
    }

    fn silence(&self) -> Duration {
        self.silence
    }

    fn typing() -> Box<dyn Typing> {
        Box::<Requests>::default()
    }

    fn error_frame() -> &'static [u8] {
        b"\xFF"
    }

    fn bodies_of_lines() -> bool {
        true
    }

    fn facts(server: &SimServer) -> Vec<Fact> {
        let users = server
            .inner
            .users()
            .map(|(id, conn)| ("users", format!("{id} on {conn:?}")));
        users.collect()
    }
}

/// What was seen of one run of the hub, and is to be expected next.
#[derive(Debug)]
pub struct HubOracle {
    server: ServerModel,
    users: UsersModel,
    hub: Hub,
}

impl Oracle<Hub> for HubOracle {
    fn server_starts(&mut self) {
        self.server.restart();
    }

    fn client_starts(&mut self, host: usize) -> Vec<(Duration, Command)> {
        self.users.restart(host, self.hub.client_of(host));
        let numbered = (0..)
            .zip(&self.hub.planned)
            .filter(|(_, planned)| planned.host() == host);
        let left = numbered.filter(|(number, _)| !self.users.is_done(*number));
        let mut plan: Vec<_> = left.flat_map(|(number, planned)| planned.commands(number)).collect();
        plan.sort_by_key(|(at, _)| *at);
        plan
    }

    fn server_did(
        &mut self,
        server: &SimServer,
        event: &EventOf<SimServer>,
        actions: &[ActionOf<SimServer>],
    ) -> Result<(), String> {
        self.server.step(&server.behind, event, actions)?;
        self.server.compare(&server.inner)
    }

    fn client_did(
        &mut self,
        host: usize,
        client: &SimClient,
        event: &EventOf<SimClient>,
        actions: &[ActionOf<SimClient>],
    ) -> Result<(), String> {
        self.users.step(host, client, event, actions)
    }

    fn client_told(&mut self, host: usize, notice: &Notice) -> Result<(), String> {
        self.users.told(host, notice)
    }

    fn unfinished(&self) -> Option<String> {
        self.users.unfinished()
    }

    fn time_is(&mut self, now: Duration) {
        self.users.now = Some(now);
    }

    fn pauses(&mut self, host: usize, until: Duration) {
        self.users.pauses(host, until);
    }

    fn ends(&self) -> Result<(), String> {
        self.users.ends()?;
        self.server.ends()
    }
}

/// Counts what a run is about to do that not every run does.
fn mark_plan(planned: &[Planned], marks: &Marks) {
    for one in planned {
        if let Planned::Ask { request, .. } = one {
            match request {
                Request::Relay { body, .. } if body.is_empty() => marks.hit(Mark::EmptyBody),
                Request::Relay { body, .. } if body.len() > workload::LARGE => marks.hit(Mark::LargeBody),
                _ => {}
            }
        }
    }
}
