use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::{fmt, io};

use async_trait::async_trait;
use echosphere_core::DialToken;
use echosphere_core::wire::Protocol;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::either::Either;

use crate::settle::{Reactor, Settle, SettleBoth};

/// The bytes of a connection, in both directions.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// Accepts connections.
#[async_trait]
pub trait Listener: Send {
    /// A connection.
    type Stream: Stream;

    /// Waits for the next connection. Cancel safe: dropping the future loses no connection.
    async fn accept(&mut self) -> io::Result<Self::Stream>;

    /// The address of the peer of a stream that this listener accepted, if it has one. It appears in logs.
    fn peer(&self, stream: &Self::Stream) -> Option<SocketAddr> {
        let _ = stream;
        None
    }

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

/// Makes connections.
#[async_trait]
pub trait Connector: Send + Sync {
    /// A connection.
    type Stream: Stream;

    /// Connects. Each attempt has its own `token`; a connector with several addresses can choose by it.
    ///
    /// # Errors
    ///
    /// The kind is the reason that the machine gets: `ConnectionRefused`, nothing listens there; `ResourceBusy`, the server
    /// takes no connections now. [`OtherProtocol`] is a server of another protocol. See
    /// [`DialError`](echosphere_core::DialError).
    async fn dial(&self, token: DialToken) -> io::Result<Self::Stream>;

    /// As [`Listener::settle`].
    fn settle(&self) -> Arc<dyn Settle> {
        Arc::new(Reactor::default())
    }
}

/// Two listeners for one machine, which gets the connections of both. If their codecs differ, use
/// [`Driver::with_codecs`](crate::Driver::with_codecs).
#[derive(Debug)]
pub struct Both<A, B>(pub A, pub B);

#[async_trait]
impl<A: Listener, B: Listener> Listener for Both<A, B> {
    type Stream = Either<A::Stream, B::Stream>;

    async fn accept(&mut self) -> io::Result<Self::Stream> {
        tokio::select! {
            biased;
            one = self.0.accept() => one.map(Either::Left),
            other = self.1.accept() => other.map(Either::Right),
        }
    }

    fn peer(&self, stream: &Self::Stream) -> Option<SocketAddr> {
        match stream {
            Either::Left(one) => self.0.peer(one),
            Either::Right(other) => self.1.peer(other),
        }
    }

    fn settle(&self) -> Arc<dyn Settle> {
        Arc::new(SettleBoth(self.0.settle(), self.1.settle()))
    }
}

/// `None` never accepts a connection.
#[async_trait]
impl<L: Listener> Listener for Option<L> {
    type Stream = L::Stream;

    async fn accept(&mut self) -> io::Result<Self::Stream> {
        match self {
            Some(listener) => listener.accept().await,
            None => std::future::pending().await,
        }
    }

    fn peer(&self, stream: &Self::Stream) -> Option<SocketAddr> {
        self.as_ref()?.peer(stream)
    }

    fn settle(&self) -> Arc<dyn Settle> {
        match self {
            Some(listener) => listener.settle(),
            None => Arc::new(Reactor::default()),
        }
    }
}
