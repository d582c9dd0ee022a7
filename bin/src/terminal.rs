//! The terminal: its size, and a prompt at its bottom that stays below all output.
//!
//! While a prompt is open, the terminal does not echo and passes on each key at once. Every way out restores it: dropping the
//! prompt, the end of the process and the panic hook call [`close`].

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::panic;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use textwrap::{Options, WordSplitter};

use crate::escape::INDENT;

/// The size of a terminal that reports none.
const USUAL: (usize, usize) = (80, 24);
/// Turns marks around pasted text on and off.
const MARK_PASTES: &[u8] = b"\x1b[?2004h";
const MARK_NO_PASTES: &[u8] = b"\x1b[?2004l";
/// Disables a key's signal.
const DISABLED: u8 = 0;

/// The modes to restore.
static MODES: Mutex<Modes> = Mutex::new(Modes {
    saved: None,
    over: false,
});
/// The rows at the bottom.
static DRAWN: Mutex<Drawn> = Mutex::new(Drawn {
    rows: Vec::new(),
    cursor: (0, 0),
});

struct Modes {
    saved: Option<Termios>,
    /// The process ends.
    over: bool,
}

/// Rows at the bottom of the terminal, which fit its width, and the position of the cursor in them.
struct Drawn {
    rows: Vec<String>,
    cursor: (usize, usize),
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether stdin and stdout are a terminal that supports a prompt.
pub(crate) fn is_usable() -> bool {
    let dumb = |term: String| matches!(&*term, "" | "dumb" | "cons25" | "emacs");
    io::stdin().is_terminal() && io::stdout().is_terminal() && !std::env::var("TERM").is_ok_and(dumb)
}

/// Makes the terminal pass on each key at once without echo. Does nothing while the process ends.
pub(crate) fn open() -> io::Result<()> {
    let mut modes = locked(&MODES);
    if modes.over {
        return Ok(());
    }
    let before = match modes.saved.take() {
        Some(before) => before,
        None => tcgetattr(io::stdin())?,
    };
    let mut raw = before.clone();
    // Ctrl-C and Ctrl-Z still send signals.
    raw.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::IEXTEN;
    raw.input_modes -= InputModes::ICRNL | InputModes::INLCR | InputModes::ISTRIP | InputModes::IXON;
    raw.special_codes[SpecialCodeIndex::VQUIT] = DISABLED;
    raw.special_codes[SpecialCodeIndex::VMIN] = 1;
    raw.special_codes[SpecialCodeIndex::VTIME] = 0;
    modes.saved = Some(before);
    tcsetattr(io::stdin(), OptionalActions::Now, &raw)?;
    put(MARK_PASTES);
    Ok(())
}

/// Restores the terminal, until [`open`].
pub(crate) fn close() {
    close_modes(&mut locked(&MODES));
}

/// Restores the terminal before the process ends.
pub(crate) fn close_for_good() {
    // The panic may have happened while drawing.
    if let Ok(mut drawn) = DRAWN.try_lock() {
        leave(&mut drawn);
    }
    let mut modes = locked(&MODES);
    modes.over = true;
    close_modes(&mut modes);
}

fn close_modes(modes: &mut Modes) {
    if let Some(before) = modes.saved.take() {
        put(MARK_NO_PASTES);
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}

/// Makes a panic restore the terminal before it is reported.
pub(crate) fn close_at_panic() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        close_for_good();
        before(info);
    }));
}

/// Replaces the rows at the bottom.
pub(crate) fn draw(rows: Vec<String>, cursor: (usize, usize)) {
    let mut drawn = locked(&DRAWN);
    let erased = drawn.erased();
    *drawn = Drawn { rows, cursor };
    put(&[erased, drawn.written()].concat());
}

/// Forgets the rows, which are no longer there.
pub(crate) fn forget_drawn() {
    locked(&DRAWN).rows.clear();
}

/// Notes the row of the cursor after a change of width.
pub(crate) fn moved_to(row: usize) {
    locked(&DRAWN).cursor.0 = row;
}

/// Clears the screen.
pub(crate) fn clear() {
    forget_drawn();
    put(b"\x1b[H\x1b[2J");
}

/// Erases the rows.
pub(crate) fn erase() {
    draw(Vec::new(), (0, 0));
}

/// Leaves the rows in place, and continues below them.
pub(crate) fn leave_drawn() {
    leave(&mut locked(&DRAWN));
}

fn leave(drawn: &mut Drawn) {
    if !drawn.rows.is_empty() {
        *drawn = Drawn {
            rows: Vec::new(),
            cursor: (0, 0),
        };
        put(b"\n");
    }
}

/// Calls `write` with the rows erased, and draws them again below its output.
pub(crate) fn above<T>(write: impl FnOnce() -> T) -> T {
    let drawn = locked(&DRAWN);
    if drawn.rows.is_empty() {
        return write();
    }
    put(&drawn.erased());
    let written = write();
    put(&drawn.written());
    written
}

