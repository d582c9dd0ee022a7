//! A machine that remembers the time of its last event.

use echosphere_core::{Actions, ConnId, Event, Machine, Time};

/// The machine within, and when it took its last event, by its own clock.
#[derive(Debug)]
pub struct Clocked<M> {
    /// The machine.
    pub inner: M,
    /// When it took its last event.
    pub now: Time,
}

impl<M> Clocked<M> {
    pub(super) const fn new(inner: M) -> Self {
        let now = Time::ZERO;
        Self { inner, now }
    }
}

impl<M: Machine> Machine for Clocked<M> {
    type Message = M::Message;
    type Command = M::Command;
    type Notice = M::Notice;

    fn handle(&mut self, now: Time, event: Event<M::Message, M::Command>, out: &mut Actions<M::Message, M::Notice>) {
        self.now = now;
        self.inner.handle(now, event, out);
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
