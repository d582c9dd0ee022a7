//! How an endpoint shuts down.

use super::Endpoint;
use crate::connection::Connection;
use crate::machine::{Event, Machine};
use crate::wire::Codec;
use crate::{CloseReason, Time};

impl<M: Machine, C: Codec<Message = M::Message> + Clone> Endpoint<M, C> {
    /// Accepts no new work, and closes every connection once its work in progress is done. The driver also stops
    /// listening, and calls [`Endpoint::close_all`] when the time is over; then, optionally,
    /// [`Endpoint::release_closing`].
    pub fn drain(&mut self, now: Time) {
        self.draining = true;
        for id in self
            .connections
            .ids_where(|connection| !connection.is_in_use() && !connection.is_closing())
        {
            self.lose(now, id, CloseReason::ShuttingDown, None);
        }
        self.handle(now, Event::Drain);
    }

    /// Closes every connection that is not closing.
    pub fn close_all(&mut self, now: Time) {
        for id in self.connections.ids_where(|connection| !connection.is_closing()) {
            self.lose(now, id, CloseReason::ShuttingDown, None);
        }
    }

    /// Drops the sockets of all closing connections.
    pub fn release_closing(&mut self) {
        for id in self.connections.ids_where(Connection::is_closing) {
            self.counters.lingered += 1;
            self.release(id, CloseReason::ShuttingDown);
        }
    }
}
