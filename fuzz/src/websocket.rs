//! Fuzzes WebSocket on both sides: arbitrary bytes as the upgrade, and after a good one, divided anywhere.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use arbitrary::{Arbitrary, Unstructured};
use async_trait::async_trait;
use bytes::BytesMut;
use echosphere_core::wire::Framer;
use echosphere_driver::{Connector, Incoming, Listener, Negotiated, Peer};
use echosphere_transport_ws::{WsConfig, WsConnector, WsListener};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::runtime::Builder;
use tungstenite::handshake::derive_accept_key;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

#[derive(Arbitrary)]
struct Head {
    side: Side,
    max_message: u16,
    /// The sizes of the pieces of the stream, repeated.
    sizes: [u8; 8],
}

#[derive(Arbitrary, Clone, Copy)]
enum Side {
    /// The bytes are the request of a client.
    Request,
    /// The bytes follow a request that is accepted.
    Server,
    /// The bytes are the response of a server.
    Response,
    /// The bytes follow a response that accepts.
    Client,
}

/// Reads a stream whole and in pieces, and compares. Checks that no frame is longer than the limit.
pub fn websocket(data: &[u8]) {
    let mut data = Unstructured::new(data);
    let Ok(head) = Head::arbitrary(&mut data) else {
        return;
    };
    let bytes = data.take_rest();
    let limit = u32::from(head.max_message);
    let (whole, whole_end) = read(head.side, limit, vec![bytes.to_vec()]);
    let mut pieces = Vec::new();
    let mut left = bytes;
    for size in head.sizes.iter().cycle().map(|&size| usize::from(size) + 1) {
        if left.is_empty() {
            break;
        }
        let (piece, rest) = left.split_at(size.min(left.len()));
        pieces.push(piece.to_vec());
        left = rest;
    }
    let (cut, cut_end) = read(head.side, limit, pieces);
    // What does not look like HTTP/1 is refused as soon as its first bytes show it, so the error of an upgrade can differ.
    if matches!(head.side, Side::Server | Side::Client) {
        assert_eq!(whole_end, cut_end, "whole, and in pieces");
    }
    if whole_end.is_ok() && cut_end.is_ok() {
        assert_eq!(whole, cut, "whole, and in pieces");
    } else {
        // A refused text can have begun.
        assert!(whole.starts_with(&cut) || cut.starts_with(&whole), "{whole:?} {cut:?}");
    }
    // A length frame or line is not longer than a message.
    let mut input = BytesMut::from(&whole[..]);
    let mut framer = Framer::accepted(limit);
    while framer
        .next(&mut input)
        .expect("no frame is longer than the limit")
        .is_some()
    {}
}

/// What a side reads of a peer that sends `pieces`, and how the stream ends.
fn read(side: Side, limit: u32, pieces: Vec<Vec<u8>>) -> (Vec<u8>, Result<(), io::ErrorKind>) {
    let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime").block_on(async {
        let negotiated = match side {
            Side::Request | Side::Server => {
                let greeting = matches!(side, Side::Server).then(|| REQUEST.to_vec());
                let script = Script::new(greeting.into_iter().chain(pieces), None);
                let config = WsConfig {
                    max_message: limit,
                    ..WsConfig::default()
                };
                let incoming = WsListener::new(Once::new(script), config).accept().await;
                match incoming.expect("a connection").finish().await {
                    Ok((_, stream)) => Ok(read_all(stream).await),
                    Err(error) => Err(error.kind()),
                }
            }
            Side::Response | Side::Client => {
                let answers = matches!(side, Side::Client);
                let script = Script::new(pieces, answers.then(Vec::new));
                let url = "ws://h/".parse().expect("a URL");
                let connector = WsConnector::new(Once::new(script), url).with_max_message(limit);
                match connector.dial().await {
                    Ok((_, stream)) => Ok(read_all(stream).await),
                    Err(error) => Err(error.kind()),
                }
            }
        };
        negotiated.unwrap_or_else(|kind| (Vec::new(), Err(kind)))
    })
}

async fn read_all(mut stream: impl AsyncRead + Unpin) -> (Vec<u8>, Result<(), io::ErrorKind>) {
    let mut all = Vec::new();
    let end = stream.read_to_end(&mut all).await;
    (all, end.map(drop).map_err(|error| error.kind()))
}

/// A peer that sends pieces, and then ends.
struct Script {
    pieces: VecDeque<Vec<u8>>,
    /// What was written to it, until its request is answered.
    request: Option<Vec<u8>>,
}

impl Script {
    /// With `request`, it first accepts the upgrade that it is asked for.
    fn new(pieces: impl IntoIterator<Item = Vec<u8>>, request: Option<Vec<u8>>) -> Self {
        Self {
            pieces: pieces.into_iter().collect(),
            request,
        }
    }
}

impl AsyncRead for Script {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(mut piece) = self.pieces.pop_front() {
            let here = piece.len().min(buf.remaining());
            buf.put_slice(&piece[..here]);
            if here < piece.len() {
                piece.drain(..here);
                self.pieces.push_front(piece);
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Script {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if let Some(request) = &mut self.request {
            request.extend_from_slice(bytes);
            let text = String::from_utf8_lossy(request);
            if let Some((_, rest)) = text.split_once("sec-websocket-key: ")
                && let Some((key, _)) = rest.split_once("\r\n")
            {
                let accept = derive_accept_key(key.as_bytes());
                let response = format!(
                    "HTTP/1.1 101 OK\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
                );
                self.request = None;
                self.pieces.push_front(response.into_bytes());
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// Accepts or dials one stream.
struct Once(Mutex<Option<Script>>);

impl Once {
    fn new(script: Script) -> Self {
        Self(Mutex::new(Some(script)))
    }

    fn take(&self) -> io::Result<Negotiated<Script>> {
        let script = self.0.lock().expect("no panic").take();
        Ok((Peer::new("script", None), script.ok_or(io::ErrorKind::NotConnected)?))
    }
}

#[async_trait]
impl Listener for Once {
    type Stream = Script;

    async fn accept(&mut self) -> io::Result<Incoming<Script>> {
        let (peer, script) = self.take()?;
        Ok(Incoming::ready(peer, script))
    }
}

#[async_trait]
impl Connector for Once {
    type Stream = Script;

    async fn dial(&self) -> io::Result<Negotiated<Script>> {
        self.take()
    }
}
