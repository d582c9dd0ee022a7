//! Attempts to connect.

use std::io;
use std::task::{Context, Poll, Waker};

use echosphere_core::wire::Codec;
use echosphere_core::{DialError, DialToken, Machine, Time};

use super::{Boxed, Driver, DriverKey};
use crate::net::{OtherProtocol, Stream};

/// An attempt under way.
pub(super) struct Dial<S> {
    token: DialToken,
    attempt: Boxed<io::Result<S>>,
    waker: Waker,
}

impl<M, C, S> Driver<M, C, S>
where
    M: Machine,
    C: Codec<Message = M::Message> + Clone,
    M::Notice: 'static,
    S: Stream,
{
    pub(super) fn start_dial(&mut self, now: Time, token: DialToken) {
        let Some(connector) = self.connector.clone() else {
            self.endpoint
                .dial_failed(now, token, DialError::Unreachable, &mut self.effects);
            return;
        };
        let entry = self.dials.vacant_entry();
        let index = entry.key();
        entry.insert(Dial {
            token,
            attempt: Box::pin(async move { connector.dial(token).await }),
            waker: Waker::from(self.ready.waker(DriverKey::Dial(index as u32))),
        });
        self.dial_of.insert(token, index);
        self.poll_dial(now, index as u32);
    }

    /// Continues an attempt to connect. `false` if it succeeded: there may be data to read.
    pub(super) fn poll_dial(&mut self, now: Time, index: u32) -> bool {
        let Some(dial) = self.dials.get_mut(index as usize) else {
            return true;
        };
        // Abandoned in this turn: its result is not reported.
        if self.effects.abandon.contains(&dial.token) {
            return true;
        }
        let Poll::Ready(result) = dial.attempt.as_mut().poll(&mut Context::from_waker(&dial.waker)) else {
            return true;
        };
        let token = dial.token;
        self.dials.remove(index as usize);
        self.dial_of.remove(&token);
        match result {
            Ok(stream) => {
                let id = self.endpoint.dialled(now, token, &mut self.effects);
                tracing::info!(conn = ?id, "connected");
                self.insert(id, None, stream);
                false
            }
            Err(error) => {
                tracing::debug!(%error, "could not connect");
                let error = dial_error(&error);
                self.endpoint.dial_failed(now, token, error, &mut self.effects);
                true
            }
        }
    }
}

fn dial_error(error: &io::Error) -> DialError {
    let other = error.get_ref().and_then(|inner| inner.downcast_ref::<OtherProtocol>());
    match (other, error.kind()) {
        (Some(other), _) => DialError::OtherProtocol(other.0),
        (None, io::ErrorKind::ConnectionRefused) => DialError::Refused,
        (None, io::ErrorKind::ResourceBusy) => DialError::Unavailable,
        (None, _) => DialError::Unreachable,
    }
}
