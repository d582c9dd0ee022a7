//! The only writer to stderr. A line that cannot be written is dropped, and the program continues.

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

use crate::{escape, terminal};

/// The log target of this program's own lines in JSON.
const STATUS: &str = "echosphere::status";
/// The beginnings of all log targets: of this program and of its libraries.
const TARGETS: [&str; 7] = ["echosphere", "tokio", "tonic", "tower", "hyper", "h2", "mio"];
/// A write of at most this many bytes to a pipe that has room does not block (PIPE_BUF in pipe(7)).
const AT_ONCE: usize = 4096;
/// The longest wait for a slow reader.
const PATIENCE: Duration = Duration::from_millis(100);

/// Whether the reader was slow at the last write. The next line then does not wait.
static BEHIND: AtomicBool = AtomicBool::new(false);
/// The progress bar below all other lines.
static BAR: Mutex<Option<WeakProgressBar>> = Mutex::new(None);
/// Set once at the start.
static STYLE: OnceLock<Style> = OnceLock::new();

/// Prints a line about the progress of a command to stderr; `-q` suppresses it.
macro_rules! status {
    ($($what:tt)*) => { $crate::stderr::say_status(format_args!($($what)*)) };
}
pub(crate) use status;

/// Prints a line about a problem to stderr.
macro_rules! complain {
    ($($what:tt)*) => { $crate::stderr::say_complaint(format_args!($($what)*)) };
}
pub(crate) use complain;

/// The format of log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Plain lines
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

#[derive(Clone, Copy, Debug, Default)]
struct Style {
    format: Format,
    quiet: bool,
}

impl Style {
    fn get() -> Self {
        STYLE.get().copied().unwrap_or_default()
    }
}

/// Sets the format of stderr. `verbosity` is the number of `-v` options, or -1 for `-q`; with 0, the variable `RUST_LOG`
/// selects the log lines.
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
    let _ = STYLE.set(Style { format, quiet });
    if let Some(trouble) = trouble {
        complain!("warning: {trouble}");
    }
}

/// The filter of log lines, and what is wrong with `RUST_LOG`.
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
            "RUST_LOG={}: {trouble}; expected a level (error, warn, info, debug, trace) or TARGET=LEVEL",
            escape::line(said.unwrap_or_default().as_bytes())
        )
    });
    // The program's own lines have no level.
    match format!("{STATUS}=trace").parse() {
        Ok(directive) => (filter.add_directive(directive), trouble),
        Err(_) => (filter, trouble),
    }
}

/// Names a part of a log filter that matches nothing, such as a misspelt level.
fn unknown_target(filter: &str) -> Option<String> {
    let target = |part: &str| part.split(['=', '[']).next().unwrap_or_default().trim().to_owned();
    let known = |name: &str| {
        let level = name.parse::<tracing::level_filters::LevelFilter>().is_ok();
        name.is_empty() || level || TARGETS.iter().any(|target| name.starts_with(target))
    };
    let unknown = filter.split(',').map(target).find(|name| !known(name));
    unknown.map(|name| format!("nothing is called {}", escape::line(name.as_bytes())))
}

pub(crate) fn say_status(line: Arguments<'_>) {
    let style = Style::get();
    match style.format {
        _ if style.quiet => {}
        Format::Text => write_line(line),
        Format::Json => tracing::info!(target: STATUS, "{line}"),
    }
}

pub(crate) fn say_complaint(line: Arguments<'_>) {
    match Style::get().format {
        Format::Text => write_line(line),
        Format::Json => tracing::error!(target: STATUS, "{line}"),
    }
}

/// Whether stderr shows progress bars.
pub(crate) fn shows_progress() -> bool {
    let style = Style::get();
    !style.quiet && style.format == Format::Text && io::stderr().is_terminal()
}

/// Reports the address that a server listens on: as the line `listening on ADDR …`, or in JSON as an event with the fields
/// `address` and `transport`.
pub(crate) fn listening(address: std::net::SocketAddr, transport: &str, more: &str) {
    let style = Style::get();
    match style.format {
        _ if style.quiet => {}
        Format::Text => write_line(format_args!("listening on {address}{more}")),
        Format::Json => tracing::info!(target: STATUS, %address, transport, "listening"),
    }
}

/// Writes a line, wrapped between words to the width of the terminal.
fn write_line(line: Arguments<'_>) {
    write(format!("{}\n", terminal::fitted(&line.to_string(), io::stderr())).as_bytes());
}

/// Writes `bytes`, and drops what a slow reader does not take in time.
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

/// Keeps this progress bar below all other lines while it exists.
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

/// Waits a short time until a write does not block. Returns whether that is so.
fn takes_more(stderr: &io::StderrLock<'_>) -> bool {
    let wait = if BEHIND.load(Ordering::Relaxed) {
        Duration::ZERO
    } else {
        PATIENCE
    };
    let timeout = Timespec::try_from(wait).unwrap_or_default();
    let mut fds = [PollFd::new(stderr, PollFlags::OUT)];
    let takes = poll(&mut fds, Some(&timeout)).is_ok_and(|ready| ready > 0);
    BEHIND.store(!takes, Ordering::Relaxed);
    takes
}

/// Writes log lines here.
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
    use super::{filter, unknown_target};

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

    #[test]
    fn each_verbose_option_shows_more() {
        for (verbosity, level) in [(-1, "error"), (1, "info"), (2, "debug"), (3, "trace"), (4, "trace")] {
            let (filter, trouble) = filter(verbosity);
            let filter = filter.to_string();
            assert!(filter.split(',').any(|part| part == level), "{verbosity}: {filter}");
            assert_eq!(trouble, None);
        }
    }
}
