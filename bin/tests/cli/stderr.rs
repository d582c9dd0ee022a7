//! What goes to stderr, and what becomes of a program whose stderr takes nothing.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{Serving, echosphere, folder, json, lines, stderr, stdout};

fn full_disk() -> File {
    OpenOptions::new().write(true).open("/dev/full").unwrap()
}

#[test]
fn a_server_whose_stderr_has_no_reader_drains_as_any_other() {
    let mut serving = Serving::start("echo", "stderr-gone", &["--json"]);
    // The last reader of its stderr leaves.
    let mut other = echosphere("stderr-gone", &["--version"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    other.wait().unwrap();
    serving.stderr = BufReader::new(other.stderr.take().unwrap());
    let mut peer = TcpStream::connect(&serving.addr).unwrap();
    peer.write_all(b"message x\n").unwrap();
    let mut replies = BufReader::new(peer.try_clone().unwrap());
    let mut line = String::new();
    replies.read_line(&mut line).unwrap();
    serving.signal(Signal::TERM);
    peer.write_all(b"ok x\n").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    line.clear();
    replies.read_to_string(&mut line).unwrap();
    assert!(line.contains("ok x"), "{line}");
    let output = serving.child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(json(&output)["counters"]["oks"], 1);
}

#[test]
fn commands_whose_stderr_takes_nothing_do_what_they_do() {
    let serving = Serving::start("echo", "stderr-full", &[]);
    let send = ["echo", "send", "hi", "--to", &serving.addr];
    let output = echosphere("stderr-full", &send).stderr(full_disk()).output().unwrap();
    assert_eq!((output.status.code(), stdout(&output)), (Some(0), "ok hi\n".to_owned()));
    let nobody = ["echo", "send", "hi", "--to", "127.0.0.1:1", "--timeout", "200ms"];
    let output = echosphere("stderr-full", &nobody).stderr(full_disk()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let load = ["echo", "load", "--clients", "20", "--over", "10ms"];
    let output = echosphere("stderr-full", &load).stderr(full_disk()).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_server_whose_stderr_is_full_and_not_read_goes_on() {
    let mut command = echosphere(
        "stderr-slow",
        &["echo", "serve", "--listen", "127.0.0.1:0", "--json", "-vvv"],
    );
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    let listening: Value = serde_json::from_str(&line).unwrap();
    let addr = listening["address"].as_str().unwrap();
    // More lines than a pipe holds, if each connection is logged.
    for _ in 0..2000 {
        let mut peer = TcpStream::connect(addr).unwrap();
        peer.write_all(b"\n").unwrap();
    }
    let send = ["echo", "send", "hi", "--to", addr];
    assert_eq!(
        echosphere("stderr-slow", &send).output().unwrap().status.code(),
        Some(0)
    );
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_result_that_cannot_be_written_is_exit_code_1() {
    let output = echosphere("stdout-full", &["echo", "load", "--clients", "3", "--over", "1ms"])
        .stdout(full_disk())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).starts_with("error: cannot write to stdout: "),
        "{}",
        stderr(&output)
    );
}

#[test]
fn log_lines_have_no_colours_in_a_file_and_can_be_json() {
    let nobody = ["echo", "send", "x", "--to", "127.0.0.1:1", "--timeout", "100ms", "-vv"];
    let output = echosphere("log-text", &nobody).output().unwrap();
    let text = stderr(&output);
    assert!(text.contains("DEBUG") && !text.contains('\x1b'), "{text}");
    let output = echosphere("log-text", &nobody)
        .env("CLICOLOR_FORCE", "1")
        .output()
        .unwrap();
    assert!(stderr(&output).contains('\x1b'), "{}", stderr(&output));

    let file = folder("log-json").join("log");
    let mut command = echosphere(
        "log-json",
        &["echo", "serve", "--listen", "0", "--log-format", "json", "--json"],
    );
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(File::create(&file).unwrap())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let listening: Value = serde_json::from_str(&line).unwrap();
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert!(child.wait().unwrap().success());
    let log = std::fs::read_to_string(&file).unwrap();
    let first: Value = serde_json::from_str(log.lines().next().unwrap()).unwrap();
    assert_eq!(first["fields"]["message"], "listening");
    assert_eq!(first["fields"]["address"], listening["address"]);
    for line in log.lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
}

#[test]
fn connections_are_logged_with_their_peers_and_why_they_ended() {
    let args = [
        "--max-connections",
        "1",
        "--log-format",
        "json",
        "-v",
        "--listen",
        "127.0.0.1:0",
    ];
    let command = [&["echo", "serve", "--json"][..], &args].concat();
    let mut child = echosphere("log-connections", &command)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut line).unwrap();
    let listening: Value = serde_json::from_str(&line).unwrap();
    let addr = listening["address"].as_str().unwrap();

    let mut malformed = TcpStream::connect(addr).unwrap();
    malformed.write_all(b"\0\xff\xff\xff").unwrap();
    let mut told = Vec::new();
    malformed.read_to_end(&mut told).unwrap();
    let malformed_peer = malformed.local_addr().unwrap().to_string();
    drop(malformed);
    // Once its place is free, somebody else has it.
    let (mut known, known_peer) = loop {
        let mut peer = TcpStream::connect(addr).unwrap();
        // It may be refused already.
        let _ = peer.write_all(b"\0\0\0\x09message x");
        let mut answer = [0; 13];
        if peer.read_exact(&mut answer).is_ok() && answer == *b"\0\0\0\x09message x" {
            let address = peer.local_addr().unwrap().to_string();
            break (peer, address);
        }
    };
    let mut refused = TcpStream::connect(addr).unwrap();
    refused.read_to_end(&mut told).unwrap();
    known.shutdown(Shutdown::Write).unwrap();
    known.read_to_end(&mut told).unwrap();

    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    let log: Vec<Value> = stderr(&output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let find = |message: &str, field: &str, value: &str| {
        let fields = log.iter().map(|line| &line["fields"]);
        let mut found = fields.filter(|fields| fields["message"] == message && fields[field] == value);
        found
            .next()
            .unwrap_or_else(|| panic!("no {message} with {field}={value} in {log:#?}"))
    };
    let accepted = find("connection accepted", "peer", &malformed_peer);
    let closed = find("connection closed", "peer", &malformed_peer);
    assert_eq!(accepted["conn"], closed["conn"]);
    assert_eq!(
        (&closed["reason"], &closed["told"]),
        (&"malformed".into(), &"frame-too-long".into())
    );
    assert_eq!(find("connection closed", "peer", &known_peer)["reason"], "peer-closed");
    assert_eq!(find("connection refused", "code", "full")["left_out"], 0);
}

#[test]
fn a_log_filter_that_matches_nothing_is_warned_of() {
    for filter in ["debgu", "echosphere=loud"] {
        let mut command = echosphere("log-filter", &["echo", "load", "--clients", "1", "--over", "1ms"]);
        let output = command.env("RUST_LOG", filter).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        let text = stderr(&output);
        assert!(text.contains("warning: RUST_LOG=") && text.contains(filter), "{text}");
    }
}

#[test]
fn quiet_leaves_only_errors() {
    let serving = Serving::start("echo", "quiet", &[]);
    let output = echosphere("quiet", &["-q", "echo", "send", "x", "--to", &serving.addr])
        .output()
        .unwrap();
    assert_eq!((stdout(&output), stderr(&output)), ("ok x\n".to_owned(), String::new()));
    let nobody = ["-q", "echo", "send", "x", "--to", "127.0.0.1:1", "--timeout", "100ms"];
    let output = echosphere("quiet", &nobody).output().unwrap();
    assert!(stderr(&output).contains("error: "), "{}", stderr(&output));

    let serve = ["-q", "echo", "serve", "--listen", "127.0.0.1:0", "--json"];
    let mut command = echosphere("quiet", &serve);
    let mut server = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Its address is on stdout alone.
    let mut stdout = BufReader::new(server.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    kill_process(Pid::from_child(&server), Signal::INT).unwrap();
    let output = server.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

#[test]
fn a_server_that_hangs_up_drains() {
    let serving = Serving::start("echo", "hang-up", &["--json"]);
    serving.signal(Signal::HUP);
    let output = serving.wait();
    assert_eq!(output.status.code(), Some(0));
    let printed = lines(&output);
    assert_eq!(
        (&printed[0]["event"], &printed[1]["event"]),
        (&"listening".into(), &"stopped".into())
    );
}
