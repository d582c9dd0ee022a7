//! The simulator's command line.

mod mutants;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use sim::FailureKind;
use sim::campaign::{Campaign, Tally};
use sim::direct::{Case, Options, Outcome, run_direct};
use sim::draw::Drawing;
use sim::marks::{Lane, Mark};
use sim::oracle::Workload;
use sim::oracle::echo::Echo;
use sim::record::Record;
use sim::shrink::{Failing, shrink};
use tokio::time::Instant;

/// Runs the relay's machines under seeded faults, and checks every step against a model of the protocol.
#[derive(Debug, Parser)]
#[command(name = "sim", version, about, max_term_width = 100, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER_HELP: &str = "\
Examples:
  cargo run --release -p sim -- campaign --seeds 10000
  cargo run --release -p sim -- replay 17 --trace
  cargo run --release -p sim -- shrink 17 -o failing.json
  cargo run --release -p sim -- replay failing.json
  cargo run --release -p sim -- draw failing.json -o failing.html

Exit codes: 0 all is well; 1 a rule was broken; 2 wrong use; 3 something did not happen in time; 4 a panic; \
5 one seed did two different things; 6 the campaign missed a mark that it must reach.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run many seeds, on all cores
    Campaign(CampaignArgs),
    /// Run one again: a seed, or a file that shrink wrote
    Replay(ReplayArgs),
    /// Make a failing seed's run small, and write it to a file
    Shrink(ShrinkArgs),
    /// Plant bugs in a copy of the code, one at a time, and see whether the simulator catches them
    Mutants(mutants::Args),
    /// Draw a run as a page for the browser: a seed, or a file that shrink wrote
    Draw(DrawArgs),
}

