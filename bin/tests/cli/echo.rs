//! Echo's commands.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;

use rustix::process::Signal;

use crate::support::{Serving, echosphere, folder, json, stderr, stdout};

#[test]
fn a_load_reports_that_every_message_got_its_ok() {
    let args = [
        "echo",
        "load",
        "--clients",
        "300",
        "--over",
        "300ms",
        "--seed",
        "7",
        "--json",
    ];
    let output = echosphere("load", &args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report = json(&output);
    assert_eq!(report["passed"], true);
    assert_eq!(report["acknowledged"], 300);
    assert_eq!(report["natural_closes"], 300);
    assert_eq!(report["lost"], 0);
    assert_eq!(report["seed"], "7");
    assert_eq!(report["server"]["zero"], true);
    assert_eq!(report["server"]["counters"]["messages"], 300);
    let p50 = report["latency_us"]["p50"].as_f64().unwrap();
    let max = report["latency_us"]["max"].as_f64().unwrap();
    assert!(
        p50 > 1.0 && max >= p50,
        "latencies of {p50} and {max} µs are not of real sockets"
    );
}

#[test]
fn a_load_with_delayed_answers_passes_and_is_read_by_people() {
    let args = [
        "echo",
        "load",
        "--clients",
        "100",
        "--over",
        "200ms",
        "--ack-delay",
        "exp:20ms",
    ];
    let output = echosphere("load-delays", &args).output().unwrap();
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for line in [
        "  acknowledged    100\n",
        "  lost            0\n",
        "server at zero: 0 connections",
        "PASSED",
    ] {
        assert!(text.contains(line), "no {line:?} in\n{text}");
    }
}

#[test]
fn a_load_that_cannot_reach_its_server_fails_and_says_what_is_missing() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let args = [
        "echo",
        "load",
        "--to",
        &nobody,
        "--clients",
        "3",
        "--over",
        "1ms",
        "--timeout",
        "300ms",
    ];
    let output = echosphere("load-nobody", &args).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stdout(&output);
    assert!(text.contains("missing: 3 messages did not get their ok"), "{text}");
}

#[test]
fn a_load_that_does_not_fit_is_refused_with_the_arithmetic() {
    let hold = ["echo", "load", "--hold", "--connections", "9000000"];
    let output = echosphere("hold-too-many", &hold).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(text.contains("9,000,000 connections do not fit"), "{text}");

    let args = ["echo", "load", "--clients", "9000000", "--over", "0s"];
    let output = echosphere("load-too-many", &args).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(text.contains("needs 18,000,064 open files"), "{text}");
}

