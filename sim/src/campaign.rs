//! Many seeds on the direct driver, on all cores, and what came of them.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::direct::{Case, Options, run_direct};
use crate::fairness::Fairness;
use crate::marks::{Lane, Mark, Marks};
use crate::oracle::{Oracle, Workload};
use crate::run::{Failure, FailureKind};

/// Of so many seeds, one is run twice and both traces compared.
const TWICE_EVERY: u64 = 50;
/// Failures that are kept whole; the others are counted.
const KEPT: usize = 20;

/// What to run.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The seeds, unless the time is over before.
    pub seeds: Range<u64>,
    /// When to stop.
    pub until: Option<Instant>,
    /// How many seeds at once.
    pub jobs: usize,
    /// Clients in each run; else each seed has its own number.
    pub clients: Option<usize>,
    /// Whether the oracle makes the checks whose cost grows with what is under way.
    pub deep: bool,
    /// Whether anything goes wrong with network and hosts.
    pub faults: bool,
    /// Whether the first failure ends it.
    pub stop_at_first: bool,
}

/// What came of a campaign.
#[derive(Debug, Default)]
pub struct Tally {
    /// Seeds run.
    pub seeds: u64,
    /// Seeds run twice.
    pub twice: u64,
    /// Events of all runs.
    pub events: u64,
    /// Virtual time of all runs.
    pub simulated: Duration,
    /// What the runs have been through.
    pub marks: Marks,
    /// How many runs broke a rule, by kind.
    pub failures: BTreeMap<FailureKind, u64>,
    /// The first of them, by seed.
    pub kept: Vec<Failure>,
    /// The random choices of all deep runs.
    pub fairness: Fairness,
}

impl Tally {
    /// Marks that no run has reached, of those that a campaign must reach.
    #[must_use]
    pub fn missing(&self) -> Vec<Mark> {
        self.marks.missing(Lane::Direct)
    }
}

impl Campaign {
    /// Runs it. `progress` is called after every seed, from any thread, with the number of seeds done.
    pub fn run<W: Workload>(&self, progress: impl Fn(u64) + Sync) -> Tally {
        let next = AtomicU64::new(self.seeds.start);
        let stop = AtomicBool::new(false);
        let tally = Mutex::new(Tally::default());
        thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        if seed >= self.seeds.end {
                            return;
                        }
                        self.run_seed::<W>(seed, &tally);
                        progress(lock(&tally).seeds);
                        let failed = || !lock(&tally).failures.is_empty();
                        if self.until.is_some_and(|until| Instant::now() >= until) || self.stop_at_first && failed() {
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let mut tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
        tally.kept.sort_by_key(|failure| failure.seed);
        tally
    }

    fn run_seed<W: Workload>(&self, seed: u64, tally: &Mutex<Tally>) {
        let mut case = Case::draw(seed);
        case.deep = self.deep;
        if !self.faults {
            case = case.without_faults();
        }
        let workload = W::draw(seed, case.hosts, case.safety, self.clients);
        let mut result = run_direct(&case, &workload, Options::default()).result;
        let twice = seed.is_multiple_of(TWICE_EVERY);
        if twice && let Ok(first) = &result {
            let again = run_direct(&case, &workload, Options::default()).result;
            let again = again.map_or_else(|failure| failure.hash, |report| report.hash);
            if again != first.hash {
                result = Err(Failure::nondeterminism(seed, first.hash, again));
            }
        }
        let mut tally = lock(tally);
        tally.seeds += 1;
        tally.twice += u64::from(twice);
        match result {
            Ok(report) => {
                tally.events += report.events;
                tally.simulated += report.zero_at;
                tally.marks.merge(&report.marks);
                report.oracle.add_choices(seed, &mut tally.fairness);
            }
            Err(failure) => {
                *tally.failures.entry(failure.kind).or_default() += 1;
                tally.kept.push(failure);
                tally.kept.sort_by_key(|failure| failure.seed);
                tally.kept.truncate(KEPT);
            }
        }
    }
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}
