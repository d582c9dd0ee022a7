use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;

use super::soon;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length,
    Lines,
}

/// `payload` as it stands on the wire.
pub(crate) fn frame(framing: Framing, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    match framing {
        Framing::Length => [&(payload.len() as u32).to_be_bytes(), payload].concat(),
        Framing::Lines => [payload, b"\n"].concat(),
    }
}

/// A client that says exactly what it is told to, written from the protocol's description alone.
pub(crate) struct Peer<S = TcpStream> {
    pub(crate) stream: S,
    framing: Framing,
    input: BytesMut,
}

impl Peer {
    /// Connects, and sends nothing.
    pub(crate) async fn connect(addr: SocketAddr, framing: Framing) -> Self {
        let stream = soon(TcpStream::connect(addr)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream, framing)
    }

    /// Connects and says hello: from when the relay has read that on, others' messages come here too.
    pub(crate) async fn hello(addr: SocketAddr, framing: Framing) -> Self {
        let mut peer = Self::connect(addr, framing).await;
        peer.send("").await;
        peer
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    pub(crate) fn over(stream: S, framing: Framing) -> Self {
        Self {
            stream,
            framing,
            input: BytesMut::new(),
        }
    }

    pub(crate) async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        soon(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    pub(crate) async fn send(&mut self, payload: impl AsRef<[u8]>) {
        self.write(frame(self.framing, payload)).await;
    }

    /// The next frame that is not a keepalive; `None` at the end of the stream. May be dropped and called again.
    pub(crate) async fn receive(&mut self) -> Option<Vec<u8>> {
        soon(async {
            loop {
                match self.take_frame() {
                    Some(payload) if payload.is_empty() => continue,
                    Some(payload) => return Some(payload),
                    None => {}
                }
                if self.stream.read_buf(&mut self.input).await.unwrap() == 0 {
                    assert!(self.input.is_empty(), "cut short: {:?}", self.input);
                    return None;
                }
            }
        })
        .await
    }

    /// Reads until the connection breaks.
    pub(crate) async fn lost(&mut self) -> io::ErrorKind {
        soon(async {
            loop {
                match self.stream.read_buf(&mut self.input).await {
                    Ok(0) => panic!("the connection ended cleanly"),
                    Ok(_) => {}
                    Err(error) => return error.kind(),
                }
            }
        })
        .await
    }

    fn take_frame(&mut self) -> Option<Vec<u8>> {
        match self.framing {
            Framing::Length => {
                let length = u32::from_be_bytes(*self.input.first_chunk()?) as usize;
                if self.input.len() < 4 + length {
                    return None;
                }
                self.input.advance(4);
                Some(self.input.split_to(length).to_vec())
            }
            Framing::Lines => {
                let end = self.input.iter().position(|&byte| byte == b'\n')?;
                let mut line = self.input.split_to(end + 1).to_vec();
                line.pop();
                Some(line)
            }
        }
    }

    /// Answers `payload` if it is a message, and gives it back if it is not.
    pub(crate) async fn answer(&mut self, payload: Vec<u8>) -> Option<Vec<u8>> {
        let Some(y) = payload.strip_prefix(b"message ") else {
            return Some(payload);
        };
        self.send([b"ok ", y].concat()).await;
        None
    }

    /// Receives until something else comes than a message to answer, and answers those.
    pub(crate) async fn receive_answering(&mut self) -> Option<Vec<u8>> {
        loop {
            let payload = self.receive().await?;
            if let Some(payload) = self.answer(payload).await {
                return Some(payload);
            }
        }
    }

    /// Has `x` acknowledged; answers what comes in the meantime.
    pub(crate) async fn round_trip(&mut self, x: impl AsRef<[u8]>) {
        self.send([b"message ", x.as_ref()].concat()).await;
        let answer = self.receive_answering().await;
        assert!(answer == Some([b"ok ", x.as_ref()].concat()), "{answer:?}");
    }

    /// Answers what comes until `other` is done.
    pub(crate) async fn answering<T>(&mut self, other: impl Future<Output = T>) -> T {
        let mut other = pin!(other);
        loop {
            let payload = tokio::select! {
                biased;
                output = &mut other => return output,
                payload = self.receive() => payload.expect("the connection to stay"),
            };
            assert_eq!(self.answer(payload).await, None, "nothing but messages");
        }
    }

    /// The next frame, which must be an error: its code.
    pub(crate) async fn error(&mut self) -> String {
        let payload = self.receive_answering().await.expect("an error, not the end");
        let line = String::from_utf8(payload).unwrap();
        let words = line.strip_prefix("error ").expect("an error");
        let (code, text) = words.split_once(' ').expect("a text after the code");
        assert!(
            !text.is_empty() && !text.contains(char::is_control),
            "{text:?} is for people"
        );
        code.to_owned()
    }

    /// The relay closes, with nothing more to say.
    pub(crate) async fn end(&mut self) {
        assert_eq!(self.receive_answering().await, None);
    }

    /// Closes in order, and waits for the relay to do so.
    pub(crate) async fn close(mut self) {
        self.stream.shutdown().await.unwrap();
        // Messages that were under way are no longer ours to answer.
        while self.receive().await.is_some() {}
    }
}