#[derive(Debug, clap::Args)]
struct CampaignArgs {
    /// How many seeds
    #[arg(long, value_name = "COUNT", default_value_t = 10_000)]
    seeds: u64,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    first: u64,
    /// Stop after so many minutes, if the seeds are not done before
    #[arg(long, value_name = "MINUTES")]
    minutes: Option<f64>,
    /// How many seeds at once [default: one a core]
    #[arg(long, value_name = "COUNT")]
    jobs: Option<usize>,
    /// Clients in each run [default: the seed says, 1 to 80]
    #[arg(long, value_name = "COUNT")]
    clients: Option<usize>,
    /// Leave out the checks whose cost grows with what is under way
    #[arg(long)]
    shallow: bool,
    /// Let nothing go wrong with network and hosts
    #[arg(long)]
    no_faults: bool,
    /// Stop at the first failure
    #[arg(long)]
    stop_at_first: bool,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ReplayArgs {
    /// A seed, or a file
    run: String,
    /// Print every event to stderr
    #[arg(long)]
    trace: bool,
}

#[derive(Debug, clap::Args)]
struct ShrinkArgs {
    /// The seed of a failing run
    seed: u64,
    /// Where to write the small run
    #[arg(short, long, value_name = "PATH", default_value = "failing.json")]
    output: PathBuf,
    /// Runs to spend
    #[arg(long, value_name = "COUNT", default_value_t = 5_000)]
    budget: u64,
}

#[derive(Debug, clap::Args)]
struct DrawArgs {
    /// A seed, or a file
    run: String,
    /// Where to write the page
    #[arg(short, long, value_name = "PATH", default_value = "run.html")]
    output: PathBuf,
    /// Where to write a log for ShiViz too
    #[arg(long, value_name = "PATH")]
    shiviz: Option<PathBuf>,
}

fn main() -> ExitCode {
    // Panics inside a run are failures that are reported with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    match Cli::parse().command {
        Command::Campaign(args) => campaign::<Echo>(&args),
        Command::Replay(args) => replay::<Echo>(&args),
        Command::Shrink(args) => shrink_seed::<Echo>(&args),
        Command::Mutants(args) => mutants::mutants(&args),
        Command::Draw(args) => draw::<Echo>(&args),
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

fn campaign<W: Workload>(args: &CampaignArgs) -> ExitCode {
    let start = Instant::now();
    let bar = progress_bar(args.seeds, "seeds");
    let jobs = args
        .jobs
        .unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let campaign = Campaign {
        seeds: args.first..args.first.saturating_add(args.seeds),
        until: args
            .minutes
            .map(|minutes| start + Duration::from_secs_f64(minutes * 60.0)),
        jobs,
        clients: args.clients,
        deep: !args.shallow,
        faults: !args.no_faults,
        stop_at_first: args.stop_at_first,
    };
    let tally = campaign.run::<W>(|done| bar.set_position(done));
    bar.finish_and_clear();
    let elapsed = start.elapsed().as_secs_f64();
    let missing = if args.no_faults { Vec::new() } else { tally.missing() };
    let unfair = tally.fairness.check().err();
    if args.json {
        print_json(&tally, elapsed, jobs, &missing, unfair.as_deref());
    } else {
        print_text::<W>(&tally, elapsed, jobs, &missing, unfair.as_deref());
    }
    match tally.failures.keys().next() {
        Some(&kind) => ExitCode::from(exit_code(kind)),
        None if unfair.is_some() => ExitCode::from(exit_code(FailureKind::Correctness)),
        None if !missing.is_empty() => ExitCode::from(6),
        None => ExitCode::SUCCESS,
    }
}

fn print_text<W: Workload>(tally: &Tally, elapsed: f64, jobs: usize, missing: &[Mark], unfair: Option<&str>) {
    println!("what the runs have been through, and how often:");
    let mut marks: Vec<(String, u64)> = reachable()
        .map(|mark| (format!("{mark:?}"), tally.marks.count(mark)))
        .collect();
    marks.sort();
    for pair in marks.chunks(2) {
        let columns = pair.iter().map(|(mark, count)| format!("{mark:<20} {count:>12}    "));
        println!("  {}", columns.collect::<String>().trim_end());
    }
    for failure in &tally.kept {
        println!(
            "\n{failure}\n\nThis line makes it happen again:\n\ncargo run --release -p sim -- replay {}",
            failure.seed
        );
    }
    let failed: u64 = tally.failures.values().sum();
    println!(
        "\n{}: {} seeds, {} events, {:.0} s of virtual time in {elapsed:.1} s on {jobs} jobs: {:.0} seeds a minute; {} run twice",
        W::NAME,
        tally.seeds,
        tally.events,
        tally.simulated.as_secs_f64(),
        tally.seeds as f64 / elapsed * 60.0,
        tally.twice,
    );
    for (kind, count) in &tally.failures {
        println!("{count} failures: {kind:?}");
    }
    if !missing.is_empty() {
        println!("never happened: {missing:?}");
    }
    if let Some(unfair) = unfair {
        println!("{unfair}");
    }
    let passed = failed == 0 && missing.is_empty() && unfair.is_none();
    println!("{}", if passed { "PASSED" } else { "FAILED" });
}

fn print_json(tally: &Tally, elapsed: f64, jobs: usize, missing: &[Mark], unfair: Option<&str>) {
    let marks: serde_json::Map<_, _> = reachable()
        .map(|mark| (format!("{mark:?}"), tally.marks.count(mark).into()))
        .collect();
    let failures = tally.kept.iter().map(|failure| {
        json!({
            "seed": failure.seed,
            "kind": format!("{:?}", failure.kind),
            "rule": failure.rule,
            "at_s": failure.at.as_secs_f64(),
            "hash": format!("{:016x}", failure.hash),
        })
    });
    let report = json!({
        "passed": tally.failures.is_empty() && missing.is_empty() && unfair.is_none(),
        "unfair": unfair,
        "seeds": tally.seeds,
        "run_twice": tally.twice,
        "events": tally.events,
        "virtual_s": tally.simulated.as_secs_f64(),
        "elapsed_s": elapsed,
        "jobs": jobs,
        "marks": marks,
        "never_happened": missing.iter().map(|mark| format!("{mark:?}")).collect::<Vec<_>>(),
        "failed": tally.failures.values().sum::<u64>(),
        "failures": failures.collect::<Vec<_>>(),
    });
    println!("{report}");
}

fn reachable() -> impl Iterator<Item = Mark> {
    Mark::ALL.iter().copied().filter(|mark| mark.is_in(Lane::Direct))
}

fn replay<W: Workload>(args: &ReplayArgs) -> ExitCode {
    if args.trace {
        sim::trace::print_all();
    }
    let outcome = match args.run.parse() {
        Ok(seed) => {
            let (case, workload) = drawn::<W>(seed);
            run_direct(&case, &workload, Options::default())
        }
        Err(_) => match Record::read(Path::new(&args.run)).and_then(|record| record.replay::<W>()) {
            Ok(outcome) => outcome,
            Err(error) => return wrong_use(&format!("expected a seed, or a file that shrink wrote: {error}")),
        },
    };
    tell(&outcome)
}

fn drawn<W: Workload>(seed: u64) -> (Case, W) {
    let case = Case::draw(seed);
    let workload = W::draw(seed, case.hosts, case.safety, None);
    (case, workload)
}

fn tell<O>(outcome: &Outcome<O>) -> ExitCode {
    match &outcome.result {
        Ok(report) => {
            println!(
                "PASSED: {} events, at zero after {:?} of virtual time, trace {:016x}",
                report.events, report.zero_at, report.hash
            );
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}\n\nFAILED");
            ExitCode::from(exit_code(failure.kind))
        }
    }
}

fn shrink_seed<W: Workload>(args: &ShrinkArgs) -> ExitCode {
    let (case, workload) = drawn::<W>(args.seed);
    let failure = match run_direct(&case, &workload, Options::default()).result {
        Err(failure) => failure,
        Ok(_) => {
            return wrong_use(&format!(
                "seed {} does not fail, so there is nothing to shrink",
                args.seed
            ));
        }
    };
    eprintln!(
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
    let bar = progress_bar(args.budget, "runs");
    let small = shrink(failing, args.budget, |runs| bar.set_position(runs));
    bar.finish_and_clear();
    let (record, outcome) = Record::of(&small.case, &small.workload);
    if let Err(error) = record.write(&args.output) {
        return wrong_use(&error);
    }
    eprintln!(
        "after {} runs: {} messages, {} faults\nwritten to {}; `replay {}` runs it",
        small.runs,
        small.workload.len(),
        small.case.faults.len(),
        args.output.display(),
        args.output.display()
    );
    tell(&outcome)
}

fn draw<W: Workload>(args: &DrawArgs) -> ExitCode {
    let drawn = match args.run.parse() {
        Ok(seed) => {
            let (case, workload) = drawn::<W>(seed);
            Ok(Drawing::of(
                &format!("seed {seed}"),
                &case,
                &workload,
                Options::default(),
            ))
        }
        Err(_) => Record::read(Path::new(&args.run)).and_then(|record| {
            let (workload, options) = record.parts::<W>()?;
            Ok(Drawing::of(&args.run, &record.case, &workload, options))
        }),
    };
    let (drawing, outcome) = match drawn {
        Ok(drawn) => drawn,
        Err(error) => return wrong_use(&format!("expected a seed, or a file that shrink wrote: {error}")),
    };
    let page = (&args.output, drawing.page());
    let log = args.shiviz.as_ref().map(|path| (path, drawing.shiviz()));
    for (path, text) in [Some(page), log].into_iter().flatten() {
        if let Err(error) = fs::write(path, text) {
            return wrong_use(&format!("{}: {error}", path.display()));
        }
        eprintln!("{} steps written to {}", drawing.steps(), path.display());
    }
    // The picture is what was asked for, whatever it shows.
    tell(&outcome);
    ExitCode::SUCCESS
}

fn progress_bar(len: u64, what: &str) -> ProgressBar {
    let look = format!("{{elapsed_precise}} [{{wide_bar}}] {{human_pos}} of {{human_len}} {what}, {{per_sec}}");
    let style = ProgressStyle::with_template(&look).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(len).with_style(style.progress_chars("=> "))
}
