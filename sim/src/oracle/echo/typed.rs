//! An echo server's messages in lines, as a person types and reads them.

use bytes::BytesMut;
use echosphere_core::echo::Message;
use echosphere_core::wire::{Decoded, ErrorCode, Outbox, WireError};

use crate::oracle::typed::{Typist, after, read_error, take_line};

/// A typing client, every other line with CR LF at its end.
#[derive(Clone, Debug)]
pub struct EchoTypist;

impl Typist for EchoTypist {
    type Message = Message;

    fn write(said: usize, message: &Message, output: &mut Outbox) {
        let (word, x) = match message {
            Message::Message(x) => ("message ", x),
            Message::Ok(x) => ("ok ", x),
            Message::Error(..) => return,
        };
        output.put(word.as_bytes());
        output.put(x);
        output.put(if said.is_multiple_of(2) { b"\r\n" } else { b"\n" });
    }

    fn read(input: &mut BytesMut) -> Result<Option<Decoded<Message>>, WireError> {
        let Some(line) = take_line(input) else {
            return Ok(None);
        };
        Ok(Some(if let Some(x) = after(&line, "message ") {
            Decoded::Message(Message::Message(x))
        } else if let Some(x) = after(&line, "ok ") {
            Decoded::Message(Message::Ok(x))
        } else if let Some((code, text)) = read_error(&line) {
            Decoded::Message(Message::Error(code, text))
        } else {
            return Err(ErrorCode::UnknownRequest.into());
        }))
    }
}
