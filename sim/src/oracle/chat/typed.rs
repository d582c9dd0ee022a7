//! A chat's messages in lines, as a person types and reads them.

use bytes::{Bytes, BytesMut};
use echosphere_core::chat::Message;
use echosphere_core::wire::{Decoded, ErrorCode, Outbox, WireError};

use crate::oracle::typed::{Typist, after, read_error, take_line};

/// The longest body that is typed: with its number as long as the shortest part, as a line has no parts.
const LONGEST: usize = 992;

/// A typing client, as section "By lines, for people" of the chat in `docs/PROTOCOL.md` has it.
#[derive(Clone, Debug)]
pub struct ChatTypist;

impl Typist for ChatTypist {
    type Message = Message;

    fn write(said: usize, message: &Message, output: &mut Outbox) {
        match message {
            Message::Part { body, .. } => output.put(body),
            Message::Taken { id, .. } => output.put(format!("ok {id}").as_bytes()),
            _ => return,
        }
        output.put(if said.is_multiple_of(3) { b"\r\n" } else { b"\n" });
    }

    fn read(input: &mut BytesMut) -> Result<Option<Decoded<Message>>, WireError> {
        let Some(line) = take_line(input) else {
            return Ok(None);
        };
        let message = reply(&line).ok_or(ErrorCode::UnknownRequest)?;
        Ok(Some(Decoded::Message(message)))
    }
}

fn reply(line: &Bytes) -> Option<Message> {
    let number = |bytes: &[u8]| std::str::from_utf8(bytes).ok()?.parse().ok();
    let last = true;
    if let Some(id) = after(line, "ok ") {
        return number(&id).map(|id| Message::Taken { id, last });
    }
    if let Some((code, text)) = read_error(line) {
        return Some(Message::Error(code, text));
    }
    let colon = line.windows(2).position(|two| two == b": ")?;
    let (id, body) = (number(&line[..colon])?, line.slice(colon + 2..));
    Some(Message::Part { id, body, last })
}

/// The same, as it can be typed.
pub(super) fn fit_a_line(body: &Bytes) -> Bytes {
    let fit = |byte: &u8| if b"\r\n".contains(byte) { b' ' } else { *byte };
    body.iter().take(LONGEST).map(fit).collect()
}

/// Whether this is what a stream that ended too soon leaves of a line that says `said`, or of an acknowledgement.
pub(super) fn is_cut(line: &[u8], said: Option<&Bytes>) -> bool {
    let bare = line.strip_suffix(b"\r").unwrap_or(line);
    let answer = bare
        .strip_prefix(b"ok ")
        .map_or(b"ok ".starts_with(bare), |id| id.iter().all(u8::is_ascii_digit));
    answer || said.is_some_and(|said| said.starts_with(bare))
}
