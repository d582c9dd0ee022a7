//! The machines, with what the model must know beside their events, and with callers that no well-behaved program has.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::time::Duration;

use echosphere_core::numbers::{Client, Command, Message, Notice, Server};
use echosphere_core::{Action, Actions, ConnId, Event, Machine, Time};
use rand_chacha::ChaCha8Rng;

use super::odd::Odd;

/// A server.
#[derive(Debug)]
pub struct Watched {
    /// The server.
    pub inner: Server<ChaCha8Rng>,
    /// When it took its last event, by its own clock.
    pub now: Time,
    /// Connections for which too much waited when it took its last event.
    pub behind: BTreeSet<ConnId>,
    conns: BTreeSet<ConnId>,
}

impl Watched {
    pub(super) const fn new(inner: Server<ChaCha8Rng>) -> Self {
        Self {
            inner,
            now: Time::ZERO,
            behind: BTreeSet::new(),
            conns: BTreeSet::new(),
        }
    }
}

impl Machine for Watched {
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

/// What a host of clients is to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Errand {
    /// What a client can be asked for.
    Get(Command),
    /// Requests on one connection, each after a time, and after another its end: what no client of ours says.
    Odd {
        /// Each request, and how long after the one before.
        script: Vec<(Duration, Message)>,
        /// How long after the last the connection ends.
        stays: Duration,
    },
}

/// A client, and connections whose other ends know no better.
#[derive(Debug)]
pub struct Callers {
    /// The client.
    pub inner: Client<ChaCha8Rng>,
    /// When it took its last event, by its own clock.
    pub now: Time,
    /// How many of the last event's actions are the client's; `None` if it was not shown the event.
    pub by_inner: Option<usize>,
    odd: Odd,
}

impl Callers {
    pub(super) const fn new(inner: Client<ChaCha8Rng>) -> Self {
        Self {
            inner,
            now: Time::ZERO,
            by_inner: None,
            odd: Odd::new(),
        }
    }
}

impl Machine for Callers {
    type Message = Message;
    type Command = Errand;
    type Notice = Notice;

    fn handle(&mut self, now: Time, event: Event<Message, Errand>, out: &mut Actions<Message, Notice>) {
        self.now = now;
        self.by_inner = None;
        let before = out.as_slice().len();
        if let Event::Command(Errand::Odd { script, stays }) = event {
            self.odd.begin(now, script, stays, out);
            return;
        }
        if self.odd.owns(&event) {
            self.odd.handle(now, &event, out);
            return;
        }
        let common = matches!(event, Event::Deadline | Event::Drain).then(|| event.clone());
        if let Some(event) = for_client(event) {
            self.inner.handle(now, event, out);
            self.by_inner = Some(out.as_slice().len() - before);
        }
        if let Some(event) = common {
            self.odd.handle(now, &event, out);
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        let both = [self.inner.next_deadline(), self.odd.next_deadline()];
        both.into_iter().flatten().min()
    }

    fn is_zero(&self) -> bool {
        self.inner.is_zero() && self.odd.is_zero()
    }
}

/// The event as the client takes it; `None` if it is none of its.
pub(super) fn for_client(event: Event<Message, Errand>) -> Option<Event<Message, Command>> {
    Some(match event {
        Event::Opened(conn, opened) => Event::Opened(conn, opened),
        Event::Received(conn, message) => Event::Received(conn, message),
        Event::Closed(conn, reason) => Event::Closed(conn, reason),
        Event::PeerFinished(conn) => Event::PeerFinished(conn),
        Event::DialFailed(token, error) => Event::DialFailed(token, error),
        Event::Command(Errand::Get(command)) => Event::Command(command),
        Event::Command(Errand::Odd { .. }) => return None,
        Event::Drain => Event::Drain,
        Event::Deadline => Event::Deadline,
    })
}
