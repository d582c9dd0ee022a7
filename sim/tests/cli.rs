//! The simulator's command line, as it is typed.

use std::process::{Command, Output};

use serde_json::Value;

fn sim(arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sim"))
        .args(arguments.split(' '))
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_campaign_runs_seeds_again_in_other_processes() {
    let output = sim("campaign --seeds 100 --no-faults --clients 5 --json");
    let report: Value = serde_json::from_slice(&output.stdout).expect("one JSON object");
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert_eq!(report["passed"], true);
    assert_eq!(report["seeds"], 100);
    assert_eq!(report["run_again"], 2);
}

#[test]
fn a_campaign_that_missed_a_mark_fails_and_names_it() {
    let output = sim("campaign --seeds 1 --clients 1");
    assert_eq!(output.status.code(), Some(6));
    assert!(text(&output.stdout).contains("never happened: ["), "{output:?}");
}

#[test]
fn hashes_are_those_of_the_runs_that_replay_shows() {
    let hashes = text(&sim("hashes --first 7 --seeds 2 --step 3 --clients 9").stdout);
    for (line, seed) in hashes.lines().zip(["7", "10"]) {
        let (of, hash) = line.split_once(' ').expect("a seed and its hash");
        assert_eq!(of, seed);
        let replay = text(&sim(&format!("replay {seed} --clients 9")).stdout);
        assert!(replay.contains(&format!("trace {hash}")), "{line}: {replay}");
    }
    assert_eq!(hashes.lines().count(), 2);
}

#[test]
fn wrong_use_says_what_was_expected() {
    for (arguments, expected) in [
        (
            "replay nothing.json",
            "expected a seed, or a file that shrink wrote: nothing.json",
        ),
        ("shrink 1", "seed 1 does not fail, so there is nothing to shrink"),
        ("campaign --system tea", "possible values: echo"),
    ] {
        let output = sim(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        assert!(text(&output.stderr).contains(expected), "{arguments}: {output:?}");
    }
}
