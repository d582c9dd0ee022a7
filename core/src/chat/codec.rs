use alloc::format;
use core::fmt::Display;

use bytes::{Buf, Bytes, BytesMut};

use super::message::{MAX_FRAME_BODY, Message};
use crate::wire::{
    Codec, Decoded, ERROR, ErrorCode, Framer, Framing, Outbox, WireError, parse_error, parse_error_line,
};

/// The first byte of a payload in length framing.
mod kind {
    pub(super) const BEGIN: u8 = 0x01;
    pub(super) const RESUME: u8 = 0x02;
    pub(super) const WELCOME: u8 = 0x03;
    pub(super) const PART: u8 = 0x04;
    pub(super) const LAST: u8 = 0x05;
    pub(super) const PART_TAKEN: u8 = 0x06;
    pub(super) const TAKEN: u8 = 0x07;
    pub(super) const BYE: u8 = 0x08;
    pub(super) const ERROR: u8 = 0xFF;
}

/// Bytes of the longest number, at 7 bits each.
const MAX_NUMBER: usize = 10;

/// The chat's wire format: binary in length framing, text in lines (PROTOCOL.md, "Chat").
#[derive(Clone, Debug)]
pub struct ChatCodec {
    framer: Framer,
    /// Messages read in lines so far. They have no ids on the wire.
    typed: u64,
}

impl ChatCodec {
    /// For the server's side of a connection.
    #[must_use]
    pub const fn accepted() -> Self {
        Self {
            framer: Framer::accepted((1 + MAX_NUMBER + MAX_FRAME_BODY) as u32),
            typed: 0,
        }
    }

    /// For the client's side.
    #[must_use]
    pub const fn dialled() -> Self {
        Self {
            framer: Framer::dialled((1 + MAX_NUMBER + MAX_FRAME_BODY) as u32),
            typed: 0,
        }
    }

    /// A line as a message: `ok 3`, or text.
    fn typed(&mut self, line: Bytes) -> Message {
        let answered = line
            .strip_prefix(b"ok ")
            .and_then(|id| core::str::from_utf8(id).ok()?.parse().ok());
        if let Some(id) = answered {
            return Message::Taken { id, last: true };
        }
        self.typed += 1;
        Message::Part {
            id: self.typed,
            body: line,
            last: true,
        }
    }

    fn write_binary(&self, message: &Message, output: &mut Outbox) {
        let nothing = Bytes::new();
        let (head, body) = match message {
            Message::Begin { session } => (Head::new(kind::BEGIN).session(*session), &nothing),
            Message::Resume { session, received } => {
                (Head::new(kind::RESUME).session(*session).number(*received), &nothing)
            }
            Message::Welcome { received } => (Head::new(kind::WELCOME).number(*received), &nothing),
            Message::Part { id, body, last: false } => (Head::new(kind::PART).number(*id), body),
            Message::Part { id, body, last: true } => (Head::new(kind::LAST).number(*id), body),
            Message::Taken { id, last: false } => (Head::new(kind::PART_TAKEN).number(*id), &nothing),
            Message::Taken { id, last: true } => (Head::new(kind::TAKEN).number(*id), &nothing),
            Message::Bye => (Head::new(kind::BYE), &nothing),
            Message::Error(code, text) => {
                self.framer.write_error(&[kind::ERROR], *code, text, output);
                return;
            }
        };
        self.framer.write(&head.bytes[..head.length], body, output);
    }

    /// Appends a message as a line. A body is written unchanged.
    fn write_line(&self, message: &Message, output: &mut Outbox) {
        match message {
            Message::Part { id, body, .. } => self.framer.write(format!("{id}: ").as_bytes(), body, output),
            Message::Taken { id, .. } => self.framer.write(format!("ok {id}").as_bytes(), &Bytes::new(), output),
            Message::Error(code, text) => self.framer.write_error(ERROR, *code, text, output),
            Message::Begin { .. } | Message::Resume { .. } | Message::Welcome { .. } | Message::Bye => {}
        }
    }
}

/// The bytes of a payload before its body.
struct Head {
    bytes: [u8; 1 + size_of::<u64>() + MAX_NUMBER],
    length: usize,
}

impl Head {
    const fn new(kind: u8) -> Self {
        let mut bytes = [0; 1 + size_of::<u64>() + MAX_NUMBER];
        bytes[0] = kind;
        Self { bytes, length: 1 }
    }

