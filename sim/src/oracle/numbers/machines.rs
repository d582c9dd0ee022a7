//! The machines with what the model must see beside their events, and with connections that follow a
//! script.

use std::collections::BTreeSet;
use std::convert::Infallible;

use echosphere_core::numbers::{Client, Command, Message, Notice, Server};
use echosphere_core::{Action, Actions, ConnId, Event, Machine, Time};
use rand_chacha::ChaCha8Rng;

use super::scripts::{Scripts, SimCommand};

/// A server.
#[derive(Debug)]
pub struct SimServer {
    /// The server.
    pub inner: Server<ChaCha8Rng>,
    /// When it took its last event, by its own clock.
    pub now: Time,
    /// Connections for which too much waited when it took its last event.
    pub behind: BTreeSet<ConnId>,
    conns: BTreeSet<ConnId>,
}

impl SimServer {
    pub(super) const fn new(inner: Server<ChaCha8Rng>) -> Self {
        Self {
            inner,
            now: Time::ZERO,
            behind: BTreeSet::new(),
            conns: BTreeSet::new(),
        }
    }
}

impl Machine for SimServer {
    type Message = Message;
    type Command = Infallible;
    type Notice = Infallible;

    fn handle(&mut self, now: Time, event: Event<Message, Infallible>, out: &mut Actions<Message, Infallible>) {
        self.now = now;
        match event {
            Event::Opened(conn, _) => {
                self.conns.insert(conn);
            }
            Event::Closed(conn, _) => {
                self.conns.remove(&conn);
            }
            _ => {}
        }
        self.behind = self
            .conns
            .iter()
            .copied()
            .filter(|conn| out.is_backlogged(*conn))
            .collect();
        let before = out.as_slice().len();
        self.inner.handle(now, event, out);
        for action in &out.as_slice()[before..] {
            if let Action::Close(conn, _) = action {
                self.conns.remove(conn);
            }
        }
    }

    fn keeps_open_after_fin(&self, id: ConnId) -> bool {
        self.inner.keeps_open_after_fin(id)
    }

    fn next_deadline(&self) -> Option<Time> {
        self.inner.next_deadline()
    }

    fn is_zero(&self) -> bool {
        self.inner.is_zero()
    }
}

/// A client, and connections whose other ends know no better.
#[derive(Debug)]
pub struct SimClient {
    /// The client.
    pub inner: Client<ChaCha8Rng>,
    /// When it took its last event, by its own clock.
    pub now: Time,
    /// How many of the last event's actions are the client's; `None` if it was not shown the event.
    pub by_inner: Option<usize>,
    scripts: Scripts,
}

impl SimClient {
    pub(super) const fn new(inner: Client<ChaCha8Rng>) -> Self {
        Self {
            inner,
            now: Time::ZERO,
            by_inner: None,
            scripts: Scripts::new(),
        }
    }
}

impl Machine for SimClient {
    type Message = Message;
    type Command = SimCommand;
    type Notice = Notice;

    fn handle(&mut self, now: Time, event: Event<Message, SimCommand>, out: &mut Actions<Message, Notice>) {
        self.now = now;
        self.by_inner = None;
        let before = out.as_slice().len();
        if let Event::Command(SimCommand::Script { script, stays }) = event {
            self.scripts.begin(now, script, stays, out);
            return;
        }
        if self.scripts.owns(&event) {
            self.scripts.handle(now, &event, out);
            return;
        }
        let common = matches!(event, Event::Deadline | Event::Drain).then(|| event.clone());
        if let Some(event) = for_client(event) {
            self.inner.handle(now, event, out);
            self.by_inner = Some(out.as_slice().len() - before);
        }
        if let Some(event) = common {
            self.scripts.handle(now, &event, out);
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        let both = [self.inner.next_deadline(), self.scripts.next_deadline()];
        both.into_iter().flatten().min()
    }

    fn is_zero(&self) -> bool {
        self.inner.is_zero() && self.scripts.is_zero()
    }
}

/// The event as the client takes it; `None` if it is none of its.
pub(super) fn for_client(event: Event<Message, SimCommand>) -> Option<Event<Message, Command>> {
    Some(match event {
        Event::Opened(conn, opened) => Event::Opened(conn, opened),
        Event::Received(conn, message) => Event::Received(conn, message),
        Event::Closed(conn, reason) => Event::Closed(conn, reason),
        Event::PeerFinished(conn) => Event::PeerFinished(conn),
        Event::DialFailed(token, error) => Event::DialFailed(token, error),
        Event::Command(SimCommand::Get(command)) => Event::Command(command),
        Event::Command(SimCommand::Script { .. }) => return None,
        Event::Drain => Event::Drain,
        Event::Deadline => Event::Deadline,
    })
}
