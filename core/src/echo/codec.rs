use bytes::{Buf, Bytes, BytesMut};

use crate::wire::{Codec, Decoded, ERROR, ErrorCode, Framer, Outbox, WireError, parse_error_line};

/// The default limit on X: 1 MiB.
pub const MAX_MESSAGE: u32 = 1024 * 1024;

const MESSAGE: &[u8] = b"message ";
const OK: &[u8] = b"ok ";

/// A message of the echo protocol, in either direction.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// `message X`
    Message(Bytes),
    /// `ok X`
    Ok(Bytes),
    /// `error <code> <text>`
    Error(ErrorCode, Bytes),
}

/// Echo's wire format: the same payloads in frames and in lines (PROTOCOL.md, "Echo").
#[derive(Clone, Debug)]
pub struct EchoCodec {
    framer: Framer,
}

impl EchoCodec {
    /// For accepted connections. `max_message` limits X, in bytes; at most 16 MiB − 9.
    #[must_use]
    pub const fn accepted(max_message: u32) -> Self {
        Self {
            framer: Framer::accepted(max_message.saturating_add(MESSAGE.len() as u32)),
        }
    }

    /// For dialled connections; `max_message` as for [`EchoCodec::accepted`].
    #[must_use]
    pub const fn dialled(max_message: u32) -> Self {
        Self {
            framer: Framer::dialled(max_message.saturating_add(MESSAGE.len() as u32)),
        }
    }
}

impl Codec for EchoCodec {
    type Message = Message;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Decoded<Message>>, WireError> {
        Ok(self.framer.next(input)?.map(parse))
    }

    fn encode(&mut self, message: &Message, output: &mut Outbox) {
        match message {
            Message::Message(x) => self.framer.write(MESSAGE, x, output),
            Message::Ok(x) => self.framer.write(OK, x, output),
            Message::Error(code, text) => self.framer.write_error(ERROR, *code, text, output),
        }
    }

    fn encode_error(&mut self, code: ErrorCode, text: &str, output: &mut Outbox) {
        self.encode(&Message::Error(code, Bytes::copy_from_slice(text.as_bytes())), output);
    }

    fn framer(&self) -> Option<&Framer> {
        Some(&self.framer)
    }
}

fn parse(mut payload: Bytes) -> Decoded<Message> {
    if payload.is_empty() {
        Decoded::Keepalive
    } else if payload.starts_with(MESSAGE) {
        payload.advance(MESSAGE.len());
        Decoded::Message(Message::Message(payload))
    } else if payload.starts_with(OK) {
        payload.advance(OK.len());
        Decoded::Message(Message::Ok(payload))
    } else if let Some((code, text)) = parse_error_line(&payload) {
        Decoded::Message(Message::Error(code, text))
    } else {
        Decoded::Invalid(WireError::new(
            ErrorCode::UnknownRequest,
            "expected `message X` or `ok X`: the word, one space, then X",
        ))
    }
}
