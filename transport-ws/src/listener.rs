use std::io;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::{BufMut, BytesMut};
use echosphere_core::wire::WireError;
use echosphere_driver::settle::Settle;
use echosphere_driver::{Answered, Incoming, Listener, Negotiated, Peer, Stream, farewell};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tungstenite::protocol::Role;

use crate::config::WsConfig;
use crate::request::{Answer, MAX_HEAD, answer};
use crate::stream::WsStream;

/// How long a peer that was answered has to close.
const LINGER: Duration = Duration::from_secs(1);

/// Accepts WebSocket connections over another listener.
#[derive(Debug)]
pub struct WsListener<L> {
    inner: L,
    config: Arc<WsConfig>,
}

impl<L: Listener> WsListener<L> {
    /// Upgrades the connections of `inner`.
    pub fn new(inner: L, config: WsConfig) -> Self {
        let config = Arc::new(config);
        Self { inner, config }
    }

    /// The listener below.
    pub const fn get_ref(&self) -> &L {
        &self.inner
    }
}

#[async_trait]
impl<L: Listener> Listener for WsListener<L> {
    type Stream = WsStream<L::Stream>;

    async fn accept(&mut self) -> io::Result<Incoming<Self::Stream>> {
        let incoming = self.inner.accept().await?;
        let config = Arc::clone(&self.config);
        Ok(incoming.then(move |peer, stream| upgrade(peer, stream, config)))
    }

    fn settle(&self) -> Arc<dyn Settle> {
        self.inner.settle()
    }
}

/// The name of WebSocket over this transport, in logs.
pub(crate) fn transport(below: &str) -> &'static str {
    if below == "tls" { "wss" } else { "ws" }
}

async fn upgrade<S: Stream>(peer: Peer, mut stream: S, config: Arc<WsConfig>) -> io::Result<Negotiated<WsStream<S>>> {
    let mut received = BytesMut::new();
    let answer = loop {
        if let Some(answer) = answer(&received, &config) {
            break answer;
        }
        let room = (MAX_HEAD - received.len()).max(1);
        if stream.read_buf(&mut (&mut received).limit(room)).await? == 0 {
            let kind = io::ErrorKind::UnexpectedEof;
            return Err(io::Error::new(
                kind,
                "the connection ended before the request for WebSocket was complete",
            ));
        }
    };
    let (answer, what) = match answer {
        Answer::Upgrade(response, length) => {
            stream.write_all(&response).await?;
            stream.flush().await?;
            let rest = received.split_off(length).to_vec();
            let peer = Peer {
                transport: transport(peer.transport),
                ..peer
            };
            return Ok((peer, WsStream::new(stream, Role::Server, config.max_message, rest)));
        }
        Answer::Close(response) => {
            let what = format!("the HTTP request was answered: {}", response.status());
            (response.into_bytes(), what)
        }
        Answer::NotHttp(code) => {
            // A line in both framings: the transport does not know the protocol, and every client accepts an error in lines from a
            // server (PROTOCOL.md, "Framing").
            (
                WireError::from(code).to_line().into_bytes(),
                format!("the peer does not speak HTTP and was sent {code}"),
            )
        }
    };
    drop(received);
    farewell(&mut stream, &answer, LINGER).await;
    Err(Answered::new(what).into())
}
