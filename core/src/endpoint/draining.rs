//! How all connections end.

use super::{Effects, Endpoint};
use crate::connection::Connection;
use crate::machine::{Event, Machine};
use crate::wire::Codec;
use crate::{CloseReason, Time};

impl<M: Machine, C: Codec<Message = M::Message> + Clone> Endpoint<M, C> {
    /// Take on nothing new, and close every connection once it has finished what it had begun. The driver stops
    /// listening too, and calls [`Endpoint::close_all`] when its patience ends; then, perhaps, [`Endpoint::release_closing`].
    pub fn drain(&mut self, now: Time, effects: &mut Effects<M::Notice>) {
        self.draining = true;
        for id in self
            .connections
            .ids_where(|connection| !connection.is_known() && !connection.is_closing())
        {
            self.lose(now, id, CloseReason::ShuttingDown, None, effects);
        }
        self.handle(now, Event::Drain, effects);
    }

    /// Closes every connection that is not closing yet.
    pub fn close_all(&mut self, now: Time, effects: &mut Effects<M::Notice>) {
        for id in self.connections.ids_where(|connection| !connection.is_closing()) {
            self.lose(now, id, CloseReason::ShuttingDown, None, effects);
        }
    }

    /// Drops the sockets of all connections that are closing: their peers have had their time.
    pub fn release_closing(&mut self, effects: &mut Effects<M::Notice>) {
        for id in self.connections.ids_where(Connection::is_closing) {
            self.counters.lingered += 1;
            self.release(id, CloseReason::ShuttingDown, effects);
        }
    }
}
