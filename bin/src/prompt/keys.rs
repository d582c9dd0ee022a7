//! Decodes the bytes that a terminal sends into keys and pasted text.

/// The marks around pasted text.
const PASTE: &[u8] = b"\x1b[200~";
const PASTE_ENDS: &[u8] = b"\x1b[201~";
/// The longest sequence of a key.
const LONGEST: usize = 32;

/// A key, named after its effect on a line, or pasted text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    Text(String),
    Pasted(String),
    Enter,
    /// Alt-Enter.
    LineBreak,
    /// Ctrl-D.
    EndOfInput,
    Left,
    Right,
    WordLeft,
    WordRight,
    Home,
    End,
    Up,
    Down,
    Backspace,
    Delete,
    /// Ctrl-W, Ctrl-U, Ctrl-K, Alt-D, and Ctrl-Y, which inserts what they removed.
    CutWordBefore,
    CutBefore,
    CutAfter,
    CutWordAfter,
    PutBack,
    /// Ctrl-L.
    Redraw,
    Unknown,
}

/// Splits a stream of bytes into keys.
#[derive(Debug, Default)]
pub(super) struct Keys {
    bytes: Vec<u8>,
    /// Pasted text without its end mark.
    pasted: Option<Vec<u8>>,
}

impl Keys {
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next key; `None` if it is not complete.
    pub(super) fn next(&mut self) -> Option<Key> {
        if self.pasted.is_none() && self.bytes.starts_with(PASTE) {
            self.bytes.drain(..PASTE.len());
            self.pasted = Some(Vec::new());
        }
        if let Some(pasted) = &mut self.pasted {
            let end = self.bytes.windows(PASTE_ENDS.len()).position(|at| at == PASTE_ENDS);
            let Some(end) = end else {
                // The last bytes may be the beginning of the end mark.
                let sure = self.bytes.len().saturating_sub(PASTE_ENDS.len() - 1);
                pasted.extend(self.bytes.drain(..sure));
                return None;
            };
            pasted.extend(self.bytes.drain(..end));
            self.bytes.drain(..PASTE_ENDS.len());
            return self.pasted.take().map(|pasted| Key::Pasted(text(&pasted)));
        }
        let (length, key) = first(&self.bytes)?;
        self.bytes.drain(..length);
        Some(key)
    }
}

/// Pasted bytes as text: CR becomes a line break, and other control characters are removed.
fn text(pasted: &[u8]) -> String {
    let text = String::from_utf8_lossy(pasted)
        .replace("\r\n", "\n")
        .replace('\r', "\n");
    text.chars()
        .filter(|c| matches!(c, '\n' | '\t') || !c.is_control())
        .collect()
}

/// The first key and its length in bytes.
fn first(bytes: &[u8]) -> Option<(usize, Key)> {
    let key = match *bytes.first()? {
        b'\r' | b'\n' => Key::Enter,
        b'\x01' => Key::Home,
        b'\x02' => Key::Left,
        b'\x04' => Key::EndOfInput,
        b'\x05' => Key::End,
        b'\x06' => Key::Right,
        b'\x08' | b'\x7f' => Key::Backspace,
        b'\x0b' => Key::CutAfter,
        b'\x0c' => Key::Redraw,
        b'\x0e' => Key::Down,
        b'\x10' => Key::Up,
        b'\x15' => Key::CutBefore,
        b'\x17' => Key::CutWordBefore,
        b'\x19' => Key::PutBack,
        b'\x1b' => return escaped(bytes),
        b'\t' => Key::Text("\t".to_owned()),
        b'\0'..b' ' => Key::Unknown,
        _ => return character(bytes),
    };
    Some((1, key))
}

/// All characters up to the first control character or incomplete one.
fn character(bytes: &[u8]) -> Option<(usize, Key)> {
    let end = bytes.iter().position(|byte| matches!(byte, 0..b' ' | b'\x7f'));
    let bytes = &bytes[..end.unwrap_or(bytes.len())];
    let chunk = bytes.utf8_chunks().next()?;
    let (text, invalid) = (chunk.valid(), chunk.invalid());
    if !text.is_empty() {
        return Some((text.len(), Key::Text(text.to_owned())));
    }
    // An incomplete character may continue.
    let cut = end.is_none() && invalid.len() == bytes.len() && bytes.len() < 4 && starts_a_character(bytes);
    (!cut).then_some((invalid.len(), Key::Unknown))
}

