//! Ctrl-C, SIGTERM and SIGHUP (the terminal is gone): the first asks the program to finish, the second ends it at once. In a
//! server that has files of TLS, SIGHUP reads them again.

use std::fs;
use std::future;
use std::io;
use std::process;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::stderr::status;
use crate::{terminal, tls};

/// The exit code after an interruption.
pub(crate) const INTERRUPTED: u8 = 130;

/// The exit code after SIGQUIT.
pub(crate) const QUIT: u8 = 131;

/// The signals that this program catches.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Caught,
    /// What SIGHUP reloads.
    reloads: Option<tls::Serving>,
}

/// A caught signal, unless the parent process ignores it, as nohup(1) does with SIGHUP.
#[derive(Debug)]
pub(crate) struct Caught(Option<Signal>);

impl Caught {
    /// Must be called within a runtime.
    pub(crate) fn new(kind: SignalKind) -> io::Result<Self> {
        let caught = (!is_ignored(kind)).then(|| signal(kind));
        Ok(Self(caught.transpose()?))
    }

    /// Waits for the next signal. Cancel safe.
    pub(crate) async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => {
                signal.recv().await;
            }
            None => future::pending().await,
        }
    }
}

/// Ends the program at once.
pub(crate) fn end_at_once(code: u8) -> ! {
    terminal::close_for_good();
    status!("ended at once");
    process::exit(code.into());
}

impl Signals {
    /// Starts to catch the signals. Must be called within a runtime.
    pub(crate) fn catch() -> io::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: Caught::new(SignalKind::hangup())?,
            reloads: None,
        })
    }

    /// Reads the files of `tls` again at SIGHUP, if it has any.
    pub(crate) fn reloading(mut self, tls: Option<&tls::Serving>) -> Self {
        self.reloads = tls.filter(|tls| tls.is_reloadable()).cloned();
        self
    }

    /// Waits for the next signal. Cancel safe.
    pub(crate) async fn next(&mut self) {
        loop {
            tokio::select! {
                biased;
                _ = self.interrupt.recv() => return,
                _ = self.terminate.recv() => return,
                () = self.hang_up.next() => match &self.reloads {
                    Some(tls) => tls.reload(),
                    None => return,
                },
            }
        }
    }

    /// Ends the program at the next signal.
    pub(crate) async fn end_at_next(mut self) {
        self.next().await;
        end_at_once(INTERRUPTED);
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
