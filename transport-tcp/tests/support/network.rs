use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use echosphere_driver::{Connector, Incoming, Listener, Negotiated, Peer, Stream};
use tokio::io::{DuplexStream, duplex};
use tokio::sync::mpsc;

use super::Watched;

/// A network of pipes that hold `capacity` bytes each way, and whose relay's ends are watched.
#[derive(Clone)]
pub(crate) struct Network {
    capacity: usize,
    vectored: bool,
    misuses: Arc<AtomicU64>,
    connect: mpsc::UnboundedSender<io::Result<Watched<DuplexStream>>>,
}

/// Yields what was put into its queue.
pub(crate) struct NetworkListener<S>(pub(crate) mpsc::UnboundedReceiver<io::Result<S>>);

impl Network {
    pub(crate) fn new(capacity: usize, vectored: bool) -> (Self, NetworkListener<Watched<DuplexStream>>) {
        let (connect, connected) = mpsc::unbounded_channel();
        let network = Self {
            capacity,
            vectored,
            misuses: Arc::default(),
            connect,
        };
        (network, NetworkListener(connected))
    }

    pub(crate) fn connect(&self) -> Watched<DuplexStream> {
        let (here, there) = duplex(self.capacity);
        // Nobody listens any more: `here` is closed.
        let _ = self.connect.send(Ok(self.watched(there)));
        self.watched(here)
    }

    fn watched(&self, stream: DuplexStream) -> Watched<DuplexStream> {
        Watched::new(stream, self.capacity, self.vectored, &self.misuses)
    }

    /// How often a driver did with a stream what it must not do.
    pub(crate) fn misuses(&self) -> u64 {
        self.misuses.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Connector for Network {
    type Stream = Watched<DuplexStream>;

    async fn dial(&self) -> io::Result<Negotiated<Self::Stream>> {
        Ok((Peer::new("test", None), self.connect()))
    }
}

#[async_trait]
impl<S: Stream> Listener for NetworkListener<S> {
    type Stream = S;

    async fn accept(&mut self) -> io::Result<Incoming<S>> {
        match self.0.recv().await {
            Some(result) => result.map(|stream| Incoming::ready(Peer::new("test", None), stream)),
            None => std::future::pending().await,
        }
    }
}
