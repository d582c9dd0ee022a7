//! A prompt at the bottom of a terminal, with all output above it.
//!
//! One task owns the terminal, and a thread only reads. So the prompt can end at any time without interrupting a blocked editor.
//! The line editors that we tried cannot be interrupted without losing output or leaving the terminal in raw mode.

mod keys;
mod line;
mod rows;

use std::io;

use bytes::Bytes;
use rustix::process::{Signal as Kill, getpid, kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use self::keys::{Key, Keys};
use self::line::{Line, Outcome};
use crate::signals::{Caught, QUIT, end_at_once};
use crate::{stdin, terminal};

/// What was typed.
#[derive(Debug)]
pub(crate) enum Typed {
    /// A text of one or several lines.
    Text(String),
    /// Ctrl-D; more input may follow.
    End,
    /// The terminal cannot be read: it is gone, or reading failed with this error.
    Gone(Option<io::Error>),
}

/// A prompt. Dropping it restores the terminal.
#[derive(Debug)]
pub(crate) struct Prompt {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    keys: Keys,
    line: Line,
    /// The label before the text; `None` while input waits.
    label: Option<String>,
    resized: Signal,
    stopped: Caught,
    continued: Caught,
    quit: Caught,
}

impl Prompt {
    /// Opens a prompt without showing it. With `multiline`, Enter starts a new line and Ctrl-D ends the text. Must be called
    /// within a runtime, if [`terminal::is_usable`].
    pub(crate) fn open(multiline: bool) -> anyhow::Result<Self> {
        let prompt = Self {
            pieces: stdin::pieces()?,
            keys: Keys::default(),
            line: Line::new(multiline),
            label: None,
            resized: signal(SignalKind::window_change())?,
            stopped: Caught::new(SignalKind::from_raw(Kill::TSTP.as_raw()))?,
            continued: Caught::new(SignalKind::from_raw(Kill::CONT.as_raw()))?,
            quit: Caught::new(SignalKind::quit())?,
        };
        terminal::open()?;
        Ok(prompt)
    }

    /// Shows the prompt with this label.
    pub(crate) fn ask(&mut self, label: String) {
        self.label = Some(label);
        self.draw();
    }

    /// The next text. Keys wait until [`Prompt::ask`] is called, once for each text. Cancel safe.
    pub(crate) async fn next(&mut self) -> Typed {
        loop {
            if self.label.is_some()
                && let Some(typed) = self.press()
            {
                return typed;
            }
            let asked = self.label.is_some();
            tokio::select! {
                biased;
                () = self.quit.next() => end_at_once(QUIT),
                () = self.stopped.next() => self.stop(),
                () = self.continued.next() => self.continue_after_stop(),
                _ = self.resized.recv() => self.resize(),
                piece = self.pieces.recv(), if asked => match piece {
                    Some(Ok(piece)) => self.keys.push(&piece),
                    Some(Err(error)) => return Typed::Gone(Some(error)),
                    None => return Typed::Gone(None),
                },
            }
        }
    }

    /// Handles the keys that have arrived, up to the end of a text.
    fn press(&mut self) -> Option<Typed> {
        let mut pressed = false;
        while let Some(key) = self.keys.next() {
            pressed = true;
            if key == Key::Redraw {
                terminal::clear();
            }
            match self.line.press(key) {
                Outcome::Edited => {}
                Outcome::Done(text) => {
                    self.leave_text(&text);
                    return Some(Typed::Text(text));
                }
                Outcome::End => {
                    self.leave_text("");
                    return Some(Typed::End);
                }
            }
        }
        if pressed {
            self.draw();
        }
        None
    }

    /// Leaves a complete text in place, in full.
    fn leave_text(&mut self, text: &str) {
        let label = self.label.take().unwrap_or_default();
        let (columns, _) = terminal::size(io::stdout()).unwrap_or_default();
        let (rows, cursor) = rows::laid_out(&label, text, text.len(), (columns, usize::MAX));
        terminal::draw(rows, cursor);
        terminal::leave_drawn();
    }

    fn draw(&self) {
        if let Some((rows, cursor)) = self.rows() {
            terminal::draw(rows, cursor);
        }
    }

    fn rows(&self) -> Option<(Vec<String>, (usize, usize))> {
        let size = terminal::size(io::stdout())?;
        let label = self.label.as_ref()?;
        Some(rows::laid_out(label, self.line.text(), self.line.cursor(), size))
    }

    /// Redraws after a change of the terminal's size, which has wrapped the rows anew.
    fn resize(&self) {
        if let Some((rows, cursor)) = self.rows() {
            terminal::moved_to(cursor.0);
            terminal::draw(rows, cursor);
        }
    }

    /// Stops this process after Ctrl-Z.
    fn stop(&self) {
        terminal::erase();
        terminal::close();
        // A process that cannot be stopped continues.
        if kill_process(getpid(), Kill::STOP).is_err() {
            self.continue_after_stop();
        }
    }

    /// Continues after a stop. Other programs may have used the terminal.
    fn continue_after_stop(&self) {
        // The reading thread notices a terminal that is gone.
        let _ = terminal::open();
        terminal::forget_drawn();
        self.draw();
    }
}

impl Drop for Prompt {
    fn drop(&mut self) {
        terminal::leave_drawn();
        terminal::close();
    }
}
