//! The program as people and scripts run it.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The program in an empty folder of its own, with none of this environment's settings.
fn echosphere(name: &str, args: &[&str]) -> Command {
    let folder = folder(name);
    let mut command = Command::new(env!("CARGO_BIN_EXE_echosphere"));
    command.args(args).current_dir(folder).env_clear();
    command
}

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", stdout(output)))
}

/// A server on a free port.
struct Serving {
    child: Child,
    stderr: BufReader<ChildStderr>,
    addr: String,
}

impl Serving {
    fn start(name: &str, args: &[&str]) -> Self {
        let all = [&["echo", "serve", "--listen", "127.0.0.1:0"], args].concat();
        let mut command = echosphere(name, &all);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let addr = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}"));
        let addr = addr.split(' ').next().unwrap().to_owned();
        Self { child, stderr, addr }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        line
    }

    fn wait(self) -> Output {
        self.child.wait_with_output().unwrap()
    }
}

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
    assert_eq!(report["seed"], 7);
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
    let args = ["echo", "load", "--clients", "9000000", "--over", "0s"];
    let output = echosphere("load-too-many", &args).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let text = stderr(&output);
    assert!(text.contains("18,000,064 open files needed"), "{text}");
}

#[test]
fn settings_come_from_a_file_the_environment_and_flags_in_rising_order() {
    let file = "ECHOSPHERE_CLIENTS=20\nECHOSPHERE_OVER=10ms\nECHOSPHERE_JSON=true\n";
    fs::write(folder("settings").join(".env"), file).unwrap();
    let clients = |env: &[(&str, &str)], args: &[&str]| {
        let mut command = echosphere("settings", &[&["echo", "load"], args].concat());
        json(&command.envs(env.iter().copied()).output().unwrap())["clients"].clone()
    };
    assert_eq!(clients(&[], &[]), 20);
    assert_eq!(clients(&[("ECHOSPHERE_CLIENTS", "30")], &[]), 30);
    assert_eq!(clients(&[("ECHOSPHERE_CLIENTS", "30")], &["--clients", "40"]), 40);
}

#[test]
fn a_broken_settings_file_is_named() {
    fs::write(folder("broken-settings").join(".env"), "NOT A SETTING\n").unwrap();
    let output = echosphere("broken-settings", &["echo", "load"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("cannot read the file .env"),
        "{}",
        stderr(&output)
    );
}

#[test]
fn the_example_settings_are_the_defaults_of_flags_that_exist() {
    let example = include_str!("../../.env.example");
    let settings = example.lines().filter_map(|line| {
        let (name, rest) = line.strip_prefix("# ECHOSPHERE_")?.split_once('=')?;
        Some((format!("ECHOSPHERE_{name}"), rest.split(' ').next()?.to_owned()))
    });
    let help = ["serve", "send", "load"].map(|command| {
        let output = echosphere("help", &["echo", command, "--help"]).output().unwrap();
        stdout(&output)
    });
    let mut count = 0;
    for (name, value) in settings {
        count += 1;
        let entry = format!("[env: {name}=]");
        let default = format!("[default: {value}]");
        let of_flag = |text: &String| {
            let flag = text.split("\n      --").find(|flag| flag.contains(&entry))?;
            Some(!flag.contains("[default") || flag.contains(&default) || flag.contains(&format!("[default: {value},")))
        };
        let found: Vec<bool> = help.iter().filter_map(of_flag).collect();
        assert!(found.contains(&true), "{name}={value} in .env.example: {found:?}");
    }
    let flags: usize = {
        let mut names: Vec<&str> = help.iter().flat_map(|text| text.split("[env: ").skip(1)).collect();
        names
            .iter_mut()
            .for_each(|name| *name = name.split('=').next().unwrap());
        names.sort_unstable();
        names.dedup();
        names.len()
    };
    assert_eq!(
        count, flags,
        "settings in .env.example, and variables that --help names"
    );
}

#[test]
fn a_message_is_acknowledged_whatever_bytes_it_is() {
    let server = Serving::start("send", &["--json"]);
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
        "ok (10 bytes)\n",
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
    let server = Serving::start("too-long", &["--max-message", "10"]);
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
        assert!(
            text.contains("cannot resolve the address \"no.such.host.invalid"),
            "{text}"
        );
    }
}

#[test]
fn a_first_interrupt_drains_and_those_under_way_finish() {
    let mut server = Serving::start("drain", &["--json"]);
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
    let mut server = Serving::start("end", &["--drain", "1h"]);
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