#[test]
fn connections_that_stay_measure_throughput_and_leave_nothing() {
    let args = "echo load --connections 20 --window 4 --size 100 --duration 300ms --json";
    let args: Vec<&str> = args.split(' ').collect();
    let output = echosphere("stay", &args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let report = json(&output);
    assert_eq!((&report["opened"], &report["lost"]), (&20.into(), &0.into()));
    assert_eq!(report["server"]["zero"], true);
    assert_eq!(report["server"]["counters"]["peak_connections"], 20);
    let acknowledged = report["acknowledged"].as_u64().unwrap();
    assert!(acknowledged > 80, "more than the first window: {acknowledged}");
    assert_eq!(report["server"]["counters"]["oks"], acknowledged);
}

#[test]
fn a_rate_is_kept() {
    let args = "echo load --connections 10 --rate 1000 --duration 500ms --json";
    let args: Vec<&str> = args.split(' ').collect();
    let output = echosphere("rate", &args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    // More cannot be: the time until all is told to stop is what it is.
    let report = json(&output);
    let most = 1000.0 * report["elapsed_s"].as_f64().unwrap() + 2.0;
    let sent = report["sent"].as_f64().unwrap();
    assert!(sent > 0.0 && sent <= most, "{sent} of {most}");
}

#[test]
fn all_connections_are_held_open_over_processes_and_lose_nothing() {
    let args = "echo load --hold --connections 500 --shards 2 --max-message 64KiB --json";
    let args: Vec<&str> = args.split(' ').collect();
    let output = echosphere("hold", &args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let text = stderr(&output);
    assert!(
        text.contains("the server is one process") && text.contains("the clients are 2"),
        "{text}"
    );
    let report = json(&output);
    assert_eq!((&report["sent"], &report["acknowledged"]), (&500.into(), &500.into()));
    assert_eq!(report["server"]["counters"]["peak_connections"], 500);
    assert_eq!(report["server"]["zero"], true);
}

#[test]
fn a_server_with_several_threads_serves_and_drains_like_one_with_one() {
    let server = Serving::start("echo", "io-threads", &["--json", "--io-threads", "3"]);
    let args = [
        "echo",
        "load",
        "--to",
        &server.addr,
        "--connections",
        "50",
        "--hold",
        "--json",
    ];
    let output = echosphere("io-threads-load", &args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(json(&output)["acknowledged"], 50);
    server.signal(Signal::INT);
    let output = server.wait();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let state = json(&output);
    assert_eq!(
        (&state["zero"], &state["counters"]["peak_connections"]),
        (&true.into(), &50.into())
    );

    let taken = ["echo", "serve", "--io-threads", "2", "--listen"];
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = other.local_addr().unwrap().to_string();
    let output = echosphere("io-threads-taken", &[&taken[..], &[&addr]].concat())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("cannot listen on"), "{}", stderr(&output));
}

#[test]
fn options_of_long_lived_connections_are_refused_without_them() {
    let output = echosphere("shards-alone", &["echo", "load", "--shards", "2"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("add --connections COUNT or --hold"));
}

#[test]
fn a_message_is_acknowledged_whatever_bytes_it_is() {
    let server = Serving::start("echo", "send", &["--json"]);
    let send = |args: &[&str], input: &[u8]| {
        let all = [&["echo", "send", "--to", &server.addr], args].concat();
        let mut command = echosphere("send", &all);
        let command = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
        output
    };
    assert_eq!(stdout(&send(&["any string"], b"")), "ok any string\n");
    assert_eq!(stdout(&send(&[""], b"")), "ok \n");
    assert_eq!(
        stdout(&send(&[], b"\x1b[31mred\0\xff")),
        "ok \\u{1b}[31mred\\u{0}\\xff\n",
        "must not reach the terminal as it is"
    );
    fs::write(folder("send").join("x.bin"), vec![0; 1_000_000]).unwrap();
    let report = json(&send(&["--file", "x.bin", "--json"], b""));
    assert_eq!(
        (&report["acknowledged"], &report["bytes"]),
        (&true.into(), &1_000_000.into())
    );

    server.signal(Signal::TERM);
    let output = server.wait();
    assert_eq!(output.status.code(), Some(0));
    let state = json(&output);
    assert_eq!(state["zero"], true);
    assert_eq!(state["counters"]["oks"], 4);
}

#[test]
fn a_message_over_the_servers_limit_is_refused_in_the_servers_words() {
    let server = Serving::start("echo", "too-long", &["--max-message", "10"]);
    let args = ["echo", "send", "--to", &server.addr, "eleven char"];
    let output = echosphere("too-long", &args).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.contains("frame-too-long: a frame of 19 bytes; the limit is 18"),
        "{text}"
    );
    server.signal(Signal::TERM);
    assert_eq!(server.wait().status.code(), Some(0));
}

#[test]
fn nobody_listening_is_said_with_what_to_do() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    let args = ["echo", "send", "--to", &nobody, "--timeout", "200ms", "x"];
    let output = echosphere("nobody", &args).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    assert!(
        text.contains(&format!("echosphere echo serve --listen {nobody}")),
        "{text}"
    );
}

#[test]
fn a_port_in_use_is_said_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let output = echosphere("in-use", &["echo", "serve", "--listen", &addr])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(
        text.contains(&format!("cannot listen on {addr}")) && text.contains("--listen ADDR:PORT"),
        "{text}"
    );
}

#[test]
fn an_address_that_does_not_resolve_is_named() {
    for args in [
        ["serve", "--listen", "no.such.host.invalid:1"],
        ["load", "--to", "no.such.host.invalid"],
    ] {
        let output = echosphere("unresolved", &[&["echo"], &args[..]].concat())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        let text = stderr(&output);
        assert!(text.contains("cannot resolve no.such.host.invalid: "), "{text}");
    }
}

#[test]
fn a_first_interrupt_drains_and_those_under_way_finish() {
    let mut server = Serving::start("echo", "drain", &["--json"]);
    let mut person = TcpStream::connect(&server.addr).unwrap();
    let mut replies = BufReader::new(person.try_clone().unwrap());
    let mut line = String::new();
    person.write_all(b"message slow\n").unwrap();
    replies.read_line(&mut line).unwrap();
    assert_eq!(line, "message slow\n");

    server.signal(Signal::INT);
    assert!(server.next_line().starts_with("draining"));
    person.write_all(b"message another\nok slow\n").unwrap();
    let mut rest = String::new();
    replies.read_to_string(&mut rest).unwrap();
    let lines: Vec<&str> = rest.lines().map(|line| line.split(" the ").next().unwrap()).collect();
    assert_eq!(lines, ["error shutting-down", "ok slow", "error shutting-down"]);
    drop((person, replies));

    let output = server.wait();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(json(&output)["zero"], true);
}

#[test]
fn a_second_interrupt_ends_at_once() {
    let mut server = Serving::start("echo", "end", &["--drain", "1h"]);
    let mut person = TcpStream::connect(&server.addr).unwrap();
    person.write_all(b"message never answered\n").unwrap();
    let mut line = String::new();
    BufReader::new(&person).read_line(&mut line).unwrap();
    server.signal(Signal::INT);
    assert!(server.next_line().starts_with("draining"));
    server.signal(Signal::INT);
    assert_eq!(server.next_line(), "ended at once\n");
    assert_eq!(server.wait().status.code(), Some(130));
}
