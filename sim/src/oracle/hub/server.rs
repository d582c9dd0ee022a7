//! The rules of the hub's server.

use std::collections::{BTreeMap, BTreeSet};

use echosphere_core::hub::{Message, Reply, Request, Server, Unsent};
use echosphere_core::{Action, CloseReason, ConnId, Event, Machine};

use super::words::unsent_because;
use crate::marks::{Mark, Marks};
use crate::observe::{ActionOf, EventOf};
use crate::oracle::typed::fits_a_line;
use crate::words;

/// Bytes of a frame, or a line, that are not its body, at most.
const AROUND: usize = 64;
/// Bytes of an id, at most.
const ID: usize = 22;

#[derive(Debug)]
pub(super) struct ServerModel {
    deep: bool,
    /// Bytes that may wait for long for one user.
    max_backlog: usize,
    marks: Marks,
    last_id: u64,
    draining: bool,
    users: BTreeMap<u64, User>,
    ids: BTreeMap<ConnId, u64>,
}

#[derive(Debug)]
struct User {
    conn: ConnId,
    /// Bytes that it was ever sent: no more can wait.
    sent: usize,
    types: bool,
}

impl ServerModel {
    pub(super) fn new(deep: bool, max_backlog: usize, marks: Marks) -> Self {
        Self {
            deep,
            max_backlog,
            marks,
            last_id: 0,
            draining: false,
            users: BTreeMap::new(),
            ids: BTreeMap::new(),
        }
    }

    pub(super) fn restart(&mut self) {
        *self = Self::new(self.deep, self.max_backlog, self.marks.clone());
    }

    /// Checks that `actions` are what `event` must lead to, if too much waits for the users in `behind`.
    pub(super) fn step(
        &mut self,
        behind: &BTreeSet<ConnId>,
        event: &EventOf<Server>,
        actions: &[ActionOf<Server>],
    ) -> Result<(), String> {
        match event {
            Event::Opened(conn, _) if self.draining => {
                nothing_but(actions, &[Action::Close(*conn, CloseReason::ShuttingDown)])
            }
            Event::Opened(conn, opened) => {
                self.last_id += 1;
                let user = User {
                    conn: *conn,
                    sent: 0,
                    types: opened.text,
                };
                self.users.insert(self.last_id, user);
                if self.ids.insert(*conn, self.last_id).is_some() {
                    return Err(format!("{conn:?} opened twice"));
                }
                nothing_but(actions, &[])
            }
            Event::Received(conn, Message::Request(request)) => match self.ids.get(conn) {
                Some(&user) => self.asked(user, *conn, request, behind, actions),
                None => Err(format!("a message from {conn:?}, which is no user")),
            },
            Event::Closed(conn, _) => {
                let id = self.ids.remove(conn);
                let id = id.ok_or_else(|| format!("{conn:?} closed, and was no user"))?;
                self.users.remove(&id);
                nothing_but(actions, &[])
            }
            Event::Drain => {
                self.draining = true;
                let closed: BTreeSet<ConnId> = std::mem::take(&mut self.ids).into_keys().collect();
                self.users.clear();
                let told = actions.iter().map(|action| match action {
                    Action::Close(conn, CloseReason::ShuttingDown) => Some(*conn),
                    _ => None,
                });
                if actions.len() != closed.len() || told.collect::<Option<BTreeSet<_>>>() != Some(closed) {
                    return Err("a hub that drains closes every user once, and does nothing else".into());
                }
                Ok(())
            }
            Event::Received(..)
            | Event::PeerFinished(_)
            | Event::DialFailed(..)
            | Event::Command(_)
            | Event::Deadline => nothing_but(actions, &[]),
        }
    }

    fn asked(
        &mut self,
        user: u64,
        conn: ConnId,
        request: &Request,
        behind: &BTreeSet<ConnId>,
        actions: &[ActionOf<Server>],
    ) -> Result<(), String> {
        for action in actions {
            let Action::Send(to, Message::Reply(reply)) = action else {
                return Err("an answer with another effect than a reply".into());
            };
            self.count(*to, reply)?;
        }
        let reply = match request {
            Request::Identity => Reply::Identity(user),
            Request::List => Reply::List(self.users.keys().copied().filter(|id| *id != user).collect()),
            Request::Echo(body) => Reply::Echo(body.clone()),
            Request::Relay { to, body } => {
                let named: BTreeSet<u64> = to.iter().collect();
                self.mark_relay(user, &named, to.len(), body);
                return self.relayed(user, conn, &named, body, behind, actions);
            }
        };
        nothing_but(actions, &[Action::Send(conn, Message::Reply(reply))])
    }

