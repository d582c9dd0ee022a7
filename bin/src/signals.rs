//! Ctrl-C, SIGTERM and SIGHUP (the terminal is gone): the first asks to finish, the second ends at once.

use std::fs;
use std::future;
use std::io;
use std::process;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::stderr::status;

/// The exit code of a program that was interrupted.
pub(crate) const INTERRUPTED: u8 = 130;

/// These signals, caught from here on.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    /// `None` if whoever started this program has it ignored, as nohup(1) does.
    hang_up: Option<Signal>,
}

impl Signals {
    /// Starts to catch them. Must be called within a runtime.
    pub(crate) fn catch() -> io::Result<Self> {
        let hang_up = match is_ignored(SignalKind::hangup()) {
            true => None,
            false => Some(signal(SignalKind::hangup())?),
        };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up,
        })
    }

    /// Waits for the next.
    pub(crate) async fn next(&mut self) {
        let hang_up = async {
            match &mut self.hang_up {
                Some(hang_up) => hang_up.recv().await,
                None => future::pending().await,
            }
        };
        tokio::select! {
            biased;
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = hang_up => {}
        }
    }

    /// Ends the program when the next comes.
    pub(crate) async fn end_at_next(mut self) {
        self.next().await;
        status!("ended at once");
        process::exit(INTERRUPTED.into());
    }
}

/// Whether this process ignores a signal.
fn is_ignored(kind: SignalKind) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let bit = kind.as_raw_value() - 1;
    mask.is_some_and(|mask| mask >> bit & 1 == 1)
}