/// Whether these bytes can begin a character.
fn starts_a_character(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

/// A key that sends more than one character.
fn escaped(bytes: &[u8]) -> Option<(usize, Key)> {
    Some(match *bytes.get(1)? {
        b'[' => return sequence(bytes),
        b'O' => (3, arrow(*bytes.get(2)?, false)),
        b'\r' | b'\n' => (2, Key::LineBreak),
        b'\x08' | b'\x7f' => (2, Key::CutWordBefore),
        b'b' | b'B' => (2, Key::WordLeft),
        b'f' | b'F' => (2, Key::WordRight),
        b'd' | b'D' => (2, Key::CutWordAfter),
        b'\x1b' => (1, Key::Unknown),
        _ => {
            // Of typed text, Alt applies to the first character alone.
            let length = match first(&bytes[1..])? {
                (_, Key::Text(text)) => text.chars().next().map_or(1, char::len_utf8),
                (length, _) => length,
            };
            (1 + length, Key::Unknown)
        }
    })
}

/// `ESC [`, numbers and a final character.
fn sequence(bytes: &[u8]) -> Option<(usize, Key)> {
    let Some(end) = bytes.iter().skip(2).position(|byte| matches!(byte, b'@'..=b'~')) else {
        return (bytes.len() > LONGEST).then_some((bytes.len(), Key::Unknown));
    };
    let (numbers, last) = (&bytes[2..2 + end], bytes[2 + end]);
    let modified = numbers.contains(&b';');
    let key = match (last, numbers.split(|byte| *byte == b';').next()) {
        (b'~', Some(b"1" | b"7")) => Key::Home,
        (b'~', Some(b"3")) if modified => Key::CutWordAfter,
        (b'~', Some(b"3")) => Key::Delete,
        (b'~', Some(b"4" | b"8")) => Key::End,
        (b'~', _) => Key::Unknown,
        (last, _) => arrow(last, modified),
    };
    Some((2 + end + 1, key))
}

/// An arrow or Home and End; with Ctrl or Alt, left and right move by words.
const fn arrow(last: u8, modified: bool) -> Key {
    match last {
        b'A' => Key::Up,
        b'B' => Key::Down,
        b'C' if modified => Key::WordRight,
        b'D' if modified => Key::WordLeft,
        b'C' => Key::Right,
        b'D' => Key::Left,
        b'F' => Key::End,
        b'H' => Key::Home,
        b'M' => Key::Enter,
        _ => Key::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(bytes: &[u8]) -> Vec<Key> {
        let mut keys = Keys::default();
        keys.push(bytes);
        std::iter::from_fn(|| keys.next()).collect()
    }

    #[test]
    fn keys_are_told_apart() {
        let text = |text: &str| Key::Text(text.to_owned());
        for (bytes, expected) in [
            ("hé漢\r".as_bytes(), vec![text("hé漢"), Key::Enter]),
            (
                b"\x1b[A\x1bOB\x1b[1;5C\x1b[1;3D",
                vec![Key::Up, Key::Down, Key::WordRight, Key::WordLeft],
            ),
            (
                b"\x1b[H\x1b[4~\x1b[3~\x7f",
                vec![Key::Home, Key::End, Key::Delete, Key::Backspace],
            ),
            (b"a\x1b\rb", vec![text("a"), Key::LineBreak, text("b")]),
            (
                b"\x1bb\x1b\x7f\x1bx\x1b[24~\x04",
                vec![
                    Key::WordLeft,
                    Key::CutWordBefore,
                    Key::Unknown,
                    Key::Unknown,
                    Key::EndOfInput,
                ],
            ),
            (b"\xff\xc3(", vec![Key::Unknown, Key::Unknown, text("(")]),
            (b"\x1b\x1b[C", vec![Key::Unknown, Key::Right]),
            (b"\xff", vec![Key::Unknown]),
            (b"\xc3", vec![]),
            (b"\xf0\x9f\x8e", vec![]),
        ] {
            assert_eq!(keys(bytes), expected, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn every_key_has_its_sequences() {
        for (sequences, key) in [
            (
                &["\x01", "\x1b[H", "\x1bOH", "\x1b[1~", "\x1b[7~", "\x1b[1;5H"][..],
                Key::Home,
            ),
            (&["\x05", "\x1b[F", "\x1bOF", "\x1b[4~", "\x1b[8~"], Key::End),
            (&["\x02", "\x1b[D", "\x1bOD"], Key::Left),
            (&["\x06", "\x1b[C", "\x1bOC"], Key::Right),
            (&["\x0e", "\x1b[B", "\x1bOB", "\x1b[1;5B"], Key::Down),
            (&["\x10", "\x1b[A", "\x1bOA", "\x1b[1;5A"], Key::Up),
            (&["\x1bb", "\x1bB", "\x1b[1;5D", "\x1b[1;3D"], Key::WordLeft),
            (&["\x1bf", "\x1bF", "\x1b[1;5C", "\x1b[1;3C"], Key::WordRight),
            (&["\r", "\n", "\x1bOM"], Key::Enter),
            (&["\x1b\r", "\x1b\n"], Key::LineBreak),
            (&["\x08", "\x7f"], Key::Backspace),
            (&["\x1b[3~"], Key::Delete),
            (&["\x04"], Key::EndOfInput),
            (&["\x17", "\x1b\x08", "\x1b\x7f"], Key::CutWordBefore),
            (&["\x15"], Key::CutBefore),
            (&["\x0b"], Key::CutAfter),
            (&["\x1bd", "\x1bD", "\x1b[3;5~"], Key::CutWordAfter),
            (&["\x19"], Key::PutBack),
            (&["\x0c"], Key::Redraw),
            (&["\t"], Key::Text("\t".to_owned())),
            (
                &["\0", "\x03", "\x1f", "\x1b[5~", "\x1b[Z", "\x1bx", "\x1bé"],
                Key::Unknown,
            ),
        ] {
            for sequence in sequences {
                let escaped = sequence.escape_default();
                assert_eq!(keys(sequence.as_bytes()), std::slice::from_ref(&key), "{escaped}");
                let followed = format!("{sequence}x");
                let expected = [key.clone(), Key::Text("x".to_owned())];
                if key == Key::Text("\t".to_owned()) {
                    assert_eq!(keys(followed.as_bytes()), expected, "{escaped}");
                } else {
                    assert_eq!(keys(followed.as_bytes())[1..], expected[1..], "{escaped}");
                }
            }
        }
    }

    #[test]
    fn a_sequence_without_an_end_is_given_up() {
        let endless = |length: usize| keys(format!("\x1b[{}", "1".repeat(length - 2)).as_bytes());
        assert_eq!(endless(LONGEST), []);
        assert_eq!(endless(LONGEST + 1), [Key::Unknown]);
    }

    #[test]
    fn pasted_text_is_told_apart_from_typed() {
        let pasted = |text: &str| Key::Pasted(text.to_owned());
        let bytes = b"\x1b[200~one\rtwo\r\nthree\x1b[A\x07\tend\x1b[201~\r";
        assert_eq!(keys(bytes), [pasted("one\ntwo\nthree[A\tend"), Key::Enter]);
        assert_eq!(keys(b"\x1b[200~\x1b[201~"), [pasted("")]);
    }

    #[test]
    fn what_comes_byte_by_byte_is_read_as_what_comes_at_once() {
        let bytes = "é漢\x1b[1;5C\x1b[200~pasted\r漢\x1b[201~\x1b\r\x1bOA🎉\r".as_bytes();
        let mut one_by_one = Keys::default();
        let mut read = Vec::new();
        for byte in bytes {
            one_by_one.push(&[*byte]);
            read.extend(std::iter::from_fn(|| one_by_one.next()));
        }
        let joined = |keys: Vec<Key>| {
            let mut text = String::new();
            for key in keys {
                text += &match key {
                    Key::Text(more) => more,
                    other => format!("{other:?}"),
                };
            }
            text
        };
        assert_eq!(joined(read), joined(keys(bytes)));
    }

    #[test]
    fn any_bytes_are_keys() {
        let mut state = 1_u32;
        let mut all = Keys::default();
        for _ in 0..20_000 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            all.push(&[(state >> 24) as u8]);
            while all.next().is_some() {}
        }
        all.push(PASTE_ENDS);
        while all.next().is_some() {}
        all.push(b"\r\r\r\r");
        assert!(std::iter::from_fn(|| all.next()).any(|key| key == Key::Enter));
    }
}
