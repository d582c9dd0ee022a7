//! The hub's commands.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, Output, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::support::{Serving, echosphere, folder, json, stderr, stdout};

/// A hub of its own, and what is run against it.
struct Hub {
    name: &'static str,
    serving: Serving,
}

impl Hub {
    fn start(name: &'static str) -> Self {
        let serving = Serving::start("hub", name, &["--json"]);
        Self { name, serving }
    }

    fn spawn(&self, args: &[&str]) -> Child {
        let all = [&["hub"], args].concat();
        echosphere(self.name, &all)
            .env("ECHOSPHERE_HUB", &self.serving.addr)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn run(&self, args: &[&str], input: &[u8]) -> Output {
        let mut child = self.spawn(args);
        child.stdin.take().unwrap().write_all(input).unwrap();
        child.wait_with_output().unwrap()
    }

    /// A user that listens, and its id.
    fn listen(&self, args: &[&str]) -> (Child, String) {
        let mut child = self.spawn(&[&["listen"], args].concat());
        let mut line = String::new();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        stderr.read_line(&mut line).unwrap();
        let id = line.trim_end().strip_prefix("listening as user ");
        (child, id.unwrap_or_else(|| panic!("{line}")).to_owned())
    }

    /// What somebody at `nc` sees who sends this and then the end of input.
    fn nc(&self, typed: &str) -> String {
        let mut stream = TcpStream::connect(&self.serving.addr).unwrap();
        stream.write_all(typed.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut seen = String::new();
        stream.read_to_string(&mut seen).unwrap();
        seen
    }

    /// Ends the hub, which must be at zero.
    fn end(self) -> Value {
        self.serving.signal(Signal::INT);
        let output = self.serving.wait();
        assert_eq!(output.status.code(), Some(0));
        let state = json(&output);
        assert_eq!(state["zero"], true, "{state}");
        state
    }
}

#[test]
fn users_ask_who_is_there_and_relay_to_each_other() {
    let hub = Hub::start("hub-asks");
    assert_eq!(stdout(&hub.run(&["identity"], b"")), "1\n");
    let (listener, id) = hub.listen(&["--count", "3"]);
    assert_eq!(id, "2");
    assert_eq!(stdout(&hub.run(&["list"], b"")), "2\n");
    let listed = hub.run(&["list", "--json"], b"");
    assert_eq!(json(&listed), json!({ "user_ids": ["2"] }));

    let sent = hub.run(&["relay", "2", "any string"], b"");
    assert_eq!(
        (stdout(&sent).as_str(), sent.status.code()),
        ("relayed to 1 of 1 user\n", Some(0))
    );
    let sent = hub.run(&["relay", "2, 9", "--json"], b"from stdin\n");
    assert_eq!(json(&sent), json!({ "sent": 1, "unknown": ["9"], "too_slow": [] }));
    assert_eq!(sent.status.code(), Some(1), "not everybody got it");
    let sent = hub.run(&["connect"], b"relay 2 from a pipe\nidentity\n");
    assert_eq!(stdout(&sent), "relayed to 1 of 1 user\nyou are user 7\n");
    assert_eq!(sent.status.code(), Some(0));

    let heard = stdout(&listener.wait_with_output().unwrap());
    assert_eq!(heard, "from 5: any string\nfrom 6: from stdin\nfrom 7: from a pipe\n");
    assert_eq!(hub.end()["counters"]["opened"], 7);
}

#[test]
fn any_bytes_go_from_a_file_into_a_file() {
    let hub = Hub::start("hub-bytes");
    let bytes: Vec<u8> = (0..200_000_u32).map(|n| (n * 7 + n / 251) as u8).collect();
    fs::write(folder(hub.name).join("there"), &bytes).unwrap();
    let (listener, id) = hub.listen(&["--count", "1", "--format", "raw", "--output", "here"]);
    let sent = hub.run(&["relay", &id, "--file", "there"], b"");
    assert_eq!(sent.status.code(), Some(0), "{}", stderr(&sent));
    assert!(listener.wait_with_output().unwrap().status.success());
    assert_eq!(fs::read(folder(hub.name).join("here")).unwrap(), bytes);

    let (listener, id) = hub.listen(&["--count", "2", "--format", "json"]);
    hub.run(&["relay", &id], b"\xff\0");
    hub.run(&["relay", &id], "é".as_bytes());
    let heard = stdout(&listener.wait_with_output().unwrap());
    let lines: Vec<Value> = heard.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(
        lines,
        [
            json!({ "event": "connected", "user_id": "3" }),
            json!({ "event": "delivery", "from": "4", "bytes": 2, "base64": "/wA=" }),
            json!({ "event": "delivery", "from": "5", "bytes": 2, "text": "é" }),
            json!({ "event": "ended", "why": null }),
        ]
    );
    hub.end();
}

#[test]
fn the_hub_is_used_by_hand() {
    let hub = Hub::start("hub-nc");
    let (listener, id) = hub.listen(&["--count", "1"]);
    let seen = hub.nc(&format!("identity\nlist\nrelay\n{id}\nfoo bar\numad?\n"));
    assert_eq!(seen, "identity 2\nlist 1\nrelayed to 1 of 1 user\n");
    let heard = stdout(&listener.wait_with_output().unwrap());
    assert_eq!(heard, "from 2: foo bar\n  umad?\n");
    let seen = hub.nc("relay\nme\nfoo\n\n\nidentity\n");
    assert!(
        seen.starts_with("error bad-receiver \"me\" is not a user id; "),
        "{seen}"
    );
    assert!(seen.ends_with("\nidentity 3\n"), "{seen}");
    hub.end();
}

#[test]
fn a_load_reports_that_every_body_arrived() {
    let args = [
        "hub",
        "load",
        "--users",
        "30",
        "--messages",
        "40",
        "--fan-out",
        "7",
        "--size",
        "5000",
        "--json",
    ];
    let output = echosphere("hub-load", &args).output().unwrap();
    let report = json(&output);
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert_eq!(report["passed"], true);
    assert_eq!(report["relayed"], 30 * 40);
    assert_eq!(report["delivered"], 30 * 40 * 7);
    assert_eq!(report["server"]["zero"], true);
    assert_eq!(report["server"]["counters"]["deliveries"], 30 * 40 * 7);
}

#[test]
fn wrong_use_says_what_to_do() {
    let run = |args: &[&str]| {
        let all = [&["hub"], args].concat();
        let output = echosphere("hub-wrong", &all).stdin(Stdio::null()).output().unwrap();
        (output.status.code(), stderr(&output))
    };
    let (code, told) = run(&["identity", "--to", "127.0.0.1:1", "--timeout", "100ms"]);
    assert_eq!(code, Some(1));
    assert!(
        told.contains("start one with `echosphere hub serve --listen 127.0.0.1:1`"),
        "{told}"
    );
    let (code, told) = run(&["relay", "2,x", "hi"]);
    assert_eq!(code, Some(2));
    assert!(told.contains("\"x\" is not a user id"), "{told}");
    let (code, told) = run(&["load", "--users", "2", "--fan-out", "3"]);
    assert_eq!(code, Some(2));
    assert!(told.contains("--fan-out 3 is more than --users 2"), "{told}");
    let (code, told) = run(&["load", "--size", "2MiB"]);
    assert_eq!(code, Some(2));
    assert!(told.contains("expected 0 to 1,048,576 bytes"), "{told}");
}
