//! The layout of a prompt and its text on a terminal.

use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

use crate::escape;

/// The rows of a label and a text on a terminal of `width` columns, and the position of the cursor, which is `cursor` bytes into
/// the text. Of more than `height` rows, those around the cursor.
pub(super) fn laid_out(
    label: &str,
    text: &str,
    cursor: usize,
    (width, height): (usize, usize),
) -> (Vec<String>, (usize, usize)) {
    let mut layout = Layout {
        // A character can have two columns.
        width: width.max(2),
        rows: vec![String::new()],
        column: 0,
    };
    layout.put(label);
    let mut place = layout.end();
    let mut at = 0;
    for part in text.graphemes(true) {
        at += part.len();
        if part.ends_with('\n') {
            layout.new_row();
        } else {
            layout.put(&escape::line(part.as_bytes()));
        }
        if at <= cursor {
            place = layout.end();
        }
    }
    if place.0 == layout.rows.len() {
        layout.new_row();
    }
    let height = height.max(1);
    let first = (place.0 + 1).saturating_sub(height);
    let rows = layout.rows.into_iter().skip(first).take(height);
    (rows.collect(), (place.0 - first, place.1))
}

struct Layout {
    width: usize,
    rows: Vec<String>,
    /// The width of the last row.
    column: usize,
}

impl Layout {
    /// Appends a text, wrapped between characters.
    fn put(&mut self, text: &str) {
        for part in text.graphemes(true) {
            let columns = part.width().min(self.width);
            if self.column + columns > self.width {
                self.new_row();
            }
            if let Some(row) = self.rows.last_mut() {
                row.push_str(part);
            }
            self.column += columns;
        }
    }

    fn new_row(&mut self) {
        self.rows.push(String::new());
        self.column = 0;
    }

    /// The position of the next character.
    fn end(&self) -> (usize, usize) {
        if self.column == self.width {
            (self.rows.len(), 0)
        } else {
            (self.rows.len() - 1, self.column)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_laid_out_in_rows() {
        for (text, cursor, width, rows, place) in [
            ("", 0, 10, &["> "][..], (0, 2)),
            ("abc", 2, 10, &["> abc"], (0, 4)),
            ("abcdefgh", 8, 10, &["> abcdefgh", ""], (1, 0)),
            ("abcdefgh", 7, 10, &["> abcdefgh"], (0, 9)),
            ("abcdefghi", 9, 10, &["> abcdefgh", "i"], (1, 1)),
            ("abcdefgh\ni", 10, 10, &["> abcdefgh", "i"], (1, 1)),
            ("a\n\nb", 3, 10, &["> a", "", "b"], (2, 0)),
            ("漢漢漢漢漢", 15, 9, &["> 漢漢漢", "漢漢"], (1, 4)),
            ("\u{202e}", 3, 10, &["> \\u{202e}", ""], (1, 0)),
            ("e\u{301}", 3, 10, &["> e\u{301}"], (0, 3)),
        ] {
            let (laid, at) = laid_out("> ", text, cursor, (width, 24));
            assert_eq!(
                (&laid[..], at),
                (&rows.iter().map(|row| (*row).to_owned()).collect::<Vec<_>>()[..], place),
                "{text:?}"
            );
        }
    }

    #[test]
    fn of_too_many_rows_those_around_the_cursor_are_shown() {
        let (rows, place) = laid_out("> ", "1\n2\n3\n4", 7, (10, 2));
        assert_eq!((rows, place), (vec!["3".to_owned(), "4".to_owned()], (1, 1)));
        let (rows, place) = laid_out("> ", "1\n2\n3\n4", 0, (10, 2));
        assert_eq!((rows, place), (vec!["> 1".to_owned(), "2".to_owned()], (0, 2)));
    }
}
