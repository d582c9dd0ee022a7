//! The simulator's command line.

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
    let output = sim("campaign --seeds 1");
    assert_eq!(output.status.code(), Some(6));
    assert!(text(&output.stdout).contains("never happened: "), "{output:?}");
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
        ("campaign --jobs 0", "1..=1024"),
        ("campaign --minutes nan", "expected more than 0"),
        ("campaign --clients 0", "expected 1 to"),
        (
            "campaign --first 18446744073709551610 --seeds 10",
            "go beyond the last one",
        ),
        ("crowd --over 0 --faults", "0 is not in 1..=86400"),
        (
            "replay regressions/echo-opens-late.json --clients 5",
            "--clients goes with a seed",
        ),
        (
            "exhaust --disturbances 0 --replay 9,9",
            "decision 1 is 9, and there are 2 to choose from",
        ),
        (
            "shrink 1 -o nowhere/failing.json",
            "cannot write to nowhere/failing.json",
        ),
    ] {
        let output = sim(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        assert!(text(&output.stderr).contains(expected), "{arguments}: {output:?}");
    }
}

/// A recorded run with something changed.
fn with(change: impl FnOnce(&mut Value)) -> Output {
    let recorded = std::fs::read_to_string("regressions/echo-opens-late.json").expect("a recorded run");
    let mut run: Value = serde_json::from_str(&recorded).expect("JSON");
    change(&mut run);
    let path = std::env::temp_dir().join(format!("sim-cli-{}-{}.json", std::process::id(), run["case"]["hosts"]));
    std::fs::write(&path, run.to_string()).expect("written");
    let output = sim(&format!("replay {}", path.display()));
    std::fs::remove_file(&path).expect("removed");
    output
}

#[test]
fn what_was_edited_into_nonsense_is_no_failure_of_the_product() {
    let output = with(|run| run["case"]["hosts"] = 99.into());
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("`case.hosts` is 99, should be 1 to 4"),
        "{output:?}"
    );

    // Its workload speaks of more.
    let output = with(|run| {
        run["case"]["hosts"] = 1.into();
        run["case"]["clocks"] = vec![1.0, 1.0].into();
        run["case"]["faults"] = Value::Array(Vec::new());
    });
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("and there are 1, from 0 on"),
        "{output:?}"
    );

    let output = with(|run| run["workload"]["lins"] = vec![0].into());
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("its `workload`: unknown field `lins`"),
        "{output:?}"
    );

    let output = with(|run| {
        run["workload"]["lines"] = vec![run["workload"]["messages"][0]["host"].clone()].into();
        run["workload"]["messages"][0]["x"] = "two\\nlines".into();
    });
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("no line can carry the `x` of `messages[0]`"),
        "{output:?}"
    );

    let output = with(|run| run["case"]["clocks"][0] = 0.5.into());
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("each 0.9 to 1.1"), "{output:?}");
}

#[test]
fn a_replay_of_a_file_says_if_something_else_was_recorded() {
    let output = sim("replay regressions/echo-opens-late.json");
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("not even a keepalive"), "{output:?}");
}

#[test]
fn many_clients_are_no_reason_to_miss_a_mark() {
    let output = sim("campaign --seeds 4 --clients 60 --system chat");
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
