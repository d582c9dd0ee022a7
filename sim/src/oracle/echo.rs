//! The echo system: its workload, and the model of its rules in `docs/PROTOCOL.md`.
//!
//! The model has three parts. `server` has the server's rules and `client` those of the clients. `Wire`
//! is the network between them; it only checks that no message arrives more often than it was sent.
//! Together they prove that each acknowledged originator was acknowledged by a holder of its X.
//!
//! Every X of a run is planned. The model identifies each by its number in the plan. Any other X on the
//! wire breaks a rule.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::{Client, ClientConfig, Command, EchoCodec, MAX_MESSAGE, Message, Notice, Server};
use echosphere_core::random::Delay;
use echosphere_core::wire::ErrorCode;
use echosphere_core::{Action, Event, Machine};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;

pub use self::choices::Choices;
use self::client::ClientModel;
pub use self::limits::Limits;
pub use self::machines::SimClient;
use self::server::ServerModel;
use self::typed::EchoTypist;
use self::words::{Bodies, ModelAction, ModelEvent, Numbers, Payload, Wire, X, model_actions, model_event};
pub use self::workload::Planned;
use super::typed::fits_a_line;
use super::{Carried, Oracle, System};
use crate::direct::Rates;
use crate::direct::history::Fact;
use crate::fairness::Fairness;
use crate::marks::{Mark, Marks};
use crate::observe::{ActionOf, EventOf};
use crate::oracle::silence::SILENCE;
use crate::trace::brief_bytes;

mod by_conn;
mod choices;
mod client;
mod limits;
mod machines;
mod server;
mod typed;
mod words;
mod workload;

/// What an echo server and its clients speak.
pub type Words = super::typed::Words<EchoCodec, EchoTypist>;

/// The echo system and what its clients shall send.
#[derive(Clone, Debug)]
pub struct Echo {
    /// How clients behave.
    pub client: ClientConfig,
    /// The messages; a message's index here is its id.
    pub messages: Arc<[Planned]>,
    /// Hosts whose clients speak lines. None of their X holds what a line cannot carry.
    pub lines: Vec<usize>,
    /// Hosts whose clients say more than they should.
    pub rude: Vec<usize>,
    /// Hosts whose clients take a first refusal for an answer.
    pub meek: Vec<usize>,
    /// What may be at most.
    pub limits: Limits,
}

impl System for Echo {
    type Server = Server<ChaCha8Rng>;
    type Client = SimClient;
    type Codec = Words;
    type Oracle = EchoOracle;

    fn server(&self, rng: ChaCha8Rng) -> (Self::Server, Words) {
        (
            Server::new(self.limits.server(), rng),
            Words::Real(EchoCodec::accepted(self.limits.max_message as u32)),
        )
    }

    fn client(&self, host: usize, rng: ChaCha8Rng) -> (SimClient, Words) {
        let words = if self.lines.contains(&host) {
            Words::typed()
        } else {
            Words::Real(EchoCodec::dialled(MAX_MESSAGE))
        };
        let client = ClientConfig {
            max_delayed_acks: self.limits.max_delayed_acks,
            retry_refused: !self.meek.contains(&host),
            ..self.client.clone()
        };
        let rude = self.rude.contains(&host).then(|| {
            let mut rng = rng.clone();
            rng.set_stream(rng.get_stream() ^ 1 << 61);
            rng
        });
        (SimClient::new(Client::new(client, rng), rude), words)
    }

    fn oracle(&self, deep: bool, marks: &Marks) -> EchoOracle {
        let mut xs = Bodies::for_many(self.messages.len());
        let mut of_message = Vec::with_capacity(self.messages.len());
        for message in &*self.messages {
            of_message.push(xs.add(&message.x));
            if message.x.len() > workload::LARGE {
                marks.hit(Mark::LargeX);
            }
        }
        let mut lens = vec![0; xs.len()];
        for (number, x) in xs.iter() {
            lens[number as usize] = x.len();
        }
        let no_lines = xs
            .iter()
            .filter(|(_, x)| !fits_a_line(x))
            .map(|(number, _)| number)
            .collect();
        if xs.len() < of_message.len() {
            marks.hit(Mark::SameX);
        }
        match self.client.ack_delay {
            Delay::None => {}
            Delay::Constant(_) => marks.hit(Mark::AckDelayConstant),
            Delay::Uniform(..) => marks.hit(Mark::AckDelayUniform),
            Delay::Exponential(_) => marks.hit(Mark::AckDelayExponential),
        }
        EchoOracle {
            wire: Wire::new(xs.len()),
            server: ServerModel::new(deep, &self.limits, lens, no_lines, marks.clone()),
            xs,
            clients: ClientModel::new(self, of_message, marks.clone()),
            planned: Arc::clone(&self.messages),
        }
    }

