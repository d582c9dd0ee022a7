//! What is to be said: typed at a prompt, or from a pipe.

use std::io::{self, Read};
use std::thread;

use anyhow::Context;
use bytes::Bytes;
use rustyline::error::ReadlineError;
use rustyline::{Cmd, DefaultEditor, ExternalPrinter, KeyCode, KeyEvent, Modifiers};
use tokio::sync::mpsc;

use crate::stderr::complain;

/// Bytes of a pipe that become one message at most.
const PIECE: usize = 64 * 1024;

/// A terminal with fewer columns has a bare prompt.
const STATUS_FROM: u16 = 50;

/// Where messages come from.
pub(super) struct Input {
    messages: mpsc::Receiver<Bytes>,
    /// What the prompt says before its `>`, each for one more line; None for a pipe, which needs no asking.
    prompts: Option<mpsc::UnboundedSender<String>>,
}

impl Input {
    /// What comes on stdin, as it comes.
    pub(super) fn pipe() -> anyhow::Result<Self> {
        let (sender, messages) = mpsc::channel(1);
        let reading = thread::Builder::new().name("input".to_owned());
        reading.spawn(move || read_pipe(&sender))?;
        let prompts = None;
        Ok(Self { messages, prompts })
    }

    /// What is typed, and what prints above the prompt.
    pub(super) fn prompt(multiline: bool) -> anyhow::Result<(Self, impl FnMut(String) -> anyhow::Result<()> + Send)> {
        let mut editor = DefaultEditor::new()?;
        editor.bind_sequence(
            KeyEvent(KeyCode::Enter, Modifiers::ALT),
            Cmd::Insert(1, "\n".to_owned()),
        );
        if multiline {
            editor.bind_sequence(
                KeyEvent(KeyCode::Enter, Modifiers::NONE),
                Cmd::Insert(1, "\n".to_owned()),
            );
            editor.bind_sequence(KeyEvent::ctrl('D'), Cmd::AcceptLine);
        }
        let mut printer = editor.create_external_printer()?;
        let (sender, messages) = mpsc::channel(1);
        let (prompts, asked) = mpsc::unbounded_channel();
        let reading = thread::Builder::new().name("input".to_owned());
        reading.spawn(move || read_prompt(&mut editor, &sender, asked))?;
        let prompts = Some(prompts);
        let print = move |line: String| {
            printer
                .print(format!("{line}\n"))
                .context("cannot write to the terminal")
        };
        Ok((Self { messages, prompts }, print))
    }

    /// Asks for the next message; the prompt says this where it has room.
    pub(super) fn ask(&self, status: String) {
        if let Some(prompts) = &self.prompts {
            // Whoever has ended the input is not asked again.
            let _ = prompts.send(status);
        }
    }

    /// The next message; `None` at the end.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        self.messages.recv().await
    }
}

fn read_prompt(editor: &mut DefaultEditor, sender: &mpsc::Sender<Bytes>, mut asked: mpsc::UnboundedReceiver<String>) {
    while let Some(status) = asked.blocking_recv() {
        let room = editor.dimensions().is_none_or(|(columns, _)| columns >= STATUS_FROM);
        let prompt = if status.is_empty() || !room {
            "> ".to_owned()
        } else {
            format!("{status} > ")
        };
        match editor.readline(&prompt) {
            Ok(line) => {
                // A line that is not remembered is no reason to stop.
                let _ = editor.add_history_entry(&line);
                if sender.blocking_send(line.into()).is_err() {
                    return;
                }
            }
            Err(ReadlineError::Interrupted | ReadlineError::Eof) => return,
            Err(error) => {
                complain!("error: cannot read from this terminal: {error}");
                return;
            }
        }
    }
}

fn read_pipe(sender: &mpsc::Sender<Bytes>) {
    let mut stdin = io::stdin().lock();
    let mut piece = vec![0; PIECE];
    loop {
        match stdin.read(&mut piece) {
            Ok(0) => return,
            Ok(length) => {
                if sender.blocking_send(Bytes::copy_from_slice(&piece[..length])).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                complain!("error: cannot read stdin: {error}");
                return;
            }
        }
    }
}
