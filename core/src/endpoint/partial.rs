use super::Endpoint;
use crate::machine::Machine;
use crate::wire::{Codec, ErrorCode, WireError};
use crate::{CloseReason, ConnId, Time};

const REFUSED: &str = "too many bytes of unfinished messages are held here, and yours is the largest; \
                       connect again later and send it again";

impl<M: Machine, C: Codec<Message = M::Message> + Clone> Endpoint<M, C> {
    /// Notes the size of a connection's partial message. `begun`: a message was completed since the last call. Then
    /// closes the connections with the largest partial messages until the rest are within the limit.
    pub(super) fn note_partial(&mut self, now: Time, id: ConnId, begun: bool) {
        let Some(connection) = self.connections.get(id).filter(|connection| !connection.is_closing()) else {
            return;
        };
        let held = connection.partial_bytes() + self.machine.partial_bytes(id);
        if held == 0 && connection.partial.is_none() {
            return;
        }
        self.connections.note_partial(now, id, held, begun);
        while self.connections.partials().held() > self.connections.config().max_partial_bytes
            && let Some(largest) = self.connections.partials().largest()
        {
            self.counters.refused_partial += 1;
            let error = WireError::new(ErrorCode::Busy, REFUSED);
            self.lose(now, largest, CloseReason::PartialLimit, Some(error));
        }
    }

    /// Bytes of memory of all partial messages: at most
    /// [`ConnectionConfig::max_partial_bytes`](crate::connection::ConnectionConfig::max_partial_bytes).
    #[must_use]
    pub const fn partial_bytes(&self) -> usize {
        self.connections.partials().held()
    }
}
