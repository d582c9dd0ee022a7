//! The machines with callers that read what they hear, at once.

use bytes::Bytes;
use echosphere_core::chat::{Client, Command, Message, Notice, Server, ServerCommand};
use echosphere_core::{Action, Actions, ConnId, Event, Machine, Time};
use rand_chacha::ChaCha8Rng;

/// What an answer begins with.
pub(super) const ANSWER: &[u8] = b"re: ";

/// A server whose caller answers every message.
#[derive(Debug)]
pub struct Answering {
    /// The server.
    pub inner: Server,
    /// When it took its last event, by its own clock.
    pub now: Time,
    said: u64,
}

/// A client whose caller reads every message.
#[derive(Debug)]
pub struct Reading {
    /// The client.
    pub inner: Client<ChaCha8Rng>,
    /// Somebody who types: is not welcomed, and begins to talk at once.
    pub types: bool,
    /// When it took its last event, by its own clock.
    pub now: Time,
}

impl Answering {
    pub(super) const fn new(inner: Server) -> Self {
        let now = Time::ZERO;
        Self { inner, now, said: 0 }
    }
}

impl Reading {
    pub(super) const fn new(inner: Client<ChaCha8Rng>, types: bool) -> Self {
        let now = Time::ZERO;
        Self { inner, types, now }
    }
}

fn heard(actions: &[Action<Message, Notice>]) -> Vec<Bytes> {
    let bodies = actions.iter().filter_map(|action| match action {
        Action::Notify(Notice::Heard { body, .. }) => Some(body.clone()),
        _ => None,
    });
    bodies.collect()
}

impl Machine for Answering {
    type Message = Message;
    type Command = ServerCommand;
    type Notice = Notice;

    fn handle(&mut self, now: Time, event: Event<Message, ServerCommand>, out: &mut Actions<Message, Notice>) {
        self.now = now;
        let before = out.as_slice().len();
        self.inner.handle(now, event, out);
        for body in heard(&out.as_slice()[before..]) {
            let read = Event::Command(ServerCommand::Read(body.len()));
            self.inner.handle(now, read, out);
            let (key, body) = (self.said, [ANSWER, &body].concat().into());
            self.said += 1;
            self.inner
                .handle(now, Event::Command(ServerCommand::Say { key, body }), out);
        }
    }

    fn partial_bytes(&self, id: ConnId) -> usize {
        self.inner.partial_bytes(id)
    }

    fn next_deadline(&self) -> Option<Time> {
        self.inner.next_deadline()
    }

    fn is_zero(&self) -> bool {
        self.inner.is_zero()
    }
}

impl Machine for Reading {
    type Message = Message;
    type Command = Command;
    type Notice = Notice;

    fn handle(&mut self, now: Time, event: Event<Message, Command>, out: &mut Actions<Message, Notice>) {
        self.now = now;
        let before = out.as_slice().len();
        let opened = match event {
            Event::Opened(conn, _) if self.types => Some(conn),
            _ => None,
        };
        self.inner.handle(now, event, out);
        if let Some(conn) = opened {
            let welcome = Message::Welcome { received: 0 };
            self.inner.handle(now, Event::Received(conn, welcome), out);
        }
        for body in heard(&out.as_slice()[before..]) {
            self.inner.handle(now, Event::Command(Command::Read(body.len())), out);
        }
    }

    fn partial_bytes(&self, id: ConnId) -> usize {
        self.inner.partial_bytes(id)
    }

    fn next_deadline(&self) -> Option<Time> {
        self.inner.next_deadline()
    }

    fn is_zero(&self) -> bool {
        self.inner.is_zero()
    }
}
