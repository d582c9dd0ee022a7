//! Everything that goes to stderr, by one writer. A line that cannot be written is left out, and nothing else changes.

use std::fmt::Arguments;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use anstream::{AutoStream, ColorChoice};
use clap::ValueEnum;
use indicatif::{ProgressBar, WeakProgressBar};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use crate::terminal;

/// The target of what this program itself says, when that is logged as JSON.
const STATUS: &str = "echosphere::status";
/// What a log filter can name: the beginnings of the targets of this program and of the libraries it uses.
const TARGETS: [&str; 7] = ["echosphere", "tokio", "tonic", "tower", "hyper", "h2", "mio"];
/// A write of at most this many bytes to a pipe that has room does not block (PIPE_BUF in pipe(7)).
const AT_ONCE: usize = 4096;
/// How long one line may wait for a reader that is behind.
const PATIENCE: Duration = Duration::from_millis(100);

/// Whether the reader was behind at the last write. Then the next line does not wait for it.
static BEHIND: AtomicBool = AtomicBool::new(false);
/// The progress bar below everything else.
static BAR: Mutex<Option<WeakProgressBar>> = Mutex::new(None);
/// Set once at the start.
static LOOK: OnceLock<Look> = OnceLock::new();

/// Prints a line to stderr that tells people how a command goes; `-q` leaves it out.
macro_rules! status {
    ($($what:tt)*) => { $crate::stderr::say_status(format_args!($($what)*)) };
}
pub(crate) use status;

/// Prints a line to stderr about something that went wrong.
macro_rules! complain {
    ($($what:tt)*) => { $crate::stderr::say_complaint(format_args!($($what)*)) };
}
pub(crate) use complain;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Text,
    /// One JSON object on each line
    Json,
}

#[derive(Clone, Copy, Debug, Default)]
struct Look {
    format: Format,
    quiet: bool,
}

impl Look {
    fn get() -> Self {
        LOOK.get().copied().unwrap_or_default()
    }
}

/// Sets how everything on stderr looks from here on. `verbosity` is how often `-v` was given, or -1 for `-q`; with 0, the
/// variable `RUST_LOG` says which log lines are written.
pub(crate) fn set_up(format: Format, verbosity: i8) {
    let (filter, trouble) = filter(verbosity);
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(Lines)
        .with_ansi(AutoStream::choice(&io::stderr()) != ColorChoice::Never)
        .log_internal_errors(false);
    match format {
        Format::Text => lines.init(),
        Format::Json => lines.json().init(),
    }
    let quiet = verbosity < 0;
    // Only tests could set it twice.
    let _ = LOOK.set(Look { format, quiet });
    if let Some(trouble) = trouble {
        complain!("warning: {trouble}");
    }
}

/// Which log lines are written, and what is wrong with `RUST_LOG`.
fn filter(verbosity: i8) -> (EnvFilter, Option<String>) {
    let (level, from_environment) = match verbosity {
        ..0 => ("error", false),
        0 => ("warn", true),
        1 => ("info", false),
        2 => ("debug", false),
        _ => ("trace", false),
    };
    let said = std::env::var("RUST_LOG")
        .ok()
        .filter(|said| from_environment && !said.is_empty());
    let (filter, trouble) = match &said {
        None => (EnvFilter::new(level), None),
        Some(said) => match EnvFilter::try_new(said) {
            Ok(filter) => (filter, unknown_target(said)),
            Err(error) => (EnvFilter::new(level), Some(error.to_string())),
        },
    };
    let trouble = trouble.map(|trouble| {
        format!(
            "RUST_LOG={said:?}: {trouble}; expected a level (error, warn, info, debug, trace) or TARGET=LEVEL",
            said = said.unwrap_or_default()
        )
    });
    // The program's own lines are not a matter of levels.
    match format!("{STATUS}=trace").parse() {
        Ok(directive) => (filter.add_directive(directive), trouble),
        Err(_) => (filter, trouble),
    }
}

