use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Passes everything on, in pieces of at most `piece` bytes, and counts what a well-behaved driver does not do: write
/// or shut down after the shutdown, write nothing, or read on after the end.
pub(crate) struct Watched<S> {
    inner: S,
    piece: usize,
    vectored: bool,
    shut_down: bool,
    ended: bool,
    misuses: Arc<AtomicU64>,
}

impl<S> Watched<S> {
    pub(crate) fn new(inner: S, piece: usize, vectored: bool, misuses: &Arc<AtomicU64>) -> Self {
        Self {
            inner,
            piece,
            vectored,
            shut_down: false,
            ended: false,
            misuses: Arc::clone(misuses),
        }
    }

    fn check(&self, fine: bool) {
        if !fine {
            self.misuses.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.check(!self.ended && buf.remaining() > 0);
        let mut piece = vec![0; self.piece.min(buf.remaining())];
        let mut piece = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut piece))?;
        self.ended = piece.filled().is_empty();
        buf.put_slice(piece.filled());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.check(!self.shut_down && !buf.is_empty());
        let piece = &buf[..buf.len().min(self.piece)];
        Pin::new(&mut self.inner).poll_write(cx, piece)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.check(self.vectored && !self.shut_down && bufs.iter().any(|buf| !buf.is_empty()));
        let mut joined = Vec::new();
        for buf in bufs {
            let room = self.piece - joined.len();
            joined.extend_from_slice(&buf[..buf.len().min(room)]);
        }
        Pin::new(&mut self.inner).poll_write(cx, &joined)
    }

    fn is_write_vectored(&self) -> bool {
        self.vectored
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(!self.shut_down);
        ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
        self.shut_down = true;
        Poll::Ready(Ok(()))
    }
}
