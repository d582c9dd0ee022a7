//! Ctrl-C and SIGTERM: the first asks to finish, the second ends at once.

use std::io;
use std::process;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// The exit code of a program that was interrupted.
pub(crate) const INTERRUPTED: u8 = 130;

/// Both signals, caught from here on.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    /// Starts to catch them. Must be called within a runtime.
    pub(crate) fn catch() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    /// Waits for the next.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }

    /// Ends the program when the next comes.
    pub(crate) async fn end_at_next(mut self) {
        self.next().await;
        eprintln!("ended at once");
        process::exit(INTERRUPTED.into());
    }
}
