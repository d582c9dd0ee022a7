use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use echosphere_core::wire::{FIRST_BYTES, Protocol};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The first bytes that a server has sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct First(Arc<Mutex<Vec<u8>>>);

impl First {
    /// What the server speaks instead of HTTP/2; `None` if it speaks that, or has said nothing.
    pub(crate) fn other(&self) -> Option<Option<Protocol>> {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let speaks = Protocol::of_first(&bytes);
        (!bytes.is_empty() && speaks != Some(Protocol::Http2)).then_some(speaks)
    }

    fn note(&self, bytes: &[u8]) -> bool {
        let mut noted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let room = FIRST_BYTES - noted.len();
        noted.extend_from_slice(&bytes[..bytes.len().min(room)]);
        noted.len() < FIRST_BYTES
    }
}

/// A connection that notes what comes first.
pub(crate) struct Socket<S> {
    stream: S,
    first: Option<First>,
}

impl<S> Socket<S> {
    pub(crate) const fn new(stream: S, first: First) -> Self {
        Self {
            stream,
            first: Some(first),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Socket<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if let Some(first) = &self.first
            && !first.note(&buffer.filled()[before..])
        {
            self.first = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
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