impl Drawn {
    /// The sequence that erases the rows.
    fn erased(&self) -> Vec<u8> {
        let up = match self.cursor.0 {
            _ if self.rows.is_empty() => return Vec::new(),
            0 => String::new(),
            rows => format!("\x1b[{rows}A"),
        };
        format!("{up}\r\x1b[J").into_bytes()
    }

    /// The sequence that draws the rows, from the first column of an empty row.
    fn written(&self) -> Vec<u8> {
        let mut text = self.rows.join("\r\n");
        let (row, column) = self.cursor;
        match self.rows.len().saturating_sub(1 + row) {
            0 => {}
            rows => text += &format!("\x1b[{rows}A"),
        }
        if !self.rows.is_empty() {
            text.push('\r');
        }
        if column > 0 {
            text += &format!("\x1b[{column}C");
        }
        text.into_bytes()
    }
}

/// Writes to the terminal, and ignores errors: a terminal that is gone displays nothing.
fn put(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// The columns and rows of a terminal; `None` if this is none.
pub(crate) fn size(of: impl AsFd) -> Option<(usize, usize)> {
    let size = tcgetwinsize(of).ok()?;
    let or = |given: u16, usual| if given == 0 { usual } else { usize::from(given) };
    Some((or(size.ws_col, USUAL.0), or(size.ws_row, USUAL.1)))
}

/// A text with its lines wrapped between words to the width of the terminal `to`, and indented after the first. Unchanged if `to`
/// is not a terminal.
pub(crate) fn fitted(text: &str, to: impl AsFd) -> String {
    match size(to) {
        Some((columns, _)) => wrapped(text, columns),
        None => text.to_owned(),
    }
}

fn wrapped(text: &str, columns: usize) -> String {
    // A narrow terminal must break words.
    let options = Options::new(columns.max(INDENT.len() + 1)).word_splitter(WordSplitter::NoHyphenation);
    let mut broken = Vec::new();
    for line in text.split('\n') {
        let indent = &line[..line.len() - line.trim_start_matches(' ').len()];
        let indent = if indent.is_empty() { INDENT } else { indent };
        let indent = if indent.len() < columns / 2 { indent } else { "" };
        broken.extend(textwrap::wrap(line, options.clone().subsequent_indent(indent)));
    }
    broken.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_broken_between_words() {
        for (text, columns, expected) in [
            ("short", 10, "short"),
            ("some words in a line", 10, "some words\n  in a\n  line"),
            ("  an item\nand more", 10, "  an item\nand more"),
            ("  an item that is long", 12, "  an item\n  that is\n  long"),
            ("a_word_that_is_too_long", 10, "a_word_t\n  hat_is_t\n  oo_long"),
            ("漢字漢字漢字", 6, "漢字\n  漢字\n  漢字"),
            ("", 10, ""),
            ("two\n\nparagraphs", 20, "two\n\nparagraphs"),
        ] {
            assert_eq!(wrapped(text, columns), expected, "{text:?} at {columns}");
        }
        for columns in 0..5 {
            assert!(!wrapped("some words", columns).is_empty());
        }
    }

    #[test]
    fn a_narrow_terminal_breaks_words_and_indents_little() {
        for (text, columns, expected) in [
            ("abcdef", 2, "abc\ndef"),
            ("abcdef", 4, "abcd\nef"),
            ("abcdefgh", 5, "abcde\nfgh"),
            ("abcdefgh", 6, "abcd\n  efgh"),
            ("    item words", 8, "    item\nwords"),
            ("    item words", 10, "    item\n    words"),
        ] {
            assert_eq!(wrapped(text, columns), expected, "{text:?} at {columns}");
        }
    }

    #[test]
    fn rows_are_drawn_and_erased_from_where_the_cursor_is() {
        for (rows, cursor, written, erased) in [
            (&[][..], (0, 0), "", ""),
            (&["> a"], (0, 0), "> a\r", "\r\x1b[J"),
            (&["> a"], (0, 3), "> a\r\x1b[3C", "\r\x1b[J"),
            (&["> a", "b"], (1, 1), "> a\r\nb\r\x1b[1C", "\x1b[1A\r\x1b[J"),
            (&["> a", "b", "c"], (0, 2), "> a\r\nb\r\nc\x1b[2A\r\x1b[2C", "\r\x1b[J"),
            (&["> a", "b", "c"], (1, 0), "> a\r\nb\r\nc\x1b[1A\r", "\x1b[1A\r\x1b[J"),
        ] {
            let rows = rows.iter().map(|row| (*row).to_owned()).collect();
            let drawn = Drawn { rows, cursor };
            assert_eq!(String::from_utf8(drawn.written()).unwrap(), written, "{written:?}");
            assert_eq!(String::from_utf8(drawn.erased()).unwrap(), erased, "{written:?}");
        }
    }
}
