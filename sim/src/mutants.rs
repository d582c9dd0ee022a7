//! Planted bugs: every patch in `sim/mutants/` is a small fault in the product, which the simulator or a test must catch.
//!
//! Patches are applied one at a time to a copy of the workspace, never to the workspace itself. The first line of a patch
//! describes the bug. An optional second line names what must catch it instead of the simulator: `tests: ARGUMENTS` for
//! `cargo test ARGUMENTS`, or `check: COMMAND` for a command that must fail.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use self::copy::Copy;
use self::results::Results;
use crate::commands::{complain, say};

mod copy;
mod results;

/// The defaults of the arguments. Runs that do less write no results.
const SEEDS: u64 = 3_000;
const TURMOIL_SEEDS: u64 = 250;
const LIMIT_SECONDS: u64 = 180;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run only the planted bugs whose name begins with this; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Run only three, one for each kind of check, and write no results
    #[arg(long, conflicts_with = "only")]
    slice: bool,
    /// Run this number of seeds on the direct lane (without a driver), without faults and again with them
    #[arg(long, value_name = "COUNT", default_value_t = SEEDS)]
    seeds: u64,
    /// Run this number of seeds on the turmoil lane (with the real driver), if the direct lane does not catch the bug
    #[arg(long, value_name = "COUNT", default_value_t = TURMOIL_SEEDS)]
    turmoil_seeds: u64,
    /// Run the turmoil lane also for bugs that the direct lane has caught
    #[arg(long)]
    every_lane: bool,
    /// Shrink the run of the direct lane that caught the bug and print its size
    #[arg(long)]
    shrink: bool,
    /// Stop a run after this time; the bug then counts as caught
    #[arg(long, value_name = "SECONDS", default_value_t = LIMIT_SECONDS)]
    limit: u64,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

impl Args {
    /// Whether this is a measurement for the table. The slice is only a check, and fewer seeds or less time find less.
    const fn is_recorded(&self) -> bool {
        !self.slice && self.seeds >= SEEDS && self.turmoil_seeds >= TURMOIL_SEEDS && self.limit >= LIMIT_SECONDS
    }
}

/// Runs the command.
pub(crate) fn mutants(args: &Args) -> ExitCode {
    match table(args) {
        Ok(rows) => {
            let missed = rows.iter().filter(|row| !row.is_caught()).count();
            if args.json {
                say!("{}", rows.iter().map(Row::to_json).collect::<Value>());
            } else {
                say!("\n{} planted bugs, {missed} not caught", rows.len());
                say!("{}", if missed == 0 { "PASSED" } else { "FAILED" });
            }
            ExitCode::from(u8::from(missed > 0))
        }
        Err(error) => {
            complain!("error: {error}");
            ExitCode::from(2)
        }
    }
}

/// How the names of the slice begin. The model of the server catches the first, that of the clients the second, and the rules
/// of streams the third.
const SLICE: [&str; 3] = ["03-", "56-", "60-"];

/// How a planted bug was caught, or not.
#[derive(Debug)]
enum Verdict {
    /// By this rule, at this seed if one run was enough.
    Caught {
        seed: Option<u64>,
        rule: String,
    },
    /// It was still running at its limit.
    Hung,
    Escaped,
}

#[derive(Debug)]
struct Run {
    verdict: Verdict,
    seconds: f64,
    shrunk: Option<Shrunk>,
}

/// The size of the shrunk run that caught a planted bug.
#[derive(Debug, Serialize, Deserialize)]
struct Shrunk {
    messages: u64,
    faults: u64,
    seconds: f64,
}

/// A planted bug and the result of each lane; `None` for a lane that was not run.
#[derive(Debug)]
struct Row {
    name: String,
    what: String,
    /// The system that the simulator runs, or the command that must fail.
    check: String,
    /// Why it could not be run.
    broken: Option<&'static str>,
    calm: Option<Run>,
    direct: Option<Run>,
    turmoil: Option<Run>,
    tests: Option<Run>,
}

impl Run {
    const fn is_caught(&self) -> bool {
        !matches!(self.verdict, Verdict::Escaped)
    }

    fn cell(&self) -> String {
        let seconds = self.seconds;
        match &self.verdict {
            Verdict::Caught { seed: Some(seed), .. } => {
                let shrunk = self.shrunk.as_ref().map(|shrunk| {
                    let Shrunk {
                        messages,
                        faults,
                        seconds,
                    } = shrunk;
                    format!("; small: {messages} messages, {faults} faults, {seconds:.1} s")
                });
                format!("seed {seed}, {seconds:.1} s{}", shrunk.unwrap_or_default())
            }
            Verdict::Caught { seed: None, .. } => format!("yes, {seconds:.1} s"),
            Verdict::Hung => format!("hung, {seconds:.1} s"),
            Verdict::Escaped => "escaped".to_owned(),
        }
    }

    fn to_json(&self) -> Value {
        let (caught, seed, rule) = match &self.verdict {
            Verdict::Caught { seed, rule } => (true, *seed, Some(rule.as_str())),
            Verdict::Hung => (true, None, Some(HUNG)),
            Verdict::Escaped => (false, None, None),
        };
        let shrunk = &self.shrunk;
        json!({ "caught": caught, "seed": seed, "rule": rule, "seconds": self.seconds, "shrunk": shrunk })
    }
}

