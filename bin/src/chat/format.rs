//! Texts of a chat for people.

use echosphere_core::chat::SendError;

use crate::escape;
use crate::values::counted;

/// The most characters of a message on a terminal.
const SHOWN: usize = 4000;
/// The characters of an excerpt.
const EXCERPT: usize = 24;

/// A message for a terminal, cut if it is long.
pub(super) fn for_terminal(body: &[u8]) -> String {
    // A character has at most four bytes. One more than SHOWN shows that the message is longer.
    let mut text = escape::lines(&body[..body.len().min(4 * SHOWN + 4)]);
    if let Some((end, _)) = text.char_indices().nth(SHOWN) {
        text.truncate(end);
        text += &format!("… ({})", counted(body.len() as u64, "byte"));
    }
    text
}

/// The first characters of a message in one line.
pub(super) fn excerpt(body: &[u8]) -> String {
    escape::start(body, EXCERPT)
}

/// Why a message was not sent.
pub(super) const fn unsaid(why: SendError) -> &'static str {
    match why {
        SendError::NoPeer => "no peer is connected",
        SendError::Leaving => "this chat is ending",
        SendError::QueueFull => "more than 16 MiB wait for their acknowledgements; try again later",
        SendError::TooLong => "it is longer than 1 MiB",
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
        let shown = for_terminal("🎉".repeat(4000).as_bytes());
        assert!(shown.ends_with("🎉🎉"), "{shown}");
    }

    #[test]
    fn a_message_that_is_not_sent_has_its_own_reason() {
        for (why, text) in [
            (SendError::NoPeer, "no peer"),
            (SendError::Leaving, "ending"),
            (SendError::QueueFull, "16 MiB"),
            (SendError::TooLong, "longer than 1 MiB"),
        ] {
            assert!(unsaid(why).contains(text), "{}", unsaid(why));
        }
    }
}
