//! The line editor: the text that is typed, and its history.

use unicode_segmentation::{GraphemeCursor, UnicodeSegmentation};

use super::keys::Key;

/// The most texts in the history.
const REMEMBERED: usize = 1000;

/// The effect of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The text may have changed.
    Edited,
    /// The text is complete, and a new one begins.
    Done(String),
    /// The end of input.
    End,
}

/// A text with its cursor, and its history.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Whether Enter starts a new line and Ctrl-D ends the text.
    multiline: bool,
    text: String,
    /// In bytes.
    cursor: usize,
    cut: String,
    before: Vec<String>,
    /// The text of the history that is displayed; its length for the new text, which `new` keeps meanwhile.
    shown: usize,
    new: String,
}

impl Line {
    pub(super) fn new(multiline: bool) -> Self {
        Self {
            multiline,
            ..Self::default()
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// The position of the cursor in bytes.
    pub(super) const fn cursor(&self) -> usize {
        self.cursor
    }

    pub(super) fn press(&mut self, key: Key) -> Outcome {
        match key {
            Key::Enter if !self.multiline => return Outcome::Done(self.take()),
            Key::EndOfInput if self.text.is_empty() => return Outcome::End,
            Key::EndOfInput if self.multiline => return Outcome::Done(self.take()),
            Key::Enter | Key::LineBreak => self.insert("\n"),
            Key::Text(text) | Key::Pasted(text) => self.insert(&text),
            Key::PutBack => self.insert(&self.cut.clone()),
            Key::Left => self.cursor = self.left(),
            Key::Right => self.cursor = self.right(),
            Key::WordLeft => self.cursor = self.word_left(),
            Key::WordRight => self.cursor = self.word_right(),
            Key::Home => self.cursor = self.line_start(),
            Key::End => self.cursor = self.line_end(),
            Key::Up => self.up(),
            Key::Down => self.down(),
            Key::Backspace => {
                self.remove(self.left(), self.cursor);
            }
            Key::Delete | Key::EndOfInput => {
                self.remove(self.cursor, self.right());
            }
            Key::CutWordBefore => self.cut = self.remove(self.word_left(), self.cursor),
            Key::CutWordAfter => self.cut = self.remove(self.cursor, self.word_right()),
            Key::CutBefore => self.cut = self.remove(self.line_start(), self.cursor),
            Key::CutAfter => self.cut = self.remove(self.cursor, self.line_end()),
            Key::Redraw | Key::Unknown => {}
        }
        Outcome::Edited
    }

    fn take(&mut self) -> String {
        let text = std::mem::take(&mut self.text);
        if !text.is_empty() && self.before.last() != Some(&text) {
            if self.before.len() == REMEMBERED {
                self.before.remove(0);
            }
            self.before.push(text.clone());
        }
        self.shown = self.before.len();
        self.cursor = 0;
        text
    }

    fn insert(&mut self, text: &str) {
        self.text.insert_str(self.cursor, text);
        self.cursor += text.len();
    }

    fn remove(&mut self, from: usize, to: usize) -> String {
        self.cursor = from;
        self.text.drain(from..to).collect()
    }

    fn left(&self) -> usize {
        let mut at = GraphemeCursor::new(self.cursor, self.text.len(), true);
        at.prev_boundary(&self.text, 0).ok().flatten().unwrap_or(0)
    }

    fn right(&self) -> usize {
        let mut at = GraphemeCursor::new(self.cursor, self.text.len(), true);
        at.next_boundary(&self.text, 0)
            .ok()
            .flatten()
            .unwrap_or(self.text.len())
    }

    /// The beginning of the word before the cursor.
    fn word_left(&self) -> usize {
        let mut words = self.text[..self.cursor].unicode_word_indices();
        words.next_back().map_or(0, |(at, _)| at)
    }

    /// The end of the word after the cursor.
    fn word_right(&self) -> usize {
        let mut words = self.text[self.cursor..].unicode_word_indices();
        words
            .next()
            .map_or(self.text.len(), |(at, word)| self.cursor + at + word.len())
    }

    fn line_start(&self) -> usize {
        self.text[..self.cursor].rfind('\n').map_or(0, |at| at + 1)
    }

    fn line_end(&self) -> usize {
        let rest = &self.text[self.cursor..];
        rest.find('\n').map_or(self.text.len(), |at| self.cursor + at)
    }

    /// The position in the line at `start` that has the column of the cursor.
    fn below(&self, start: usize) -> usize {
        let column = self.text[self.line_start()..self.cursor].graphemes(true).count();
        let rest = &self.text[start..];
        let line = &rest[..rest.find('\n').unwrap_or(rest.len())];
        let at = line.grapheme_indices(true).nth(column);
        start + at.map_or(line.len(), |(at, _)| at)
    }

    /// Moves to the line above, or to the previous text.
    fn up(&mut self) {
        match self.line_start() {
            0 => self.show(self.shown.checked_sub(1)),
            start => {
                let above = self.text[..start - 1].rfind('\n').map_or(0, |at| at + 1);
                self.cursor = self.below(above);
            }
        }
    }

    /// Moves to the line below, or to the next text.
    fn down(&mut self) {
        match self.line_end() {
            end if end == self.text.len() => self.show(Some(self.shown + 1)),
            end => self.cursor = self.below(end + 1),
        }
    }

    /// Displays another text of the history, if it exists.
    fn show(&mut self, which: Option<usize>) {
        let Some(which) = which.filter(|which| *which <= self.before.len()) else {
            return;
        };
        if self.shown == self.before.len() {
            self.new.clone_from(&self.text);
        }
        self.shown = which;
        let text = self.before.get(which).unwrap_or(&self.new);
        self.text.clone_from(text);
        self.cursor = self.text.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Key {
        Key::Text(text.to_owned())
    }

    /// The text after these keys, with a bar at the cursor.
    fn after(line: &mut Line, keys: impl IntoIterator<Item = Key>) -> String {
        for key in keys {
            assert_eq!(line.press(key), Outcome::Edited);
        }
        let (before, after) = line.text().split_at(line.cursor());
        format!("{before}|{after}")
    }

    #[test]
    fn a_line_is_edited() {
        use Key::{Backspace, CutAfter, CutBefore, CutWordAfter, CutWordBefore, Delete, End, Home, Left, PutBack};
        use Key::{Right, WordLeft, WordRight};
        for (keys, expected) in [
            (vec![text("abd"), Left, text("c")], "abc|d"),
            (vec![text("ae\u{301}"), Backspace], "a|"),
            (
                vec![text("👩\u{200d}👩\u{200d}👧x"), Left, Left, Right],
                "👩\u{200d}👩\u{200d}👧|x",
            ),
            (vec![text("ab"), Home, Delete, Key::EndOfInput, Delete, Backspace], "|"),
            (
                vec![text("one two three"), WordLeft, WordLeft, CutWordBefore],
                "|two three",
            ),
            (vec![text("one two"), Home, WordRight, CutWordAfter], "one|"),
            (vec![text("one two"), WordLeft, CutAfter, Home, PutBack], "two|one "),
            (vec![text("one\ntwo"), CutBefore, PutBack, PutBack], "one\ntwotwo|"),
            (vec![text("one\ntwo"), Home, Left, Home, End], "one|\ntwo"),
            (
                vec![text("a"), Key::LineBreak, Key::Pasted("b\nc".to_owned())],
                "a\nb\nc|",
            ),
        ] {
            assert_eq!(after(&mut Line::new(false), keys.clone()), expected, "{keys:?}");
        }
    }

    #[test]
    fn enter_or_the_end_of_input_ends_a_text() {
        let mut line = Line::new(false);
        after(&mut line, [text("two words")]);
        assert_eq!(line.press(Key::Enter), Outcome::Done("two words".to_owned()));
        assert_eq!(line.press(Key::EndOfInput), Outcome::End);
        let mut lines = Line::new(true);
        after(&mut lines, [text("two"), Key::Enter, text("lines")]);
        assert_eq!(lines.press(Key::EndOfInput), Outcome::Done("two\nlines".to_owned()));
        assert_eq!(lines.press(Key::EndOfInput), Outcome::End);
    }

    #[test]
    fn the_texts_before_come_back() {
        use Key::{Down, Up};
        let mut line = Line::new(false);
        for typed in ["one", "two", "two", ""] {
            after(&mut line, [text(typed)]);
            line.press(Key::Enter);
        }
        assert_eq!(after(&mut line, [text("new"), Up]), "two|");
        assert_eq!(after(&mut line, [Up, Up]), "one|");
        assert_eq!(after(&mut line, [Down, Down, Down]), "new|");
        let mut line = Line::new(false);
        assert_eq!(after(&mut line, [text("long\nab\nlong"), Up]), "long\nab|\nlong");
        assert_eq!(after(&mut line, [Up, Down, Down]), "long\nab\nlo|ng");
    }
}
