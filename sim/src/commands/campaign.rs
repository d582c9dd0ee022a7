//! `campaign`: many seeds.

use std::io::{self, Write};
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use indicatif::HumanCount;
use serde_json::json;
use sim::FailureKind;
use sim::campaign::{Campaign, Group, Tally};
use sim::marks::{Lane, Mark};
use sim::oracle::Workload;
use tokio::signal;
use tokio::time::Instant;

use super::{Runs, counter, exit_code, hashes, progress_bar, say, seeds, with_system, wrong_use};

/// Seeds of a campaign by default: enough to reach every mark.
const SEEDS: u64 = 10_000;
/// The exit code of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run this number of seeds [default: 10,000, or as many as --minutes allows]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: Option<u64>,
    /// Start at this seed
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    first: u64,
    /// Stop after this time, even if seeds are left
    #[arg(long, value_name = "MINUTES", value_parser = minutes)]
    minutes: Option<Duration>,
    /// Run this number of seeds at once [default: one per core]
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    #[command(flatten)]
    runs: Runs,
    /// Stop at the first failure
    #[arg(long)]
    stop_at_first: bool,
    /// Fail, and end the campaign, when one run takes longer than this in real time
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    hang: u64,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Reads a number of minutes.
fn minutes(text: &str) -> Result<Duration, String> {
    /// A year.
    const MOST: f64 = 525_600.0;
    let minutes: f64 = text
        .parse()
        .map_err(|_| "expected a number, such as 5 or 0.5".to_owned())?;
    if minutes > 0.0 && minutes <= MOST {
        Ok(Duration::from_secs_f64(minutes * 60.0))
    } else {
        Err(format!("expected more than 0, and {MOST} at most"))
    }
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    with_system!(args.runs.system(), W => campaign::<W>(args))
}

fn campaign<W: Workload>(args: &Args) -> ExitCode {
    let start = Instant::now();
    let count = match (args.seeds, args.minutes) {
        (Some(count), _) => count,
        (None, None) => SEEDS,
        (None, Some(_)) => u64::MAX - args.first,
    };
    let all = match seeds(args.first, count) {
        Ok(all) => all,
        Err(error) => return wrong_use(&error),
    };
    let bar = match (args.seeds, args.minutes) {
        (None, Some(_)) => counter("seeds"),
        _ => progress_bar(count, "seeds"),
    };
    let jobs = args
        .jobs
        .map_or_else(|| thread::available_parallelism().map_or(1, usize::from), usize::from);
    let stop = Arc::new(AtomicBool::new(false));
    let interrupted = stop_at_ctrl_c(&stop);
    let campaign = Campaign {
        seeds: all,
        plan: args.runs.plan(),
        until: args.minutes.map(|minutes| start + minutes),
        jobs,
        stop_at_first: args.stop_at_first,
        hang: Duration::from_secs(args.hang),
        stop,
    };
    let tell = |tally: Tally, again, hung: bool| {
        bar.finish_and_clear();
        let report = Report {
            system: W::NAME,
            missing: if args.must_reach_all(&tally) && !hung && !interrupted.load(Ordering::Relaxed) {
                tally.missing(W::NAME)
            } else {
                Vec::new()
            },
            interrupted: interrupted.load(Ordering::Relaxed),
            unfair: tally.fairness.check().err(),
            elapsed: start.elapsed().as_secs_f64(),
            runs: args.runs,
            first: args.first,
            tally,
            again,
            jobs,
        };
        if args.json {
            report.print_json();
        } else {
            report.print_text();
        }
        report.exit_code()
    };
    let mut known = 0;
    let progress = |tally: &Tally| {
        bar.set_position(tally.seeds);
        let failed: u64 = tally.failures.values().sum();
        if failed > 0 {
            bar.set_message(format!(", {} failed", HumanCount(failed)));
        }
        // Of each rule the first one; all are told at the end.
        let rules = tally.groups().len();
        if rules > std::mem::replace(&mut known, rules) {
            let found = tally.latest.as_deref().unwrap_or_default();
            let _ = bar.suspend(|| writeln!(io::stderr(), "{found}"));
        }
    };
    let mut tally = campaign.run::<W>(progress, |tally| process::exit(tell(tally, 0, true).into()));
    let mut again = tally.hashes.len();
    if interrupted.load(Ordering::Relaxed) {
        again = 0;
    } else {
        match hashes::compare(args.runs, &tally.hashes, jobs as u64) {
            Ok(differ) => differ.into_iter().for_each(|failure| tally.fail(failure)),
            Err(error) => {
                tell(tally, 0, false);
                return wrong_use(&format!("cannot run seeds in another process: {error}"));
            }
        }
    }
    ExitCode::from(tell(tally, again, false))
}

impl Args {
    /// Whether its runs were such that every mark should have been reached.
    fn must_reach_all(&self, tally: &Tally) -> bool {
        let ended_early = self.stop_at_first && !tally.failures.is_empty();
        self.runs.clients.is_none() && !self.runs.no_faults && !ended_early
    }
}

/// Lets Ctrl-C set `stop`; the returned flag tells whether it did. The second Ctrl-C ends the program.
fn stop_at_ctrl_c(stop: &Arc<AtomicBool>) -> Arc<AtomicBool> {
    let interrupted = Arc::new(AtomicBool::new(false));
    let (stop, told) = (Arc::clone(stop), Arc::clone(&interrupted));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_io()
        .build();
    if let Ok(runtime) = runtime {
        runtime.spawn(async move {
            if signal::ctrl_c().await.is_ok() {
                told.store(true, Ordering::Relaxed);
                stop.store(true, Ordering::Relaxed);
            }
            if signal::ctrl_c().await.is_ok() {
                process::exit(INTERRUPTED.into());
            }
        });
        // It listens for as long as the program runs.
        std::mem::forget(runtime);
    }
    interrupted
}

