//! Accepting connections.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use echosphere_core::Machine;
use echosphere_core::wire::{Codec, Outbox, WireError};
use tokio::io::AsyncWrite;
use tracing::field::display;

use super::{Boxed, Driver};
use crate::accepting::AcceptErrors;
use crate::net::{Listener, Stream};
use crate::write::poll_write;

pub(super) type AcceptFuture<S> = Boxed<(Acceptor<S>, Option<Accepted<S>>)>;

/// A listener and its errors.
pub(super) struct Acceptor<S> {
    listener: Box<dyn Listener<Stream = S>>,
    errors: AcceptErrors,
}

pub(super) struct Accepted<S> {
    stream: S,
    peer: Option<SocketAddr>,
}

impl<S: Stream> Acceptor<S> {
    pub(super) fn on(listener: impl Listener<Stream = S> + 'static) -> Self {
        Self {
            listener: Box::new(listener),
            errors: AcceptErrors::default(),
        }
    }

    /// Waits for the next connection and returns it with the listener; no connection after an error.
    pub(super) fn next(mut self) -> AcceptFuture<S> {
        Box::pin(async move {
            let next = match self.listener.accept().await {
                Ok(stream) => {
                    let peer = self.listener.peer(&stream);
                    Some(Accepted { stream, peer })
                }
                Err(error) => {
                    self.errors.note(&error).await;
                    None
                }
            };
            (self, next)
        })
    }
}

impl<M, C, S> Driver<M, C, S>
where
    M: Machine,
    C: Codec<Message = M::Message> + Clone,
    M::Notice: 'static,
    S: Stream,
{
    /// Accepts connections. `false` if there may be more to accept, or data to read from the accepted ones.
    pub(super) fn accept(&mut self) -> bool {
        let waker = Waker::from(Arc::clone(&self.own.listener));
        let mut accepted = false;
        for _ in 0..self.budgets.accepts.max(1) {
            let Some(accept) = &mut self.accept else {
                return true;
            };
            let Poll::Ready((accepting, next)) = accept.as_mut().poll(&mut Context::from_waker(&waker)) else {
                return !accepted;
            };
            accepted = true;
            self.accept = Some(accepting.next());
            if let Some(accepted) = next {
                self.admit(accepted);
            }
        }
        waker.wake();
        false
    }

    /// Admits a connection, or refuses it if the endpoint is full or drains.
    fn admit(&mut self, Accepted { stream, peer }: Accepted<S>) {
        let codec = match &self.choose_codec {
            Some(choose) => choose(&stream),
            None => self.endpoint.codec().clone(),
        };
        let named = peer.map(display);
        match self.endpoint.accept_with_codec(self.clock(), codec.clone()) {
            Ok(id) => {
                tracing::info!(conn = ?id, peer = named, "connection accepted");
                self.insert(id, peer, stream);
            }
            Err(refusal) => {
                if let Some(left_out) = self.refusals.due() {
                    tracing::warn!(peer = named, code = %refusal.code, left_out, "connection refused");
                }
                refuse(stream, codec, &refusal);
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
    let _ = Pin::new(&mut stream).poll_shutdown(&mut cx);
}
