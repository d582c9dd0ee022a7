//! Escapes text from peers for display: it cannot control a terminal, be invisible, or look like a line of this program.

use std::sync::LazyLock;

use regex::{Captures, Regex};

/// Indents the later lines of a text, so that none looks like a line of this program.
pub(crate) const INDENT: &str = "  ";

/// The most characters of an error's text.
const WORDS: usize = 300;

/// The characters to escape: line breaks and tabs; Unicode's control and format characters (such as direction marks), line and
/// paragraph separators, private, unassigned and default-ignorable (invisible) characters. Joiners and variation selectors stay
/// within an emoji of several characters.
static SPECIAL: LazyLock<Regex> = LazyLock::new(|| {
    let part = r"\p{Extended_Pictographic}[\u{FE0F}\p{Emoji_Modifier}]?";
    let special = format!(
        r"(?<break>\r?\n)|(?<tab>\t)|(?<emoji>{part}(?:\u{{200D}}{part})*|[0-9\#*]\u{{FE0F}}\u{{20E3}})|[\p{{C}}\p{{Zl}}\p{{Zp}}\p{{Default_Ignorable_Code_Point}}]"
    );
    Regex::new(&special).expect("the pattern is fixed, and a test uses it")
});

/// A text of several lines. Later lines are indented, and one line break at the end is removed. Bytes that are not UTF-8 become
/// `\xff`, and special characters `\u{202e}`.
pub(crate) fn lines(text: &[u8]) -> String {
    let text = text.strip_suffix(b"\n").unwrap_or(text);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    escaped(text, &format!("\n{INDENT}"), "\t")
}

/// A text in one line: line breaks and tabs become `\n` and `\t`.
pub(crate) fn line(text: &[u8]) -> String {
    escaped(text, "\\n", "\\t")
}

/// The first `most` characters of a text in one line.
pub(crate) fn start(text: &[u8], most: usize) -> String {
    // A character has at most four bytes. One more than `most` shows that the text is longer.
    let mut shown = line(&text[..text.len().min(4 * most + 4)]);
    if let Some((end, _)) = shown.char_indices().nth(most) {
        shown.truncate(end);
        shown.push('…');
    }
    shown
}

/// The text of an error from a peer.
pub(crate) fn error_text(text: &[u8]) -> String {
    start(text, WORDS)
}

fn escaped(text: &[u8], line_break: &str, tab: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        let valid = chunk.valid();
        if valid.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
            shown += valid;
        } else {
            shown += &SPECIAL.replace_all(valid, |found: &Captures<'_>| {
                if found.name("break").is_some() {
                    line_break.to_owned()
                } else if found.name("tab").is_some() {
                    tab.to_owned()
                } else if found.name("emoji").is_some() {
                    found[0].to_owned()
                } else {
                    found[0].escape_default().to_string()
                }
            });
        }
        shown += &chunk.invalid().escape_ascii().to_string();
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_said_controls_a_terminal_or_hides() {
        for (text, expected) in [
            ("plain text", "plain text"),
            ("é 漢字 שלום e\u{301}", "é 漢字 שלום e\u{301}"),
            ("\u{1b}[2Jgone", "\\u{1b}[2Jgone"),
            ("\u{9b}2J\r\u{7}\u{7f}", "\\u{9b}2J\\r\\u{7}\\u{7f}"),
            ("abc\u{202e}fed\u{2066}\u{200f}", "abc\\u{202e}fed\\u{2066}\\u{200f}"),
            ("\u{61c}\u{feff}\u{ad}\u{200b}", "\\u{61c}\\u{feff}\\u{ad}\\u{200b}"),
            ("a\u{2028}b\u{2029}c\u{85}", "a\\u{2028}b\\u{2029}c\\u{85}"),
            ("\u{3164}\u{115f}\u{ffa0}", "\\u{3164}\\u{115f}\\u{ffa0}"),
            ("x\u{fe0f}\u{e0100}\u{34f}", "x\\u{fe0f}\\u{e0100}\\u{34f}"),
            ("\u{e0041}\u{e000}\u{10ffff}", "\\u{e0041}\\u{e000}\\u{10ffff}"),
        ] {
            assert_eq!(line(text.as_bytes()), expected, "{}", text.escape_unicode());
            assert_eq!(lines(text.as_bytes()), expected, "{}", text.escape_unicode());
        }
        assert_eq!(line(b"\xff\x9b2J\xe2\x80"), "\\xff\\x9b2J\\xe2\\x80");
    }

    #[test]
    fn emoji_of_several_characters_are_readable() {
        for emoji in [
            "🎉",
            "❤\u{fe0f}",
            "👩\u{200d}👩\u{200d}👧",
            "👍🏽",
            "🏳\u{fe0f}\u{200d}🌈",
            "1\u{fe0f}\u{20e3}",
            "🇫🇷",
        ] {
            assert_eq!(line(emoji.as_bytes()), emoji);
        }
        // A tag can carry a hidden text, a joiner at the end joins nothing.
        assert_eq!(line("🏴\u{e0067}👩\u{200d}".as_bytes()), "🏴\\u{e0067}👩\\u{200d}");
    }

    #[test]
    fn later_lines_are_indented_or_escaped() {
        let text = b"hi\nfrom 99: forged\r\n\tx\n\n";
        assert_eq!(lines(text), "hi\n  from 99: forged\n  \tx\n  ");
        assert_eq!(line(text), "hi\\nfrom 99: forged\\n\\tx\\n\\n");
        assert_eq!(lines(b"one line\r\n"), "one line");
    }

    #[test]
    fn a_start_is_cut_between_characters() {
        assert_eq!(start("漢".repeat(100).as_bytes(), 24), format!("{}…", "漢".repeat(24)));
        assert_eq!(start(b"short", 5), "short");
        assert_eq!(start("🎉🎉🎉".as_bytes(), 2), "🎉🎉…");
    }
}
