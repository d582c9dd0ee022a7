//! What is seen of a chat, by people and by programs.

use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use echosphere_core::chat::{Failure, Unsaid};
use echosphere_core::{CloseReason, DialError};
use serde_json::{Value, json};

/// Characters of a message that a terminal is shown.
const SHOWN: usize = 4000;
/// Characters that tell a message from others.
const EXCERPT: usize = 24;

/// What was said, as text that cannot control a terminal: line breaks and tabs are kept, other control characters and
/// what is no UTF-8 are escaped. One line break at the end is left out.
pub(super) fn printable(body: &[u8]) -> String {
    let body = body.strip_suffix(b"\n").unwrap_or(body);
    let mut text = String::with_capacity(body.len());
    for chunk in body.utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' | '\t' => text.push(c),
                c if c.is_control() || is_direction(c) => text.extend(c.escape_default()),
                c => text.push(c),
            }
        }
        text += &chunk.invalid().escape_ascii().to_string();
    }
    text
}

/// Whether it makes text run the other way, and so can make a line read as what it is not.
const fn is_direction(c: char) -> bool {
    matches!(c, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}')
}

/// The same for a terminal: cut where it is too long, and later lines indented, so that none passes for one of ours.
pub(super) fn for_terminal(body: &[u8]) -> String {
    let text = printable(body).replace('\n', "\n  ");
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], body.len()),
        None => text,
    }
}

/// The first characters of a message, in one line.
pub(super) fn excerpt(body: &[u8]) -> String {
    let text = printable(&body[..body.len().min(EXCERPT * 4)]).replace(['\n', '\t'], " ");
    match text.char_indices().nth(EXCERPT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

/// A message as fields of a JSON object; what is not text stands in Base64.
pub(super) fn heard_json(id: u64, body: &[u8]) -> Value {
    match str::from_utf8(body) {
        Ok(text) => json!({ "event": "heard", "id": id, "bytes": body.len(), "text": text }),
        Err(_) => {
            json!({ "event": "heard", "id": id, "bytes": body.len(), "base64": BASE64_STANDARD.encode(body) })
        }
    }
}

/// A round trip for JSON: microseconds, or null.
pub(super) fn micros(round_trip: Option<Duration>) -> Value {
    round_trip.map_or(Value::Null, |time| json!(time.as_nanos() as f64 / 1e3))
}

/// Why a message was not sent.
pub(super) const fn unsaid(why: Unsaid) -> &'static str {
    match why {
        Unsaid::NoPeer => "nobody is there",
        Unsaid::Leaving => "this side is leaving",
        Unsaid::QueueFull => "too much waits to be acknowledged (16 MiB); wait for some",
        Unsaid::TooLong => "it is longer than 1 MiB",
    }
}

/// Why a connection ended.
pub(super) fn closed(reason: CloseReason) -> String {
    match reason {
        CloseReason::PeerClosed => "the other side closed it".to_owned(),
        CloseReason::Reset => "it broke".to_owned(),
        CloseReason::IdleTimeout => "nothing came any more".to_owned(),
        CloseReason::TimedOut => "nothing came in time".to_owned(),
        CloseReason::SlowConsumer => "the other side does not read".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Why a session ended.
pub(super) fn failure(failure: &Failure) -> String {
    match failure {
        Failure::Dial(DialError::Refused) => "nobody listens there (start one with `echosphere chat serve`)".to_owned(),
        Failure::Dial(_) => "it cannot be reached".to_owned(),
        Failure::Closed(reason) => format!("the connection ended: {}", closed(*reason)),
        Failure::Rejected(code, text) => format!("the server says: {code}: {}", printable(text)),
        Failure::TimedOut => "nothing came from the other side in time".to_owned(),
        Failure::Confused => "the other side does not keep to the protocol; is it a chat?".to_owned(),
        Failure::ShuttingDown => "this side is shutting down".to_owned(),
        Failure::Replaced => "the other side was lost, and somebody else has come".to_owned(),
        Failure::OtherProtocol(Some(protocol)) => format!("that is {protocol}, not a chat"),
        Failure::OtherProtocol(None) => "that is not a chat: it speaks another protocol".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_said_controls_a_terminal() {
        for (body, shown) in [
            (&b"plain\ttext\n"[..], "plain\ttext"),
            ("é 漢字 🎉".as_bytes(), "é 漢字 🎉"),
            (b"\x1b[2Jgone", "\\u{1b}[2Jgone"),
            ("\u{9b}2J\r\u{7}".as_bytes(), "\\u{9b}2J\\r\\u{7}"),
            (b"\xff\x9b2J", "\\xff\\x9b2J"),
            ("abc\u{202e}fed".as_bytes(), "abc\\u{202e}fed"),
            (b"two\nlines\n\n", "two\nlines\n"),
        ] {
            assert_eq!(printable(body), shown, "{}", body.escape_ascii());
        }
    }

    #[test]
    fn long_messages_are_cut_between_characters() {
        assert_eq!(for_terminal(b"two\n\xe2\x9c\x93 lines"), "two\n  ✓ lines");
        let body = "é".repeat(5000);
        let shown = for_terminal(body.as_bytes());
        assert!(shown.ends_with("é… (10000 bytes)"), "{shown}");
        assert_eq!(excerpt("漢".repeat(100).as_bytes()), format!("{}…", "漢".repeat(24)));
    }
}
