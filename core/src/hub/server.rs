use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::mem;

use bytes::Bytes;

use super::ids::UserIds;
use super::message::{Message, Reply, Request, Unsent};
use crate::conn_set::ConnSet;
use crate::counters::counters;
use crate::machine::{Actions, Event, Machine};
use crate::{Action, CloseReason, ConnId, Time};

counters! {
    /// What a hub has done.
    ServerCounters {
        /// Users connected.
        opened,
        /// The most users at the same time.
        peak_users,
        /// `identity` answered.
        identities,
        /// `list` answered.
        lists,
        /// `echo` answered.
        echoes,
        /// Relays accepted.
        relays,
        /// Bodies sent, one for each receiver.
        deliveries,
        /// Receivers that were not connected.
        unknown_receivers,
        /// Receivers that did not get a body because too many bytes waited for them.
        slow_receivers,
    }
}

/// The hub. Deterministic: it makes no random choices.
#[derive(Debug, Default)]
pub struct Server {
    users: ConnSet<u64>,
    by_id: BTreeMap<u64, ConnId>,
    last_id: u64,
    draining: bool,
    counters: ServerCounters,
    receivers: Vec<u64>,
}

type Out = Actions<Message, Infallible>;

impl Server {
    /// A hub without users. Ids start at 1 and are never reused.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What the hub has done.
    #[must_use]
    pub const fn counters(&self) -> &ServerCounters {
        &self.counters
    }

    /// The connected users, ascending by id.
    pub fn users(&self) -> impl Iterator<Item = (u64, ConnId)> {
        self.by_id.iter().map(|(id, conn)| (*id, *conn))
    }

    /// The number of connected users.
    #[must_use]
    pub fn user_count(&self) -> usize {
        self.by_id.len()
    }

    /// Checks the invariant that holds after every event: both tables have the same users. O(n): for tests and
    /// simulation.
    ///
    /// # Errors
    ///
    /// The invariant that does not hold.
    pub fn audit(&self) -> Result<(), &'static str> {
        let known = |(id, conn): (&u64, &ConnId)| self.users.get(*conn) == Some(id);
        if self.users.len() != self.by_id.len() || !self.by_id.iter().all(known) {
            return Err("a user is in one table and not in the other");
        }
        Ok(())
    }

    fn opened(&mut self, conn: ConnId, out: &mut Out) {
        if self.draining {
            out.push(Action::Close(conn, CloseReason::ShuttingDown));
            return;
        }
        let id = self.last_id + 1;
        if self.users.insert(conn, id) {
            self.last_id = id;
            self.by_id.insert(id, conn);
            self.counters.opened += 1;
            self.counters.peak_users = self.counters.peak_users.max(self.by_id.len() as u64);
        }
    }

    fn closed(&mut self, conn: ConnId) {
        if let Some(id) = self.users.remove(conn) {
            self.by_id.remove(&id);
        }
    }

    fn request(&mut self, conn: ConnId, request: Request, out: &mut Out) {
        let Some(&user) = self.users.get(conn) else {
            return;
        };
        let reply = match request {
            Request::Identity => {
                self.counters.identities += 1;
                Reply::Identity(user)
            }
            Request::List => {
                self.counters.lists += 1;
                Reply::List(self.by_id.keys().copied().filter(|&id| id != user).collect())
            }
            Request::Echo(body) => {
                self.counters.echoes += 1;
                Reply::Echo(body)
            }
            Request::Relay { to, body } => {
                self.counters.relays += 1;
                self.relay(user, &to, &body, out)
            }
        };
        out.push(Action::Send(conn, Message::Reply(reply)));
    }

    fn relay(&mut self, from: u64, to: &UserIds, body: &Bytes, out: &mut Out) -> Reply {
        let mut receivers = mem::take(&mut self.receivers);
        receivers.extend(to.iter());
        receivers.sort_unstable();
        receivers.dedup();
        let (mut sent, mut unsent) = (0, Vec::new());
        for id in receivers.drain(..) {
            match self.deliver(from, id, body, out) {
                Ok(()) => sent += 1,
                Err(why) => unsent.push((id, why)),
            }
        }
        self.receivers = receivers;
        Reply::Relayed { sent, unsent }
    }

    fn deliver(&mut self, from: u64, to: u64, body: &Bytes, out: &mut Out) -> Result<(), Unsent> {
        let Some(&conn) = self.by_id.get(&to) else {
            self.counters.unknown_receivers += 1;
            return Err(Unsent::Unknown);
        };
        if out.is_backlogged(conn) {
            self.counters.slow_receivers += 1;
            return Err(Unsent::TooSlow);
        }
        self.counters.deliveries += 1;
        let body = body.clone();
        out.push(Action::Send(conn, Message::Reply(Reply::Delivery { from, body })));
        Ok(())
    }

    /// A hub has no work in progress, so it closes all connections; what waits to be written is flushed.
    fn drain(&mut self, out: &mut Out) {
        self.draining = true;
        for conn in mem::take(&mut self.by_id).into_values() {
            self.users.remove(conn);
            out.push(Action::Close(conn, CloseReason::ShuttingDown));
        }
    }
}

impl Machine for Server {
    type Message = Message;
    type Command = Infallible;
    type Notice = Infallible;

    fn handle(&mut self, _now: Time, event: Event<Message, Infallible>, out: &mut Out) {
        match event {
            Event::Opened(conn, _) => self.opened(conn, out),
            Event::Received(conn, Message::Request(request)) => self.request(conn, request, out),
            Event::Closed(conn, _) => self.closed(conn),
            Event::Drain => self.drain(out),
            // The codec of an accepted connection decodes no replies.
            Event::Received(_, Message::Reply(_)) => {}
            Event::DialFailed(..) | Event::Command(_) | Event::Deadline | Event::PeerFinished(_) => {}
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        None
    }

    fn is_zero(&self) -> bool {
        self.users.is_empty() && self.by_id.is_empty()
    }
}
