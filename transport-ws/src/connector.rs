use std::io;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::{BufMut, BytesMut};
use echosphere_core::wire::{MAX_FRAME, Protocol};
use echosphere_driver::settle::Settle;
use echosphere_driver::{Connector, Negotiated, OtherProtocol, Peer, Stream};
use httparse::{EMPTY_HEADER, Response, Status};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::Role;

use crate::listener::transport;
use crate::request::{MAX_HEAD, SUBPROTOCOL};
use crate::stream::WsStream;
use crate::url::WsUrl;

const MAX_HEADERS: usize = 64;
/// How much of the sentence is shown with which a server refuses.
const MAX_SENTENCE: usize = 200;

/// Makes WebSocket connections over the connections of another connector.
#[derive(Debug)]
pub struct WsConnector<C> {
    inner: C,
    url: WsUrl,
    max_message: u32,
}

impl<C: Connector> WsConnector<C> {
    /// Asks the server to which `inner` connects for the WebSocket `url`.
    pub const fn new(inner: C, url: WsUrl) -> Self {
        Self {
            inner,
            url,
            max_message: MAX_FRAME,
        }
    }

    /// The connector below.
    pub const fn get_ref(&self) -> &C {
        &self.inner
    }

    /// Limits received messages, as [`WsConfig::max_message`](crate::WsConfig::max_message).
    #[must_use]
    pub const fn with_max_message(mut self, bytes: u32) -> Self {
        self.max_message = bytes;
        self
    }

    async fn upgrade<S: Stream>(&self, mut stream: S) -> io::Result<WsStream<S>> {
        let key = generate_key();
        let request = format!(
            "GET {} HTTP/1.1\r\n\
             host: {}\r\n\
             upgrade: websocket\r\n\
             connection: Upgrade\r\n\
             sec-websocket-key: {key}\r\n\
             sec-websocket-version: 13\r\n\
             sec-websocket-protocol: {SUBPROTOCOL}\r\n\r\n",
            self.url.path(),
            self.url.authority(),
        );
        stream.write_all(request.as_bytes()).await?;
        stream.flush().await?;
        let mut received = BytesMut::new();
        let length = loop {
            let room = (MAX_HEAD - received.len()).max(1);
            let is_end = stream.read_buf(&mut (&mut received).limit(room)).await? == 0;
            if let Some(length) = check(&received, &key, is_end)? {
                break length;
            }
        };
        let rest = received.split_off(length).to_vec();
        Ok(WsStream::new(stream, Role::Client, self.max_message, rest))
    }
}

#[async_trait]
impl<C: Connector> Connector for WsConnector<C> {
    type Stream = WsStream<C::Stream>;

    async fn dial(&self) -> io::Result<Negotiated<Self::Stream>> {
        let (peer, stream) = self.inner.dial().await?;
        let stream = self.upgrade(stream).await?;
        let peer = Peer {
            transport: transport(peer.transport),
            ..peer
        };
        Ok((peer, stream))
    }

    fn settle(&self) -> Arc<dyn Settle> {
        self.inner.settle()
    }
}

/// Checks a response (RFC 6455, section 4.1). Returns the length of its head, or `None` if it is incomplete.
fn check(received: &[u8], key: &str, is_end: bool) -> io::Result<Option<usize>> {
    let start = b"HTTP/1.";
    if !received.iter().zip(start).all(|(byte, expected)| byte == expected) {
        let protocol = Protocol::from_first_bytes(received);
        if let Some(protocol) = protocol.filter(|protocol| protocol.is_ours()) {
            let text = format!(
                "the server does not speak WebSocket: it is {protocol}; connect with HOST:PORT instead of a URL"
            );
            return Err(invalid(text));
        }
        return Err(OtherProtocol(protocol).into());
    }
    let mut headers = [EMPTY_HEADER; MAX_HEADERS];
    let mut response = Response::new(&mut headers);
    match response.parse(received) {
        Ok(Status::Complete(length)) => {
            check_response(&response, &received[length..], key, is_end).map(|is| is.then_some(length))
        }
        Ok(Status::Partial) if is_end => {
            let kind = io::ErrorKind::UnexpectedEof;
            Err(io::Error::new(
                kind,
                "the server closed the connection before it answered",
            ))
        }
        Ok(Status::Partial) if received.len() < MAX_HEAD => Ok(None),
        Ok(Status::Partial) => Err(invalid(format!(
            "the head of the server's answer has more than {MAX_HEAD} bytes"
        ))),
        Err(error) => Err(invalid(format!("the server's answer is not HTTP/1.1: {error}"))),
    }
}

/// Whether the upgrade is accepted; `false` if a refusal is not complete.
fn check_response(response: &Response<'_, '_>, body: &[u8], key: &str, is_end: bool) -> io::Result<bool> {
    let status = response.code.unwrap_or_default();
    if status != 101 {
        let line = memchr::memchr(b'\n', body);
        if line.is_none() && !is_end && body.len() < MAX_SENTENCE {
            return Ok(false);
        }
        return Err(refusal(
            status,
            response.reason.unwrap_or_default(),
            &body[..line.unwrap_or(body.len())],
        ));
    }
    let has = |name: &str, expected: &str| {
        let mut named = response
            .headers
            .iter()
            .filter(|header| header.name.eq_ignore_ascii_case(name));
        let is = named
            .next()
            .is_some_and(|header| header.value.trim_ascii().eq_ignore_ascii_case(expected.as_bytes()));
        is && named.next().is_none()
    };
    let accept = derive_accept_key(key.as_bytes());
    let is_accepted = |header: &httparse::Header<'_>| {
        header.name.eq_ignore_ascii_case("sec-websocket-accept") && header.value.trim_ascii() == accept.as_bytes()
    };
    let asked_for = |header: &httparse::Header<'_>| !header.name.eq_ignore_ascii_case("sec-websocket-extensions");
    if !has("upgrade", "websocket") || !has("connection", "upgrade") || !response.headers.iter().any(is_accepted) {
        return Err(invalid("the server's answer does not accept the WebSocket".to_owned()));
    }
    if !response.headers.iter().all(asked_for) {
        return Err(invalid(
            "the server's answer has an extension that was not asked for".to_owned(),
        ));
    }
    Ok(true)
}

/// The server has answered with another status: what it says.
fn refusal(status: u16, reason: &str, sentence: &[u8]) -> io::Error {
    let sentence = &sentence[..sentence.len().min(MAX_SENTENCE)];
    let sentence: String = String::from_utf8_lossy(sentence)
        .chars()
        .filter(|c| !c.is_control())
        .collect();
    let text = format!("the server answered the request for a WebSocket with {status} {reason}: {sentence}");
    let kind = match status {
        429 | 502..=504 => io::ErrorKind::ResourceBusy,
        _ => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, text)
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}
