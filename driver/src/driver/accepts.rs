//! Accepting connections.

use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use echosphere_core::Machine;
use echosphere_core::wire::{Codec, Outbox, WireError};
use tokio::io::AsyncWrite;

use super::connections::Channel;
use super::{Boxed, Driver};
use crate::accepting::AcceptErrors;
use crate::net::{BoxStream, Incoming, Listener};
use crate::write::poll_write;

/// A listener of a driver.
pub(super) struct Listening<C> {
    accept: AcceptFuture,
    codec: C,
    waker: Waker,
}

type AcceptFuture = Boxed<(Box<dyn Accept>, Option<Incoming<BoxStream>>)>;

/// Any listener.
trait Accept: Send {
    /// Waits for the next connection and returns it with the listener; no connection after an error.
    fn next(self: Box<Self>) -> AcceptFuture;
}

/// A listener and its errors.
struct Acceptor<L> {
    listener: L,
    errors: AcceptErrors,
}

impl<L: Listener + 'static> Accept for Acceptor<L> {
    fn next(mut self: Box<Self>) -> AcceptFuture {
        Box::pin(async move {
            let next = match self.listener.accept().await {
                Ok(incoming) => Some(incoming.boxed()),
                Err(error) => {
                    self.errors.note(&error).await;
                    None
                }
            };
            (self as Box<dyn Accept>, next)
        })
    }
}

impl<C> Listening<C> {
    /// `waker` wakes the driver when there may be a connection.
    pub(super) fn new(listener: impl Listener + 'static, codec: C, waker: Waker) -> Self {
        let acceptor = Acceptor {
            listener,
            errors: AcceptErrors::default(),
        };
        waker.wake_by_ref();
        Self {
            accept: Box::new(acceptor).next(),
            codec,
            waker,
        }
    }
}

impl<M, C> Driver<M, C>
where
    M: Machine,
    C: Codec<Message = M::Message> + Clone,
    M::Notice: 'static,
{
    /// Accepts connections of a listener. `false` if there may be more to accept, or data to read from the accepted ones.
    pub(super) fn accept(&mut self, index: u32) -> bool {
        let mut accepted = false;
        for _ in 0..self.budgets.accepts.max(1) {
            let Some(listening) = self.listening.get_mut(index as usize) else {
                return true;
            };
            let mut cx = Context::from_waker(&listening.waker);
            let Poll::Ready((acceptor, next)) = listening.accept.as_mut().poll(&mut cx) else {
                return !accepted;
            };
            accepted = true;
            listening.accept = acceptor.next();
            if let Some(incoming) = next {
                let codec = listening.codec.clone();
                self.admit(incoming, codec);
            }
        }
        if let Some(listening) = self.listening.get(index as usize) {
            listening.waker.wake_by_ref();
        }
        false
    }

    /// Admits a connection, or refuses it if the endpoint is full or drains. A connection that negotiates counts like any other.
    fn admit(&mut self, incoming: Incoming<BoxStream>, codec: C) {
        match self.endpoint.accept_with_codec(self.clock(), codec.clone()) {
            Ok(id) => {
                let (peer, channel) = match incoming.into_parts() {
                    Ok((peer, stream)) => (peer, Channel::Open(stream)),
                    Err((peer, negotiation)) => (peer, Channel::Negotiating(negotiation)),
                };
                self.insert(id, peer, channel);
            }
            Err(refusal) => {
                if let Some(left_out) = self.refusals.due() {
                    let peer = incoming.peer();
                    tracing::warn!(%peer, transport = peer.transport, code = %refusal.code, left_out, "connection refused");
                }
                // Before the negotiation is over, nothing can be said to the peer: it is dropped.
                if let Ok((_, stream)) = incoming.into_parts() {
                    refuse(stream, codec, &refusal);
                }
            }
        }
    }
}

/// Sends a peer the reason of its refusal, as far as the stream accepts it at once, and closes the connection.
fn refuse(mut stream: impl AsyncWrite + Unpin, mut codec: impl Codec, refusal: &WireError) {
    let mut farewell = Outbox::new();
    codec.encode_error(refusal.code, &refusal.text, &mut farewell);
    let mut cx = Context::from_waker(Waker::noop());
    // The connection is closed, whether the peer gets the reason or not.
    let _ = poll_write(Pin::new(&mut stream), &mut cx, farewell.chunks());
    if let Poll::Ready(Ok(())) = Pin::new(&mut stream).poll_flush(&mut cx) {
        let _ = Pin::new(&mut stream).poll_shutdown(&mut cx);
    }
}
