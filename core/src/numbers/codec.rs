use alloc::borrow::ToOwned;
use alloc::format;
use alloc::string::String;
use core::str::{self, FromStr};

use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use super::message::Message;
use crate::wire::{Codec, Decoded, ERROR, ErrorCode, Framer, Outbox, WireError, parse_error_line};

/// The longest line or frame, in bytes.
pub const MAX_LINE: u32 = 512;

/// The wire format of numbers: the same text in frames and in lines (PROTOCOL.md, "Numbers").
#[derive(Clone, Debug)]
pub struct NumbersCodec {
    framer: Framer,
}

impl NumbersCodec {
    /// For the server's side of a connection.
    #[must_use]
    pub const fn accepted() -> Self {
        Self {
            framer: Framer::accepted(MAX_LINE),
        }
    }

    /// For the client's side.
    #[must_use]
    pub const fn dialled() -> Self {
        Self {
            framer: Framer::dialled(MAX_LINE),
        }
    }
}

impl Codec for NumbersCodec {
    type Message = Message;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Decoded<Message>>, WireError> {
        let Some(payload) = self.framer.next(input)? else {
            return Ok(None);
        };
        if payload.is_empty() {
            return Ok(Some(Decoded::Keepalive));
        }
        if !self.framer.is_dialled() {
            return Ok(Some(match parse_request(&payload) {
                Ok(request) => Decoded::Message(request),
                Err(error) => Decoded::Invalid(error),
            }));
        }
        parse_reply(&payload).map(|reply| Some(Decoded::Message(reply)))
    }

    fn encode(&mut self, message: &Message, output: &mut Outbox) {
        let nothing = Bytes::new();
        match message {
            Message::Number(number) => self.framer.write(format!("{number}").as_bytes(), &nothing, output),
            Message::Error(code, text) => self.framer.write_error(ERROR, *code, text, output),
            request => self.framer.write(write_request(request).as_bytes(), &nothing, output),
        }
    }

    fn encode_error(&mut self, code: ErrorCode, text: &str, output: &mut Outbox) {
        // An error of a client would reach no one: the connection closes.
        if !self.framer.is_dialled() {
            self.encode(&Message::Error(code, Bytes::copy_from_slice(text.as_bytes())), output);
        }
    }

    fn framer(&self) -> Option<&Framer> {
        Some(&self.framer)
    }
}

/// Parses a request, which has the same text in every transport. Words are separated by spaces.
///
/// # Errors
///
/// What is invalid, and what was expected.
pub fn parse_request(text: &[u8]) -> Result<Message, WireError> {
    let text = str::from_utf8(text).unwrap_or_default();
    let mut words = text.split_ascii_whitespace();
    let mut next = || words.next();
    let request = match (next(), next(), next(), next()) {
        (Some("START"), None, ..) => Message::Start,
        (Some("START"), Some(uuid), Some(n), None) => Message::StartSession {
            uuid: parse_uuid(uuid)?,
            n: parse_n(n)?,
        },
        (Some("CONTINUE"), Some(last), None, _) => match parse_number(last)? {
            0 => return Err(bad_number("0 is in no stream")),
            last => Message::Continue(last),
        },
        (Some("CONTINUE"), Some(uuid), Some(last), count) => Message::ContinueSession {
            uuid: parse_uuid(uuid)?,
            last: parse_number(last)?,
            count: count.map(parse_number).transpose()?,
        },
        (Some("END"), None, ..) => Message::End,
        _ => return Err(unknown()),
    };
    // The tuple holds four words.
    words.next().map_or(Ok(request), |_| Err(unknown()))
}

/// Writes a request for [`parse_request`]. Empty for messages that are not requests.
#[must_use]
pub fn write_request(request: &Message) -> String {
    match request {
        Message::Start => "START".to_owned(),
        Message::Continue(last) => format!("CONTINUE {last}"),
        Message::StartSession { uuid, n } => format!("START {uuid} {n}"),
        Message::ContinueSession {
            uuid,
            last,
            count: Some(count),
        } => format!("CONTINUE {uuid} {last} {count}"),
        Message::ContinueSession {
            uuid,
            last,
            count: None,
        } => format!("CONTINUE {uuid} {last}"),
        Message::End => "END".to_owned(),
        Message::Number(_) | Message::Error(..) => String::new(),
    }
}

fn parse_uuid(word: &str) -> Result<Uuid, WireError> {
    // The first clients quote the uuid in one of the two requests.
    let bare = word.strip_prefix('"').and_then(|word| word.strip_suffix('"'));
    Uuid::try_parse(bare.unwrap_or(word)).map_err(|_| {
        let text = "invalid uuid; expected one such as 67e55044-10b1-426f-9247-bb680e5fe0c8";
        WireError::new(ErrorCode::InvalidUuid, text)
    })
}

fn parse_n(word: &str) -> Result<u16, WireError> {
    match word.parse() {
        Ok(n @ 1..) => Ok(n),
        _ => Err(WireError::new(
            ErrorCode::InvalidCount,
            "invalid n value; expected a number from 1 to 65535",
        )),
    }
}

fn parse_number<N: FromStr>(word: &str) -> Result<N, WireError> {
    word.parse()
        .map_err(|_| bad_number("expected a decimal number that this server has sent"))
}

fn bad_number(text: &'static str) -> WireError {
    WireError::new(ErrorCode::BadNumber, text)
}

fn unknown() -> WireError {
    WireError::new(
        ErrorCode::UnknownRequest,
        "expected START, CONTINUE <number>, START <uuid> <n>, CONTINUE <uuid> <number> [<count>], or END",
    )
}

fn parse_reply(payload: &Bytes) -> Result<Message, WireError> {
    if let Some((code, text)) = parse_error_line(payload) {
        return Ok(Message::Error(code, text));
    }
    let number = str::from_utf8(payload).ok().and_then(|text| text.parse().ok());
    number
        .map(Message::Number)
        .ok_or_else(|| WireError::new(ErrorCode::UnknownRequest, "expected a number or `error CODE TEXT`"))
}
