//! Echo's commands.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Serving, address, echosphere, folder, json, stderr, stdout};

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

/// A command in a shell that does this first.
fn after(what: &str, name: &str, args: &[&str]) -> Command {
    let command = echosphere(name, args);
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", &format!("{what}; exec \"$0\" \"$@\"")]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.current_dir(command.get_current_dir().unwrap()).env_clear();
    shell
}

#[test]
fn a_hang_up_that_the_parent_ignores_is_ignored() {
    let args = ["echo", "serve", "--listen", "127.0.0.1:0"];
    let mut command = after("trap '' HUP", "no-hang-up", &args);
    let mut server = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stderr = BufReader::new(server.stderr.take().unwrap());
    let mut line = String::new();
    stderr.read_line(&mut line).unwrap();
    let mut peer = TcpStream::connect(address(&line)).unwrap();
    peer.write_all(b"message x\n").unwrap();
    let mut replies = BufReader::new(peer.try_clone().unwrap());
    replies.read_line(&mut String::new()).unwrap();
    // Of two signals that count, the second one would end the server at once.
    let pid = Pid::from_child(&server);
    kill_process(pid, Signal::HUP).unwrap();
    kill_process(pid, Signal::INT).unwrap();
    line.clear();
    stderr.read_line(&mut line).unwrap();
    assert!(line.starts_with("draining"), "{line}");
    peer.write_all(b"ok x\n").unwrap();
    peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(server.wait().unwrap().code(), Some(0));
}

#[test]
fn a_bound_that_the_open_files_do_not_allow_is_lowered_and_said() {
    for (connections, lowered) in [("37", true), ("36", false)] {
        let args = [
            "echo",
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--max-connections",
            connections,
        ];
        let mut command = after("ulimit -n 100", "few-files", &args);
        let mut server = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stderr.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line.starts_with("warning: "), lowered, "{line}");
        let warning = "--max-connections 37 is lowered to 36, as this process may open 100 files";
        assert_eq!(line.contains(warning), lowered, "{line}");
        server.kill().unwrap();
        server.wait().unwrap();
    }
}

#[test]
fn users_that_the_open_files_do_not_allow_are_refused() {
    let load = |users: &str| {
        let args = ["hub", "load", "--users", users, "--messages", "1", "--json"];
        after("ulimit -n 300", "few-users", &args).output().unwrap()
    };
    let output = load("119");
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    let expected = "the load needs 302 open files, and this process may open 300: use at most 118 --users";
    assert!(text.contains(expected), "{text}");
    let output = load("118");
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn clients_arrive_over_the_time_that_they_have() {
    let args = "echo load --clients 100 --over 1s --seed 1 --json";
    let args: Vec<&str> = args.split(' ').collect();
    let output = echosphere("arrivals", &args).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    // Of 100 random moments in a second, the last is in its second half.
    let elapsed = json(&output)["elapsed_s"].as_f64().unwrap();
    assert!(elapsed > 0.5, "{elapsed} s");
}

/// A short load over connections that stay.
fn stay(name: &str, args: &str, variable: Option<(&str, &str)>) -> Output {
    let args = format!("echo load --duration 100ms --json {args}");
    let args: Vec<&str> = args.split_whitespace().collect();
    echosphere(name, &args).envs(variable).output().unwrap()
}

#[test]
fn connections_are_shared_among_processes_whatever_their_numbers() {
    for (connections, shards) in [(3, 2), (1, 2), (5, 3), (2, 1)] {
        let args = format!("--connections {connections} --shards {shards}");
        let output = stay("shared", &args, None);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(0), "{args}: {text}");
        assert_eq!(json(&output)["opened"], connections, "{args}");
        let noun = if connections == 1 { "connection" } else { "connections" };
        assert!(text.contains(&format!("{connections} {noun} open")), "{args}: {text}");
        assert!(!text.contains("no ok"), "{args}: {text}");
    }
}

#[test]
fn a_rate_of_the_environment_counts() {
    let output = stay("rate-variable", "--connections 3", Some(("ECHOSPHERE_RATE", "50")));
    let report = json(&output);
    assert_eq!(report["rate_per_s"], 50.0, "{report}");
    assert!(stderr(&output).contains("3 connections open"), "{}", stderr(&output));
    assert!(report["client_cpu"].as_f64() > Some(0.0), "{report}");
    let output = stay(
        "rate-variable",
        "--hold --connections 2",
        Some(("ECHOSPHERE_RATE", "50")),
    );
    assert_eq!(output.status.code(), Some(2), "a duration has no effect with --hold");
}

#[test]
fn bounds_of_the_command_line_reach_a_server_of_its_own_process() {
    let output = stay(
        "bounds-given",
        "--connections 1 --shards 1 --size 2000 --max-message=1000",
        None,
    );
    assert_eq!(output.status.code(), Some(1), "{}", stdout(&output));
    let output = stay(
        "bounds-given",
        "--connections 1 --shards 1 --size 2000 --max-message 3000",
        None,
    );
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}
