//! How connections begin.

use super::Endpoint;
use crate::connection::Connection;
use crate::machine::{DialError, DialToken, Event, Machine, Opened};
use crate::principal::Principal;
use crate::wire::{Codec, ErrorCode, WireError};
use crate::{CloseReason, ConnId, Time};

impl<M: Machine, C: Codec<Message = M::Message> + Clone> Endpoint<M, C> {
    /// Adds a connection that a peer has made.
    ///
    /// # Errors
    ///
    /// The error to send to the peer (see [`Codec::encode_error`]) before dropping its socket: the endpoint has
    /// [`ConnectionConfig::max_connections`](crate::connection::ConnectionConfig::max_connections), or is draining.
    pub fn accept(&mut self, now: Time) -> Result<ConnId, WireError> {
        self.accept_with_codec(now, self.codec.clone())
    }

    /// As [`Endpoint::accept`], with another codec than the other connections.
    ///
    /// # Errors
    ///
    /// As [`Endpoint::accept`].
    pub fn accept_with_codec(&mut self, now: Time, codec: C) -> Result<ConnId, WireError> {
        if self.draining || self.connections.len() >= self.connections.config().max_connections {
            self.counters.refused += 1;
            let code = if self.draining {
                ErrorCode::ShuttingDown
            } else {
                ErrorCode::Full
            };
            return Err(code.into());
        }
        self.counters.accepted += 1;
        Ok(self.connections.insert(Connection::accepted(codec, now)))
    }

    /// The transport has negotiated a connection that was accepted before, and the peer has proved to be `principal`.
    /// Without a principal, this need not be called.
    pub fn negotiated(&mut self, id: ConnId, principal: Principal) {
        self.connections.set_principal(id, principal);
    }

    /// The transport could not negotiate a connection that was accepted before: it has ended.
    pub fn negotiation_failed(&mut self, id: ConnId) {
        if self.connections.get(id).is_some_and(Connection::is_handshaking) {
            self.counters.failed_negotiations += 1;
        }
        self.release(id, CloseReason::NegotiationFailed);
    }

    /// The transport has answered the peer of a connection that was accepted before, which asked for something else, such as a
    /// web page: it has ended.
    pub fn negotiation_answered(&mut self, id: ConnId) {
        if self.connections.get(id).is_some_and(Connection::is_handshaking) {
            self.counters.answered += 1;
        }
        self.release(id, CloseReason::Answered);
    }

    /// Who the peer of the connection has proved to be.
    #[must_use]
    pub fn principal(&self, id: ConnId) -> Option<&Principal> {
        self.connections.principal(id)
    }

    /// Whether an attempt is under way: the machine has neither abandoned it nor received its result.
    #[must_use]
    pub fn is_dialling(&self, token: DialToken) -> bool {
        self.dialling.contains(&token)
    }

    /// An attempt of [`Effect::Dial`](super::Effect::Dial) has connected. `None` if the machine has abandoned it: drop the socket.
    pub fn dialled(&mut self, now: Time, token: DialToken) -> Option<ConnId> {
        self.dialled_with_codec(now, token, self.codec.clone(), None)
    }

    /// As [`Endpoint::dialled`], with another codec than the other connections, and the `principal` that the peer has proved
    /// to be.
    pub fn dialled_with_codec(
        &mut self,
        now: Time,
        token: DialToken,
        codec: C,
        principal: Option<Principal>,
    ) -> Option<ConnId> {
        if !self.dialling.remove(&token) {
            return None;
        }
        self.counters.dialled += 1;
        let mut connection = Connection::dialled(codec, now);
        self.buffers.lend(&mut connection.outbox);
        connection.send_keepalive();
        let id = self.connections.insert(connection);
        self.mark_for_flush(id);
        if let Some(principal) = &principal {
            self.connections.set_principal(id, principal.clone());
        }
        let opened = Opened {
            dial: Some(token),
            text: false,
            principal,
        };
        self.handle(now, Event::Opened(id, opened));
        Some(id)
    }

    /// An attempt of [`Effect::Dial`](super::Effect::Dial) has failed. Nothing happens if the machine has abandoned it.
    pub fn dial_failed(&mut self, now: Time, token: DialToken, error: DialError) {
        if !self.dialling.remove(&token) {
            return;
        }
        self.counters.dials_failed += 1;
        self.handle(now, Event::DialFailed(token, error));
    }
}
