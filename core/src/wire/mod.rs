//! Between bytes and messages: the [`Codec`] contract, the two framings, and what waits to be written.

mod either;
mod error;
mod framing;
mod outbox;
mod protocol;

pub use either::EitherCodec;
pub(crate) use error::{ERROR, parse_error, parse_error_line};
pub use error::{ErrorClass, ErrorCode, WireError};
pub(crate) use framing::Line;
pub use framing::{Framer, Framing, MAX_FRAME};
pub use outbox::Outbox;
pub(crate) use outbox::is_copied;
pub use protocol::{FIRST_BYTES, Protocol};

use bytes::{Bytes, BytesMut};

/// Bodies shorter than this are copied when they are kept.
const COPY_BELOW: usize = 32 * 1024;

/// `body`, to be kept for longer than the event that brought it: short ones are copied, so that they do not pin the read
/// buffer that they came in.
#[must_use]
pub fn detach(body: &Bytes) -> Bytes {
    if body.len() < COPY_BELOW {
        Bytes::copy_from_slice(body)
    } else {
        body.clone()
    }
}

/// What a codec took off the front of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded<M> {
    /// A message.
    Message(M),
    /// An empty frame or line: hello and keepalive. Nothing to do.
    Keepalive,
    /// A request that makes no sense, in a stream that can still be read on. The peer is told; the connection stays.
    Invalid(WireError),
}

/// Turns one connection's bytes into messages and messages into bytes. One value for each connection.
pub trait Codec {
    /// What travels.
    type Message;

    /// Takes one message off the front of `input`; `Ok(None)` if it is not all there yet. What is there of it stays in
    /// `input`, so that it counts against [`ConnectionConfig::max_partial_bytes`](crate::connection::ConnectionConfig::max_partial_bytes);
    /// what is to be ignored may be taken off.
    ///
    /// # Errors
    ///
    /// If the stream cannot be read on after this. The caller tells the peer and closes.
    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Decoded<Self::Message>>, WireError>;

    /// The peer's stream has ended, and `input` is what is left of it, which [`Codec::decode`] took no message off. Takes
    /// `input` and returns what it comes to if the end of the stream completes it; else leaves it alone, as a frame
    /// that was cut.
    fn finish(&mut self, input: &mut BytesMut) -> Option<Decoded<Self::Message>> {
        let _ = input;
        None
    }

    /// Appends a message.
    fn encode(&mut self, message: &Self::Message, output: &mut Outbox);

    /// The framing of the stream; `None` if the transport has its own.
    fn framer(&self) -> Option<&Framer> {
        None
    }

    /// Appends a hello or keepalive: an empty frame. Nothing where there is no [`Codec::framer`].
    fn encode_keepalive(&mut self, output: &mut Outbox) {
        if let Some(framer) = self.framer() {
            framer.write(b"", &Bytes::new(), output);
        }
    }

    /// Appends an error that the peer is told.
    fn encode_error(&mut self, code: ErrorCode, text: &str, output: &mut Outbox);

    /// The framing of the connection once it is known. [`Framing::Length`] where there is no [`Codec::framer`].
    fn framing(&self) -> Option<Framing> {
        self.framer().map_or(Some(Framing::Length), Framer::framing)
    }

    /// Whether the transport keeps connections alive and notices by itself that a peer is gone: then there are no keepalives,
    /// and no silence is too long.
    fn is_kept_alive(&self) -> bool {
        false
    }
}
