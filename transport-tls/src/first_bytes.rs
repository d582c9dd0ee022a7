use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use echosphere_core::wire::FIRST_BYTES;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A stream that remembers the first bytes it read, until the handshake is over.
#[derive(Debug)]
pub struct FirstBytes<S> {
    stream: S,
    /// At most [`FIRST_BYTES`]; `None` if they are not needed any more.
    first: Option<Vec<u8>>,
}

impl<S> FirstBytes<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self {
            stream,
            first: Some(Vec::with_capacity(FIRST_BYTES)),
        }
    }

    /// Frees the memory.
    pub(crate) fn forget(&mut self) {
        self.first = None;
    }

    pub(crate) fn first(&self) -> &[u8] {
        self.first.as_deref().unwrap_or_default()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstBytes<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let filled = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if let Some(first) = &mut self.first {
            let missing = FIRST_BYTES.saturating_sub(first.len());
            first.extend(buf.filled()[filled..].iter().take(missing));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstBytes<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
