//! The time of a turn, and its deadlines.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use echosphere_core::wire::Codec;
use echosphere_core::{Machine, Time};

use super::{Driver, DriverKey};
use crate::settle::Settling;

/// The last part of a drain's time, as a divisor: connections that are left are sent the reason and closed when it begins.
const FOR_LAST_WORDS: u32 = 5;

/// The next step of a drain.
#[derive(Clone, Copy, Debug)]
pub(super) enum DrainStage {
    /// Connections that are left are sent the reason, and begin to close.
    Close { at: Time, end: Time },
    /// Connections that are left are dropped.
    End { at: Time },
}

impl DrainStage {
    const fn next(self) -> Time {
        match self {
            Self::Close { at, .. } | Self::End { at } => at,
        }
    }
}

impl<M, C> Driver<M, C>
where
    M: Machine,
    C: Codec<Message = M::Message> + Clone,
    M::Notice: 'static,
{
    /// The time of this turn.
    pub(super) fn now(&self) -> Time {
        match self.settling {
            Some((at, _)) => at,
            None => self.clock(),
        }
    }

    /// The time of the clock, even while the time of turns is held.
    pub(super) fn clock(&self) -> Time {
        Time::ZERO + self.start.elapsed()
    }

    /// Reports the connections read in this turn as heard now: the turn may have begun long ago, if the process was stopped.
    pub(super) fn note_heard(&mut self) {
        if self.heard.is_empty() {
            return;
        }
        let by = self.clock();
        for id in self.heard.drain(..) {
            self.endpoint.note_received(by, id);
        }
    }

    /// Continues the passes. `true` when everything that had arrived before the time was held is read.
    pub(super) fn pass_on(&mut self, key: DriverKey) -> bool {
        let Some((_, settling)) = &mut self.settling else {
            return false;
        };
        if key == DriverKey::Passed {
            return settling.passed(&self.ready, &mut self.keys);
        }
        settling.advance(&self.ready, &mut self.keys);
        false
    }

    /// Begins to drain, or shortens a drain. It is over within this time.
    pub(super) fn begin_drain(&mut self, now: Time, within: Duration) {
        let (at, end) = (now + (within - within / FOR_LAST_WORDS), now + within);
        let sooner = |drain: DrainStage| at < drain.next();
        if self.drain.is_none_or(sooner) {
            self.drain = Some(DrainStage::Close { at, end });
        }
        self.endpoint.drain(now);
    }

    /// Executes what is due at `now`. A deadline that ends something waits, and the time is held, until `settled`: until all data
    /// that has arrived is read.
    pub(super) fn judge(&mut self, now: Time, settled: bool) {
        let drained = self.drain.filter(|drain| drain.next() <= now);
        let due = self.endpoint.next_deadline().is_some_and(|due| due <= now);
        if settled {
            self.settling = None;
            // Write what can be written, too, before a peer is judged a slow consumer.
            self.carry_out(now);
        } else if self.settling.is_none() && (drained.is_some() || due && self.endpoint.must_settle(now)) {
            let connections = self.endpoint.connections() + self.dials.len();
            let wakers = (&self.own.pass, &self.own.passed);
            let (settle, rounds) = (self.settle.one(), self.budgets.rounds);
            let settling = Settling::begin(&settle, connections, rounds, wakers, &self.ready, &mut self.keys);
            self.settling = Some((now, settling));
        }
        if self.settling.is_some() {
            return;
        }
        match drained {
            Some(DrainStage::Close { end, .. }) => {
                self.drain = Some(DrainStage::End { at: end });
                self.endpoint.close_all(now);
            }
            Some(DrainStage::End { .. }) => {
                self.drain = None;
                self.endpoint.release_closing();
            }
            None => {}
        }
        if due {
            self.endpoint.expire(now);
        }
    }

    /// Sets the timer to the next deadline. A timer that is set to an earlier time stays: it costs one turn.
    pub(super) fn arm(&mut self, now: Time) {
        let deadlines = [self.endpoint.next_deadline(), self.drain.map(DrainStage::next)];
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
