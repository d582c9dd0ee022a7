//! What is seen of a chat, by people and by programs.

use echosphere_core::chat::Unsaid;

use crate::escape;
use crate::values::counted;

/// Characters of a message that a terminal is shown.
const SHOWN: usize = 4000;
/// Characters that tell a message from others.
const EXCERPT: usize = 24;

/// A message for a terminal: cut where it is too long.
pub(super) fn for_terminal(body: &[u8]) -> String {
    // No character is longer than four bytes; and one more shows that there are more.
    let mut text = escape::lines(&body[..body.len().min(4 * SHOWN + 4)]);
    if let Some((end, _)) = text.char_indices().nth(SHOWN) {
        text.truncate(end);
        text += &format!("… ({})", counted(body.len() as u64, "byte"));
    }
    text
}

/// The first characters of a message, in one line.
pub(super) fn excerpt(body: &[u8]) -> String {
    escape::start(body, EXCERPT)
}

/// Why a message was not sent.
pub(super) const fn unsaid(why: Unsaid) -> &'static str {
    match why {
        Unsaid::NoPeer => "no peer is connected",
        Unsaid::Leaving => "this side is leaving",
        Unsaid::QueueFull => "more than 16 MiB wait for their acknowledgements; try again later",
        Unsaid::TooLong => "it is longer than 1 MiB",
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
