//! Checks the events and actions between a machine and its endpoint: both may name only open connections.

use std::collections::BTreeSet;

use echosphere_core::{Action, Actions, ConnId, Event, Machine, Time};

pub(crate) struct Watched<M> {
    pub(crate) inner: M,
    open: BTreeSet<ConnId>,
}

impl<M> Watched<M> {
    pub(crate) const fn new(inner: M) -> Self {
        let open = BTreeSet::new();
        Self { inner, open }
    }
}

impl<M: Machine> Machine for Watched<M> {
    type Message = M::Message;
    type Command = M::Command;
    type Notice = M::Notice;

    fn handle(
        &mut self,
        now: Time,
        event: Event<M::Message, M::Command>,
        actions: &mut Actions<M::Message, M::Notice>,
    ) {
        match event {
            Event::Opened(id, _) => assert!(self.open.insert(id), "{id:?} is opened twice"),
            Event::Received(id, _) => assert!(self.open.contains(&id), "{id:?} is not open and receives a message"),
            Event::Closed(id, _) => assert!(self.open.remove(&id), "{id:?} is closed and not open"),
            Event::PeerFinished(id) => assert!(self.open.contains(&id), "{id:?} has finished and is not open"),
            Event::DialFailed(..) | Event::Command(_) | Event::Drain | Event::Deadline => {}
        }
        let before = actions.as_slice().len();
        self.inner.handle(now, event, actions);
        for action in &actions.as_slice()[before..] {
            match *action {
                Action::Send(id, _) | Action::Finish(id) => {
                    assert!(self.open.contains(&id), "{id:?} is not open and is sent to")
                }
                Action::Close(id, _) => {
                    assert!(self.open.remove(&id), "{id:?} is not open and is closed by the machine")
                }
                Action::Dial(..) | Action::AbandonDial(_) | Action::Notify(_) => {}
            }
        }
        assert!(
            !self.inner.is_zero() || self.open.is_empty(),
            "the machine is at zero, but {:?} is open",
            self.open
        );
        let due = self.inner.next_deadline();
        assert!(
            due.is_none_or(|due| due >= now),
            "the deadline {due:?} is before {now:?}"
        );
    }

    fn keeps_open_after_fin(&self, id: ConnId) -> bool {
        self.inner.keeps_open_after_fin(id)
    }

    fn partial_bytes(&self, id: ConnId) -> usize {
        let bytes = self.inner.partial_bytes(id);
        assert!(
            bytes == 0 || self.open.contains(&id),
            "{id:?} is not open, and holds {bytes} bytes"
        );
        bytes
    }

    fn next_deadline(&self) -> Option<Time> {
        self.inner.next_deadline()
    }

    fn is_zero(&self) -> bool {
        self.inner.is_zero()
    }
}
