//! Many seeds, each with its own mix of faults.

use sim::marks::{Lane, Marks};
use sim::oracle::echo::Echo;
use sim::seeds::seeds;
use sim::{Scenario, run};

/// Seeds of one run of the tests.
const SEEDS: u64 = 250;

/// Seeds beyond those that found something once, and what.
const FOUND: &[(u64, &str)] = &[];

#[test]
fn echo_under_faults() {
    let mut seeds = seeds(SEEDS);
    if seeds.len() > 1 {
        seeds.extend(FOUND.iter().map(|(seed, _)| seed));
    }
    let marks = Marks::default();
    for &seed in &seeds {
        let scenario = Scenario::draw(seed);
        match run(&scenario, Echo::of(&scenario)) {
            Ok(report) => marks.merge(&report.marks),
            Err(failure) => panic!("{}", failure.in_test("echo_under_faults")),
        }
    }
    if seeds.len() as u64 >= SEEDS {
        let missing = marks.missing(Lane::Turmoil);
        assert!(
            missing.is_empty(),
            "never happened in {} seeds: {missing:?}",
            seeds.len()
        );
    }
}
