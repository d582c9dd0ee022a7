//! The hub with what the model must see beside its events: which users' connections were behind at a
//! relay.

use std::collections::BTreeSet;
use std::convert::Infallible;

use echosphere_core::hub::{Message, Request, Server};
use echosphere_core::{Actions, ConnId, Event, Machine, Time};

/// A hub that notes which users it must leave out.
#[derive(Debug, Default)]
pub struct SimServer {
    /// The hub.
    pub inner: Server,
    /// Users' connections for which too much waited to be written when the last relay came.
    pub behind: BTreeSet<ConnId>,
}

impl Machine for SimServer {
    type Message = Message;
    type Command = Infallible;
    type Notice = Infallible;

    fn handle(&mut self, now: Time, event: Event<Message, Infallible>, out: &mut Actions<Message, Infallible>) {
        if let Event::Received(_, Message::Request(Request::Relay { .. })) = event {
            let conns = self.inner.users().map(|(_, conn)| conn);
            self.behind = conns.filter(|conn| out.is_backlogged(*conn)).collect();
        }
        self.inner.handle(now, event, out);
    }

    fn next_deadline(&self) -> Option<Time> {
        self.inner.next_deadline()
    }

    fn is_zero(&self) -> bool {
        self.inner.is_zero()
    }
}
