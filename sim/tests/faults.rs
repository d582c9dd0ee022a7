//! Many seeds, each with its own mix of faults.

use sim::marks::{Lane, Mark, Marks};
use sim::oracle::Workload;
use sim::oracle::chat::Chat;
use sim::oracle::echo::Echo;
use sim::oracle::hub::Hub;
use sim::oracle::numbers::Numbers;
use sim::seeds::seeds;
use sim::{Scenario, run};

/// Seeds of one run of the tests.
const SEEDS: u64 = 250;

/// Seeds that found something once: the test, the seed, and what.
const FOUND: &[(&str, u64, &str)] = &[
    (
        "echo_under_faults",
        269,
        "false alarm: dropped untouched, as it said more at once than may wait",
    ),
    (
        "echo_under_faults",
        1606,
        "false alarm: dropped before it was written to, as more was answered than may wait",
    ),
    (
        "hub_under_faults",
        329,
        "an attempt to connect was answered that the same turn had given up",
    ),
];

#[test]
fn echo_under_faults() {
    under_faults("echo_under_faults", SEEDS, &[], Echo::of);
}

#[test]
fn hub_under_faults() {
    under_faults("hub_under_faults", SEEDS, &[], Hub::of);
}

#[test]
fn chat_under_faults() {
    // One client at a time has a session, so less happens in a run.
    // So few clients connect that a link's failure is hardly ever seen by a refusal.
    under_faults("chat_under_faults", 2 * SEEDS, &[Mark::LinkFailure], Chat::of);
}

#[test]
fn numbers_under_faults() {
    // Messages are so short that each is one slice.
    under_faults(
        "numbers_under_faults",
        SEEDS,
        &[Mark::PartialVectoredWrite],
        Numbers::of,
    );
}

fn under_faults<W: Workload>(test: &str, count: u64, rare: &[Mark], of: impl Fn(&Scenario) -> W) {
    let mut seeds = seeds(count);
    if seeds.len() > 1 {
        let found = FOUND.iter().filter(|(of, ..)| *of == test);
        seeds.extend(found.map(|(_, seed, _)| seed));
    }
    let marks = Marks::default();
    for &seed in &seeds {
        let scenario = Scenario::draw(seed);
        match run(&scenario, of(&scenario)) {
            Ok(report) => marks.merge(&report.marks),
            Err(failure) => panic!("{}", failure.in_test(test)),
        }
    }
    if seeds.len() as u64 >= count {
        let mut missing = marks.missing(Lane::Turmoil, W::NAME);
        missing.retain(|mark| !rare.contains(mark));
        assert!(
            missing.is_empty(),
            "never happened in {} seeds: {missing:?}",
            seeds.len()
        );
    }
}