    fn size(message: &Message) -> (usize, Carried) {
        /// More than a frame's header and its words.
        const WORDS: usize = 16;
        match message {
            Message::Message(x) | Message::Ok(x) => (x.len() + WORDS, Carried::Always),
            Message::Error(code, text) => {
                // Connections send some `busy` themselves.
                let own = [ErrorCode::TooManyWaiting, ErrorCode::NotHeld].contains(code);
                (text.len() + 3 * WORDS, Carried::unless(!own))
            }
        }
    }

    fn link(&self, link: ConnectionConfig) -> ConnectionConfig {
        self.limits.link(link)
    }

    fn rates(&self, rates: Rates) -> Rates {
        self.limits.rates(rates)
    }

    fn patience(&self) -> Duration {
        // An attempt that a fault has doomed takes as long as one that succeeds.
        self.limits.patience(self.messages.len()) + 2 * self.silent_for()
    }

    fn silence(&self) -> Duration {
        match self.client.ack_delay {
            Delay::Constant(delay) if delay >= SILENCE => delay,
            _ => Duration::ZERO,
        }
    }

    fn is_roomy(&self) -> bool {
        !self.limits.are_tight()
    }

    fn facts(server: &Self::Server) -> Vec<Fact> {
        let live = server.connections().map(|id| ("live connections", format!("{id:?}")));
        let flights = server.flights().map(|flight| {
            let mut words = String::new();
            brief_bytes(flight.x, &mut words);
            let waits = flight
                .originator
                .map_or_else(|| "nobody".to_owned(), |id| format!("{id:?}"));
            let holds = flight.holder;
            ("flights", format!("{words}: {waits} waits, {holds:?} holds"))
        });
        live.chain(flights).collect()
    }
}

/// What was seen of one run of echo, and is to be expected next.
#[derive(Debug)]
pub struct EchoOracle {
    xs: Bodies,
    planned: Arc<[Planned]>,
    wire: Wire,
    server: ServerModel,
    clients: ClientModel,
}

impl EchoOracle {
    /// How often a client had to try again.
    #[must_use]
    pub const fn retries(&self) -> u64 {
        self.clients.retries
    }

