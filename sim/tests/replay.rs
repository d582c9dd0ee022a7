//! The same seed makes the same run.

use std::env;
use std::process::Command;

use sim::oracle::echo::Echo;
use sim::seeds::seeds;
use sim::{Scenario, run};

fn trace_hash(seed: u64) -> u64 {
    let scenario = Scenario::draw(seed);
    match run(&scenario, Echo::of(&scenario)) {
        Ok(report) => report.hash,
        Err(failure) => failure.hash,
    }
}

#[test]
fn same_seed_same_trace() {
    let hashes: Vec<u64> = seeds(8).into_iter().map(trace_hash).collect();
    let again: Vec<u64> = seeds(8).into_iter().map(trace_hash).collect();
    assert_eq!(hashes, again);
    let differ = hashes.windows(2).all(|pair| pair[0] != pair[1]);
    assert!(differ, "different seeds, same trace: {hashes:x?}");
}

#[test]
fn same_seed_same_trace_in_another_process() {
    for seed in seeds(3) {
        let this = env::current_exe().expect("a test knows its program");
        let output = Command::new(this)
            .args(["--exact", "print_trace_hash", "--ignored", "--nocapture"])
            .env("SIM_SEED", seed.to_string())
            .output()
            .expect("a test can run itself");
        let output = String::from_utf8_lossy(&output.stdout);
        let expected = format!("trace {:016x}", trace_hash(seed));
        assert!(
            output.contains(&expected),
            "seed {seed}: {expected} here, there:\n{output}"
        );
    }
}

#[test]
#[ignore = "run by the test above, in another process"]
fn print_trace_hash() {
    for seed in seeds(1) {
        println!("trace {:016x}", trace_hash(seed));
    }
}
