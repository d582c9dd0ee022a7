//! The contract of a stream: order, ends, flushing.
#![allow(clippy::unwrap_used)]

mod support;

use std::io;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use async_trait::async_trait;
use echosphere_driver::{Connector, Negotiated, Peer, Stream};
use echosphere_transport_tls::{TlsConnector, TlsListener};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, duplex};

use support::{BufferingBelow, accept, connected, memory, read_to_end, self_signed, soon, trusting};

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| (index * index / 7) as u8).collect()
}

/// Writes everything, ends, and reads everything.
async fn exchange(mut stream: impl Stream, sent: &[u8]) -> Vec<u8> {
    let mut received = Vec::new();
    let (mut reader, mut writer) = tokio::io::split(&mut stream);
    let write = async {
        writer.write_all(sent).await.unwrap();
        writer.flush().await.unwrap();
        writer.shutdown().await.unwrap();
    };
    let read = async {
        reader.read_to_end(&mut received).await.unwrap();
    };
    soon(async { tokio::join!(write, read) }).await;
    received
}

#[tokio::test]
async fn a_mebibyte_goes_both_ways_at_the_same_time() {
    let (server, client) = connected().await;
    let (one, other) = (pattern(1 << 20), pattern((1 << 20) + 7));
    let (at_server, at_client) = tokio::join!(exchange(server, &one), exchange(client, &other));
    assert!(at_server == other && at_client == one);
}

#[tokio::test]
async fn pieces_are_written_in_order() {
    let (mut server, mut client) = connected().await;
    let pieces = [pattern(10), Vec::new(), pattern(20_000), pattern(30)];
    let all = pieces.concat();
    let write = async {
        let mut written = 0;
        while written < all.len() {
            let mut skipped = written;
            let slices: Vec<_> = pieces
                .iter()
                .map(|piece| {
                    let from = skipped.min(piece.len());
                    skipped -= from;
                    IoSlice::new(&piece[from..])
                })
                .collect();
            written += client.write_vectored(&slices).await.unwrap();
        }
        client.shutdown().await.unwrap();
    };
    let (read, ()) = tokio::join!(read_to_end(&mut server), write);
    assert_eq!(read.0, all);
    read.1.unwrap();
}

#[tokio::test]
async fn each_side_ends_its_half_alone() {
    let (mut server, mut client) = connected().await;
    client.write_all(b"question").await.unwrap();
    client.shutdown().await.unwrap();
    let (question, end) = read_to_end(&mut server).await;
    assert_eq!(question, b"question");
    end.unwrap();
    // The end stays the end.
    assert_eq!(server.read(&mut [0; 8]).await.unwrap(), 0);

    server.write_all(b"answer").await.unwrap();
    server.flush().await.unwrap();
    let mut answer = [0; 6];
    soon(client.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"answer");
    server.shutdown().await.unwrap();
    let (rest, end) = read_to_end(&mut client).await;
    assert!(rest.is_empty());
    end.unwrap();
}

/// A stream in memory that is dropped ends cleanly. TLS must not pass this on.
#[tokio::test]
async fn a_dropped_stream_is_never_a_clean_end() {
    let (mut server, mut client) = connected().await;
    client.write_all(b"half of a").await.unwrap();
    client.flush().await.unwrap();
    drop(client);
    let (said, end) = read_to_end(&mut server).await;
    assert_eq!(said, b"half of a");
    let error = end.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert!(error.to_string().contains("close_notify"), "{error}");
    // It stays an error.
    assert!(server.read(&mut [0; 8]).await.is_err());

    let (server, mut client) = connected().await;
    drop(server);
    let (_, end) = read_to_end(&mut client).await;
    assert_eq!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

/// Bytes that are not records, inserted by someone on the network.
#[tokio::test]
async fn garbage_is_an_error() {
    for garbage in [
        &b"\x17\x03\x03\0\x20 this is not encrypted at all..."[..],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0; 40],
    ] {
        let server = self_signed();
        let (listener, connector) = memory(1 << 16);
        let mut listener = TlsListener::new(listener, server.clone());
        let (proxied, mut far) = duplex(1 << 16);
        let dialling = TlsConnector::new(Fixed::new(proxied), trusting(&server));
        let handshake = async { tokio::join!(accept(&mut listener), dialling.dial()) };
        let mut near = connector.plain();
        let (handshake, _) = {
            let proxy = async { tokio::io::copy_bidirectional(&mut far, &mut near).await };
            tokio::select! {
                biased;
                both = soon(handshake) => (both, ()),
                _ = proxy => unreachable!(),
            }
        };
        let (_, mut server) = handshake.0.unwrap();
        let _client = handshake.1.unwrap();
        near.write_all(garbage).await.unwrap();
        let (said, end) = read_to_end(&mut server).await;
        assert!(said.is_empty());
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}

/// Connects once, with this stream.
struct Fixed<S>(std::sync::Mutex<Option<S>>);

impl<S> Fixed<S> {
    fn new(stream: S) -> Self {
        Self(std::sync::Mutex::new(Some(stream)))
    }
}

#[async_trait]
impl<S: Stream> Connector for Fixed<S> {
    type Stream = S;

    async fn dial(&self) -> io::Result<Negotiated<S>> {
        let stream = self.0.lock().unwrap().take().unwrap();
        Ok((Peer::new("memory", None), stream))
    }
}

#[tokio::test]
async fn a_flush_reaches_the_stream_below() {
    let server = self_signed();
    let (listener, connector) = memory(1 << 16);
    let mut listener = TlsListener::new(BufferingBelow(listener), server.clone());
    let connector = TlsConnector::new(BufferingBelow(connector), trusting(&server));
    let (server, client) = soon(async { tokio::join!(accept(&mut listener), connector.dial()) }).await;
    let ((_, mut server), (_, mut client)) = (server.unwrap(), client.unwrap());

    client.write_all(b"kept").await.unwrap();
    let mut buffer = [0; 4];
    assert!(poll_once(server.read_exact(&mut buffer)).is_pending());
    client.flush().await.unwrap();
    soon(server.read_exact(&mut buffer)).await.unwrap();
    assert_eq!(&buffer, b"kept");
    // A clean end flushes.
    client.write_all(b"last").await.unwrap();
    client.shutdown().await.unwrap();
    let (last, end) = read_to_end(&mut server).await;
    assert_eq!(last, b"last");
    end.unwrap();
}

fn poll_once<F: Future>(future: F) -> Poll<F::Output> {
    std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn a_peer_that_does_not_read_blocks_writes_and_flushes() {
    let (mut server, mut client) = connected().await;
    let mut cx = Context::from_waker(Waker::noop());
    let chunk = pattern(10_000);
    let mut accepted = Vec::new();
    while let Poll::Ready(written) = Pin::new(&mut client).poll_write(&mut cx, &chunk) {
        accepted.extend_from_slice(&chunk[..written.unwrap()]);
    }
    // 1 KiB in the stream below, and the ciphertext that is kept.
    assert!((16_000..=34_000).contains(&accepted.len()), "{}", accepted.len());
    assert!(Pin::new(&mut client).poll_flush(&mut cx).is_pending());
    assert!(Pin::new(&mut client).poll_shutdown(&mut cx).is_pending());

    let (read, end) = tokio::join!(read_to_end(&mut server), client.shutdown());
    end.unwrap();
    assert_eq!(read.0, accepted);
    read.1.unwrap();
}
