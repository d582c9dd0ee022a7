//! Numbers' requests and replies in lines, as a person types and reads them.

use bytes::BytesMut;
use echosphere_core::numbers::Message;
use echosphere_core::wire::{Decoded, ErrorCode, Outbox, WireError};

use crate::oracle::typed::{Typist, read_error, take_line};

/// A typing client. Each word is written in every way that section "Requests and replies" of `docs/PROTOCOL.md` allows, in
/// turn.
#[derive(Clone, Debug)]
pub struct NumbersTypist;

impl Typist for NumbersTypist {
    type Message = Message;

    fn write(said: usize, request: &Message, output: &mut Outbox) {
        output.put(line(said, request).as_bytes());
    }

    fn read(input: &mut BytesMut) -> Result<Option<Decoded<Message>>, WireError> {
        read(input)
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
        // Only a server sends them.
        Message::Number(_) | Message::Error(..) => Vec::new(),
    };
    let around = if said.is_multiple_of(2) { " " } else { "" };
    format!("{around}{}{around}{end}", words.join(space))
}

fn read(input: &mut BytesMut) -> Result<Option<Decoded<Message>>, WireError> {
    let Some(line) = take_line(input) else {
        return Ok(None);
    };
    Ok(Some(if let Some((code, text)) = read_error(&line) {
        Decoded::Message(Message::Error(code, text))
    } else {
        let number = String::from_utf8_lossy(&line).parse();
        Decoded::Message(Message::Number(number.map_err(|_| ErrorCode::UnknownRequest)?))
    }))
}
