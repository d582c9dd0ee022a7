//! Checks when a driver handles a deadline: after it has read everything that had arrived, and not much
//! later.

use std::time::Duration;

use echosphere_core::{CloseReason, Event, Machine, Time};

use super::now;
use crate::net::Thread;

/// What a driver may be late by: a few of turmoil's longest steps.
const SLACK: Duration = Duration::from_millis(30);

/// Follows one driver in one life.
pub(super) struct Judging {
    thread: Thread,
    start: Duration,
    /// The machine's next deadline.
    due: Option<Duration>,
}

impl Judging {
    /// Of a driver that starts now.
    pub(super) fn new(thread: &Thread) -> Self {
        Self {
            thread: thread.clone(),
            start: now(),
            due: None,
        }
    }

    /// `machine` received `event`.
    pub(super) fn check<M: Machine>(
        &mut self,
        machine: &M,
        event: &Event<M::Message, M::Command>,
    ) -> Result<(), String> {
        let due = machine.next_deadline().map(|due| self.start + due.since(Time::ZERO));
        let before = std::mem::replace(&mut self.due, due);
        let late = before.map_or(Duration::ZERO, |due| self.thread.ran_since(due));
        if late > SLACK {
            return Err(format!("a deadline was handled {late:?} late"));
        }
        match event {
            Event::Deadline | Event::Closed(_, CloseReason::IdleTimeout | CloseReason::ShuttingDown) => {
                self.thread.check_read()
            }
            _ => Ok(()),
        }
    }
}