    fn session(mut self, session: u64) -> Self {
        self.bytes[self.length..self.length + 8].copy_from_slice(&session.to_be_bytes());
        self.length += 8;
        self
    }

    /// Seven bits per byte, lowest first; all bytes but the last have the highest bit set.
    fn number(mut self, mut number: u64) -> Self {
        while number > 0x7F {
            self.bytes[self.length] = number as u8 | 0x80;
            self.length += 1;
            number >>= 7;
        }
        self.bytes[self.length] = number as u8;
        self.length += 1;
        self
    }
}

impl Codec for ChatCodec {
    type Message = Message;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Decoded<Message>>, WireError> {
        let Some(payload) = self.framer.next(input)? else {
            return Ok(None);
        };
        if payload.is_empty() {
            return Ok(Some(Decoded::Keepalive));
        }
        let lines = self.framer.receives(input) == Some(Framing::Lines);
        let message = match (lines, self.framer.is_dialled()) {
            (false, _) => binary(payload)?,
            (true, false) => self.typed(payload),
            // In lines, a server sends only an error before it closes.
            (true, true) => farewell(&payload)?,
        };
        Ok(Some(Decoded::Message(message)))
    }

    fn finish(&mut self, input: &mut BytesMut) -> Option<Decoded<Message>> {
        let lines = !self.framer.is_dialled() && self.framer.receives(input) == Some(Framing::Lines);
        if !lines || input.is_empty() {
            return None;
        }
        let line = input.split().freeze();
        Some(Decoded::Message(self.typed(line)))
    }

    fn encode(&mut self, message: &Message, output: &mut Outbox) {
        if self.framer.framing() == Some(Framing::Length) {
            self.write_binary(message, output);
        } else {
            self.write_line(message, output);
        }
    }

    fn encode_error(&mut self, code: ErrorCode, text: &str, output: &mut Outbox) {
        // An error of a client would reach no one: the connection closes.
        if !self.framer.is_dialled() {
            let text = Bytes::copy_from_slice(text.as_bytes());
            self.encode(&Message::Error(code, text), output);
        }
    }

    fn framer(&self) -> Option<&Framer> {
        Some(&self.framer)
    }
}

fn binary(mut payload: Bytes) -> Result<Message, WireError> {
    let kind = payload.get_u8();
    let not_whole = || unknown(format!("an incomplete message of kind {kind}"));
    let mut session = || payload.try_get_u64().map_err(|_| not_whole());
    let message = match kind {
        kind::BEGIN => Message::Begin { session: session()? },
        kind::RESUME => Message::Resume {
            session: session()?,
            received: number(&mut payload).ok_or_else(not_whole)?,
        },
        kind::WELCOME => Message::Welcome {
            received: number(&mut payload).ok_or_else(not_whole)?,
        },
        kind::PART | kind::LAST => {
            return Ok(Message::Part {
                id: number(&mut payload).ok_or_else(not_whole)?,
                body: payload,
                last: kind == kind::LAST,
            });
        }
        kind::PART_TAKEN | kind::TAKEN => Message::Taken {
            id: number(&mut payload).ok_or_else(not_whole)?,
            last: kind == kind::TAKEN,
        },
        kind::BYE => Message::Bye,
        kind::ERROR => {
            let (code, text) = parse_error(&payload);
            return Ok(Message::Error(code, text));
        }
        _ => return Err(unknown(format!("a message of kind {kind}"))),
    };
    if !payload.is_empty() {
        return Err(unknown(format!(
            "{} bytes after a message of kind {kind}",
            payload.len()
        )));
    }
    Ok(message)
}

/// Reads what [`Head::number`] writes; `None` if it is incomplete or exceeds 64 bits.
fn number(payload: &mut Bytes) -> Option<u64> {
    let mut number = 0;
    for at in 0..MAX_NUMBER {
        let byte = payload.try_get_u8().ok()?;
        let bits = u64::from(byte & 0x7F);
        if at == MAX_NUMBER - 1 && bits > 1 {
            return None;
        }
        number |= bits << (7 * at);
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Reads the line that a server sends before it closes a connection on which it has read nothing: an error.
fn farewell(line: &Bytes) -> Result<Message, WireError> {
    let (code, text) = parse_error_line(line).ok_or_else(|| unknown("expected `error CODE TEXT`"))?;
    Ok(Message::Error(code, text))
}

fn unknown(what: impl Display) -> WireError {
    WireError::new(
        ErrorCode::UnknownRequest,
        format!("{what}; a chat expects a session to be begun or resumed"),
    )
}
