//! One run: again, made small, drawn.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use serde_json::json;
use sim::direct::{Case, Options, Outcome, run_direct};
use sim::draw::Drawing;
use sim::oracle::Workload;
use sim::record::Record;
use sim::shrink::{self, Failing};

use tokio::time::Instant;

use super::{Patience, Runs, System, complain, exit_code, progress_bar, say, with_system, wrong_use};

#[derive(Debug, clap::Args)]
pub(crate) struct ReplayArgs {
    /// A seed, or a file that `shrink` wrote
    run: String,
    #[command(flatten)]
    runs: Runs,
    #[command(flatten)]
    patience: Patience,
    /// Print every event to stderr
    #[arg(long)]
    trace: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ShrinkArgs {
    /// The seed of a failing run
    seed: u64,
    #[command(flatten)]
    runs: Runs,
    #[command(flatten)]
    patience: Patience,
    /// Write the shrunk run to this file
    #[arg(short, long, value_name = "PATH", default_value = "failing.json")]
    output: PathBuf,
    /// Spend at most this number of runs
    #[arg(long, value_name = "COUNT", default_value_t = 5_000)]
    budget: u64,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct DrawArgs {
    /// A seed, or a file that `shrink` wrote
    run: String,
    #[command(flatten)]
    runs: Runs,
    #[command(flatten)]
    patience: Patience,
    /// Write the page to this file
    #[arg(short, long, value_name = "PATH", default_value = "run.html")]
    output: PathBuf,
    /// Also write a log for ShiViz to this file
    #[arg(long, value_name = "PATH")]
    shiviz: Option<PathBuf>,
}

/// Runs `replay`.
pub(crate) fn replay(args: &ReplayArgs) -> ExitCode {
    if args.trace {
        sim::trace::print_all();
    }
    match Meant::of(&args.run, args.runs) {
        Ok(meant) => with_system!(meant.system(args.runs), W => match meant.run::<W>(args.runs) {
            Ok((case, workload, options)) => {
                let run = |clock| run_direct(&case, &workload, timed(options, clock));
                let outcome = args.patience.watch(run);
                meant.compare(&outcome);
                tell(&outcome)
            }
            Err(error) => wrong_use(&error),
        }),
        Err(error) => wrong_use(&error),
    }
}

/// The same, for a run whose virtual time is looked at.
fn timed(options: Options, clock: Arc<AtomicU64>) -> Options {
    Options {
        clock: Some(clock),
        ..options
    }
}

/// The run that is meant: a seed's, or one that was written down, of this system.
enum Meant {
    Seed(u64),
    Record(Box<Record>, System),
}

impl Meant {
    fn of(run: &str, runs: Runs) -> Result<Self, String> {
        if let Ok(seed) = run.parse() {
            return Ok(Self::Seed(seed));
        }
        if let Some(flag) = runs.without_effect() {
            return Err(format!(
                "{flag} goes with a seed; {run} is a file, which defines the run"
            ));
        }
        let expected = |error| format!("expected a seed, or a file that shrink wrote: {error}");
        let record = Box::new(Record::read(Path::new(run)).map_err(expected)?);
        let system = System::named(&record.system);
        let system = system.ok_or_else(|| format!("{run}: unknown system {}", record.system))?;
        Ok(Self::Record(record, system))
    }

    /// Says to stderr what a file had recorded, if that is not what happened.
    fn compare<O>(&self, outcome: &Outcome<O>) {
        let Self::Record(record, _) = self else {
            return;
        };
        let (rule, hash) = match &outcome.result {
            Ok(report) => (None, report.hash),
            Err(failure) => (Some(&failure.rule), failure.hash),
        };
        if rule != record.rule.as_ref() || format!("{hash:016x}") != record.hash {
            let broke = record.rule.as_deref().unwrap_or("no rule broken");
            complain!("the recorded result differs, trace {}: {broke}", record.hash);
        }
    }

    fn system(&self, runs: Runs) -> System {
        match self {
            Self::Seed(_) => runs.system(),
            Self::Record(_, system) => *system,
        }
    }

    fn run<W: Workload>(&self, runs: Runs) -> Result<(Case, W, Options), String> {
        match self {
            Self::Seed(seed) => {
                let (case, workload) = runs.plan().draw(*seed);
                Ok((case, workload, Options::default()))
            }
            Self::Record(record, _) => {
                let (workload, options) = record.parts::<W>()?;
                record.case.check(workload.most_host())?;
                Ok((record.case.clone(), workload, options))
            }
        }
    }
}

pub(super) fn tell<O>(outcome: &Outcome<O>) -> ExitCode {
    match &outcome.result {
        Ok(report) => {
            say!(
                "PASSED: {} events, at zero after {:?} of virtual time, trace {:016x}",
                report.events,
                report.zero_at,
                report.hash
            );
            ExitCode::SUCCESS
        }
        Err(failure) => {
            say!("{failure}\n\nFAILED");
            ExitCode::from(exit_code(failure.kind))
        }
    }
}

/// Runs `shrink`.
pub(crate) fn shrink(args: &ShrinkArgs) -> ExitCode {
    with_system!(args.runs.system(), W => shrink_seed::<W>(args))
}

fn shrink_seed<W: Workload>(args: &ShrinkArgs) -> ExitCode {
    // Before the work, and not after it.
    let may_write = fs::OpenOptions::new().create(true).append(true).open(&args.output);
    if let Err(error) = may_write {
        return wrong_use(&format!("cannot write to {}: {error}", args.output.display()));
    }
    let code = shrink_into::<W>(args);
    // Nothing to shrink.
    if fs::metadata(&args.output).is_ok_and(|file| file.len() == 0) {
        let _ = fs::remove_file(&args.output);
    }
    code
}

fn shrink_into<W: Workload>(args: &ShrinkArgs) -> ExitCode {
    let (case, workload) = args.runs.plan().draw::<W>(args.seed);
    let run = |clock| run_direct(&case, &workload, timed(Options::default(), clock));
    let failure = match args.patience.watch(run).result {
        Err(failure) => failure,
        Ok(_) => {
            return wrong_use(&format!(
                "seed {} does not fail, so there is nothing to shrink",
                args.seed
            ));
        }
    };
    complain!(
        "{} messages, {} faults: {}",
        workload.len(),
        case.faults.len(),
        failure.rule
    );
    let failing = Failing {
        case,
        workload,
        failure,
        runs: 0,
    };
    let start = Instant::now();
    let bar = progress_bar(args.budget, "runs");
    let small = shrink::shrink(failing, args.budget, |runs| bar.set_position(runs));
    bar.finish_and_clear();
    let seconds = start.elapsed().as_secs_f64();
    let (record, outcome) = Record::of(&small.case, &small.workload);
    if let Err(error) = record.write(&args.output) {
        return wrong_use(&error);
    }
    complain!(
        "after {} runs: {} messages, {} faults\nwritten to {}. Replay it with:\n\ncargo run --release -p sim -- replay {}\n",
        small.runs,
        small.workload.len(),
        small.case.faults.len(),
        args.output.display(),
        args.output.display()
    );
    if args.json {
        let (messages, faults) = (small.workload.len(), small.case.faults.len());
        let rule = &small.failure.rule;
        let object =
            json!({ "messages": messages, "faults": faults, "runs": small.runs, "seconds": seconds, "rule": rule });
        say!("{object}");
        return outcome
            .result
            .map_or_else(|failure| ExitCode::from(exit_code(failure.kind)), |_| ExitCode::SUCCESS);
    }
    tell(&outcome)
}

/// Runs `draw`.
pub(crate) fn draw(args: &DrawArgs) -> ExitCode {
    match Meant::of(&args.run, args.runs) {
        Ok(meant) => with_system!(meant.system(args.runs), W => draw_run::<W>(args, &meant)),
        Err(error) => wrong_use(&error),
    }
}

fn draw_run<W: Workload>(args: &DrawArgs, meant: &Meant) -> ExitCode {
    let page = args.output.as_path();
    if page == Path::new(&args.run) || args.shiviz.as_deref() == Some(page) {
        let shown = page.display();
        return wrong_use(&format!(
            "the page would overwrite {shown}: choose another path, such as -o run.html"
        ));
    }
    let title = match meant {
        Meant::Seed(seed) => format!("seed {seed}{}", args.runs.plan().flags()),
        Meant::Record(..) => args.run.clone(),
    };
    let (case, workload, options) = match meant.run::<W>(args.runs) {
        Ok(run) => run,
        Err(error) => return wrong_use(&error),
    };
    let draw = |clock| Drawing::of(&title, &case, &workload, timed(options, clock));
    let (drawing, outcome) = args.patience.watch(draw);
    let page = (&args.output, drawing.page(), drawing.steps());
    let log = args.shiviz.as_ref().map(|path| {
        let log = drawing.shiviz();
        // The first line has the regular expression to read it.
        let events = log.lines().count() - 1;
        (path, log, events)
    });
    for (path, text, steps) in [Some(page), log].into_iter().flatten() {
        if let Err(error) = fs::write(path, text) {
            return wrong_use(&format!("cannot write to {}: {error}", path.display()));
        }
        complain!("{steps} steps written to {}", path.display());
    }
    // The picture is what was asked for, whatever it shows.
    tell(&outcome);
    ExitCode::SUCCESS
}
