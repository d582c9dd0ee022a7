//! How clients connect: one rule for all of them. An attempt that fails is followed by another after a pause that grows,
//! until a connection has *proven* its use or the time is over.

use core::time::Duration;

use rand_core::Rng;
use slab::Slab;

use crate::conn_set::ConnSet;
use crate::machine::{Actions, DialError, DialToken};
use crate::random::Backoff;
use crate::timers::{SHORTEST, TimerId, Timers};
use crate::{Action, CloseReason, ConnId, Time};

/// When a client tries again to connect, and when it gives up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// The pause before each attempt but the first. It grows with every attempt that fails, and begins anew after a
    /// connection that has proven its use.
    pub backoff: Backoff,
    /// How long one attempt may take; after it the attempt has failed.
    pub attempt_timeout: Duration,
    /// How long all attempts may take: from the begin, or from the loss of a connection that had proven its use. `None`:
    /// without end.
    pub give_up_after: Option<Duration>,
    /// Whether another attempt follows when one is refused before any has connected. If not, the client gives up at once:
    /// most likely nobody will be there later either.
    pub retry_refused: bool,
}

/// Connections that a client wants, each for a `T`, and the attempts to get them.
///
/// A machine passes on what it hears of connections, and is told which `T` that is about. It says when a connection has
/// [proven](Attempts::proven) its use, and what has [failed](Attempts::failed).
#[derive(Debug)]
pub struct Attempts<T> {
    rule: Retry,
    wishes: Slab<Wish<T>>,
    conns: ConnSet<u32>,
    timers: Timers<u32>,
    made: u64,
    /// Some attempt, for whatever, has connected.
    connected: bool,
}

#[derive(Debug)]
struct Wish<T> {
    of: T,
    stage: Stage,
    timer: Option<TimerId>,
    /// The begin, or the loss of the last connection that had proven its use.
    since: Time,
    /// Attempts that failed since then.
    failures: u32,
    /// Attempts since the begin.
    attempts: u32,
    /// Its last attempt did not connect.
    refused: bool,
    /// Its connection has proven its use.
    proven: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// For the end of the pause, if there is a timer; else for what its machine decides.
    Waiting,
    Dialling(DialToken),
    Open(ConnId),
}

impl<T> Attempts<T> {
    /// No connections wanted.
    #[must_use]
    pub const fn new(rule: Retry) -> Self {
        Self {
            rule,
            wishes: Slab::new(),
            conns: ConnSet::new(),
            timers: Timers::new(),
            made: 0,
            connected: false,
        }
    }

    /// How many connections are wanted.
    #[must_use]
    pub fn len(&self) -> usize {
        self.wishes.len()
    }

