//! Streams that keep what is written until they are flushed.
#![allow(clippy::unwrap_used)]

mod support;

use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};

use echosphere_core::connection::ConnectionConfig;
use echosphere_driver::Incoming;
use support::{Server, frame, peer, read_frame};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex};

/// Sends only when it is flushed, and not while it is blocked.
struct Buffering {
    inner: DuplexStream,
    buffer: Vec<u8>,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    blocked: AtomicBool,
    waiting: Mutex<Option<Waker>>,
}

impl Gate {
    fn open(&self) {
        self.blocked.store(false, Ordering::Relaxed);
        if let Some(waker) = self.waiting.lock().unwrap().take() {
            waker.wake();
        }
    }
}

impl AsyncRead for Buffering {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Buffering {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.buffer.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.gate.blocked.load(Ordering::Relaxed) {
            *self.gate.waiting.lock().unwrap() = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let buffer = mem::take(&mut self.buffer);
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, &buffer))?;
        assert_eq!(written, buffer.len(), "the pipe has room");
        Poll::Ready(Ok(()))
    }

    /// What is not flushed is lost.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

fn connect(server: &Server) -> (DuplexStream, Arc<Gate>) {
    let (here, inner) = duplex(1 << 16);
    let gate = Arc::<Gate>::default();
    let stream = Buffering {
        inner,
        buffer: Vec::new(),
        gate: Arc::clone(&gate),
    };
    server.accept(Incoming::ready(peer(), stream).boxed());
    (here, gate)
}

#[tokio::test]
async fn what_is_written_is_flushed() {
    let server = Server::start(ConnectionConfig::default());
    let (mut client, _) = connect(&server);
    for x in ["message a", "message b"] {
        client.write_all(&frame(x)).await.unwrap();
        assert_eq!(read_frame(&mut client).await, x);
    }
}

#[tokio::test]
async fn the_last_message_is_flushed_before_the_end() {
    let server = Server::start(ConnectionConfig::default());
    let (mut client, _) = connect(&server);
    client
        .write_all(&[frame("message x"), frame("ok x")].concat())
        .await
        .unwrap();
    assert_eq!(read_frame(&mut client).await, "message x");
    assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn a_refusal_is_flushed() {
    let server = Server::start(ConnectionConfig {
        max_connections: 0,
        ..ConnectionConfig::default()
    });
    let (mut client, _) = connect(&server);
    let mut refusal = String::new();
    client.read_to_string(&mut refusal).await.unwrap();
    assert!(refusal.starts_with("error full "), "{refusal}");
}

#[tokio::test]
async fn a_blocked_flush_continues_when_the_stream_is_ready() {
    let server = Server::start(ConnectionConfig::default());
    let (mut client, gate) = connect(&server);
    gate.blocked.store(true, Ordering::Relaxed);
    client.write_all(&frame("message x")).await.unwrap();
    while gate.waiting.lock().unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    gate.open();
    assert_eq!(read_frame(&mut client).await, "message x");
}
