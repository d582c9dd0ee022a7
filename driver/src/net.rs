use std::any::Any;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::{fmt, io};

use async_trait::async_trait;
use echosphere_core::Principal;
use echosphere_core::wire::Protocol;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::settle::{Reactor, Settle};

/// The bytes of a connection, in order, in both directions, each with an end. Every type with these bounds is a `Stream`.
///
/// The driver depends on more than the traits of tokio say:
///
/// - **Writing**: `poll_write` may accept a part of the bytes, and may buffer what it accepts. Buffered bytes need not reach
///   the peer before `poll_flush` is ready. The driver calls `poll_flush` after the last write of a turn, and before
///   `poll_shutdown`. A pending flush counts as a pending write.
/// - **Clean end**: `poll_shutdown` ends this side's half of the stream, after everything that was written. The peer reads the
///   end of stream, and can go on writing. `poll_read` returns no bytes when the peer has ended its half in this way, and
///   then only.
/// - **Abort**: dropping a stream before `poll_shutdown` is ready aborts the connection. The peer's next read then returns an
///   error, and never a clean end. Dropping it later closes it.
/// - **Waking**: a pending poll wakes the waker of the last poll of its kind (reading; or writing, flushing and shutting down).
///
/// `echosphere_driver::conformance` (feature `conformance`) tests all of it.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// A stream of any transport.
pub type BoxStream = Box<dyn Stream>;

/// Boxes a stream, unless it is boxed already: each box costs a call for each read and write.
pub(crate) fn boxed<S: Stream>(stream: S) -> BoxStream {
    let mut stream = Some(stream);
    let any: &mut dyn Any = &mut stream;
    match any.downcast_mut::<Option<BoxStream>>().and_then(Option::take) {
        Some(boxed) => boxed,
        None => Box::new(stream.expect("it is taken only if it is boxed")),
    }
}

/// What a transport knows of the other side of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The transport, for logs: `tcp`, `tls`, `wss`.
    pub transport: &'static str,
    /// The network address, if the transport has one.
    pub addr: Option<SocketAddr>,
    /// Who the peer has proved to be, such as the subject of its certificate.
    pub principal: Option<Principal>,
}

impl Peer {
    /// A peer without a principal.
    #[must_use]
    pub const fn new(transport: &'static str, addr: Option<SocketAddr>) -> Self {
        Self {
            transport,
            addr,
            principal: None,
        }
    }
}

/// The address, or `-` without one; then the principal, if there is one.
impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addr {
            Some(addr) => addr.fmt(f)?,
            None => f.write_str("-")?,
        }
        match &self.principal {
            Some(principal) => write!(f, " ({principal})"),
            None => Ok(()),
        }
    }
}

/// A stream that is ready for the protocol, and the peer.
pub type Negotiated<S> = (Peer, S);

pub(crate) type Negotiation<S> = Pin<Box<dyn Future<Output = io::Result<Negotiated<S>>> + Send>>;

/// A connection that a listener has accepted. What the transport negotiates before the first byte of the protocol (a TLS
/// handshake, an HTTP upgrade) is still to be done.
///
/// The driver polls the negotiation beside everything else. It counts against
/// [`max_connections`](echosphere_core::connection::ConnectionConfig::max_connections), and is dropped at the
/// [`handshake_timeout`](echosphere_core::connection::ConnectionConfig::handshake_timeout).
pub struct Incoming<S>(State<S>);

enum State<S> {
    Ready(Negotiated<S>),
    Negotiating(Peer, Negotiation<S>),
}

impl<S: Stream> Incoming<S> {
    /// A connection without a negotiation.
    #[must_use]
    pub const fn ready(peer: Peer, stream: S) -> Self {
        Self(State::Ready((peer, stream)))
    }

    /// A connection with a negotiation. `peer` is what is known before it. Dropping the future must abort the connection.
    #[must_use]
    pub fn negotiating(
        peer: Peer,
        negotiation: impl Future<Output = io::Result<Negotiated<S>>> + Send + 'static,
    ) -> Self {
        Self(State::Negotiating(peer, Box::pin(negotiation)))
    }

    /// What is known of the peer before the negotiation.
    #[must_use]
    pub const fn peer(&self) -> &Peer {
        match &self.0 {
            State::Ready((peer, _)) | State::Negotiating(peer, _) => peer,
        }
    }

    /// Negotiates; returns at once if there is nothing to negotiate.
    ///
    /// # Errors
    ///
    /// If the peer breaks the rules of the transport, or the connection breaks.
    pub async fn finish(self) -> io::Result<Negotiated<S>> {
        match self.0 {
            State::Ready(negotiated) => Ok(negotiated),
            State::Negotiating(_, negotiation) => negotiation.await,
        }
    }

