//! Connections in memory, each of which can fail at any byte of either direction.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use echosphere_driver::{Connector, Incoming, Listener, Negotiated, Peer, Stream};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::mpsc;

/// Bytes that a connection holds in each direction.
const CAPACITY: usize = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Both directions end.
    Close,
    /// This direction ends; the other stays open.
    HalfClose,
    /// Both directions fail with an error.
    Reset,
    /// Nothing more arrives in this direction.
    Stall,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Direction {
    ToServer,
    ToClient,
}

/// A failure after `at` bytes in one direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fault {
    pub(crate) failure: Failure,
    pub(crate) direction: Direction,
    pub(crate) at: usize,
}

/// Makes connections to a listener.
pub(crate) struct Network(mpsc::UnboundedSender<End>);

pub(crate) struct NetworkListener(mpsc::UnboundedReceiver<End>);

/// Yields one connection that is there already.
pub(crate) struct OneConnection<S>(Mutex<Option<S>>);

/// One end of a connection.
pub(crate) struct End {
    stream: Option<DuplexStream>,
    /// The fault of the direction in which this end writes.
    fault: Option<Fault>,
    written: usize,
    is_silent: bool,
    has_failed: Arc<AtomicBool>,
    faults: Arc<AtomicUsize>,
}

pub(crate) fn network() -> (Network, NetworkListener) {
    let (sender, receiver) = mpsc::unbounded_channel();
    (Network(sender), NetworkListener(receiver))
}

impl Network {
    /// Connects. The second value counts the faults that have happened.
    pub(crate) fn connect(&self, fault: Option<Fault>) -> (End, Arc<AtomicUsize>) {
        let (client, server) = duplex(CAPACITY);
        let (has_failed, faults) = (Arc::default(), Arc::default());
        let end = |stream, direction| End {
            stream: Some(stream),
            fault: fault.filter(|fault| fault.direction == direction),
            written: 0,
            is_silent: false,
            has_failed: Arc::clone(&has_failed),
            faults: Arc::clone(&faults),
        };
        // A server that has ended closes what is sent to it.
        let _ = self.0.send(end(server, Direction::ToClient));
        (end(client, Direction::ToServer), faults)
    }
}

impl<S: Stream> OneConnection<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self(Mutex::new(Some(stream)))
    }
}

#[async_trait]
impl<S: Stream> Connector for OneConnection<S> {
    type Stream = S;

    async fn dial(&self) -> io::Result<Negotiated<S>> {
        let stream = self.0.lock().unwrap().take();
        let stream = stream.ok_or(io::ErrorKind::ConnectionRefused)?;
        Ok((Peer::new("test", None), stream))
    }
}

#[async_trait]
impl Listener for NetworkListener {
    type Stream = End;

    async fn accept(&mut self) -> io::Result<Incoming<End>> {
        match self.0.recv().await {
            Some(end) => Ok(Incoming::ready(Peer::new("test", None), end)),
            None => std::future::pending().await,
        }
    }
}

impl End {
    /// The error of a connection that is gone.
    fn gone(&self) -> io::Error {
        if self.has_failed.load(Ordering::Relaxed) {
            io::ErrorKind::ConnectionReset.into()
        } else {
            io::ErrorKind::BrokenPipe.into()
        }
    }

    /// Has the fault happen if all bytes before it are written.
    fn fail_at(&mut self, cx: &mut Context<'_>) {
        let Some(fault) = self.fault.take_if(|fault| fault.at == self.written) else {
            return;
        };
        self.faults.fetch_add(1, Ordering::Relaxed);
        match fault.failure {
            Failure::Close | Failure::Reset => {
                self.has_failed
                    .store(fault.failure == Failure::Reset, Ordering::Relaxed);
                self.stream = None;
                // What waits to read belongs to the same task.
                cx.waker().wake_by_ref();
            }
            Failure::HalfClose => {
                self.is_silent = true;
                if let Some(stream) = &mut self.stream {
                    // A stream in memory is shut down at once.
                    let _ = Pin::new(stream).poll_shutdown(cx);
                }
            }
            Failure::Stall => self.is_silent = true,
        }
    }
}

impl AsyncRead for End {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if let Some(stream) = &mut self.stream {
            ready!(Pin::new(stream).poll_read(cx, buffer))?;
        }
        let is_reset = self.has_failed.load(Ordering::Relaxed);
        Poll::Ready(if buffer.filled().len() == before && is_reset {
            Err(self.gone())
        } else {
            Ok(())
        })
    }
}

impl AsyncWrite for End {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.fail_at(cx);
        if self.is_silent {
            return Poll::Ready(Ok(bytes.len()));
        }
        let most = self.fault.map_or(bytes.len(), |fault| fault.at - self.written);
        let piece = &bytes[..bytes.len().min(most)];
        let Some(stream) = &mut self.stream else {
            return Poll::Ready(Err(self.gone()));
        };
        let written = ready!(Pin::new(stream).poll_write(cx, piece)).map_err(|_| self.gone())?;
        self.written += written;
        self.fail_at(cx);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_silent {
            return Poll::Ready(Ok(()));
        }
        match &mut self.stream {
            Some(stream) => Pin::new(stream).poll_shutdown(cx),
            None => Poll::Ready(Ok(())),
        }
    }
}
