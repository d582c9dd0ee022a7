//! What a driver must do for an endpoint.

use alloc::collections::VecDeque;

use super::Endpoint;
use crate::machine::{DialTarget, DialToken, Machine};
use crate::wire::Codec;
use crate::{CloseReason, ConnId};

/// What a driver must do. See [`Endpoint::poll_effect`] for the order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect<N> {
    /// Pass the notice to the local caller.
    Notify(N),
    /// Abandon an attempt to connect. No answer is expected.
    AbandonDial(DialToken),
    /// Drop the socket of a connection that has ended, for this reason. If the end of stream was not sent, that must abort the
    /// connection: the peer must not read a clean end.
    Release(ConnId, CloseReason),
    /// Flush the connection: follow [`Endpoint::socket_action`] until it returns
    /// [`Nothing`](crate::connection::SocketAction::Nothing) or the socket accepts no more. Then call
    /// [`Endpoint::writable`] when it does again.
    Flush(ConnId),
    /// Connect to this target, and answer with [`Endpoint::dialled`] or [`Endpoint::dial_failed`].
    Dial(DialToken, DialTarget),
}

/// The effects that are not polled yet.
#[derive(Debug)]
pub(super) struct Effects<N> {
    pub(super) notices: VecDeque<N>,
    pub(super) abandon: VecDeque<DialToken>,
    pub(super) release: VecDeque<(ConnId, CloseReason)>,
    pub(super) flush: VecDeque<ConnId>,
    pub(super) dial: VecDeque<(DialToken, DialTarget)>,
}

impl<N> Effects<N> {
    pub(super) const fn new() -> Self {
        Self {
            notices: VecDeque::new(),
            abandon: VecDeque::new(),
            release: VecDeque::new(),
            flush: VecDeque::new(),
            dial: VecDeque::new(),
        }
    }

    /// Abandons an attempt. One that the driver does not know yet is never started.
    pub(super) fn abandon_dial(&mut self, token: DialToken) {
        match self.dial.iter().position(|(dial, _)| *dial == token) {
            Some(at) => {
                self.dial.remove(at);
            }
            None => self.abandon.push_back(token),
        }
    }
}

impl<M: Machine, C: Codec<Message = M::Message> + Clone> Endpoint<M, C> {
    /// The next thing that the driver must do; `None` when there is nothing more. Poll until then after each event, or
    /// after several: the effects of an event are joined with those of earlier ones, so that a connection is flushed once.
    ///
    /// The order is: notices; attempts to abandon; connections to release, which frees their slots for new ones; connections
    /// to flush; attempts to start. Within each kind, the oldest comes first. What an effect causes can be polled
    /// before the rest.
    pub fn poll_effect(&mut self) -> Option<Effect<M::Notice>> {
        let effects = &mut self.effects;
        if let Some(notice) = effects.notices.pop_front() {
            return Some(Effect::Notify(notice));
        }
        if let Some(token) = effects.abandon.pop_front() {
            return Some(Effect::AbandonDial(token));
        }
        if let Some((id, reason)) = effects.release.pop_front() {
            self.connections.free(id);
            return Some(Effect::Release(id, reason));
        }
        while let Some(id) = effects.flush.pop_front() {
            // It may have been released since.
            if let Some(connection) = self.connections.get_mut(id) {
                connection.flush_scheduled = false;
                return Some(Effect::Flush(id));
            }
        }
        let (token, target) = effects.dial.pop_front()?;
        Some(Effect::Dial(token, target))
    }

    /// The socket of the connection accepts bytes again: the connection is flushed.
    pub fn writable(&mut self, id: ConnId) {
        self.mark_for_flush(id);
    }
}
