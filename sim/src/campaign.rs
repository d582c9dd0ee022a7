//! Many seeds on the direct lane, on all cores, and their results.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::time::Instant;

use crate::direct::{Options, run_direct};
use crate::fairness::Fairness;
use crate::marks::{Lane, Mark, Marks};
use crate::oracle::{Oracle, Workload};
use crate::plan::Plan;
use crate::run::{Failure, FailureKind};

/// Of each group of seeds of this size, one hash is kept and compared with that of another process.
pub const COMPARED_EVERY: u64 = 50;
/// Rules of which a failure is kept; failures of others are only counted.
const RULES: usize = 50;
/// Seeds that are kept of those that break the same rule, beside the first.
const SEEDS: usize = 10;
/// How often it is looked whether a run hangs.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What to run.
#[derive(Clone, Debug)]
pub struct Campaign {
    /// The seeds, unless the time is over before.
    pub seeds: Range<u64>,
    /// What they stand for.
    pub plan: Plan,
    /// When to stop.
    pub until: Option<Instant>,
    /// How many seeds at once.
    pub jobs: usize,
    /// Whether the first failure ends it, or choices that are seen not to be fair.
    pub stop_at_first: bool,
    /// A run that takes longer, in real time, hangs.
    pub hang: Duration,
    /// Ends it once it is set, after the runs that have begun.
    pub stop: Arc<AtomicBool>,
}

/// The results of a campaign.
#[derive(Debug, Default)]
pub struct Tally {
    /// Seeds run.
    pub seeds: u64,
    /// Events of all runs.
    pub events: u64,
    /// Virtual time of all runs.
    pub simulated: Duration,
    /// What the runs have been through.
    pub marks: Marks,
    /// How many runs broke a rule, by kind.
    pub failures: BTreeMap<FailureKind, u64>,
    /// Those of the same rule together.
    groups: BTreeMap<(FailureKind, String), Group>,
    /// The last one that was found of a rule that none had broken before, in a line.
    pub latest: Option<String>,
    /// The random choices of all deep runs.
    pub fairness: Fairness,
    /// The trace's hash of every [`COMPARED_EVERY`]th seed that broke no rule.
    pub hashes: BTreeMap<u64, u64>,
}

/// Failures of one rule.
#[derive(Debug)]
pub struct Group {
    /// How many there are.
    pub count: u64,
    /// That of the first seed.
    pub first: Failure,
    /// The seeds of the others, as far as they are kept: the lowest, in order.
    pub others: Vec<u64>,
}

impl Group {
    fn add(&mut self, failure: Failure) {
        self.count += 1;
        let mut other = failure.seed;
        if other < self.first.seed {
            other = std::mem::replace(&mut self.first, failure).seed;
        }
        let at = self.others.partition_point(|seed| *seed < other);
        self.others.insert(at, other);
        self.others.truncate(SEEDS);
    }
}

impl Tally {
    /// The failures, those of one rule together, by their first seeds.
    #[must_use]
    pub fn groups(&self) -> Vec<&Group> {
        let mut groups: Vec<_> = self.groups.values().collect();
        groups.sort_by_key(|group| group.first.seed);
        groups
    }

    /// Marks that no run has reached, of those that a campaign of the system of this name must reach.
    #[must_use]
    pub fn missing(&self, system: &str) -> Vec<Mark> {
        self.marks.missing(Lane::Direct, system)
    }

    /// Counts a rule that was broken.
    pub fn fail(&mut self, failure: Failure) {
        *self.failures.entry(failure.kind).or_default() += 1;
        let full = self.groups.len() >= RULES;
        match self.groups.entry(failure.shape()) {
            Entry::Occupied(mut group) => group.get_mut().add(failure),
            Entry::Vacant(_) if full => {}
            Entry::Vacant(place) => {
                self.latest = Some(format!("seed {}: {}", failure.seed, failure.rule));
                place.insert(Group {
                    count: 1,
                    first: failure,
                    others: Vec::new(),
                });
            }
        }
    }
}

/// The seed that a thread is at, and since when.
type At = Mutex<Option<(u64, Instant)>>;

impl Campaign {
    /// Runs it. `progress` receives the results so far. `hung` receives the results of the campaign if one of its runs
    /// hangs; it must end the process, as nothing else ends that run.
    pub fn run<W: Workload>(&self, mut progress: impl FnMut(&Tally), hung: impl FnOnce(Tally)) -> Tally {
        let next = AtomicU64::new(self.seeds.start);
        let stop = &*self.stop;
        let tally = Mutex::new(Tally::default());
        let at: Vec<At> = (0..self.jobs.max(1)).map(|_| At::default()).collect();
        let (done, is_done) = mpsc::channel();
        thread::scope(|scope| {
            for at in &at {
                let done = done.clone();
                let (next, tally) = (&next, &tally);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let more = |seed| (seed < self.seeds.end).then(|| seed + 1);
                        let Ok(seed) = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) else {
                            return;
                        };
                        *lock(at) = Some((seed, Instant::now()));
                        self.run_seed::<W>(seed, tally);
                        *lock(at) = None;
                        // The receiver is gone once a run hangs.
                        let _ = done.send(());
                        if self.is_over(&lock(tally)) {
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                });
            }
            drop(done);
            loop {
                match is_done.recv_timeout(LOOK_EVERY) {
                    Ok(()) => progress(&lock(&tally)),
                    Err(RecvTimeoutError::Disconnected) => return,
                    Err(RecvTimeoutError::Timeout) => {}
                }
                if let Some(seed) = self.hanging(&at) {
                    let mut tally = std::mem::take(&mut *lock(&tally));
                    tally.fail(Failure::hung(seed, self.hang));
                    return hung(tally);
                }
            }
        });
        tally.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_over(&self, tally: &Tally) -> bool {
        // Looked at when there is twice as much of it, so that many looks do not make a false alarm likely.
        let unfair = || tally.seeds.is_power_of_two() && tally.fairness.check().is_err();
        self.until.is_some_and(|until| Instant::now() >= until)
            || self.stop_at_first && (!tally.failures.is_empty() || unfair())
    }

    fn hanging(&self, at: &[At]) -> Option<u64> {
        let running = at.iter().filter_map(|at| *lock(at));
        let mut hanging = running.filter(|(_, since)| since.elapsed() > self.hang);
        hanging.next().map(|(seed, _)| seed)
    }

    fn run_seed<W: Workload>(&self, seed: u64, tally: &Mutex<Tally>) {
        let (case, workload) = self.plan.draw::<W>(seed);
        let result = run_direct(&case, &workload, Options::default()).result;
        let mut tally = lock(tally);
        tally.seeds += 1;
        match result {
            Ok(report) => {
                tally.events += report.events;
                tally.simulated += report.zero_at;
                tally.marks.merge(&report.marks);
                report.oracle.add_choices(seed, &mut tally.fairness);
                if seed.is_multiple_of(COMPARED_EVERY) {
                    tally.hashes.insert(seed, report.hash);
                }
            }
            Err(failure) => tally.fail(failure),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
