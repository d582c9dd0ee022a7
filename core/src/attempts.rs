//! How every client connects, retries, times out and gives up.
//!
//! A failed attempt is followed by another after a growing pause, until a connection is *proven* useful or the time
//! limit passes (PROTOCOL.md, "How a client connects").

use core::time::Duration;

use rand_core::Rng;
use slab::Slab;

use crate::conn_set::ConnSet;
use crate::machine::{Actions, DialError, DialTarget, DialToken};
use crate::random::Backoff;
use crate::timers::{SHORTEST, TimerId, Timers};
use crate::{Action, CloseReason, ConnId, Time};

/// When a client retries a connection, and when it gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The pause before each retry. It grows with every failed attempt and starts over after a proven connection.
    pub backoff: Backoff,
    /// The limit of one attempt, in time.
    pub attempt_timeout: Duration,
    /// The limit of all attempts, in time: from the start, or from the loss of a proven connection. `None`: no limit.
    pub give_up_after: Option<Duration>,
    /// Whether to retry if an attempt is refused before any attempt has connected. If not, the client gives up: most
    /// likely no server will listen later either.
    pub retry_refused: bool,
}

/// The connections that a client needs, each for a value `T`, and the attempts to make them.
///
/// Each entry has a key. The client's machine forwards events about connections to this type, which returns the key
/// that each event concerns. The machine calls [`Attempts::mark_proven`] and [`Attempts::failed`].
#[derive(Debug)]
pub struct Attempts<T> {
    rule: Retry,
    entries: Slab<Entry<T>>,
    conns: ConnSet<u32>,
    timers: Timers<u32>,
    total: u64,
    /// Whether any attempt, for any entry, has connected.
    connected: bool,
}

#[derive(Debug)]
struct Entry<T> {
    value: T,
    state: State,
    timer: Option<TimerId>,
    /// When the entry started, or when its last proven connection was lost.
    since: Time,
    /// Failed attempts since `since`.
    failures: u32,
    /// Attempts since the entry started.
    attempts: u32,
    /// Whether its last attempt did not connect.
    refused: bool,
    /// Whether its connection is proven.
    proven: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Until the timer, if there is one; without one, until its machine decides.
    Waiting,
    Dialling(DialToken),
    Open(ConnId),
}

impl<T> Attempts<T> {
    /// No entries.
    #[must_use]
    pub const fn new(rule: Retry) -> Self {
        Self {
            rule,
            entries: Slab::new(),
            conns: ConnSet::new(),
            timers: Timers::new(),
            total: 0,
            connected: false,
        }
    }

