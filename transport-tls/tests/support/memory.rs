use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use async_trait::async_trait;
use echosphere_driver::{Connector, Incoming, Listener, Negotiated, Peer};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::mpsc;

/// A listener, and a connector to it, whose streams hold this number of bytes.
pub(crate) fn memory(bytes: usize) -> (MemoryListener, MemoryConnector) {
    let (connected, accepted) = mpsc::unbounded_channel();
    (MemoryListener(accepted), MemoryConnector { connected, bytes })
}

pub(crate) struct MemoryListener(mpsc::UnboundedReceiver<DuplexStream>);

#[derive(Clone)]
pub(crate) struct MemoryConnector {
    connected: mpsc::UnboundedSender<DuplexStream>,
    bytes: usize,
}

impl MemoryConnector {
    /// A connection without TLS.
    pub(crate) fn plain(&self) -> DuplexStream {
        let (near, far) = duplex(self.bytes);
        self.connected.send(far).unwrap_or_else(|_| panic!("no listener"));
        near
    }
}

#[async_trait]
impl Listener for MemoryListener {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<Incoming<DuplexStream>> {
        match self.0.recv().await {
            Some(stream) => Ok(Incoming::ready(Peer::new("memory", None), stream)),
            None => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Connector for MemoryConnector {
    type Stream = DuplexStream;

    async fn dial(&self) -> io::Result<Negotiated<DuplexStream>> {
        Ok((Peer::new("memory", None), self.plain()))
    }
}

/// Bytes that a stream keeps before it writes them without a flush.
const MOST_KEPT: usize = 32 * 1024;

/// A stream that keeps what is written until it is flushed.
pub(crate) struct Buffering {
    stream: DuplexStream,
    kept: Vec<u8>,
}

impl Buffering {
    pub(crate) const fn new(stream: DuplexStream) -> Self {
        Self {
            stream,
            kept: Vec::new(),
        }
    }
}

impl AsyncRead for Buffering {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Buffering {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if self.kept.len() >= MOST_KEPT {
            ready!(self.as_mut().poll_flush(cx))?;
        }
        self.kept.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        while !this.kept.is_empty() {
            let written = ready!(Pin::new(&mut this.stream).poll_write(cx, &this.kept))?;
            this.kept.drain(..written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// A listener or connector whose streams keep everything until they are flushed.
pub(crate) struct BufferingBelow<T>(pub(crate) T);

#[async_trait]
impl<L: Listener<Stream = DuplexStream>> Listener for BufferingBelow<L> {
    type Stream = Buffering;

    async fn accept(&mut self) -> io::Result<Incoming<Buffering>> {
        let incoming = self.0.accept().await?;
        Ok(incoming.then(async |peer, stream| Ok((peer, Buffering::new(stream)))))
    }
}

#[async_trait]
impl Connector for BufferingBelow<MemoryConnector> {
    type Stream = Buffering;

    async fn dial(&self) -> io::Result<Negotiated<Buffering>> {
        let (peer, stream) = self.0.dial().await?;
        Ok((peer, Buffering::new(stream)))
    }
}