    /// Adds a negotiation after the one of this connection, for a transport on top of another.
    #[must_use]
    pub fn then<T, F>(self, negotiate: impl FnOnce(Peer, S) -> F + Send + 'static) -> Incoming<T>
    where
        T: Stream,
        F: Future<Output = io::Result<Negotiated<T>>> + Send + 'static,
    {
        let peer = self.peer().clone();
        Incoming::negotiating(peer, async move {
            let (peer, stream) = self.finish().await?;
            negotiate(peer, stream).await
        })
    }

    /// The same connection with a stream of any transport.
    #[must_use]
    pub fn boxed(self) -> Incoming<BoxStream> {
        match self.0 {
            State::Ready((peer, stream)) => Incoming::ready(peer, boxed(stream)),
            State::Negotiating(peer, negotiation) => Incoming::negotiating(peer, async move {
                let (peer, stream) = negotiation.await?;
                Ok((peer, boxed(stream)))
            }),
        }
    }

    /// The stream, or the negotiation that makes it.
    pub(crate) fn into_parts(self) -> Result<Negotiated<S>, (Peer, Negotiation<S>)> {
        match self.0 {
            State::Ready(negotiated) => Ok(negotiated),
            State::Negotiating(peer, negotiation) => Err((peer, negotiation)),
        }
    }
}

impl<S> fmt::Debug for Incoming<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (State::Ready((peer, _)) | State::Negotiating(peer, _)) = &self.0;
        f.debug_struct("Incoming").field("peer", peer).finish_non_exhaustive()
    }
}

/// Accepts connections.
#[async_trait]
pub trait Listener: Send {
    /// A connection.
    type Stream: Stream;

    /// Waits for the next connection, and negotiates nothing: a slow peer must not delay the next connection. Cancel safe:
    /// dropping the future loses no connection.
    ///
    /// # Errors
    ///
    /// Errors of one connection (reset while it waited) and of the host (no file descriptors left). The driver logs them, waits
    /// if they persist, and calls again. See [`AcceptErrors`](crate::AcceptErrors).
    async fn accept(&mut self) -> io::Result<Incoming<Self::Stream>>;

    /// Delivers arrived data to this listener and its streams, before a [`Driver`](crate::Driver) lets a deadline expire. The
    /// default suits streams that tokio's reactor wakes. A listener with tasks or threads in between needs its own.
    fn settle(&self) -> Arc<dyn Settle> {
        Arc::new(Reactor::default())
    }
}

/// The server speaks another protocol than expected: this one, if it is known. A connector returns it as the inner error of an
/// [`io::Error`], which [`From`] makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherProtocol(pub Option<Protocol>);

impl fmt::Display for OtherProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(protocol) => write!(f, "the server speaks {protocol}"),
            None => f.write_str("the server speaks another protocol"),
        }
    }
}

impl Error for OtherProtocol {}

impl From<OtherProtocol> for io::Error {
    fn from(other: OtherProtocol) -> Self {
        Self::new(io::ErrorKind::InvalidData, other)
    }
}

/// A listener has answered a peer that asked for something else than a connection of the driver, such as a web page, and closed.
/// A negotiation returns it as the inner error of an [`io::Error`], which [`From`] makes. It is not logged as a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answered(String);

impl Answered {
    /// `what` says what the peer has asked for and got, for logs.
    pub fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }

    /// Whether a negotiation has ended with an answer.
    pub(crate) fn is(error: &io::Error) -> bool {
        error.get_ref().is_some_and(|inner| inner.is::<Self>())
    }
}

impl fmt::Display for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Answered {}

impl From<Answered> for io::Error {
    fn from(answered: Answered) -> Self {
        Self::other(answered)
    }
}

/// Makes connections to one target: an address, a name, a service.
#[async_trait]
pub trait Connector: Send + Sync {
    /// A connection.
    type Stream: Stream;

    /// Connects, and negotiates what the transport negotiates. Dropping the future aborts the attempt. Several attempts can run
    /// at the same time.
    ///
    /// # Errors
    ///
    /// The kind is the reason that the machine gets: `ConnectionRefused`, nothing listens there; `ResourceBusy`, the server
    /// takes no connections now; `InvalidData`, the negotiation failed. [`OtherProtocol`] is a server of another protocol. See
    /// [`DialError`](echosphere_core::DialError).
    async fn dial(&self) -> io::Result<Negotiated<Self::Stream>>;

    /// As [`Listener::settle`].
    fn settle(&self) -> Arc<dyn Settle> {
        Arc::new(Reactor::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_boxed_once() {
        let first = boxed(tokio::io::duplex(1).0);
        let at: *const dyn Stream = &raw const *first;
        let again: *const dyn Stream = &raw const *boxed(first);
        assert!(std::ptr::addr_eq(at, again));
    }
}