const HUNG: &str = "liveness: hung";

impl Row {
    fn lanes(&self) -> [(&'static str, Option<&Run>); 4] {
        [
            ("direct, no faults", self.calm.as_ref()),
            ("direct", self.direct.as_ref()),
            ("turmoil", self.turmoil.as_ref()),
            ("tests", self.tests.as_ref()),
        ]
    }

    fn caught_by(&self) -> Option<(&'static str, &Run)> {
        let ran = self.lanes().into_iter().filter_map(|(lane, run)| Some((lane, run?)));
        ran.into_iter().find(|(_, run)| run.is_caught())
    }

    fn is_caught(&self) -> bool {
        self.caught_by().is_some()
    }

    /// The lane that caught it first, or why none did.
    fn verdict(&self) -> &'static str {
        let lane = self.caught_by().map(|(lane, _)| lane);
        lane.or(self.broken).unwrap_or("ESCAPED")
    }

    fn rule(&self) -> &str {
        match self.caught_by().map(|(_, run)| &run.verdict) {
            Some(Verdict::Caught { rule, .. }) => rule,
            Some(Verdict::Hung) => HUNG,
            Some(Verdict::Escaped) | None => "",
        }
    }

    fn to_json(&self) -> Value {
        let lanes = self.lanes().into_iter();
        let lanes = lanes.filter_map(|(lane, run)| Some((lane.to_owned(), run?.to_json())));
        json!({
            "name": self.name,
            "what": self.what,
            "check": self.check,
            "caught_by": self.verdict(),
            "lanes": lanes.collect::<serde_json::Map<_, _>>(),
        })
    }
}

/// One line for people.
impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}): ", self.name, self.what)?;
        match self.caught_by() {
            Some((lane, run)) => write!(f, "{lane}, {}: {}", run.cell(), self.rule()),
            None => f.write_str(self.verdict()),
        }
    }
}

fn table(args: &Args) -> Result<Vec<Row>, String> {
    let patches = patches(args)?;
    let copy = Copy::new(args).map_err(|error| error.to_string())?;
    let bar = ProgressBar::new(patches.len() as u64 + 1);
    let style = ProgressStyle::with_template("{elapsed_precise} [{wide_bar}] {pos} of {len}: {msg}");
    bar.set_style(
        style
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("=> "),
    );
    bar.enable_steady_tick(Duration::from_secs(1));

    bar.set_message("the code without a planted bug");
    let texts = patches
        .iter()
        .map(|(name, path)| Ok((name, fs::read_to_string(path).map_err(|error| error.to_string())?)));
    let texts = texts.collect::<Result<Vec<_>, String>>()?;
    let simulated = texts.iter().filter(|(_, text)| copy::is_simulated(text));
    let systems: BTreeSet<&str> = simulated.map(|(name, text)| copy::system_of(name, text)).collect();
    for system in systems {
        let sound = copy.try_one("none".to_owned(), String::new(), system, false, args.every_lane);
        if sound.broken.is_some() || sound.is_caught() {
            let (verdict, rule) = (sound.verdict(), sound.rule());
            return Err(format!("{system} without any planted bug: {verdict} {rule}"));
        }
    }
    let mut rows = Vec::new();
    let mut results = Results::read(&folder()).map_err(|error| error.to_string())?;
    for (name, patch) in patches {
        bar.inc(1);
        bar.set_message(name.clone());
        let row = copy.patched(name, &patch).map_err(|error| error.to_string())?;
        if !args.json {
            bar.suspend(|| say!("{row}"));
        }
        if args.is_recorded() {
            results.set(&row).map_err(|error| error.to_string())?;
        }
        rows.push(row);
    }
    bar.finish_and_clear();
    Ok(rows)
}

fn workspace() -> PathBuf {
    // Cargo sets this when it runs the program, which may have been built elsewhere.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&package).join("..")
}

/// Where the patches are, and the table of what catches them.
fn folder() -> PathBuf {
    workspace().join("sim/mutants")
}

/// The patches that are asked for, by name.
fn patches(args: &Args) -> Result<Vec<(String, PathBuf)>, String> {
    let folder = folder();
    let entries = fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut patches = Vec::new();
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let wanted = if args.slice {
            SLICE.iter().any(|start| name.starts_with(start))
        } else {
            args.only.is_empty() || args.only.iter().any(|only| name.starts_with(only))
        };
        if wanted && path.extension() == Some(OsStr::new("patch")) {
            patches.push((name, path));
        }
    }
    patches.sort();
    if patches.is_empty() {
        return Err("no planted bug has a name that begins so".into());
    }
    Ok(patches)
}

impl Row {
    const fn broken(name: String, what: String, check: String, why: &'static str) -> Self {
        Self {
            name,
            what,
            check,
            broken: Some(why),
            calm: None,
            direct: None,
            turmoil: None,
            tests: None,
        }
    }
}