/// A part of a log filter that can match nothing, such as a misspelt level.
fn unknown_target(filter: &str) -> Option<String> {
    let target = |part: &str| part.split(['=', '[']).next().unwrap_or_default().trim().to_owned();
    let known = |name: &str| {
        let level = name.parse::<tracing::level_filters::LevelFilter>().is_ok();
        name.is_empty() || level || TARGETS.iter().any(|target| name.starts_with(target))
    };
    let unknown = filter.split(',').map(target).find(|name| !known(name));
    unknown.map(|name| format!("nothing here is called {name:?}"))
}

pub(crate) fn say_status(line: Arguments<'_>) {
    let look = Look::get();
    match look.format {
        _ if look.quiet => {}
        Format::Text => write_line(line),
        Format::Json => tracing::info!(target: STATUS, "{line}"),
    }
}

pub(crate) fn say_complaint(line: Arguments<'_>) {
    match Look::get().format {
        Format::Text => write_line(line),
        Format::Json => tracing::error!(target: STATUS, "{line}"),
    }
}

/// Whether a progress bar can be seen there.
pub(crate) fn shows_progress() -> bool {
    let look = Look::get();
    !look.quiet && look.format == Format::Text && io::stderr().is_terminal()
}

/// Tells where a server listens. In text it is the line `listening on ADDR …`, in JSON an event with the fields
/// `address` and `transport`.
pub(crate) fn listening(address: std::net::SocketAddr, transport: &str, more: &str) {
    let look = Look::get();
    match look.format {
        _ if look.quiet => {}
        Format::Text => write_line(format_args!("listening on {address}{more}")),
        Format::Json => tracing::info!(target: STATUS, %address, transport, "listening"),
    }
}

/// Writes a line, broken between words where the terminal ends.
fn write_line(line: Arguments<'_>) {
    write(format!("{}\n", terminal::fitted(&line.to_string(), io::stderr())).as_bytes());
}

/// Writes what the reader takes of `bytes`, without waiting long for one that is behind.
fn write(bytes: &[u8]) {
    if !io::stderr().is_terminal() {
        return write_to_reader(bytes);
    }
    let bar = BAR.lock().unwrap_or_else(PoisonError::into_inner);
    let above = || terminal::above(|| write_to_reader(bytes));
    match bar.as_ref().and_then(WeakProgressBar::upgrade) {
        Some(bar) => bar.suspend(above),
        None => above(),
    }
}

/// Has everything else written above this progress bar, while there is one.
pub(crate) fn keep_below(bar: &ProgressBar) {
    *BAR.lock().unwrap_or_else(PoisonError::into_inner) = Some(bar.downgrade());
}

fn write_to_reader(mut bytes: &[u8]) {
    let mut stderr = io::stderr().lock();
    while !bytes.is_empty() && takes_more(&stderr) {
        match stderr.write(&bytes[..bytes.len().min(AT_ONCE)]) {
            Ok(0) => return,
            Ok(written) => bytes = &bytes[written..],
            Err(error) if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
            Err(_) => return,
        }
    }
}

/// Whether a write does not block, waiting a little for that.
fn takes_more(stderr: &io::StderrLock<'_>) -> bool {
    let wait = if BEHIND.load(Ordering::Relaxed) {
        Duration::ZERO
    } else {
        PATIENCE
    };
    let timeout = Timespec::try_from(wait).unwrap_or_default();
    let mut fds = [PollFd::new(stderr, PollFlags::OUT)];
    // What cannot be waited for is tried.
    let takes = poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0);
    BEHIND.store(!takes, Ordering::Relaxed);
    takes
}

/// Gives log lines to this writer.
#[derive(Clone, Copy, Debug)]
struct Lines;

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        write(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        Self
    }
}

#[cfg(test)]
mod tests {
    use super::unknown_target;

    #[test]
    fn a_misspelt_level_is_noticed() {
        for fine in [
            "debug",
            "WARN",
            "off",
            "echosphere=debug",
            "echosphere_driver=info,h2=trace",
            "warn,[span]=debug",
        ] {
            assert_eq!(unknown_target(fine), None, "{fine}");
        }
        for wrong in ["debgu", "warn,driver=debug"] {
            assert!(unknown_target(wrong).is_some(), "{wrong}");
        }
    }
}