    /// The number of entries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no entries, connections and timers.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.conns.is_empty() && self.timers.is_empty()
    }

    /// The earliest time at which [`Attempts::pop_expired`] can return a key or start an attempt.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// All entries with their keys, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.entries.iter().map(|(key, entry)| (key as u32, &entry.value))
    }

    /// The value of an entry.
    #[must_use]
    pub fn get(&self, key: u32) -> Option<&T> {
        self.entries.get(key as usize).map(|entry| &entry.value)
    }

    /// The value of an entry, mutable.
    pub fn get_mut(&mut self, key: u32) -> Option<&mut T> {
        self.entry(key).map(|entry| &mut entry.value)
    }

    /// The entry's connection, if it has one.
    #[must_use]
    pub fn conn(&self, key: u32) -> Option<ConnId> {
        match self.entries.get(key as usize)?.state {
            State::Open(conn) => Some(conn),
            State::Waiting | State::Dialling(_) => None,
        }
    }

    /// The key of the entry that owns a connection.
    #[must_use]
    pub fn key_of(&self, conn: ConnId) -> Option<u32> {
        self.conns.get(conn).copied()
    }

    /// Attempts made for all entries so far.
    #[must_use]
    pub const fn total_attempts(&self) -> u64 {
        self.total
    }

    /// Attempts made for one entry so far.
    #[must_use]
    pub fn attempts(&self, key: u32) -> u32 {
        self.entries.get(key as usize).map_or(0, |entry| entry.attempts)
    }

    fn entry(&mut self, key: u32) -> Option<&mut Entry<T>> {
        self.entries.get_mut(key as usize)
    }

    /// Adds an entry and starts its first attempt. Returns its key, which is valid until [`Attempts::end`].
    pub fn begin<M, N>(&mut self, now: Time, value: T, out: &mut Actions<M, N>) -> u32 {
        let entry = Entry {
            value,
            state: State::Waiting,
            timer: None,
            since: now,
            failures: 0,
            attempts: 0,
            refused: false,
            proven: false,
        };
        let key = self.entries.insert(entry) as u32;
        self.dial(now, key, out);
        key
    }

    fn dial<M, N>(&mut self, now: Time, key: u32, out: &mut Actions<M, N>) {
        // The upper half counts attempts: it distinguishes this attempt from earlier ones of the same key.
        let token = DialToken(self.total << 32 | u64::from(key));
        self.total += 1;
        if let Some(entry) = self.entry(key) {
            entry.state = State::Dialling(token);
            entry.attempts += 1;
        }
        self.restart_timeout(now, key);
        out.push(Action::Dial(token, DialTarget::default()));
    }

    /// Starts the time-out of an attempt anew, as long as the attempt's own, but no later than
    /// [`Attempts::gives_up_at`].
    pub fn restart_timeout(&mut self, now: Time, key: u32) {
        let until = now + self.rule.attempt_timeout.max(SHORTEST);
        let last = self.gives_up_at(key).max(now + SHORTEST);
        self.set_deadline(key, Some(until.min(last)));
    }

    /// When the limit of all attempts is reached; [`Time::FAR`] if there is no limit.
    #[must_use]
    pub fn gives_up_at(&self, key: u32) -> Time {
        match (self.entries.get(key as usize), self.rule.give_up_after) {
            (Some(entry), Some(after)) => entry.since + after,
            _ => Time::FAR,
        }
    }

    /// Sets the entry's deadline, which replaces the one before.
    pub fn set_deadline(&mut self, key: u32, until: Option<Time>) {
        let Some(entry) = self.entries.get_mut(key as usize) else {
            return;
        };
        if entry.timer.map(TimerId::at) == until {
            return;
        }
        if let Some(timer) = entry.timer.take() {
            self.timers.cancel(timer);
        }
        entry.timer = until.map(|until| self.timers.set(until, key));
    }

    /// A connection has opened. Returns its entry's key; closes a connection whose entry has ended. The entry's
    /// deadline stays.
    pub fn opened<M, N>(&mut self, conn: ConnId, dial: Option<DialToken>, out: &mut Actions<M, N>) -> Option<u32> {
        let Some((key, entry)) = dial.and_then(|token| self.dialling(token)) else {
            out.push(Action::Close(conn, CloseReason::Finished));
            return None;
        };
        entry.state = State::Open(conn);
        self.connected = true;
        self.conns.insert(conn, key);
        Some(key)
    }

    /// An attempt has failed. Returns its entry's key; `None` if the attempt was abandoned.
    pub fn dial_failed(&mut self, token: DialToken, error: DialError) -> Option<u32> {
        let (key, entry) = self.dialling(token)?;
        entry.state = State::Waiting;
        entry.refused = true;
        // A server that accepts no connections now does listen there.
        self.connected |= error == DialError::Unavailable;
        self.set_deadline(key, None);
        Some(key)
    }

    fn dialling(&mut self, token: DialToken) -> Option<(u32, &mut Entry<T>)> {
        let key = token.0 as u32;
        let entry = self.entry(key)?;
        (entry.state == State::Dialling(token)).then_some((key, entry))
    }

    /// A connection has ended. Returns its entry's key.
    pub fn closed(&mut self, conn: ConnId) -> Option<u32> {
        let key = self.conns.remove(conn)?;
        if let Some(entry) = self.entry(key) {
            entry.state = State::Waiting;
        }
        self.set_deadline(key, None);
        Some(key)
    }

    /// The peer has sent something that only a working server of the right protocol sends. After the next loss, pauses
    /// and the time limit start over.
    pub fn mark_proven(&mut self, key: u32) {
        if let Some(entry) = self.entry(key) {
            entry.proven = true;
        }
    }

    /// Whether the entry's connection is proven.
    #[must_use]
    pub fn is_proven(&self, key: u32) -> bool {
        self.entries.get(key as usize).is_some_and(|entry| entry.proven)
    }

    /// Starts the attempts whose pause is over, then returns the next entry whose attempt or connection has reached its
    /// deadline.
    pub fn pop_expired<M, N>(&mut self, now: Time, out: &mut Actions<M, N>) -> Option<u32> {
        while let Some((_, key)) = self.timers.pop_due(now) {
            let Some(entry) = self.entry(key) else {
                continue;
            };
            entry.timer = None;
            match entry.state {
                State::Waiting => self.dial(now, key, out),
                State::Dialling(_) | State::Open(_) => return Some(key),
            }
        }
        None
    }

    /// Ends the entry's attempt, or closes its connection for `reason`, and schedules the next attempt. Returns the
    /// pause before it. Returns `None`, and schedules nothing, if the time limit leaves no room or a first refusal is
    /// final ([`Retry::retry_refused`]).
    pub fn failed<M, N>(
        &mut self,
        now: Time,
        key: u32,
        reason: CloseReason,
        rng: &mut impl Rng,
        out: &mut Actions<M, N>,
    ) -> Option<Duration> {
        self.disconnect(key, reason, out);
        let (rule, connected) = (self.rule, self.connected);
        let entry = self.entry(key)?;
        if core::mem::take(&mut entry.proven) {
            entry.since = now;
            entry.failures = 0;
        }
        let refused = core::mem::take(&mut entry.refused);
        if refused && !connected && !rule.retry_refused {
            return None;
        }
        let after = rule.backoff.draw(entry.failures, rng).max(SHORTEST);
        entry.failures += 1;
        let late = |limit| now.since(entry.since) + after > limit;
        if rule.give_up_after.is_some_and(late) {
            return None;
        }
        self.set_deadline(key, Some(now + after));
        Some(after)
    }

    /// Removes an entry; abandons its attempt, or closes its connection for `reason`.
    pub fn end<M, N>(&mut self, key: u32, reason: CloseReason, out: &mut Actions<M, N>) -> Option<T> {
        self.disconnect(key, reason, out);
        let entry = self.entries.try_remove(key as usize)?;
        Some(entry.value)
    }

    /// Leaves the entry without attempt, connection and timer.
    fn disconnect<M, N>(&mut self, key: u32, reason: CloseReason, out: &mut Actions<M, N>) {
        self.set_deadline(key, None);
        let Some(entry) = self.entry(key) else {
            return;
        };
        match core::mem::replace(&mut entry.state, State::Waiting) {
            State::Waiting => {}
            State::Dialling(token) => out.push(Action::AbandonDial(token)),
            State::Open(conn) => {
                self.conns.remove(conn);
                out.push(Action::Close(conn, reason));
            }
        }
    }
}
