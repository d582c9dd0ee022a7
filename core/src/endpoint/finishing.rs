//! How each side ends its half of a connection.

use super::Endpoint;
use crate::machine::{Event, Machine};
use crate::wire::{Codec, ErrorCode};
use crate::{CloseReason, ConnId, Time};

impl<M: Machine, C: Codec<Message = M::Message> + Clone> Endpoint<M, C> {
    /// The peer's end of stream was read: it has closed cleanly.
    pub fn peer_closed(&mut self, now: Time, id: ConnId) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        if !connection.finish_reading() {
            return;
        }
        if connection.is_closing() {
            if connection.is_over() {
                self.release(id, CloseReason::PeerClosed);
            }
            return;
        }
        if let Some(decoded) = connection.finish() {
            self.decoded(now, id, decoded);
            self.note_partial(now, id, true);
        }
        // The last message may have closed the connection.
        let Some(connection) = self
            .connections
            .get_mut(id)
            .filter(|connection| !connection.is_closing())
        else {
            return;
        };
        if connection.is_mid_frame() {
            self.counters.malformed += 1;
            let reason = CloseReason::Malformed(ErrorCode::Truncated);
            self.lose(now, id, reason, None);
        } else if self.machine.keeps_open_after_fin(id) {
            self.handle(now, Event::PeerFinished(id));
        } else {
            self.counters.closed_by_peer += u64::from(!connection.is_finishing());
            self.lose(now, id, CloseReason::PeerClosed, None);
        }
    }

    /// Sends the end of stream and waits for the peer's.
    pub(super) fn finish(&mut self, now: Time, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(id).filter(|connection| connection.is_open()) {
            self.counters.closed_by_us += 1;
            connection.start_finishing(now);
            self.connections.arm(id);
            self.mark_for_flush(id);
        }
    }

    /// The writing side of the socket was shut down.
    pub fn shut_down(&mut self, now: Time, id: ConnId) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        connection.note_shut_down();
        if !connection.is_over() {
            return;
        }
        let in_use = connection.is_in_use();
        self.release(id, CloseReason::Finished);
        if in_use {
            self.handle(now, Event::Closed(id, CloseReason::Finished));
        }
    }
}
