//! How each side ends its half of a connection.

use super::{Effects, Endpoint};
use crate::machine::{Event, Machine};
use crate::wire::{Codec, ErrorCode};
use crate::{CloseReason, ConnId, Time};

impl<M: Machine, C: Codec<Message = M::Message> + Clone> Endpoint<M, C> {
    /// The peer's end of stream was read: it has closed in order.
    pub fn peer_closed(&mut self, now: Time, id: ConnId, effects: &mut Effects<M::Notice>) {
        let Some(link) = self.links.get_mut(id) else {
            return;
        };
        if !link.finish_reading() {
            return;
        }
        if link.is_closing() {
            if link.is_over() {
                self.release(id, CloseReason::PeerClosed, effects);
            }
            return;
        }
        if let Some(decoded) = link.finish() {
            self.decoded(now, id, decoded, effects);
            self.note_partial(now, id, true, effects);
        }
        // What that said may have closed it.
        let Some(link) = self.links.get_mut(id).filter(|link| !link.is_closing()) else {
            return;
        };
        if link.is_mid_frame() {
            self.counters.malformed += 1;
            let reason = CloseReason::Malformed(ErrorCode::Truncated);
            self.lose(now, id, reason, None, effects);
        } else if self.machine.goes_on_after_fin(id) {
            self.handle(now, Event::PeerFinished(id), effects);
        } else {
            self.counters.closed_by_peer += u64::from(!link.is_finishing());
            self.lose(now, id, CloseReason::PeerClosed, None, effects);
        }
    }

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
        self.release(id, CloseReason::Finished, effects);
        if known {
            self.handle(now, Event::Closed(id, CloseReason::Finished), effects);
        }
    }
}
