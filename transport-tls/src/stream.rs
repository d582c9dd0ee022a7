use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream as Inner;

use crate::error;

/// A TLS connection over a stream of another transport.
///
/// - Writes are buffered as ciphertext, at most 32 KiB, until the stream below accepts them. Flush after the last write.
/// - `poll_shutdown` sends `close_notify`, then shuts the stream below down. Reading continues until the peer does the same.
/// - A stream below that ends without `close_notify` is an error of kind `UnexpectedEof`.
#[derive(Debug)]
pub struct TlsStream<S>(Inner<S>);

impl<S> TlsStream<S> {
    pub(crate) fn new(stream: impl Into<Inner<S>>) -> Self {
        Self(stream.into())
    }

    /// The application protocol that both sides chose (ALPN).
    #[must_use]
    pub fn alpn_protocol(&self) -> Option<&[u8]> {
        self.0.get_ref().1.alpn_protocol()
    }

    fn explain(&self, error: io::Error) -> io::Error {
        match self.0 {
            Inner::Client(_) => error::on_client(error),
            Inner::Server(_) => error::on_server(error),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for TlsStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = Pin::new(&mut self.0).poll_read(cx, buf);
        read.map_err(|error| self.explain(error))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for TlsStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
