//! Loads whose clients are spread over processes.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::support::{echosphere, json, stderr};

fn run(name: &str, args: &str) -> (Option<i32>, serde_json::Value, String) {
    let args: Vec<&str> = args.split(' ').collect();
    let output = echosphere(name, &args).output().unwrap();
    (output.status.code(), json(&output), stderr(&output))
}

#[test]
fn the_last_oks_end_a_load_over_processes() {
    for args in [
        "echo load --hold --connections 10 --shards 2 --json",
        "echo load --connections 10 --shards 2 --duration 100ms --json",
    ] {
        let (code, report, text) = run("shards-end", args);
        assert_eq!(code, Some(0), "{args}: {text}");
        assert!(!text.contains("some messages have no ok"), "{args}: {text}");
        assert_eq!(report["passed"], true, "{args}: {report}");
    }
}

#[test]
fn the_rate_of_a_load_belongs_to_its_connections() {
    // One of the two processes would have no connection.
    let (code, report, text) = run(
        "shards-rate",
        "echo load --connections 1 --shards 2 --rate 200 --duration 1s --json",
    );
    let due = report["sent"].as_u64().unwrap() + report["never_sent"].as_u64().unwrap();
    let expected = 200.0 * report["elapsed_s"].as_f64().unwrap();
    assert!(due as f64 > 0.75 * expected, "{due} of {expected}: {report} {text}");
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn an_interrupt_from_the_terminal_ends_a_load_over_processes_cleanly() {
    let args = "echo load --connections 10 --shards 2 --duration 1h --json";
    let args: Vec<&str> = args.split(' ').collect();
    let mut command = echosphere("shards-interrupt", &args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    // A terminal sends its signals to a group of processes.
    let mut child = command.process_group(0).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "10 connections open");
    let group = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    kill_process_group(group, Signal::INT).unwrap();
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{rest:?}");
    assert_eq!(json(&output)["passed"], true, "{rest:?}");
}
