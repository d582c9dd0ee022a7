use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A TCP connection. Dropping it before [`shutdown`](AsyncWrite::poll_shutdown) resets it, so that the peer does not take a
/// broken connection for one that has ended.
#[derive(Debug)]
pub struct TcpStream {
    socket: tokio::net::TcpStream,
    shut_down: bool,
}

impl TcpStream {
    pub(crate) const fn new(socket: tokio::net::TcpStream) -> Self {
        let shut_down = false;
        Self { socket, shut_down }
    }

    /// The socket.
    #[must_use]
    pub const fn socket(&self) -> &tokio::net::TcpStream {
        &self.socket
    }
}

/// The connection is already made.
impl From<tokio::net::TcpStream> for TcpStream {
    fn from(socket: tokio::net::TcpStream) -> Self {
        Self::new(socket)
    }
}

impl AsyncRead for TcpStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buf)
    }
}

impl AsyncWrite for TcpStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    /// The socket buffers nothing that it does not send by itself.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.socket).poll_shutdown(cx))?;
        self.shut_down = true;
        Poll::Ready(Ok(()))
    }
}

impl Drop for TcpStream {
    fn drop(&mut self) {
        if !self.shut_down {
            // If it fails, the connection has ended already.
            let _ = self.socket.set_zero_linger();
        }
    }
}
