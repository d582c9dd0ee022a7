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

/// A connection's bytes, both ways.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for S {}

/// Where connections come from.
#[async_trait]
pub trait Listener: Send {
    /// What a connection is.
    type Stream: Stream;

    /// Waits for the next connection. A wait that is given up loses none.
    async fn accept(&mut self) -> io::Result<Self::Stream>;

    /// The address of the peer of a stream that this has accepted, if it has one. Logs name it.
    fn peer(&self, stream: &Self::Stream) -> Option<SocketAddr> {
        let _ = stream;
        None
    }

    /// Brings what has arrived to this listener and its streams, for a [`Driver`](crate::Driver) that is about to judge
    /// that something has not. By default the runtime's reactor wakes them; other tasks or threads between it and the
    /// streams need a `Settle` of their own.
    fn settle(&self) -> Arc<dyn Settle> {
        Arc::new(Reactor::default())
    }
}

/// Why a connector cannot connect: something else listens there than what is spoken to; what, if that can be told. It is to be
/// the inner error of an [`io::Error`], which [`From`] makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OtherProtocol(pub Option<Protocol>);

impl fmt::Display for OtherProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(protocol) => write!(f, "that is {protocol}"),
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

/// How connections are made.
#[async_trait]
pub trait Connector: Send + Sync {
    /// What a connection is.
    type Stream: Stream;

    /// Connects. `token` tells attempts apart; a connector with several addresses may choose by it.
    ///
    /// # Errors
    ///
    /// The kind tells the machine why: `ConnectionRefused`, nobody listens there; `ResourceBusy`, the server takes no
    /// connections now. [`OtherProtocol`] tells it that something else listens there. See
    /// [`DialError`](echosphere_core::DialError).
    async fn dial(&self, token: DialToken) -> io::Result<Self::Stream>;

    /// As [`Listener::settle`].
    fn settle(&self) -> Arc<dyn Settle> {
        Arc::new(Reactor::default())
    }
}

/// Two ways to be connected to, for one machine: its connections are those of either. See
/// [`Driver::with_codecs`](crate::Driver::with_codecs) if they speak differently.
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

/// Nobody connects to a listener that is not there.
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
