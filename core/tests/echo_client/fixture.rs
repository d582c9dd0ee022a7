//! Clients that receive typed messages at chosen times.

use std::time::Duration;

use bytes::Bytes;
use echosphere_core::echo::{Client, ClientConfig, ClientCounters, Command, Message, Notice};
use echosphere_core::{Action, Actions, CloseReason, ConnId, DialToken, Event, Machine, Opened, Time};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

pub(crate) type Out = Action<Message, Notice>;

pub(crate) const CONN: ConnId = ConnId { slot: 0, generation: 0 };

pub(crate) struct Fixture {
    pub(crate) client: Client<ChaCha8Rng>,
    pub(crate) now: Time,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(ClientConfig::default())
    }

    pub(crate) fn with(config: ClientConfig) -> Self {
        Self::seeded(config, 1)
    }

    pub(crate) fn seeded(config: ClientConfig, seed: u64) -> Self {
        Self {
            client: Client::new(config, ChaCha8Rng::seed_from_u64(seed)),
            now: Time::ZERO,
        }
    }

    /// A client that has sent `x` on [`CONN`].
    pub(crate) fn connected(config: ClientConfig, x: &'static str) -> Self {
        let mut fixture = Self::with(config);
        let token = fixture.send(1, x);
        fixture.open(CONN, token);
        fixture
    }

    /// Sends the command to deliver `x`. Returns the attempt to connect.
    pub(crate) fn send(&mut self, id: u64, x: &'static str) -> DialToken {
        let x = Bytes::from_static(x.as_bytes());
        dialled(&self.handle(Event::Command(Command::Send { key: id, x })))
    }

    pub(crate) fn open(&mut self, id: ConnId, token: DialToken) -> Vec<Out> {
        let dial = Some(token);
        self.handle(Event::Opened(
            id,
            Opened {
                dial,
                text: false,
                principal: None,
            },
        ))
    }

    pub(crate) fn receive(&mut self, id: ConnId, message: Message) -> Vec<Out> {
        self.handle(Event::Received(id, message))
    }

    pub(crate) fn close(&mut self, id: ConnId) -> Vec<Out> {
        self.handle(Event::Closed(id, CloseReason::Reset))
    }

    /// Waits until the client's next deadline. Returns the time until then, and the client's actions.
    pub(crate) fn wait(&mut self) -> (Duration, Vec<Out>) {
        let due = self.client.next_deadline().unwrap();
        let passed = due.since(self.now);
        self.now = due;
        (passed, self.handle(Event::Deadline))
    }

    pub(crate) fn handle(&mut self, event: Event<Message, Command>) -> Vec<Out> {
        let mut actions = Actions::new();
        self.client.handle(self.now, event, &mut actions);
        actions.drain().collect()
    }

    pub(crate) fn counters(&self) -> &ClientCounters {
        self.client.counters()
    }
}

/// The attempt to connect, if it is the only action.
pub(crate) fn dialled(actions: &[Out]) -> DialToken {
    match actions {
        [Action::Dial(token, _)] => *token,
        other => panic!("expected an attempt to connect, got {other:?}"),
    }
}

/// The pause before the next attempt, as notified.
pub(crate) fn pause(actions: &[Out]) -> Duration {
    match actions.last() {
        Some(Action::Notify(Notice::Retrying { after, .. })) => *after,
        _ => panic!("expected another attempt, got {actions:?}"),
    }
}

pub(crate) fn message(x: &'static str) -> Message {
    Message::Message(Bytes::from_static(x.as_bytes()))
}

pub(crate) fn ok(x: &'static str) -> Message {
    Message::Ok(Bytes::from_static(x.as_bytes()))
}
