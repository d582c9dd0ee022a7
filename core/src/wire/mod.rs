//! The layer between bytes and messages: the [`Codec`] trait, the two framings, and the outbox.

mod either;
mod error;
mod framing;
mod outbox;
mod protocol;

pub use either::EitherCodec;
pub use error::{CustomCode, ErrorClass, ErrorCode, WireError};
pub(crate) use error::{ERROR, parse_error, parse_error_line};
pub(crate) use framing::Line;
pub use framing::{Framer, Framing, MAX_FRAME};
pub use outbox::Outbox;
pub(crate) use outbox::is_copied;
pub(crate) use protocol::CHAT_IS_BUSY;
pub use protocol::{FIRST_BYTES, Protocol};

use bytes::{Bytes, BytesMut};

/// Shorter bodies are copied when they are kept.
const COPY_BELOW: usize = 32 * 1024;

/// Returns `body` for keeping longer than the event that brought it. Short bodies are copied, so that they do not keep
/// the whole read buffer in memory.
#[must_use]
pub fn detach(body: &Bytes) -> Bytes {
    if body.len() < COPY_BELOW {
        Bytes::copy_from_slice(body)
    } else {
        body.clone()
    }
}

/// What a codec has decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded<M> {
    /// A message.
    Message(M),
    /// An empty frame or line: a hello or keepalive.
    Keepalive,
    /// An invalid request in a stream that can still be decoded. The peer is sent the error; the connection stays open.
    Invalid(WireError),
}

/// Decodes and encodes the messages of one connection.
pub trait Codec {
    /// The protocol's message.
    type Message;

    /// Takes one message from the front of `input`; `Ok(None)` if it is incomplete. An incomplete message stays in
    /// `input`, so that it counts against
    /// [`ConnectionConfig::max_partial_bytes`](crate::connection::ConnectionConfig::max_partial_bytes). Ignored bytes
    /// may be removed.
    ///
    /// # Errors
    ///
    /// The rest of the stream cannot be decoded. The caller sends the error to the peer and closes.
    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Decoded<Self::Message>>, WireError>;

    /// Ends the peer's stream. `input` is its rest, without a complete message. If the end of the stream completes a
    /// message, takes `input` and returns the message; otherwise leaves `input` unchanged.
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

    /// Appends an error for the peer.
    fn encode_error(&mut self, code: ErrorCode, text: &str, output: &mut Outbox);

    /// The framing of the connection once it is known. [`Framing::Length`] where there is no [`Codec::framer`].
    fn framing(&self) -> Option<Framing> {
        self.framer().map_or(Some(Framing::Length), Framer::framing)
    }

    /// Whether the transport keeps connections alive and detects dead peers itself. Then there are no keepalives and no
    /// idle time-out.
    fn is_kept_alive(&self) -> bool {
        false
    }
}
