//! The commands of the simulator: each runs the library and prints the result.

pub(crate) mod campaign;
pub(crate) mod crowd;
pub(crate) mod exhaust;
pub(crate) mod hashes;
pub(crate) mod one;

use std::fmt::{self, Arguments};
use std::io::{self, ErrorKind, Write};
use std::ops::Range;
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use clap::ValueEnum;
use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};
use sim::FailureKind;
use sim::oracle::Workload;
use sim::oracle::chat::Chat;
use sim::oracle::echo::Echo;
use sim::oracle::hub::Hub;
use sim::oracle::numbers::Numbers;
use sim::plan::Plan;

/// The systems that can be run.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum System {
    /// The echo relay: message X, ok X
    Echo,
    /// The hub: identity, list, relay
    Hub,
    /// The chat: one to one, acknowledged
    Chat,
    /// Numbers: resumable streams
    Numbers,
}

/// Runs `$do` with the type `$W` of the system `$system`.
macro_rules! with_system {
    ($system:expr, $W:ident => $do:expr) => {
        match $system {
            $crate::commands::System::Echo => {
                type $W = sim::oracle::echo::Echo;
                $do
            }
            $crate::commands::System::Hub => {
                type $W = sim::oracle::hub::Hub;
                $do
            }
            $crate::commands::System::Chat => {
                type $W = sim::oracle::chat::Chat;
                $do
            }
            $crate::commands::System::Numbers => {
                type $W = sim::oracle::numbers::Numbers;
                $do
            }
        }
    };
}
pub(crate) use with_system;

impl System {
    /// The system of this name in a recorded run.
    fn named(name: &str) -> Option<Self> {
        match name {
            Echo::NAME => Some(Self::Echo),
            Hub::NAME => Some(Self::Hub),
            Chat::NAME => Some(Self::Chat),
            Numbers::NAME => Some(Self::Numbers),
            _ => None,
        }
    }
}

/// Prints a line to stdout. If that cannot be, it ends the program.
macro_rules! say {
    ($($what:tt)*) => { $crate::commands::say_line(format_args!($($what)*)) };
}
pub(crate) use say;

/// Prints a line to stderr, if that can be.
macro_rules! complain {
    ($($what:tt)*) => { $crate::commands::complain_line(format_args!($($what)*)) };
}
pub(crate) use complain;

pub(crate) fn complain_line(line: Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}

pub(crate) fn say_line(line: Arguments<'_>) {
    if let Err(error) = writeln!(io::stdout(), "{line}") {
        cannot_say(&error);
    }
}

/// The reader of stdout has closed it, or cannot be written to.
fn cannot_say(error: &io::Error) -> ! {
    /// The exit code of a program that wrote to a closed pipe.
    const CLOSED_PIPE: i32 = 141;
    if error.kind() == ErrorKind::BrokenPipe {
        process::exit(CLOSED_PIPE);
    }
    wrong_use(&format!("cannot write to stdout: {error}"));
    process::exit(2);
}

/// The most clients that a run may have.
const MOST_CLIENTS: u64 = 10_000_000;

/// Reads a number of clients.
pub(crate) fn clients(text: &str) -> Result<usize, String> {
    let clients: u64 = text
        .parse()
        .map_err(|_| "expected a whole number, 1 or more".to_owned())?;
    if (1..=MOST_CLIENTS).contains(&clients) {
        Ok(clients as usize)
    } else {
        Err(format!("expected 1 to {MOST_CLIENTS}"))
    }
}

/// Which runs to do.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Runs {
    /// Run this system [default: echo]
    #[arg(long, value_enum)]
    system: Option<System>,
    /// Run this number of clients, sessions or streams [default: drawn from the seed]
    #[arg(long, value_name = "COUNT", value_parser = clients)]
    clients: Option<usize>,
    /// Skip the checks whose cost grows with what is in flight
    #[arg(long)]
    shallow: bool,
    /// Inject no faults into the network and the hosts
    #[arg(long)]
    no_faults: bool,
}

impl Runs {
    /// The first flag that has no effect where a file defines the run.
    fn without_effect(self) -> Option<&'static str> {
        if self.system.is_some() {
            Some("--system")
        } else if self.clients.is_some() {
            Some("--clients")
        } else if self.shallow {
            Some("--shallow")
        } else if self.no_faults {
            Some("--no-faults")
        } else {
            None
        }
    }

    fn system(self) -> System {
        self.system.unwrap_or(System::Echo)
    }

    fn plan(self) -> Plan {
        Plan {
            clients: self.clients,
            shallow: self.shallow,
            calm: self.no_faults,
        }
    }

    /// The same as flags, each after a space.
    fn flags(self) -> String {
        let system = self.system().to_possible_value();
        let system = system.map_or_else(String::new, |value| format!(" --system {}", value.get_name()));
        system + &self.plan().flags()
    }
}

/// How long one run may take.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Patience {
    /// Fail when a run takes longer than this in real time
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..))]
    hang: u64,
}

impl Patience {
    /// Does a run, which writes its virtual time to the given clock. If it hangs, prints that and ends the program.
    fn watch<T>(self, run: impl FnOnce(Arc<AtomicU64>) -> T) -> T {
        let clock = Arc::new(AtomicU64::new(0));
        let limit = Duration::from_secs(self.hang);
        let (done, is_done) = mpsc::channel::<()>();
        thread::scope(|scope| {
            let watched = Arc::clone(&clock);
            scope.spawn(move || {
                if is_done.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                    let at = Duration::from_nanos(watched.load(Ordering::Relaxed));
                    say!(
                        "at {at:?} of virtual time: still running after {limit:?} of real time (raise --hang to wait longer)\n\nFAILED"
                    );
                    process::exit(exit_code(FailureKind::Liveness).into());
                }
            });
            let result = run(clock);
            drop(done);
            result
        })
    }
}

fn wrong_use(message: &str) -> ExitCode {
    complain!("error: {message}");
    ExitCode::from(2)
}

const fn exit_code(kind: FailureKind) -> u8 {
    match kind {
        FailureKind::Correctness => 1,
        FailureKind::Liveness => 3,
        FailureKind::Crash => 4,
        FailureKind::Nondeterminism => 5,
    }
}

/// `count` seeds from `first` on.
fn seeds(first: u64, count: u64) -> Result<Range<u64>, String> {
    let end = first.checked_add(count);
    end.map(|end| first..end)
        .ok_or_else(|| format!("{count} seeds from {first} on go beyond the last one, {}", u64::MAX - 1))
}

/// A counter for work of unknown length.
fn counter(what: &str) -> ProgressBar {
    let look = format!("{{elapsed_precise}} {{human_pos}} {what}, {{rate}} {what}/s{{msg}}");
    ProgressBar::new_spinner().with_style(style(&look).unwrap_or_else(ProgressStyle::default_spinner))
}

fn progress_bar(len: u64, what: &str) -> ProgressBar {
    let look =
        format!("{{elapsed_precise}} [{{wide_bar}}] {{human_pos}} of {{human_len}} {what}, {{rate}} {what}/s{{msg}}");
    let style = style(&look).unwrap_or_else(ProgressStyle::default_bar);
    ProgressBar::new(len).with_style(style.progress_chars("=> "))
}

/// A style in which `rate` is a whole number.
fn style(look: &str) -> Option<ProgressStyle> {
    let rate = |state: &ProgressState, line: &mut dyn fmt::Write| {
        // A line that cannot be written is skipped.
        let _ = write!(line, "{}", HumanCount(state.per_sec() as u64));
    };
    Some(ProgressStyle::with_template(look).ok()?.with_key("rate", rate))
}
