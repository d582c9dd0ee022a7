//! The terminal: how wide it is, and a prompt at its bottom below which nothing is written.
//!
//! While a prompt is open the terminal echoes nothing and passes on each key at once. It is set back on every way out:
//! [`close`] is called when the prompt is dropped, before the process exits, and by the hook for panics.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::panic;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::termios::{
    InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use textwrap::{Options, WordSplitter};

use crate::escape::INDENT;

/// How wide and high a terminal is that does not say.
const USUAL: (usize, usize) = (80, 24);
/// Pasted text comes between marks from here on, and does not any more.
const MARK_PASTES: &[u8] = b"\x1b[?2004h";
const MARK_NO_PASTES: &[u8] = b"\x1b[?2004l";
/// Has a key that makes a signal make none.
const DISABLED: u8 = 0;

/// The modes to set back.
static MODES: Mutex<Modes> = Mutex::new(Modes {
    saved: None,
    over: false,
});
/// What is drawn at the bottom.
static DRAWN: Mutex<Drawn> = Mutex::new(Drawn {
    rows: Vec::new(),
    cursor: (0, 0),
});

struct Modes {
    saved: Option<Termios>,
    /// The process ends.
    over: bool,
}

/// Rows at the bottom of the terminal, none of which is wider than it, and where the cursor is among them.
struct Drawn {
    rows: Vec<String>,
    cursor: (usize, usize),
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether stdin and stdout are one that can have a prompt.
pub(crate) fn is_usable() -> bool {
    let dumb = |term: String| matches!(&*term, "" | "dumb" | "cons25" | "emacs");
    io::stdin().is_terminal() && io::stdout().is_terminal() && !std::env::var("TERM").is_ok_and(dumb)
}

/// Has it pass on each key at once and echo none; again, if something else has changed it since. Nothing, once the process
/// ends.
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
    // Ctrl-C and Ctrl-Z still make signals.
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

/// Sets it back, until [`open`].
pub(crate) fn close() {
    close_modes(&mut locked(&MODES));
}

/// Sets it back for good: the process ends.
pub(crate) fn close_for_good() {
    // Whoever panics may be drawing.
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
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}

/// From here on, a panic sets it back before it is told.
pub(crate) fn close_at_panic() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        close_for_good();
        before(info);
    }));
}

/// Draws these rows at the bottom, with the cursor there, in place of what was drawn.
pub(crate) fn draw(rows: Vec<String>, cursor: (usize, usize)) {
    let mut drawn = locked(&DRAWN);
    let erased = drawn.erased();
    *drawn = Drawn { rows, cursor };
    put(&[erased, drawn.written()].concat());
}

/// What was drawn is not there any more.
pub(crate) fn forget_drawn() {
    locked(&DRAWN).rows.clear();
}

/// After a change of its width the cursor is in another row.
pub(crate) fn moved_to(row: usize) {
    locked(&DRAWN).cursor.0 = row;
}

/// Takes away everything that is seen, but for what is drawn next.
pub(crate) fn clear() {
    forget_drawn();
    put(b"\x1b[H\x1b[2J");
}

/// Takes away what is drawn.
pub(crate) fn erase() {
    draw(Vec::new(), (0, 0));
}

/// Leaves what is drawn where it is, and goes on below.
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

/// Writes something to the terminal above what is drawn at its bottom.
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
    /// What takes it away.
    fn erased(&self) -> Vec<u8> {
        let up = match self.cursor.0 {
            _ if self.rows.is_empty() => return Vec::new(),
            0 => String::new(),
            rows => format!("\x1b[{rows}A"),
        };
        format!("{up}\r\x1b[J").into_bytes()
    }

    /// What draws it, from the first column of an empty row.
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

/// Writes to it as well as it can be: whoever looks at a terminal that is gone sees nothing anyway.
fn put(bytes: &[u8]) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// Columns and rows of the terminal that this is; `None` if it is none.
pub(crate) fn size(of: impl AsFd) -> Option<(usize, usize)> {
    let size = tcgetwinsize(of).ok()?;
    let or = |given: u16, usual| if given == 0 { usual } else { usize::from(given) };
    Some((or(size.ws_col, USUAL.0), or(size.ws_row, USUAL.1)))
}

/// A text whose lines are not wider than the terminal that it goes to: they are broken between words, and what follows is
/// indented. As it is, if it does not go to a terminal.
pub(crate) fn fitted(text: &str, to: impl AsFd) -> String {
    match size(to) {
        Some((columns, _)) => wrapped(text, columns),
        None => text.to_owned(),
    }
}

fn wrapped(text: &str, columns: usize) -> String {
    // Where hardly a word fits, words must be broken.
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
}
