//! What the tests of this crate share: a listener in memory, and peers that speak raw bytes.
// Each test file uses some of it.
#![allow(dead_code)]

use std::future::Future;
use std::io;
use std::time::Duration;

use async_trait::async_trait;
use echosphere_driver::{Connector, Incoming, Listener, Negotiated, Peer};
use echosphere_transport_ws::{WsConfig, WsListener, WsStream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) const FIN: u8 = 0x80;
pub(crate) const CONTINUE: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

/// A request that every server accepts; the key and its answer are those of RFC 6455, section 1.3.
pub(crate) const REQUEST: &str = "GET /chat HTTP/1.1\r\nHost: server.example.com\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// Bytes that a duplex stream holds.
const ROOM: usize = 64 * 1024;

/// Waits for what must come. The time is a safety net only.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(60), what)
        .await
        .expect("what must come has not come")
}

/// Accepts the streams of a [`Network`].
pub(crate) struct NetworkListener(mpsc::UnboundedReceiver<DuplexStream>);

/// Makes streams that a listener accepts.
pub(crate) struct Network(mpsc::UnboundedSender<DuplexStream>, usize);

impl Network {
    pub(crate) fn new() -> (Self, NetworkListener) {
        Self::with_room(ROOM)
    }

    /// A network whose streams hold `room` bytes.
    pub(crate) fn with_room(room: usize) -> (Self, NetworkListener) {
        let (sender, receiver) = mpsc::unbounded_channel();
        (Self(sender, room), NetworkListener(receiver))
    }

    pub(crate) fn connect(&self) -> DuplexStream {
        let (peer, stream) = duplex(self.1);
        self.0.send(stream).expect("a listener");
        peer
    }
}

#[async_trait]
impl Listener for NetworkListener {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<Incoming<DuplexStream>> {
        match self.0.recv().await {
            Some(stream) => Ok(Incoming::ready(Peer::new("memory", None), stream)),
            None => std::future::pending().await,
        }
    }
}

/// Dials one stream.
pub(crate) struct OneStream(Mutex<Option<DuplexStream>>);

impl OneStream {
    pub(crate) fn new(stream: DuplexStream) -> Self {
        Self(Mutex::new(Some(stream)))
    }
}

#[async_trait]
impl Connector for OneStream {
    type Stream = DuplexStream;

    async fn dial(&self) -> io::Result<Negotiated<DuplexStream>> {
        let stream = self.0.lock().await.take().ok_or(io::ErrorKind::ConnectionRefused)?;
        Ok((Peer::new("memory", None), stream))
    }
}

pub(crate) type Upgrade = JoinHandle<io::Result<Negotiated<WsStream<DuplexStream>>>>;

/// A peer that has connected, and the negotiation with it.
pub(crate) async fn connect(config: WsConfig) -> (Raw, Upgrade) {
    let (network, listener) = Network::new();
    let peer = network.connect();
    let mut listener = WsListener::new(listener, config);
    let incoming = listener.accept().await.expect("a connection");
    (Raw(peer), tokio::spawn(incoming.finish()))
}

/// A peer whose upgrade was accepted, and the stream of the server.
pub(crate) async fn upgraded(config: WsConfig) -> (Raw, WsStream<DuplexStream>) {
    let (mut peer, upgrade) = connect(config).await;
    peer.send(REQUEST.as_bytes()).await;
    assert!(peer.head().await.starts_with("HTTP/1.1 101 "));
    let (_, stream) = soon(upgrade).await.expect("no panic").expect("an upgrade");
    (peer, stream)
}

/// The bytes of a frame of a client, masked.
pub(crate) fn frame(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let mask = [0x37, 0xFA, 0x21, 0x3D];
    let payload = payload.as_ref();
    let mut bytes = header(first, 0x80, payload.len() as u64);
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    bytes
}

/// The bytes of a frame of a server.
pub(crate) fn unmasked(first: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    [header(first, 0, payload.len() as u64), payload.to_vec()].concat()
}

pub(crate) fn header(first: u8, masked: u8, length: u64) -> Vec<u8> {
    match length {
        0..126 => vec![first, masked | length as u8],
        126..0x1_0000 => [&[first, masked | 126][..], &(length as u16).to_be_bytes()].concat(),
        _ => [&[first, masked | 127][..], &length.to_be_bytes()].concat(),
    }
}

/// A length frame.
pub(crate) fn length_frame(payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    [&(payload.len() as u32).to_be_bytes(), payload].concat()
}

/// The payload of a Close frame.
pub(crate) fn close(code: u16, reason: &str) -> Vec<u8> {
    [&code.to_be_bytes(), reason.as_bytes()].concat()
}

/// A peer that sends and receives raw bytes.
pub(crate) struct Raw(pub(crate) DuplexStream);

impl Raw {
    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.0.write_all(bytes.as_ref())).await.expect("a stream");
    }

    /// Reads up to the end of an HTTP head.
    pub(crate) async fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(soon(self.0.read_u8()).await.expect("a head"));
        }
        String::from_utf8(head).expect("text")
    }

    /// Reads up to the end of the stream.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        soon(self.0.read_to_end(&mut rest)).await.expect("an end");
        rest
    }

    /// Reads a frame: its first byte and payload, unmasked.
    pub(crate) async fn frame(&mut self) -> (u8, Vec<u8>) {
        soon(read_frame(&mut self.0)).await.expect("a frame")
    }

    /// Reads a Close frame: its code and reason.
    pub(crate) async fn closed(&mut self) -> (u16, String) {
        let (first, payload) = self.frame().await;
        assert_eq!(first, FIN | CLOSE);
        let (code, reason) = payload.split_first_chunk().expect("a code");
        (
            u16::from_be_bytes(*code),
            String::from_utf8(reason.to_vec()).expect("text"),
        )
    }
}

pub(crate) async fn read_frame(stream: &mut DuplexStream) -> io::Result<(u8, Vec<u8>)> {
    let first = stream.read_u8().await?;
    let second = stream.read_u8().await?;
    let length = match second & 0x7F {
        126 => u64::from(stream.read_u16().await?),
        127 => stream.read_u64().await?,
        length => u64::from(length),
    };
    let mut mask = [0; 4];
    if second & 0x80 != 0 {
        stream.read_exact(&mut mask).await?;
    }
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await?;
    payload
        .iter_mut()
        .zip(mask.iter().cycle())
        .for_each(|(byte, mask)| *byte ^= mask);
    Ok((first, payload))
}
