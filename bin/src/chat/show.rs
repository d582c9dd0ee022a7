//! What is seen of a chat, by people and by programs.

use std::time::Duration;

use echosphere_core::chat::{Failure, SendError};
use echosphere_core::{CloseReason, DialError};
use serde_json::{Value, json};

use crate::shown;
use crate::values::counted;

/// Characters of a message that a terminal is shown.
const SHOWN: usize = 4000;
/// Characters that tell a message from others.
const EXCERPT: usize = 24;

/// A message for a terminal: cut where it is too long.
pub(super) fn for_terminal(body: &[u8]) -> String {
    // No character is longer than four bytes; and one more shows that there are more.
    let mut text = shown::lines(&body[..body.len().min(4 * SHOWN + 4)]);
    if let Some((end, _)) = text.char_indices().nth(SHOWN) {
        text.truncate(end);
        text += &format!("… ({})", counted(body.len() as u64, "byte"));
    }
    text
}

/// The first characters of a message, in one line.
pub(super) fn excerpt(body: &[u8]) -> String {
    shown::start(body, EXCERPT)
}

/// A round trip for JSON: microseconds, or null.
pub(super) fn micros(round_trip: Option<Duration>) -> Value {
    round_trip.map_or(Value::Null, |time| json!(time.as_nanos() as f64 / 1e3))
}

/// Why a message was not sent.
pub(super) const fn unsaid(why: SendError) -> &'static str {
    match why {
        SendError::NoPeer => "nobody is there",
        SendError::Leaving => "this side is leaving",
        SendError::QueueFull => "too much waits to be acknowledged (16 MiB); wait for some",
        SendError::TooLong => "it is longer than 1 MiB",
    }
}

/// Why a connection ended.
pub(super) fn closed(reason: CloseReason) -> String {
    match reason {
        CloseReason::PeerClosed => "the other side closed it without saying that it leaves".to_owned(),
        CloseReason::Reset => "it broke".to_owned(),
        CloseReason::IdleTimeout => "nothing came any more".to_owned(),
        CloseReason::TimedOut => "nothing came in time".to_owned(),
        CloseReason::SlowConsumer => "the other side does not read".to_owned(),
        CloseReason::PartialLimit => "more of unfinished messages came than this side may hold".to_owned(),
        other => format!("{other:?}"),
    }
}

/// Why a session ended.
pub(super) fn failure(failure: &Failure) -> String {
    match failure {
        Failure::Dial(DialError::Refused) => "nobody listens there (start one with `echosphere chat serve`)".to_owned(),
        Failure::Dial(DialError::Unavailable) => "it takes no connections now".to_owned(),
        Failure::Dial(_) => "it cannot be reached".to_owned(),
        Failure::Closed(reason) => format!("the connection ended: {}", closed(*reason)),
        Failure::Rejected(code, text) => format!("the server says: {code}: {}", shown::words(text)),
        Failure::TimedOut => "nothing came from the other side in time".to_owned(),
        Failure::ProtocolViolation => "the other side does not keep to the protocol; is it a chat?".to_owned(),
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
    fn long_messages_are_cut_between_characters() {
        assert_eq!(for_terminal(b"two\n\xe2\x9c\x93 lines"), "two\n  ✓ lines");
        let body = "é".repeat(5000);
        let shown = for_terminal(body.as_bytes());
        assert!(shown.ends_with("é… (10,000 bytes)"), "{shown}");
        let shown = for_terminal("🎉".repeat(4001).as_bytes());
        assert!(shown.ends_with("🎉… (16,004 bytes)"), "{shown}");
    }
}
