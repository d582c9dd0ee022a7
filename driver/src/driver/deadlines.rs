//! What time a turn is, and what it does about deadlines.

use std::sync::Arc;
use std::task::{Context, Waker};

use echosphere_core::wire::Codec;
use echosphere_core::{Machine, Time};

use super::{Driver, Key};
use crate::net::Stream;
use crate::settle::Settling;

impl<M, C, S> Driver<M, C, S>
where
    M: Machine,
    C: Codec<Message = M::Message> + Clone,
    M::Notice: 'static,
    S: Stream,
{
    /// The time of a turn.
    pub(super) fn now(&self) -> Time {
        match self.settling {
            Some((at, _)) => at,
            None => self.clock(),
        }
    }

    /// The time, even while it stands still for the endpoint.
    pub(super) fn clock(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    /// What was read in this turn may have come long after it began, if the process was stopped meanwhile.
    pub(super) fn note_heard(&mut self) {
        if self.heard.is_empty() {
            return;
        }
        let by = self.clock();
        for id in self.heard.drain(..) {
            self.endpoint.heard(by, id);
        }
    }

    /// `true` once everything that had arrived when the time stopped is read.
    pub(super) fn pass_on(&mut self, key: Key) -> bool {
        let Some((_, settling)) = &mut self.settling else {
            return false;
        };
        if key == Key::Passed {
            return settling.passed(&self.ready, &mut self.keys);
        }
        settling.advance(&self.ready, &mut self.keys);
        false
    }

    /// Does what is due at `now`. What ends something waits, and time stands still, until what has arrived is `settled`.
    pub(super) fn judge(&mut self, now: Time, settled: bool) {
        let drained = self.drain_until.is_some_and(|until| until <= now);
        let due = self.endpoint.next_deadline().is_some_and(|due| due <= now);
        if settled {
            self.settling = None;
            // What can be written is, too.
            self.carry_out(now);
        } else if self.settling.is_none() && (drained || due && self.endpoint.must_settle(now)) {
            let connections = self.endpoint.connections() + self.dials.len();
            let wakers = (&self.own.pass, &self.own.passed);
            let (settle, rounds) = (&self.settle, self.budgets.rounds);
            let settling = Settling::begin(settle, connections, rounds, wakers, &self.ready, &mut self.keys);
            self.settling = Some((now, settling));
        }
        if self.settling.is_some() {
            return;
        }
        if drained {
            self.drain_until = None;
            self.endpoint.close_all(now, &mut self.effects);
        }
        if due {
            self.endpoint.expire(now, &mut self.effects);
        }
    }

    /// Has the timer wake us at the next deadline. An earlier time that it is set to already only wakes us for nothing.
    pub(super) fn arm(&mut self, now: Time) {
        let deadlines = [self.endpoint.next_deadline(), self.drain_until];
        let Some(next) = deadlines.into_iter().flatten().min() else {
            return;
        };
        if self.armed.is_some_and(|armed| armed <= next) {
            return;
        }
        self.armed = Some(next);
        self.sleep.as_mut().reset(self.start + next.since(Time::ZERO));
        let waker = Waker::from(Arc::clone(&self.own.timer));
        if next <= now || self.sleep.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            waker.wake();
        }
    }
}
