//! What is to be said: typed at a prompt, or from a pipe.

use std::future;
use std::io;

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::prompt::{Prompt, Typed};
use crate::stdin;

/// Where messages come from.
pub(super) enum Input {
    /// There are no more.
    None,
    Prompt(Box<Prompt>),
    Pipe(mpsc::Receiver<io::Result<Bytes>>),
}

/// What has come from there.
pub(super) enum Given {
    Message(Bytes),
    End,
    Failed(io::Error),
}

impl Input {
    /// What comes on stdin, as it comes, in messages of up to 64 KiB.
    pub(super) fn pipe() -> io::Result<Self> {
        Ok(Self::Pipe(stdin::pieces()?))
    }

    pub(super) const fn is_over(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Asks for the next message, with this before what is typed.
    pub(super) fn ask(&mut self, label: String) {
        if let Self::Prompt(prompt) = self {
            prompt.ask(label);
        }
    }

    /// What comes next. Can be dropped and called again.
    pub(super) async fn next(&mut self) -> Given {
        match self {
            Self::None => future::pending().await,
            Self::Prompt(prompt) => match prompt.next().await {
                Typed::Text(text) => Given::Message(text.into()),
                Typed::End | Typed::Gone(None) => Given::End,
                Typed::Gone(Some(error)) => Given::Failed(error),
            },
            Self::Pipe(pieces) => match pieces.recv().await {
                Some(Ok(piece)) => Given::Message(piece),
                Some(Err(error)) => Given::Failed(error),
                None => Given::End,
            },
        }
    }
}
