//! What the commands share: which run is meant, and what comes of it.

pub(crate) mod campaign;
pub(crate) mod crowd;
pub(crate) mod exhaust;
pub(crate) mod hashes;
pub(crate) mod one;

use std::process::ExitCode;

use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};
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
    /// The kata: message X, ok X
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

/// Which runs are meant.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Runs {
    /// The system that is run
    #[arg(long, value_enum, default_value_t = System::Echo)]
    system: System,
    /// Clients in each run [default: the seed says, 1 to 80]
    #[arg(long, value_name = "COUNT")]
    clients: Option<usize>,
    /// Leave out the checks whose cost grows with what is under way
    #[arg(long)]
    shallow: bool,
    /// Let nothing go wrong with network and hosts
    #[arg(long)]
    no_faults: bool,
}

impl Runs {
    fn plan(self) -> Plan {
        Plan {
            clients: self.clients,
            shallow: self.shallow,
            calm: self.no_faults,
        }
    }

    /// The same as flags, each after a space.
    fn flags(self) -> String {
        let system = self.system.to_possible_value();
        let system = system.map_or_else(String::new, |value| format!(" --system {}", value.get_name()));
        system + &self.plan().flags()
    }
}

fn wrong_use(message: &str) -> ExitCode {
    eprintln!("error: {message}");
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

fn progress_bar(len: u64, what: &str) -> ProgressBar {
    let look = format!("{{elapsed_precise}} [{{wide_bar}}] {{human_pos}} of {{human_len}} {what}, {{per_sec}}");
    let style = ProgressStyle::with_template(&look).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len).with_style(style.progress_chars("=> "))
}
