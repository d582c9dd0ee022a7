//! How this side ends its half of a connection.

use super::{Effects, Endpoint};
use crate::machine::{Event, Machine};
use crate::wire::Codec;
use crate::{CloseReason, ConnId, Time};

impl<M: Machine, C: Codec<Message = M::Message> + Clone> Endpoint<M, C> {
    /// Sends the end of stream, and waits for the peer's.
    pub(super) fn finish(&mut self, now: Time, id: ConnId, effects: &mut Effects<M::Notice>) {
        if let Some(link) = self.links.get_mut(id).filter(|link| link.is_open()) {
            self.counters.closed_by_us += 1;
            link.start_finishing(now);
            self.links.arm(id);
            self.mark_for_flush(id, effects);
        }
    }

    /// The writing side of the connection's socket was shut down.
    pub fn shut_down(&mut self, now: Time, id: ConnId, effects: &mut Effects<M::Notice>) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        link.note_shut_down();
        if !link.is_over() {
            return;
        }
        let known = link.is_known();
        self.release(id, effects);
        if known {
            self.handle(now, Event::Closed(id, CloseReason::Finished), effects);
        }
    }
}
