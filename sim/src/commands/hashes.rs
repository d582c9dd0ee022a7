//! The hashes of traces, and whether another process finds the same.

use std::collections::BTreeMap;
use std::env;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};

use sim::Failure;
use sim::campaign::COMPARED_EVERY;
use sim::direct::{Options, run_direct};
use sim::oracle::Workload;

use super::{Runs, cannot_say, seeds, with_system, wrong_use};

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Run this number of seeds
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    seeds: u64,
    /// Start at this seed
    #[arg(long, value_name = "SEED", default_value_t = 0)]
    first: u64,
    /// Add this to each seed to get the next
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    step: u64,
    #[command(flatten)]
    runs: Runs,
}

/// Runs the command: one line per seed with the hash of its trace, up to its end or the first broken rule.
pub(crate) fn run(args: &Args) -> ExitCode {
    with_system!(args.runs.system(), W => print_all::<W>(args))
}

fn print_all<W: Workload>(args: &Args) -> ExitCode {
    let all = match seeds(args.first, args.seeds.saturating_mul(args.step)) {
        Ok(all) => all,
        Err(error) => return wrong_use(&error),
    };
    let mut out = io::stdout().lock();
    for seed in (0..args.seeds).map(|n| all.start + n * args.step) {
        let (case, workload) = args.runs.plan().draw::<W>(seed);
        let result = run_direct(&case, &workload, Options::default()).result;
        let hash = result.map_or_else(|failure| failure.hash, |report| report.hash);
        if let Err(error) = writeln!(out, "{seed} {hash:016x}") {
            cannot_say(&error);
        }
    }
    ExitCode::SUCCESS
}

/// Runs every seed of `hashes` again in other processes, `jobs` at once. Returns a failure for each whose hash differs.
pub(super) fn compare(runs: Runs, hashes: &BTreeMap<u64, u64>, jobs: u64) -> io::Result<Vec<Failure>> {
    let (Some((&first, _)), Some((&last, _))) = (hashes.first_key_value(), hashes.last_key_value()) else {
        return Ok(Vec::new());
    };
    let step = COMPARED_EVERY * jobs;
    let mut children = Vec::new();
    for first in (0..jobs).map(|job| first + job * COMPARED_EVERY) {
        if first <= last {
            let seeds = (last - first) / step + 1;
            let which = format!("hashes --first {first} --step {step} --seeds {seeds}{}", runs.flags());
            children.push(child(&which, Stdio::piped(), Stdio::inherit())?);
        }
    }
    let mut there: BTreeMap<u64, u64> = BTreeMap::new();
    for child in children {
        let output = child.wait_with_output()?;
        if !output.status.success() {
            return Err(io::Error::other(format!("it ended with {}", output.status)));
        }
        let printed = String::from_utf8_lossy(&output.stdout);
        let pairs = printed.lines().filter_map(|line| line.split_once(' '));
        let pairs = pairs.filter_map(|(seed, hash)| Some((seed.parse().ok()?, u64::from_str_radix(hash, 16).ok()?)));
        there.extend(pairs);
    }
    let differ = hashes.iter().filter(|(seed, hash)| there.get(seed) != Some(hash));
    differ
        .map(|(&seed, &hash)| Ok(Failure::nondeterminism(seed, hash, &where_they_part(runs, seed)?)))
        .collect()
}

/// The first event at which two processes differ that run `seed`.
fn where_they_part(runs: Runs, seed: u64) -> io::Result<String> {
    let which = format!("replay {seed} --trace{}", runs.flags());
    let mut traces = Vec::new();
    for child in [
        child(&which, Stdio::null(), Stdio::piped())?,
        child(&which, Stdio::null(), Stdio::piped())?,
    ] {
        traces.push(String::from_utf8_lossy(&child.wait_with_output()?.stderr).into_owned());
    }
    let (one, other) = (&traces[0], &traces[1]);
    if one == other {
        return Ok("in another process; two further processes agreed with each other".to_owned());
    }
    let same = one
        .lines()
        .zip(other.lines())
        .take_while(|(one, other)| one == other)
        .count();
    let [one, other] = [one, other].map(|trace| trace.lines().nth(same).unwrap_or("the end"));
    Ok(format!(
        "in two processes, event {} is\n  {one}\nin one; in the other it is\n  {other}",
        same + 1
    ))
}

/// This program with other arguments.
fn child(arguments: &str, stdout: Stdio, stderr: Stdio) -> io::Result<Child> {
    // This very program, even if another was put in its place since.
    let this = Path::new("/proc/self/exe");
    let this = if this.exists() {
        this.into()
    } else {
        env::current_exe()?
    };
    Command::new(this)
        .args(arguments.split(' '))
        .stdin(Stdio::null())
        .stdout(stdout)
        .stderr(stderr)
        .spawn()
}