    /// Whether no connection is wanted, and nothing is left of those that were.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.wishes.is_empty() && self.conns.is_empty() && self.timers.is_empty()
    }

    /// The earliest moment at which [`Attempts::expired`] has something to say.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    /// All that want a connection, with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.wishes.iter().map(|(key, wish)| (key as u32, &wish.of))
    }

    /// What wants a connection under this key.
    #[must_use]
    pub fn get(&self, key: u32) -> Option<&T> {
        self.wishes.get(key as usize).map(|wish| &wish.of)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, key: u32) -> Option<&mut T> {
        self.wish(key).map(|wish| &mut wish.of)
    }

    /// Its connection, if it has one.
    #[must_use]
    pub fn conn(&self, key: u32) -> Option<ConnId> {
        match self.wishes.get(key as usize)?.stage {
            Stage::Open(conn) => Some(conn),
            Stage::Waiting | Stage::Dialling(_) => None,
        }
    }

    /// Whose connection this is.
    #[must_use]
    pub fn on(&self, conn: ConnId) -> Option<u32> {
        self.conns.get(conn).copied()
    }

    /// How many attempts were made at all.
    #[must_use]
    pub const fn made(&self) -> u64 {
        self.made
    }

    /// How many attempts were made for it.
    #[must_use]
    pub fn attempts(&self, key: u32) -> u32 {
        self.wishes.get(key as usize).map_or(0, |wish| wish.attempts)
    }

    fn wish(&mut self, key: u32) -> Option<&mut Wish<T>> {
        self.wishes.get_mut(key as usize)
    }

    /// Wants a connection for `of`, and makes the first attempt. Returns the key that it has until it ends.
    pub fn begin<M, N>(&mut self, now: Time, of: T, out: &mut Actions<M, N>) -> u32 {
        let wish = Wish {
            of,
            stage: Stage::Waiting,
            timer: None,
            since: now,
            failures: 0,
            attempts: 0,
            refused: false,
            proven: false,
        };
        let key = self.wishes.insert(wish) as u32;
        self.dial(now, key, out);
        key
    }

    fn dial<M, N>(&mut self, now: Time, key: u32, out: &mut Actions<M, N>) {
        // The upper half counts attempts: it tells this one from an earlier one under the same key.
        let token = DialToken(self.made << 32 | u64::from(key));
        self.made += 1;
        if let Some(wish) = self.wish(key) {
            wish.stage = Stage::Dialling(token);
            wish.attempts += 1;
        }
        self.await_answer(now, key);
        out.push(Action::Dial(token));
    }

    /// Has the attempt fail unless its machine says within the time of one attempt what it waits for instead.
    pub fn await_answer(&mut self, now: Time, key: u32) {
        let until = now + self.rule.attempt_timeout.max(SHORTEST);
        let last = self.last_moment(key).max(now + SHORTEST);
        self.wait_until(key, Some(until.min(last)));
    }

    /// When the time for all attempts is over; the far end of time if it never is.
    #[must_use]
    pub fn last_moment(&self, key: u32) -> Time {
        match (self.wishes.get(key as usize), self.rule.give_up_after) {
            (Some(wish), Some(after)) => wish.since + after,
            _ => Time::FAR,
        }
    }

    /// Has [`Attempts::expired`] speak of it at this moment, and at no other.
    pub fn wait_until(&mut self, key: u32, until: Option<Time>) {
        let Some(wish) = self.wishes.get_mut(key as usize) else {
            return;
        };
        if wish.timer.map(TimerId::at) == until {
            return;
        }
        if let Some(timer) = wish.timer.take() {
            self.timers.cancel(timer);
        }
        wish.timer = until.map(|until| self.timers.set(until, key));
    }

    /// A connection has opened. Returns whose it is; one that nobody wants any more is closed. What [`Attempts::begin`] or
    /// [`Attempts::await_answer`] waits for goes on.
    pub fn opened<M, N>(&mut self, conn: ConnId, dial: Option<DialToken>, out: &mut Actions<M, N>) -> Option<u32> {
        let Some((key, wish)) = dial.and_then(|token| self.dialling(token)) else {
            out.push(Action::Close(conn, CloseReason::Finished));
            return None;
        };
        wish.stage = Stage::Open(conn);
        self.connected = true;
        self.conns.insert(conn, key);
        Some(key)
    }

    /// An attempt has failed. Returns whose it was.
    pub fn dial_failed(&mut self, token: DialToken, error: DialError) -> Option<u32> {
        let (key, wish) = self.dialling(token)?;
        wish.stage = Stage::Waiting;
        wish.refused = true;
        // A server that takes no connections now is there, as is one that closes a connection at once.
        self.connected |= error == DialError::Unavailable;
        self.wait_until(key, None);
        Some(key)
    }

    fn dialling(&mut self, token: DialToken) -> Option<(u32, &mut Wish<T>)> {
        let key = token.0 as u32;
        let wish = self.wish(key)?;
        (wish.stage == Stage::Dialling(token)).then_some((key, wish))
    }

    /// A connection has ended. Returns whose it was.
    pub fn closed(&mut self, conn: ConnId) -> Option<u32> {
        let key = self.conns.remove(conn)?;
        if let Some(wish) = self.wish(key) {
            wish.stage = Stage::Waiting;
        }
        self.wait_until(key, None);
        Some(key)
    }

    /// Its connection has proven its use: something came on it that only what was looked for can say. With the next loss,
    /// pauses and the time for attempts begin anew.
    pub fn proven(&mut self, key: u32) {
        if let Some(wish) = self.wish(key) {
            wish.proven = true;
        }
    }

    /// Whether its present connection has.
    #[must_use]
    pub fn is_proven(&self, key: u32) -> bool {
        self.wishes.get(key as usize).is_some_and(|wish| wish.proven)
    }

    /// The next whose moment has come, after those whose pause is over have been dialled for.
    pub fn expired<M, N>(&mut self, now: Time, out: &mut Actions<M, N>) -> Option<u32> {
        while let Some((_, key)) = self.timers.pop_due(now) {
            let Some(wish) = self.wish(key) else {
                continue;
            };
            wish.timer = None;
            match wish.stage {
                Stage::Waiting => self.dial(now, key, out),
                Stage::Dialling(_) | Stage::Open(_) => return Some(key),
            }
        }
        None
    }

    /// The attempt, or the connection, is of no use: it is abandoned, or closed for this reason, and another follows. Returns
    /// after what pause; `None` if there is no more time for one, or the first is refused and that is enough.
    pub fn failed<M, N>(
        &mut self,
        now: Time,
        key: u32,
        reason: CloseReason,
        rng: &mut impl Rng,
        out: &mut Actions<M, N>,
    ) -> Option<Duration> {
        self.let_go(key, reason, out);
        let (rule, connected) = (self.rule, self.connected);
        let wish = self.wish(key)?;
        if core::mem::take(&mut wish.proven) {
            wish.since = now;
            wish.failures = 0;
        }
        let refused = core::mem::take(&mut wish.refused);
        if refused && !connected && !rule.retry_refused {
            return None;
        }
        let after = rule.backoff.draw(wish.failures, rng).max(SHORTEST);
        wish.failures += 1;
        let late = |limit| now.since(wish.since) + after > limit;
        if rule.give_up_after.is_some_and(late) {
            return None;
        }
        self.wait_until(key, Some(now + after));
        Some(after)
    }

    /// It wants no connection any more: what it has is abandoned, or closed for this reason.
    pub fn end<M, N>(&mut self, key: u32, reason: CloseReason, out: &mut Actions<M, N>) -> Option<T> {
        self.let_go(key, reason, out);
        let wish = self.wishes.try_remove(key as usize)?;
        Some(wish.of)
    }

    /// Leaves it with neither attempt nor connection nor timer.
    fn let_go<M, N>(&mut self, key: u32, reason: CloseReason, out: &mut Actions<M, N>) {
        self.wait_until(key, None);
        let Some(wish) = self.wish(key) else {
            return;
        };
        match core::mem::replace(&mut wish.stage, Stage::Waiting) {
            Stage::Waiting => {}
            Stage::Dialling(token) => out.push(Action::AbandonDial(token)),
            Stage::Open(conn) => {
                self.conns.remove(conn);
                out.push(Action::Close(conn, reason));
            }
        }
    }
}
