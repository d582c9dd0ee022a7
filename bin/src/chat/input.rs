//! Messages to send: typed at a prompt, or from a pipe.

use std::future;
use std::io;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::prompt::{Prompt, Typed};
use crate::stdin;

/// Where messages come from.
pub(super) enum Input {
    /// The input has ended.
    None,
    Prompt(Box<Prompt>),
    Pipe(mpsc::Receiver<io::Result<Bytes>>),
}

/// What an input yields.
pub(super) enum InputEvent {
    Message(Bytes),
    End,
    Failed(io::Error),
}

impl Input {
    /// Stdin as it arrives, in messages of up to 64 KiB.
    pub(super) fn pipe() -> io::Result<Self> {
        Ok(Self::Pipe(stdin::pieces()?))
    }

    pub(super) const fn is_over(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Shows the prompt with this label, if there is one.
    pub(super) fn ask(&mut self, label: String) {
        if let Self::Prompt(prompt) = self {
            prompt.ask(label);
        }
    }

    /// The next event. Cancel safe.
    pub(super) async fn next(&mut self) -> InputEvent {
        match self {
            Self::None => future::pending().await,
            Self::Prompt(prompt) => match prompt.next().await {
                Typed::Text(text) => InputEvent::Message(text.into()),
                Typed::End | Typed::Gone(None) => InputEvent::End,
                Typed::Gone(Some(error)) => InputEvent::Failed(error),
            },
            Self::Pipe(pieces) => match pieces.recv().await {
                Some(Ok(piece)) => InputEvent::Message(piece),
                Some(Err(error)) => InputEvent::Failed(error),
                None => InputEvent::End,
            },
        }
    }
}
