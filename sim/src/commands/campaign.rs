//! Many seeds.

use std::process::{self, ExitCode};
use std::thread;
use std::time::Duration;

use serde_json::json;
use sim::FailureKind;
use sim::campaign::{Campaign, Tally};
use sim::marks::{Lane, Mark};
use sim::oracle::Workload;
use tokio::time::Instant;

use super::{Runs, exit_code, hashes, progress_bar, with_system, wrong_use};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
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
    #[command(flatten)]
    runs: Runs,
    /// Stop at the first failure
    #[arg(long)]
    stop_at_first: bool,
    /// A run that takes longer, in real time, has failed, and ends the campaign
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    hang: u64,
    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    with_system!(args.runs.system, W => campaign::<W>(args))
}

fn campaign<W: Workload>(args: &Args) -> ExitCode {
    let start = Instant::now();
    let bar = progress_bar(args.seeds, "seeds");
    let jobs = args
        .jobs
        .unwrap_or_else(|| thread::available_parallelism().map_or(1, usize::from));
    let campaign = Campaign {
        seeds: args.first..args.first.saturating_add(args.seeds),
        plan: args.runs.plan(),
        until: args
            .minutes
            .map(|minutes| start + Duration::from_secs_f64(minutes * 60.0)),
        jobs,
        stop_at_first: args.stop_at_first,
        hang: Duration::from_secs(args.hang),
    };
    let tell = |tally: Tally, again| {
        bar.finish_and_clear();
        let result = Result {
            system: W::NAME,
            missing: if args.runs.no_faults {
                Vec::new()
            } else {
                tally.missing(W::NAME)
            },
            unfair: tally.fairness.check().err(),
            elapsed: start.elapsed().as_secs_f64(),
            runs: args.runs,
            tally,
            again,
            jobs,
        };
        if args.json {
            result.print_json();
        } else {
            result.print_text();
        }
        result.exit_code()
    };
    let mut tally = campaign.run::<W>(
        |done| bar.set_position(done),
        |tally| process::exit(tell(tally, 0).into()),
    );
    let again = tally.hashes.len();
    match hashes::compare(args.runs, &tally.hashes, jobs as u64) {
        Ok(differ) => differ.into_iter().for_each(|failure| tally.fail(failure)),
        Err(error) => return wrong_use(&format!("cannot run seeds in another process: {error}")),
    }
    ExitCode::from(tell(tally, again))
}

/// What came of a campaign, and how to say it.
struct Result {
    system: &'static str,
    tally: Tally,
    missing: Vec<Mark>,
    unfair: Option<String>,
    /// Seeds that were run again in another process.
    again: usize,
    elapsed: f64,
    runs: Runs,
    jobs: usize,
}

impl Result {
    fn passed(&self) -> bool {
        self.tally.failures.is_empty() && self.missing.is_empty() && self.unfair.is_none()
    }

    fn exit_code(&self) -> u8 {
        match self.tally.failures.keys().next() {
            Some(&kind) => exit_code(kind),
            None if self.unfair.is_some() => exit_code(FailureKind::Correctness),
            None if !self.missing.is_empty() => 6,
            None => 0,
        }
    }

    fn print_text(&self) {
        let (system, tally) = (self.system, &self.tally);
        println!("what the runs have been through, and how often:");
        let mut marks: Vec<(String, u64)> = reachable(self.system)
            .map(|mark| (format!("{mark:?}"), tally.marks.count(mark)))
            .collect();
        marks.sort();
        for pair in marks.chunks(2) {
            let columns = pair.iter().map(|(mark, count)| format!("{mark:<20} {count:>12}    "));
            println!("  {}", columns.collect::<String>().trim_end());
        }
        for failure in &tally.kept {
            let (seed, flags) = (failure.seed, self.runs.flags());
            println!("\n{failure}\n\nThis line makes it happen again:");
            println!("\ncargo run --release -p sim -- replay {seed}{flags}");
        }
        println!(
            "\n{system}: {} seeds, {} events, {:.0} s of virtual time in {:.1} s on {} jobs: {:.0} seeds a minute; {} run \
             again in other processes",
            tally.seeds,
            tally.events,
            tally.simulated.as_secs_f64(),
            self.elapsed,
            self.jobs,
            tally.seeds as f64 / self.elapsed * 60.0,
            self.again,
        );
        for (kind, count) in &tally.failures {
            println!("{count} failures: {kind:?}");
        }
        if !self.missing.is_empty() {
            println!("never happened: {:?}", self.missing);
        }
        if let Some(unfair) = &self.unfair {
            println!("{unfair}");
        }
        println!("{}", if self.passed() { "PASSED" } else { "FAILED" });
    }

    fn print_json(&self) {
        let tally = &self.tally;
        let marks: serde_json::Map<_, _> = reachable(self.system)
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
            "passed": self.passed(),
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
        println!("{report}");
    }
}

fn reachable(system: &str) -> impl Iterator<Item = Mark> {
    Mark::ALL
        .iter()
        .copied()
        .filter(move |mark| mark.is_in(Lane::Direct, system))
}
