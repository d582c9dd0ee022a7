//! The direct lane, and what is built on it.

use std::path::PathBuf;
use std::time::Duration;

use echosphere_core::random::Delay;
use sim::campaign::Campaign;
use sim::direct::{Case, Options, run_direct};
use sim::marks::{Lane, Mark};
use sim::oracle::Workload;
use sim::oracle::echo::{Echo, Planned};
use sim::plan::Plan;
use sim::record::Record;
use sim::seeds::seeds;
use sim::shrink::{Failing, shrink};
use sim::{Failure, FailureKind};

/// Seeds of one run of the tests.
const SEEDS: u64 = 200;

fn drawn(seed: u64) -> (Case, Echo) {
    Plan::default().draw(seed)
}

#[test]
fn echo_on_modelled_streams() {
    for seed in seeds(SEEDS) {
        let (case, echo) = drawn(seed);
        if let Err(failure) = run_direct(&case, &echo, Options::default()).result {
            panic!("{}", failure.in_test("echo_on_modelled_streams"));
        }
    }
}

#[test]
fn a_campaign_counts_what_its_runs_have_been_through() {
    let campaign = Campaign {
        seeds: 0..60,
        plan: Plan::default(),
        until: None,
        jobs: 2,
        stop_at_first: false,
        hang: Duration::from_secs(60),
        stop: std::sync::Arc::default(),
    };
    let tally = campaign.run::<Echo>(|_| {}, |tally| panic!("{:?}", tally.groups()));
    assert_eq!((tally.seeds, tally.failures.len()), (60, 0), "{:?}", tally.groups());
    assert!(!tally.hashes.is_empty(), "no hash to compare with another process");
    assert!(tally.marks.count(Mark::Reforward) > 0);
    assert_eq!(tally.missing(Echo::NAME), tally.marks.missing(Lane::Direct, Echo::NAME));
}

#[test]
fn without_faults_nobody_tries_twice() {
    for seed in 0..20 {
        let case = Case::calm(seed, 3);
        let echo = Echo::draw(seed, case.hosts, Duration::from_secs(2), Some(50));
        let outcome = run_direct(&case, &echo, Options::default());
        let report = outcome.result.unwrap_or_else(|failure| panic!("{failure}"));
        assert_eq!(report.oracle.acknowledged(), 50, "seed {seed}");
        assert_eq!(report.oracle.natural_closes(), 50, "seed {seed}");
    }
}

#[test]
fn a_recorded_run_replays_from_its_file_without_its_seed() {
    let mut others = 0;
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("recorded.json");
    for seed in 0..20 {
        let (case, echo) = drawn(seed);
        let (record, outcome) = Record::of(&case, &echo);
        let hash = outcome.result.expect("a run that passes").hash;
        record.write(&path).expect("a file");
        let again = Record::read(&path).expect("the same file").replay::<Echo>();
        assert_eq!(again.expect("an echo run").result.expect("passes again").hash, hash);

        // All that the network decided is taken from the record: with other decisions most runs go another way.
        let mut other = Record::read(&path).expect("the same file");
        other
            .decisions
            .iter_mut()
            .for_each(|decision| *decision = decision.wrapping_add(1_000_003));
        let other = other.replay::<Echo>().expect("an echo run").result;
        let other = other.map_or_else(|failure| failure.hash, |report| report.hash);
        others += u32::from(other != hash);
    }
    assert!(others > 10, "only {others} of 20 runs depend on the record");
}

/// A run that fails, unless it is done in no time: it is not given any to finish.
fn failing(seed: u64) -> Option<Failing<Echo>> {
    let (mut case, workload) = drawn(seed);
    case.liveness = Duration::ZERO;
    let failure = failure_of(&case, &workload)?;
    Some(Failing {
        case,
        workload,
        failure,
        runs: 0,
    })
}

fn failure_of(case: &Case, workload: &Echo) -> Option<Failure> {
    run_direct(case, workload, Options::default()).result.err()
}

#[test]
fn a_failing_run_shrinks_to_its_cause() {
    // One that has faults, and many messages that have no part in the failure.
    let big = (0..)
        .filter_map(failing)
        .find(|one| one.workload.len() > 10 && one.case.faults.len() > 5);
    let big = big.expect("there are such seeds");
    assert_eq!(big.failure.kind, FailureKind::Liveness);
    let small = shrink(big, 2_000, |_| {});
    let left = small.workload.len();
    assert!(
        left <= 4,
        "{left} messages are left, where a few that are under way are enough"
    );
    assert_eq!(small.case.faults, []);
    let again = failure_of(&small.case, &small.workload).expect("the small run fails");
    assert_eq!(again.rule, small.failure.rule);
}

#[test]
fn a_failing_run_shrinks_to_short_bodies() {
    let (mut case, _) = drawn(0);
    (case.liveness, case.faults) = (Duration::ZERO, Vec::new());
    // It comes last of all, and its answer later, so that it is what fails and cannot be left out.
    let message = Planned {
        host: 0,
        at: case.safety,
        x: vec![b'x'; 100_000].into(),
    };
    let workload = Echo::new(Delay::Constant(Duration::from_secs(1)), vec![message]);
    let failure = failure_of(&case, &workload).expect("nothing is answered in no time");
    let runs = 0;
    let big = Failing {
        case,
        workload,
        failure,
        runs,
    };
    let small = shrink(big, 2_000, |_| {});
    let left: usize = small.workload.messages.iter().map(|message| message.x.len()).sum();
    assert!(left < 100, "{left} bytes are left");
}