/// The result of a campaign, and how it is printed.
struct Report {
    system: &'static str,
    tally: Tally,
    missing: Vec<Mark>,
    interrupted: bool,
    unfair: Option<String>,
    /// Seeds that were run again in another process.
    again: usize,
    elapsed: f64,
    runs: Runs,
    first: u64,
    jobs: usize,
}

impl Report {
    fn passed(&self) -> bool {
        self.tally.failures.is_empty() && self.missing.is_empty() && self.unfair.is_none()
    }

    fn exit_code(&self) -> u8 {
        match self.tally.failures.keys().next() {
            Some(&kind) => exit_code(kind),
            None if self.unfair.is_some() => exit_code(FailureKind::Correctness),
            None if !self.missing.is_empty() => 6,
            None if self.interrupted => INTERRUPTED,
            None => 0,
        }
    }

    fn print_text(&self) {
        let (system, tally) = (self.system, &self.tally);
        say!("faults, and how often they happened:");
        self.print_marks(Mark::is_fault);
        say!("\nmarks, and how often they were reached:");
        self.print_marks(|mark| !mark.is_fault());
        let groups = tally.groups();
        for group in &groups {
            self.print_group(group);
        }
        say!(
            "\n{system}: {} seeds, {} events, {} s of virtual time in {:.1} s on {} jobs: {} seeds per minute; {} run again \
             in other processes",
            HumanCount(tally.seeds),
            HumanCount(tally.events),
            HumanCount(tally.simulated.as_secs()),
            self.elapsed,
            self.jobs,
            HumanCount((tally.seeds as f64 / self.elapsed * 60.0) as u64),
            self.again,
        );
        let failures: u64 = tally.failures.values().sum();
        let shown: u64 = groups.iter().map(|group| group.count).sum();
        if failures > shown {
            say!("{} failures of other rules are not listed", failures - shown);
        }
        for (kind, count) in &tally.failures {
            say!("{kind}: {count} runs");
        }
        if !self.missing.is_empty() {
            let missing: Vec<String> = self.missing.iter().map(|mark| format!("{mark:?}")).collect();
            say!("never happened: {}", missing.join(", "));
            if tally.seeds < SEEDS {
                say!("{} seeds may be too few: {SEEDS} reach every mark", tally.seeds);
            }
        }
        if self.interrupted {
            say!("stopped by Ctrl-C");
        }
        if let Some(unfair) = &self.unfair {
            say!("{unfair}");
        }
        let verdict = match (self.passed(), self.interrupted) {
            (false, _) => "FAILED",
            (true, true) => "STOPPED",
            (true, false) => "PASSED",
        };
        say!("{verdict}");
    }

    /// The failures of one rule: the first of them whole.
    fn print_group(&self, group: &Group) {
        let Group { count, first, others } = group;
        let (seed, flags) = (first.seed, self.runs.flags());
        if *count > 1 {
            say!("\n{} runs broke the same rule. The first one:", HumanCount(*count));
        }
        say!("\n{first}\n\nReplay it with:");
        say!("\ncargo run --release -p sim -- replay {seed}{flags}");
        if !others.is_empty() {
            let seeds: Vec<String> = others.iter().map(u64::to_string).collect();
            let more = count - 1 - others.len() as u64;
            let more = if more > 0 {
                format!(" and {} more", HumanCount(more))
            } else {
                String::new()
            };
            say!("\nThe others: seeds {}{more}", seeds.join(", "));
        }
    }

    fn print_marks(&self, wanted: impl Fn(Mark) -> bool) {
        let mut marks: Vec<(String, u64)> = reachable(self.system)
            .filter(|mark| wanted(*mark))
            .map(|mark| (format!("{mark:?}"), self.tally.marks.count(mark)))
            .collect();
        marks.sort();
        for pair in marks.chunks(2) {
            let columns = pair.iter().map(|(mark, count)| format!("{mark:<20} {count:>12}    "));
            say!("  {}", columns.collect::<String>().trim_end());
        }
    }

    fn print_json(&self) {
        let tally = &self.tally;
        let marks: serde_json::Map<_, _> = reachable(self.system)
            .map(|mark| (format!("{mark:?}"), tally.marks.count(mark).into()))
            .collect();
        let failures = tally.groups().into_iter().map(|group| {
            let failure = &group.first;
            json!({
                "count": group.count,
                "other_seeds": group.others,
                "seed": failure.seed,
                "kind": format!("{:?}", failure.kind),
                "rule": failure.rule,
                "at_s": failure.at.as_secs_f64(),
                "hash": format!("{:016x}", failure.hash),
            })
        });
        let report = json!({
            "passed": self.passed() && !self.interrupted,
            "system": self.system,
            "first": self.first,
            "flags": self.runs.flags().trim_start(),
            "interrupted": self.interrupted,
            "unfair": self.unfair,
            "seeds": tally.seeds,
            "run_again": self.again,
            "events": tally.events,
            "virtual_s": tally.simulated.as_secs_f64(),
            "elapsed_s": self.elapsed,
            "jobs": self.jobs,
            "marks": marks,
            "never_happened": self.missing.iter().map(|mark| format!("{mark:?}")).collect::<Vec<_>>(),
            "failed": tally.failures.values().sum::<u64>(),
            "failures": failures.collect::<Vec<_>>(),
        });
        say!("{report}");
    }
}

fn reachable(system: &str) -> impl Iterator<Item = Mark> {
    Mark::ALL
        .iter()
        .copied()
        .filter(move |mark| mark.is_in(Lane::Direct, system))
}