    /// How many messages were acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> usize {
        self.planned.len() - self.clients.open() - self.clients.given_up()
    }

    /// How many messages their clients gave up, as the client drained or the message was too long.
    #[must_use]
    pub fn given_up(&self) -> usize {
        self.clients.given_up()
    }

    /// How many connections ended because their client had got its ok.
    #[must_use]
    pub const fn natural_closes(&self) -> u64 {
        self.clients.natural_closes
    }

    /// What clients sent that never reached the server.
    #[must_use]
    pub fn lost_on_the_way_to_the_server(&self) -> u64 {
        self.wire.to_server.under_way()
    }

    /// How the server chose those it forwarded to; empty unless the run was deep.
    #[must_use]
    pub const fn choices(&self) -> &Choices {
        &self.server.choices
    }

    /// The same as [`Oracle::server_did`], for a server that draws from any generator.
    ///
    /// # Errors
    ///
    /// A rule was broken.
    pub fn any_server_did<R: Rng>(
        &mut self,
        server: &Server<R>,
        event: &Event<Message, Infallible>,
        actions: &[Action<Message, Infallible>],
    ) -> Result<(), String> {
        self.server_step(server, event, actions)
            .map_err(|rule| self.spelled(&rule))
    }

    fn server_step<R: Rng>(
        &mut self,
        server: &Server<R>,
        event: &Event<Message, Infallible>,
        actions: &[Action<Message, Infallible>],
    ) -> Result<(), String> {
        let numbers = Numbers::of(&self.xs);
        let event = model_event(event, |message| numbers.said(message))?;
        let actions = model_actions(actions, |message| numbers.said(message))?;
        if let ModelEvent::Received(_, said) = event {
            self.wire.to_server.arrives(said)?;
        }
        for action in &actions {
            if let ModelAction::Send(_, said) = *action {
                self.wire.to_client.sent(said);
            }
        }
        let due = self.server.begin();
        let forwards = matches!(
            event,
            ModelEvent::Received(_, Payload::Message(_)) | ModelEvent::Closed(_)
        );
        let listed = if due || forwards && self.server.counts_choices() {
            server.connections().collect()
        } else {
            Vec::new()
        };
        self.server.step(&event, &actions, listed)?;
        if due {
            let flights = server.flights().map(|flight| {
                let x = self.xs.number(flight.x).unwrap_or(X::MAX);
                (x, flight.originator, flight.holder)
            });
            self.server.compare(flights)?;
            server.audit()?;
        }
        let (mine, theirs) = (self.server.flight_count(), server.flight_count());
        if mine != theirs {
            return Err(format!("the server has {theirs} flights, should have {mine}"));
        }
        if self.server.is_zero() && !server.is_zero() {
            return Err("no connection is left, but something else is".into());
        }
        Ok(())
    }

    fn client_step(
        &mut self,
        host: usize,
        client: &SimClient,
        event: &EventOf<SimClient>,
        actions: &[ActionOf<SimClient>],
    ) -> Result<(), String> {
        let numbers = Numbers::of(&self.xs);
        let event = model_event(event, |message| numbers.said(message))?;
        let actions = model_actions(actions, |message| numbers.said(message))?;
        if let ModelEvent::Received(_, said) = event {
            self.wire.to_client.arrives(said)?;
        }
        for action in &actions {
            if let ModelAction::Send(_, said) = *action {
                self.wire.to_server.sent(said);
            }
        }
        self.clients.step(host, &event, &actions)?;
        if self.clients.is_zero(host) && !client.is_zero() {
            return Err(format!("client-{host} has nothing to do, but something left"));
        }
        Ok(())
    }
}

impl Oracle<Echo> for EchoOracle {
    fn server_starts(&mut self) {
        self.server.restart();
    }

    fn client_starts(&mut self, host: usize) -> Vec<(Duration, Command)> {
        self.clients.restart(host);
        // Those that were not acknowledged before the host crashed are sent again. It is the host's caller who keeps
        // them, and the host is not its caller.
        let numbered = (0..).zip(&*self.planned);
        let to_send = numbered.filter(|(id, message)| message.host == host && !self.clients.is_done(*id));
        let mut plan = Vec::with_capacity(to_send.clone().count());
        plan.extend(to_send.map(|(id, message)| {
            let x = message.x.clone();
            (message.at, Command::Send { key: id, x })
        }));
        plan.sort_by_key(|(at, _)| *at);
        plan
    }

    fn server_did(
        &mut self,
        server: &Server<ChaCha8Rng>,
        event: &EventOf<Server<ChaCha8Rng>>,
        actions: &[ActionOf<Server<ChaCha8Rng>>],
    ) -> Result<(), String> {
        self.any_server_did(server, event, actions)
    }

    fn client_did(
        &mut self,
        host: usize,
        client: &SimClient,
        event: &EventOf<SimClient>,
        actions: &[ActionOf<SimClient>],
    ) -> Result<(), String> {
        let result = self.client_step(host, client, event, actions);
        result.map_err(|rule| self.spelled(&rule))
    }

    fn client_told(&mut self, host: usize, notice: &Notice) -> Result<(), String> {
        let result = self.clients.told(host, notice);
        result.map_err(|rule| self.spelled(&rule))
    }

    fn unfinished(&self) -> Option<String> {
        let open = self.clients.open();
        (open > 0).then(|| {
            let first = self.clients.first_open().unwrap_or_default();
            format!("{open} messages are not acknowledged, among them number {first}")
        })
    }

    fn spelled(&self, rule: &str) -> String {
        self.xs.spell(rule, self.clients.of_message())
    }

    fn time_is(&mut self, now: Duration) {
        self.clients.now = Some(now);
    }

    fn pauses(&mut self, host: usize, until: Duration) {
        self.clients.pauses(host, until);
    }

    fn add_choices(&self, seed: u64, fairness: &mut Fairness) {
        self.choices().add_to(seed, fairness);
    }

    fn ends(&self) -> Result<(), String> {
        let result = self.clients.ends().and_then(|()| self.server.ends());
        result.map_err(|rule| self.spelled(&rule))
    }
}
