//! A server that receives typed messages. Its invariants are checked after every event.

use std::convert::Infallible;

use bytes::Bytes;
use echosphere_core::echo::{Message, Server, ServerConfig, ServerCounters};
use echosphere_core::wire::ErrorCode;
use echosphere_core::{Action, Actions, CloseReason, ConnId, Event, Machine, Opened, Time};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

pub(crate) type Out = Action<Message, Infallible>;

pub(crate) struct Fixture {
    pub(crate) server: Server<ChaCha8Rng>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(ServerConfig::default(), 1)
    }

    pub(crate) fn with(config: ServerConfig, seed: u64) -> Self {
        Self {
            server: Server::new(config, ChaCha8Rng::seed_from_u64(seed)),
        }
    }

    /// A server that has forwarded `x` from `originator` (connection 0) to `holder` (connection 1).
    pub(crate) fn held_by_another(x: &'static str) -> (Self, ConnId, ConnId) {
        for seed in 0..100 {
            let mut fixture = Self::with(ServerConfig::default(), seed);
            let (originator, holder) = (fixture.open(0), fixture.open(1));
            if fixture.message(originator, x) == [forward(holder, x)] {
                return (fixture, originator, holder);
            }
        }
        panic!("one seed in two makes that choice, and none of 100 does")
    }

    pub(crate) fn open(&mut self, slot: u32) -> ConnId {
        self.open_as(slot, false)
    }

    pub(crate) fn open_text(&mut self, slot: u32) -> ConnId {
        self.open_as(slot, true)
    }

    fn open_as(&mut self, slot: u32, text: bool) -> ConnId {
        let id = ConnId { slot, generation: 0 };
        assert_eq!(
            self.handle(Event::Opened(
                id,
                Opened {
                    dial: None,
                    text,
                    principal: None
                }
            )),
            []
        );
        id
    }

    pub(crate) fn message(&mut self, from: ConnId, x: impl Into<Bytes>) -> Vec<Out> {
        self.handle(Event::Received(from, Message::Message(x.into())))
    }

    /// Sends `x` and returns its holder.
    pub(crate) fn holder_of(&mut self, from: ConnId, x: impl Into<Bytes>) -> ConnId {
        let x = x.into();
        match self.message(from, x.clone())[..] {
            [Action::Send(holder, Message::Message(ref forwarded))] if *forwarded == x => holder,
            ref other => panic!("not forwarded to exactly one: {other:?}"),
        }
    }

    pub(crate) fn ok(&mut self, from: ConnId, x: impl Into<Bytes>) -> Vec<Out> {
        self.handle(Event::Received(from, Message::Ok(x.into())))
    }

    pub(crate) fn close(&mut self, id: ConnId) -> Vec<Out> {
        self.handle(Event::Closed(id, CloseReason::PeerClosed))
    }

    pub(crate) fn drain(&mut self) -> Vec<Out> {
        self.handle(Event::Drain)
    }

    pub(crate) fn handle(&mut self, event: Event<Message, Infallible>) -> Vec<Out> {
        let mut actions = Actions::new();
        self.server.handle(Time::ZERO, event, &mut actions);
        self.server.audit().unwrap();
        actions.drain().collect()
    }

    pub(crate) fn counters(&self) -> &ServerCounters {
        self.server.counters()
    }
}

pub(crate) fn forward(to: ConnId, x: impl Into<Bytes>) -> Out {
    Action::Send(to, Message::Message(x.into()))
}

pub(crate) fn acknowledge(to: ConnId, x: impl Into<Bytes>) -> Out {
    Action::Send(to, Message::Ok(x.into()))
}

pub(crate) fn tell(to: ConnId, code: ErrorCode) -> Out {
    Action::Send(to, Message::Error(code, Bytes::from_static(code.describe().as_bytes())))
}

pub(crate) fn say_goodbye(to: ConnId) -> Out {
    Action::Close(to, CloseReason::ShuttingDown)
}
