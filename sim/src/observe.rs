//! Observed machines.

use std::cell::Cell;
use std::hash::Hash;
use std::time::Duration;

use echosphere_core::{Action, Actions, ConnId, Event, Machine, Time};

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

/// An event of a machine.
pub type EventOf<M> = Event<<M as Machine>::Message, <M as Machine>::Command>;
/// An action of a machine.
pub type ActionOf<M> = Action<<M as Machine>::Message, <M as Machine>::Notice>;

/// A driver asks for the next deadline once per turn. After this number of turns without passing time, it spins.
const TURNS: u32 = 1_000_000;

/// A machine that shows every event and what followed from it to an observer, and otherwise is the machine within. Under
/// turmoil it panics if its driver goes round and round without time passing, which no other check would notice.
#[derive(Debug)]
pub struct Observed<M, F> {
    inner: M,
    observer: F,
    turns: Option<Cell<(Duration, u32)>>,
    /// The interval of its own deadlines, and the next one.
    ticks: Option<(Duration, Time)>,
}

impl<M, F> Observed<M, F> {
    /// `observer` sees the machine as it is after the event.
    pub const fn new(inner: M, observer: F) -> Self {
        let turns = Some(Cell::new((Duration::ZERO, 0)));
        Self {
            inner,
            observer,
            turns,
            ticks: None,
        }
    }

    /// The same with a deadline of its own this often. To the machine within it is a spurious one, which must be
    /// harmless; to the driver it is one before which all that has arrived must be read.
    #[must_use]
    pub fn ticking(mut self, every: Option<Duration>) -> Self {
        self.ticks = every.map(|every| (every, Time::ZERO + every));
        self
    }

    /// The same, for a driver that cannot spin.
    pub const fn outside_turmoil(inner: M, observer: F) -> Self {
        Self {
            inner,
            observer,
            turns: None,
            ticks: None,
        }
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
        if let Some((every, next)) = &mut self.ticks
            && *next <= now
        {
            *next = now + *every;
        }
        (self.observer)(&self.inner, &seen, &actions.as_slice()[before..]);
    }

    fn keeps_open_after_fin(&self, id: ConnId) -> bool {
        self.inner.keeps_open_after_fin(id)
    }

    fn partial_bytes(&self, id: ConnId) -> usize {
        self.inner.partial_bytes(id)
    }

    fn next_deadline(&self) -> Option<Time> {
        if let Some(cell) = &self.turns
            && let Some(now) = turmoil::sim_elapsed()
        {
            let (since, turns) = cell.get();
            let turns = if since == now { turns + 1 } else { 0 };
            cell.set((now, turns));
            assert!(turns < TURNS, "the driver spins");
        }
        let tick = self.ticks.map(|(_, next)| next);
        self.inner.next_deadline().into_iter().chain(tick).min()
    }

    fn is_zero(&self) -> bool {
        self.inner.is_zero()
    }
}
