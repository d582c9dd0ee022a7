//! Attempts to connect.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use echosphere_core::wire::Codec;
use echosphere_core::{DialError, DialTarget, DialToken, Machine, Time};

use super::connections::{CONNECTED, Channel};
use super::{Boxed, Driver, DriverKey};
use crate::net::{BoxStream, Connector, Negotiated, OtherProtocol, boxed};

type Attempt = Boxed<io::Result<Negotiated<BoxStream>>>;

/// A connector of a driver.
pub(super) struct Dialler<C> {
    begin: Box<dyn Fn() -> Attempt + Send>,
    codec: C,
}

impl<C> Dialler<C> {
    pub(super) fn new(connector: impl Connector + 'static, codec: C) -> Self {
        let connector = Arc::new(connector);
        let begin = move || -> Attempt {
            let connector = Arc::clone(&connector);
            Box::pin(async move {
                let (peer, stream) = connector.dial().await?;
                Ok((peer, boxed(stream)))
            })
        };
        Self {
            begin: Box::new(begin),
            codec,
        }
    }
}

/// An attempt under way.
pub(super) struct Dial {
    token: DialToken,
    target: DialTarget,
    attempt: Attempt,
    waker: Waker,
}

impl<M, C> Driver<M, C>
where
    M: Machine,
    C: Codec<Message = M::Message> + Clone,
    M::Notice: 'static,
{
    pub(super) fn start_dial(&mut self, now: Time, token: DialToken, target: DialTarget) {
        let Some(dialler) = self.diallers.get(target.0 as usize) else {
            self.endpoint.dial_failed(now, token, DialError::Unreachable);
            return;
        };
        let entry = self.dials.vacant_entry();
        let index = entry.key();
        entry.insert(Dial {
            token,
            target,
            attempt: (dialler.begin)(),
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
        if !self.endpoint.is_dialling(dial.token) {
            // Abandoned in this turn: the effect that removes it is not polled yet.
            return true;
        }
        let Poll::Ready(result) = dial.attempt.as_mut().poll(&mut Context::from_waker(&dial.waker)) else {
            return true;
        };
        let (token, target) = (dial.token, dial.target);
        self.dials.remove(index as usize);
        self.dial_of.remove(&token);
        match result {
            Ok((peer, stream)) => {
                let codec = self.diallers[target.0 as usize].codec.clone();
                let principal = peer.principal.clone();
                if let Some(id) = self.endpoint.dialled_with_codec(now, token, codec, principal) {
                    self.insert(id, peer, Channel::Open(stream), CONNECTED);
                }
                false
            }
            Err(error) => {
                tracing::debug!(%error, "could not connect");
                self.endpoint.dial_failed(now, token, dial_error(&error));
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
        (None, io::ErrorKind::InvalidData) => DialError::NegotiationFailed,
        (None, _) => DialError::Unreachable,
    }
}
