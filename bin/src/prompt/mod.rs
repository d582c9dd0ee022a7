//! A prompt at the bottom of a terminal: what is typed below, what is printed above.
//!
//! The terminal belongs to the one task that has the prompt. A thread only reads, so that nothing needs to be interrupted when
//! the prompt ends for another reason than the user: no line editor known to us can be, without leaving the terminal as it is,
//! or losing what was to be printed.

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
    /// A text, of several lines if it was pasted or typed so.
    Text(String),
    /// The end of input, which is Ctrl-D; more may follow.
    End,
    /// The terminal cannot be read any more: it is gone, or this is why.
    Gone(Option<io::Error>),
}

/// A prompt. The terminal is set back when it is dropped.
#[derive(Debug)]
pub(crate) struct Prompt {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    keys: Keys,
    line: Line,
    /// What stands before the text; `None` while nothing may be typed.
    label: Option<String>,
    resized: Signal,
    stopped: Caught,
    continued: Caught,
    quit: Caught,
}

impl Prompt {
    /// Opens it, with nothing shown yet. With `multiline` Enter begins a new line, and Ctrl-D ends the text. Must be called
    /// within a runtime, where [`terminal::is_usable`].
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

    /// Shows it, with this before what is typed.
    pub(crate) fn ask(&mut self, label: String) {
        self.label = Some(label);
        self.draw();
    }

    /// The next text. What is typed before [`Prompt::ask`], and after a text until it is asked again, waits. Can be dropped
    /// and called again.
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
                () = self.continued.next() => self.go_on(),
                _ = self.resized.recv() => self.resize(),
                piece = self.pieces.recv(), if asked => match piece {
                    Some(Ok(piece)) => self.keys.push(&piece),
                    Some(Err(error)) => return Typed::Gone(Some(error)),
                    None => return Typed::Gone(None),
                },
            }
        }
    }

    /// Takes the keys that have come, up to the end of a text.
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

    /// A text is done: it stays where it was typed, whole.
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

    /// The terminal has another size. What stands there has been broken anew.
    fn resize(&self) {
        if let Some((rows, cursor)) = self.rows() {
            terminal::moved_to(cursor.0);
            terminal::draw(rows, cursor);
        }
    }

    /// Stops this process, as Ctrl-Z asks for.
    fn stop(&self) {
        terminal::erase();
        terminal::close();
        // One that cannot be stopped goes on.
        if kill_process(getpid(), Kill::STOP).is_err() {
            self.go_on();
        }
    }

    /// This process goes on, perhaps after others used the terminal.
    fn go_on(&self) {
        // A terminal that is gone is noticed by whoever reads.
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
