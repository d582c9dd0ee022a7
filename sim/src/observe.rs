//! Machines that are looked over their shoulder.

use std::hash::Hash;

use echosphere_core::{Action, Actions, Event, Machine, Time};

use crate::trace::Brief;

/// A machine whose steps can be traced.
pub trait Observable:
    Machine<Message: Brief + Clone + Hash + Send, Command: Brief + Clone + Hash + Send, Notice: Brief + Hash + Send>
    + Send
    + 'static
{
}

impl<M> Observable for M where
    M: Machine<Message: Brief + Clone + Hash + Send, Command: Brief + Clone + Hash + Send, Notice: Brief + Hash + Send>
        + Send
        + 'static
{
}

/// What a machine was told.
pub type EventOf<M> = Event<<M as Machine>::Message, <M as Machine>::Command>;
/// What a machine did.
pub type ActionOf<M> = Action<<M as Machine>::Message, <M as Machine>::Notice>;

/// A machine that shows every event and what followed from it to an observer, and otherwise is the machine within.
#[derive(Debug)]
pub struct Observed<M, F> {
    inner: M,
    observer: F,
}

impl<M, F> Observed<M, F> {
    /// `observer` sees the machine as it is after the event.
    pub const fn new(inner: M, observer: F) -> Self {
        Self { inner, observer }
    }
}

impl<M, F> Machine for Observed<M, F>
where
    M: Observable,
    F: FnMut(&M, &EventOf<M>, &[ActionOf<M>]),
{
    type Message = M::Message;
    type Command = M::Command;
    type Notice = M::Notice;

    fn handle(&mut self, now: Time, event: EventOf<M>, actions: &mut Actions<M::Message, M::Notice>) {
        let before = actions.as_slice().len();
        let seen = event.clone();
        self.inner.handle(now, event, actions);
        (self.observer)(&self.inner, &seen, &actions.as_slice()[before..]);
    }

    fn next_deadline(&self) -> Option<Time> {
        self.inner.next_deadline()
    }

    fn is_zero(&self) -> bool {
        self.inner.is_zero()
    }
}