    /// Deliveries to some of `named`, and then a receipt that is true.
    fn relayed(
        &self,
        from: u64,
        conn: ConnId,
        named: &BTreeSet<u64>,
        body: &bytes::Bytes,
        behind: &BTreeSet<ConnId>,
        actions: &[ActionOf<Server>],
    ) -> Result<(), String> {
        let Some((Action::Send(to, Message::Reply(Reply::Relayed { sent, unsent })), deliveries)) =
            actions.split_last()
        else {
            return Err("a relay without a receipt".into());
        };
        if *to != conn {
            return Err("a receipt to another connection than the sender".into());
        }
        let mut got = BTreeSet::new();
        for action in deliveries {
            let Action::Send(to, Message::Reply(Reply::Delivery { from: said, body: what })) = action else {
                return Err("a relay leads to something else than deliveries".into());
            };
            let receiver = self.ids.get(to).ok_or("a delivery to a connection that is no user")?;
            if behind.contains(to) {
                return Err(format!("user {receiver} is sent more, though it does not read"));
            }
            if *said != from {
                return Err(format!("a body of user {from} is delivered as from {said}"));
            }
            if what != body {
                return Err("a body is not what was sent".into());
            }
            if !got.insert(*receiver) {
                return Err(format!("user {receiver} gets a relay twice"));
            }
        }
        if got.len() > 64 {
            self.marks.hit(Mark::WideFanOut);
        }
        let mut missed: BTreeSet<u64> = named - &got;
        if !got.is_subset(named) {
            return Err("a user gets a relay that does not name it".into());
        }
        if usize::from(*sent) != got.len() {
            return Err(format!(
                "the receipt counts {sent} receivers, and {} were sent the body",
                got.len()
            ));
        }
        for (id, why) in unsent {
            if !missed.remove(id) {
                return Err(format!(
                    "the receipt names user {id}, which was sent the body, or was not named by the sender"
                ));
            }
            let user = self.users.get(id);
            match (why, user) {
                (Unsent::Unknown, None) => self.marks.hit(Mark::UnknownReceiver),
                (Unsent::TooSlow, Some(user)) if behind.contains(&user.conn) && user.sent > self.max_backlog => {
                    self.marks.hit(Mark::SlowReceiver);
                }
                _ => {
                    return Err(format!(
                        "the receipt wrongly reports user {id} as {}",
                        unsent_because(*why)
                    ));
                }
            }
        }
        if !missed.is_empty() {
            return Err(format!(
                "users neither sent to nor named in the receipt: {}",
                words::list(&missed)
            ));
        }
        if !unsent.is_sorted() {
            return Err("a receipt is not in order".into());
        }
        Ok(())
    }

    fn mark_relay(&self, user: u64, named: &BTreeSet<u64>, count: usize, body: &[u8]) {
        let types = |id: &u64| self.users.get(id).is_some_and(|user| user.types);
        if types(&user) {
            self.marks.hit(if fits_a_line(body) {
                Mark::TypedRelay
            } else {
                Mark::TypedRelayOfAnyBytes
            });
        }
        if named.iter().any(types) {
            self.marks.hit(Mark::DeliveredInLines);
        }
        if named.contains(&user) {
            self.marks.hit(Mark::RelayToSelf);
        }
        if named.len() < count {
            self.marks.hit(Mark::NamedTwice);
        }
        if named.len() > 2 {
            self.marks.hit(Mark::FanOut);
        }
    }

    fn count(&mut self, conn: ConnId, reply: &Reply) -> Result<(), String> {
        let id = self
            .ids
            .get(&conn)
            .ok_or("something is sent to a connection that is no user")?;
        let bytes = match reply {
            Reply::Delivery { body, .. } | Reply::Echo(body) | Reply::Error(_, body) => body.len(),
            Reply::List(ids) => ids.len() * ID,
            Reply::Relayed { unsent, .. } => unsent.len() * ID,
            Reply::Identity(_) => 0,
        };
        if let Some(user) = self.users.get_mut(id) {
            user.sent += bytes + AROUND;
        }
        Ok(())
    }

    /// The hub's own list of users.
    pub(super) fn compare(&self, server: &Server) -> Result<(), String> {
        if server.user_count() != self.users.len() {
            let (theirs, mine) = (server.user_count(), self.users.len());
            return Err(format!("the hub has {theirs} users, should have {mine}"));
        }
        if self.users.is_empty() && !server.is_zero() {
            return Err("no user is left, but other state is".into());
        }
        if self.deep {
            server.audit()?;
            if !server.users().eq(self.users.iter().map(|(id, user)| (*id, user.conn))) {
                return Err("the hub's users are not those that are connected".into());
            }
        }
        Ok(())
    }

    pub(super) fn ends(&self) -> Result<(), String> {
        if self.users.is_empty() {
            Ok(())
        } else {
            Err(format!("{} users are left", self.users.len()))
        }
    }
}

fn nothing_but(actions: &[ActionOf<Server>], expected: &[ActionOf<Server>]) -> Result<(), String> {
    if actions == expected {
        Ok(())
    } else {
        Err(format!(
            "the hub did: {}; should have done: {}",
            words::actions(actions),
            words::actions(expected)
        ))
    }
}
