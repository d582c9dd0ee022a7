//! Input: bytes are bytes, and what cannot be read is not its end.

use std::fs::File;
use std::io::Write;
use std::process::{Output, Stdio};

use serde_json::json;

use crate::support::{Serving, echosphere, json, lines, stderr, stdout};

/// Runs a command with this on its stdin.
fn run(name: &str, args: &[&str], input: &[u8]) -> Output {
    let mut child = echosphere(name, args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that fails may not read it.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

/// Runs a command whose stdin is a folder, which cannot be read.
fn unreadable(name: &str, args: &[&str]) -> Output {
    let mut command = echosphere(name, args);
    command.stdin(File::open("/").unwrap()).output().unwrap()
}

#[test]
fn a_line_that_is_not_understood_does_not_end_the_input() {
    let hub = Serving::start("hub", "input-lines", &[]);
    let connect = ["hub", "connect", "--to", &hub.addr];
    let output = run(
        "input-lines",
        &connect,
        b"echo one\necho caf\xe9\r\nrelay \xff x\nnonsense\necho five",
    );
    assert_eq!(stdout(&output), "one\ncaf\\xe9\nfive\n");
    assert_eq!(
        stderr(&output),
        "error: line 3: \"\\xff\" is not a list of user ids\n\
         error: line 4: \"nonsense\" is not a command; type help for a list\n"
    );
    assert_eq!(output.status.code(), Some(1));

    let long = [b"echo one\nrelay 1 ", &vec![b'x'; 2_000_000][..], b"\necho three\n"].concat();
    let output = run("input-lines", &connect, &long);
    assert_eq!(stdout(&output), "one\nthree\n");
    assert!(
        stderr(&output).starts_with("error: line 2: longer than "),
        "{}",
        stderr(&output)
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_relay_from_a_pipe_carries_any_bytes_but_line_breaks_and_those_in_lines() {
    let hub = Serving::start("hub", "input-bytes", &[]);
    let input = b"relay 1 \xff\x00\x1b\nrelay 1\none\n\ntwo\xff\n\n\nrelay 1\nto the end\n";
    let output = run("input-bytes", &["hub", "connect", "--to", &hub.addr, "--json"], input);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let delivered: Vec<_> = lines(&output)
        .into_iter()
        .filter(|event| event["event"] == "delivery")
        .collect();
    let event =
        |key: &str, body: &str, bytes: u64| json!({ "event": "delivery", "from": "1", "bytes": bytes, key: body });
    assert_eq!(
        delivered,
        [
            event("base64", "/wAb", 3),
            event("base64", "b25lCgp0d2//", 9),
            event("text", "to the end", 10),
        ]
    );
}

#[test]
fn a_stdin_that_cannot_be_read_is_an_error() {
    let echo = Serving::start("echo", "unreadable", &[]);
    let hub = Serving::start("hub", "unreadable", &[]);
    let chat = Serving::start("chat", "unreadable", &[]);
    for (args, code) in [
        (&["echo", "send", "--to", &echo.addr][..], 2),
        (&["hub", "relay", "1", "--to", &hub.addr], 2),
        (&["hub", "connect", "--to", &hub.addr], 1),
        (&["chat", "connect", &chat.addr], 1),
        (&["chat", "connect", &chat.addr, "--raw"], 1),
    ] {
        let output = unreadable("unreadable", args);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {}", stderr(&output));
        assert!(
            stderr(&output).contains("error: cannot read stdin"),
            "{args:?}: {}",
            stderr(&output)
        );
    }
    let output = unreadable("unreadable", &["chat", "connect", &chat.addr, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        lines(&output).iter().any(|event| event["event"] == "error"),
        "{}",
        stdout(&output)
    );
}

#[test]
fn an_empty_stdin_is_no_message() {
    let echo = Serving::start("echo", "input-empty", &[]);
    let hub = Serving::start("hub", "input-empty", &[]);
    let send = ["echo", "send", "--to", &echo.addr];
    let relay = ["hub", "relay", "99", "--to", &hub.addr];
    for args in [&send[..], &relay] {
        let output = run("input-empty", args, b"");
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let said = "error: nothing to send: stdin is empty; use '' to send an empty message\n";
        assert_eq!(stderr(&output), said, "{args:?}");
    }
    for empty in ["", "-"] {
        let output = run("input-empty", &[&send[..], &[empty]].concat(), b"");
        assert_eq!(stdout(&output), "ok \n", "{empty:?}");
        let output = run("input-empty", &[&relay[..], &[empty, "--json"]].concat(), b"");
        assert_eq!(json(&output)["unknown"], json!(["99"]), "{empty:?}");
    }
}

#[test]
fn a_relay_that_does_not_reach_everybody_fails() {
    let hub = Serving::start("hub", "input-unsent", &[]);
    let connect = ["hub", "connect", "--to", &hub.addr];
    let output = run("input-unsent", &connect, b"relay 99 x\n");
    assert_eq!(stdout(&output), "relayed to 0 of 1 user; unknown: 99\n");
    assert_eq!(output.status.code(), Some(1));
    let output = run("input-unsent", &connect, b"relay 9 \nlist\n");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn attempts_to_connect_are_events() {
    let args = [
        "hub",
        "connect",
        "--to",
        "127.0.0.1:1",
        "--retry",
        "--timeout",
        "300ms",
        "--json",
    ];
    let output = run("input-retrying", &args, b"list\n");
    assert_eq!(output.status.code(), Some(1));
    let events = lines(&output);
    assert_eq!(events[0]["event"], "retrying");
    assert!(
        events[0]["why"].as_str().unwrap().contains("no server listens"),
        "{}",
        events[0]
    );
    assert_eq!(events.last().unwrap()["event"], "ended");
    assert_eq!(stderr(&output), "");
}
