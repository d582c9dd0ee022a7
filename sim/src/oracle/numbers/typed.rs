//! How a connection's bytes are made and read: by the real codec, or as somebody at a terminal would, who shares no code
//! with it.

use bytes::{Bytes, BytesMut};
use echosphere_core::numbers::{Message, NumbersCodec};
use echosphere_core::wire::{Codec, Decoded, ErrorCode, Framing, Outbox, WireError};

/// What a server or one of its clients speaks.
#[derive(Clone, Debug)]
pub enum Words {
    /// The real codec.
    Real(NumbersCodec),
    /// Lines. Each word is said in every way that section "Requests and replies" of `docs/PROTOCOL.md` allows, in turn.
    Typed {
        /// Requests said so far.
        said: usize,
    },
}

impl Codec for Words {
    type Message = Message;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Decoded<Message>>, WireError> {
        match self {
            Self::Real(codec) => codec.decode(input),
            Self::Typed { .. } => read(input),
        }
    }

    fn finish(&mut self, input: &mut BytesMut) -> Option<Decoded<Message>> {
        match self {
            Self::Real(codec) => codec.finish(input),
            Self::Typed { .. } => None,
        }
    }

    fn encode(&mut self, message: &Message, output: &mut Outbox) {
        match self {
            Self::Real(codec) => codec.encode(message, output),
            Self::Typed { said } => {
                *said += 1;
                output.put(line(*said, message).as_bytes());
            }
        }
    }

    fn encode_keepalive(&mut self, output: &mut Outbox) {
        match self {
            Self::Real(codec) => codec.encode_keepalive(output),
            Self::Typed { .. } => output.put(b"\n"),
        }
    }

    fn encode_error(&mut self, code: ErrorCode, text: &str, output: &mut Outbox) {
        // A server need not be told.
        if let Self::Real(codec) = self {
            codec.encode_error(code, text, output);
        }
    }

    fn framing(&self) -> Option<Framing> {
        match self {
            Self::Real(codec) => codec.framing(),
            Self::Typed { .. } => Some(Framing::Lines),
        }
    }
}

fn line(said: usize, request: &Message) -> String {
    let space = [" ", "  ", "\t"][said % 3];
    let (quote, plus) = [("", ""), ("\"", ""), ("", "+"), ("\"", "+")][said % 4];
    let end = if said.is_multiple_of(5) { "\r\n" } else { "\n" };
    let words = match request {
        Message::Start => vec!["START".to_owned()],
        Message::Continue(last) => vec!["CONTINUE".to_owned(), format!("{plus}{last}")],
        Message::StartSession { uuid, n } => {
            vec![
                "START".to_owned(),
                format!("{quote}{uuid}{quote}"),
                format!("{plus}{n}"),
            ]
        }
        Message::ContinueSession { uuid, last, count } => {
            let mut words = vec![
                "CONTINUE".to_owned(),
                format!("{quote}{uuid}{quote}"),
                format!("{plus}{last}"),
            ];
            words.extend(count.map(|count| format!("{plus}{count}")));
            words
        }
        Message::End => vec!["END".to_owned()],
        // Only a server says them.
        Message::Number(_) | Message::Error(..) => Vec::new(),
    };
    let around = if said.is_multiple_of(2) { " " } else { "" };
    format!("{around}{}{around}{end}", words.join(space))
}

/// Takes a reply off the front of `input`, if it is all there. One that cannot be read breaks the connection.
fn read(input: &mut BytesMut) -> Result<Option<Decoded<Message>>, WireError> {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
        return Ok(None);
    };
    let taken = input.split_to(end + 1);
    let line = String::from_utf8_lossy(&taken[..end]);
    Ok(Some(if line.is_empty() {
        Decoded::Keepalive
    } else if let Some(error) = line.strip_prefix("error ") {
        let (code, text) = error.split_once(' ').unwrap_or((error, ""));
        let text = Bytes::copy_from_slice(text.as_bytes());
        Decoded::Message(Message::Error(ErrorCode::parse(code.as_bytes()), text))
    } else {
        let number = line.parse().map_err(|_| ErrorCode::UnknownRequest)?;
        Decoded::Message(Message::Number(number))
    }))
}
