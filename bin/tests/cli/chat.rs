//! The chat's commands.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Output, Stdio};
use std::thread::{self, JoinHandle};

use rustix::process::Signal;
use serde_json::json;

use crate::support::{self, Serving, echosphere, folder, json, lines, stderr, stdout};

fn spawn(name: &str, args: &[&str]) -> Child {
    let all = [&["chat"], args].concat();
    echosphere(name, &all)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Runs a command with this on its stdin.
fn run(name: &str, args: &[&str], input: &[u8]) -> Output {
    let mut child = spawn(name, args);
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // One that fails does not read all.
    let piping = thread::Builder::new().spawn(move || stdin.write_all(&input)).unwrap();
    let output = child.wait_with_output().unwrap();
    drop(piping.join().unwrap());
    output
}

fn some_bytes(length: u32) -> Vec<u8> {
    (0..length).map(|n| (n * 7 + n / 251) as u8).collect()
}

/// A server that ends once its first client has left, and all that it prints.
struct Once {
    addr: String,
    printing: JoinHandle<Output>,
}

impl Once {
    fn start(name: &'static str, args: &[&str]) -> Self {
        let serving = Serving::start("chat", name, &[&["--once"], args].concat());
        let addr = serving.addr.clone();
        let printing = thread::Builder::new().spawn(move || serving.wait()).unwrap();
        Self { addr, printing }
    }

    fn wait(self) -> Output {
        self.printing.join().unwrap()
    }
}

/// Ends a server that runs until it is told to, which must be at zero.
fn end(serving: Serving) -> Output {
    serving.signal(Signal::INT);
    let output = serving.wait();
    assert_eq!(output.status.code(), Some(0));
    output
}

#[test]
fn any_bytes_go_from_a_pipe_into_a_pipe() {
    let bytes = some_bytes(3_000_000);
    let serving = Once::start("chat-bytes", &["--raw"]);
    let sent = run("chat-bytes", &["connect", &serving.addr], &bytes);
    assert_eq!(sent.status.code(), Some(0), "{}", stderr(&sent));
    let received = serving.wait();
    assert_eq!(received.status.code(), Some(0));
    assert!(received.stdout == bytes, "{} bytes arrived", received.stdout.len());
}

#[test]
fn both_sides_say_what_is_piped_into_them() {
    let mut serving = spawn("chat-both", &["serve", "--listen", "127.0.0.1:0", "--once", "--raw"]);
    let addr = address(&mut serving);
    let there = some_bytes(900_000);
    let back = some_bytes(1_700_000);
    let mut input = serving.stdin.take().unwrap();
    let piped = back.clone();
    let piping = thread::Builder::new().spawn(move || input.write_all(&piped)).unwrap();

    let mut client = spawn("chat-both", &["connect", &addr, "--raw"]);
    let mut heard = vec![0; back.len()];
    client.stdout.take().unwrap().read_exact(&mut heard).unwrap();
    assert!(heard == back);
    piping.join().unwrap().unwrap();
    let printing = thread::Builder::new()
        .spawn(move || serving.wait_with_output())
        .unwrap();
    client.stdin.take().unwrap().write_all(&there).unwrap();
    assert_eq!(client.wait().unwrap().code(), Some(0));
    assert!(printing.join().unwrap().unwrap().stdout == there);
}

/// Where a server listens, from its first line.
fn address(serving: &mut Child) -> String {
    let mut line = Vec::new();
    let mut stderr = serving.stderr.take().unwrap();
    let mut byte = [0];
    while stderr.read(&mut byte).unwrap() == 1 && byte != *b"\n" {
        line.push(byte[0]);
    }
    serving.stderr = Some(stderr);
    let line = String::from_utf8(line).unwrap();
    support::address(&line)
}

#[test]
fn json_lines_say_what_happens() {
    let serving = Serving::start("chat", "chat-json", &["--json"]);
    let sent = run("chat-json", &["connect", &serving.addr, "--json"], "é".as_bytes());
    let told = lines(&sent);
    assert_eq!(told[0], json!({ "event": "connected", "resumed": false }));
    assert_eq!((&told[1]["event"], &told[1]["id"]), (&json!("delivered"), &json!("1")));
    let round_trip = told[1]["round_trip_us"].as_f64().unwrap();
    assert!(round_trip > 0.0, "{round_trip}");
    assert_eq!(told[2..], [json!({ "event": "ended", "why": null })]);

    run("chat-json", &["connect", &serving.addr], b"\xff\x1b[2J");
    let heard = lines(&end(serving));
    assert_eq!(heard[0]["event"], "listening");
    assert_eq!(
        heard[2],
        json!({ "event": "heard", "id": "1", "bytes": 2, "text": "é" })
    );
    assert_eq!(
        heard[5],
        json!({ "event": "heard", "id": "1", "bytes": 5, "base64": "/xtbMko=" })
    );
}

#[test]
fn what_controls_a_terminal_is_escaped_and_one_line_break_is_enough() {
    let serving = Serving::start("chat", "chat-text", &[]);
    run("chat-text", &["connect", &serving.addr], b"\x1b[2J\xff\n");
    assert_eq!(stdout(&end(serving)), "\\u{1b}[2J\\xff\n");
}

#[test]
fn a_second_client_is_told_that_the_server_is_busy() {
    let serving = Once::start("chat-busy", &["--raw"]);
    let mut first = spawn("chat-busy", &["connect", &serving.addr, "--json"]);
    let mut connected = [0; 8];
    first.stdout.as_mut().unwrap().read_exact(&mut connected).unwrap();
    let second = run("chat-busy", &["connect", &serving.addr], b"me too");
    assert_eq!(second.status.code(), Some(1));
    assert!(stderr(&second).contains("reports busy: another client has a session with this server"));
    first.stdin.take().unwrap().write_all(b"still here").unwrap();
    assert_eq!(first.wait().unwrap().code(), Some(0));
    assert_eq!(serving.wait().stdout, b"still here");
}

#[test]
fn a_chat_is_used_by_hand() {
    let serving = Serving::start("chat", "chat-nc", &[]);
    let mut stream = TcpStream::connect(&serving.addr).unwrap();
    stream.write_all(b"hello\nhow are you?").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let mut seen = String::new();
    stream.read_to_string(&mut seen).unwrap();
    assert_eq!(seen, "ok 1\nok 2\n");
    assert_eq!(stdout(&end(serving)), "hello\nhow are you?\n");
}

/// Passes bytes on to a server, and breaks the connection each time that so many have passed.
fn breaking_proxy(to: String, cuts: Vec<usize>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let passing = move || {
        let cuts = cuts.into_iter().chain([usize::MAX]);
        for (cut, client) in cuts.zip(listener.incoming()) {
            let client = client.unwrap();
            let server = TcpStream::connect(&to).unwrap();
            let (from, back) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            let returning = thread::Builder::new()
                .spawn(move || pass(back, from, usize::MAX))
                .unwrap();
            pass(client, server, cut);
            returning.join().unwrap();
        }
    };
    thread::Builder::new().spawn(passing).unwrap();
    addr
}

/// Passes at most so many bytes on, then closes both.
fn pass(mut from: TcpStream, mut to: TcpStream, most: usize) {
    let mut buffer = [0; 8192];
    let mut passed = 0;
    while let Ok(length) = from.read(&mut buffer) {
        let length = length.min(most - passed);
        if length == 0 || to.write_all(&buffer[..length]).is_err() {
            break;
        }
        passed += length;
    }
    // Whichever of the two is closed already needs no closing.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[test]
fn what_is_sent_over_a_connection_that_breaks_arrives_once() {
    let bytes = some_bytes(4_000_000);
    let serving = Once::start("chat-breaks", &["--raw"]);
    let proxy = breaking_proxy(serving.addr.clone(), vec![100, 1_000_000, 300_000, 5]);
    let sent = run("chat-breaks", &["connect", &proxy, "--reconnect"], &bytes);
    assert_eq!(sent.status.code(), Some(0), "{}", stderr(&sent));
    assert_eq!(
        stderr(&sent).matches("● connected again").count(),
        3,
        "{}",
        stderr(&sent)
    );
    assert!(serving.wait().stdout == bytes);
}

#[test]
fn without_reconnect_a_connection_that_breaks_fails() {
    let bytes = some_bytes(1_000_000);
    let serving = Once::start("chat-fails", &["--raw"]);
    let proxy = breaking_proxy(serving.addr.clone(), vec![300_000]);
    let sent = run("chat-fails", &["connect", &proxy], &bytes);
    assert_eq!(sent.status.code(), Some(1));
    assert!(stderr(&sent).contains(" not acknowledged"), "{}", stderr(&sent));
    let received = serving.wait().stdout;
    assert!(bytes.starts_with(&received) && received.len() < 300_000);
}

#[test]
fn the_environment_says_what_to_be() {
    let serving = Once::start("chat-mode", &["--raw"]);
    fs::write(
        folder("chat-mode").join(".env"),
        format!("MODE=client\nIP_ADDR={}\n", serving.addr),
    )
    .unwrap();
    let sent = run("chat-mode", &[], b"from .env");
    assert_eq!(sent.status.code(), Some(0), "{}", stderr(&sent));
    assert_eq!(serving.wait().stdout, b"from .env");

    let mut server = echosphere("chat-mode-server", &["chat"])
        .env("MODE", "server")
        .env("IP_ADDR", "127.0.0.1:0")
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let addr = address(&mut server);
    let sent = run("chat-mode-server", &["connect", &addr], b"x");
    assert_eq!(sent.status.code(), Some(0), "{}", stderr(&sent));
    server.kill().unwrap();
    server.wait().unwrap();

    let lost = run("chat-mode-none", &[], b"");
    assert_eq!(lost.status.code(), Some(2));
    assert!(stderr(&lost).contains("MODE=server or MODE=client"));
}

#[test]
fn a_ping_counts_every_round_trip() {
    let args = ["ping", "--count", "200", "--size", "1KiB", "--baseline", "--json"];
    let output = run("chat-ping", &args, b"");
    let report = json(&output);
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert_eq!((&report["count"], &report["bytes"]), (&json!(200), &json!(1024)));
    for part in ["latency_us", "baseline_latency_us"] {
        let (min, p50, max) = (&report[part]["min"], &report[part]["p50"], &report[part]["max"]);
        let in_order = min.as_f64() <= p50.as_f64() && p50.as_f64() <= max.as_f64();
        assert!(in_order && min.as_f64() > Some(0.0), "{report}");
    }
    let nobody = run("chat-ping", &["ping", "127.0.0.1:1", "--timeout", "1s"], b"");
    assert_eq!(nobody.status.code(), Some(1));
    assert!(
        stderr(&nobody).contains("no server listens at 127.0.0.1:1"),
        "{}",
        stderr(&nobody)
    );
}

#[test]
fn a_chat_ends_with_a_summary_for_people() {
    let serving = Serving::start("chat", "chat-summary", &[]);
    let sent = run("chat-summary", &["connect", &serving.addr], b"hello");
    assert_eq!(sent.status.code(), Some(0));
    let text = stderr(&sent);
    assert!(text.contains("1 delivered; round trips min/mean/p99: "), "{text}");
    assert!(
        text.contains("○ the chat has ended") && !text.contains("not acknowledged"),
        "{text}"
    );
    let sent = run("chat-summary", &["connect", &serving.addr, "--json"], b"hello");
    assert_eq!((sent.status.code(), stderr(&sent)), (Some(0), String::new()));
}

#[test]
fn a_server_that_ends_its_chat_says_so() {
    let mut serving = Serving::start("chat", "chat-server-ends", &[]);
    let mut client = spawn("chat-server-ends", &["connect", &serving.addr]);
    assert_eq!(serving.next_line(), "● connected\n");
    serving.signal(Signal::INT);
    assert_eq!(serving.next_line(), "○ the chat has ended\n");
    assert_eq!(serving.wait().status.code(), Some(0));
    assert_eq!(client.wait().unwrap().code(), Some(1));

    let mut serving = Serving::start("chat", "chat-server-ends", &[]);
    run("chat-server-ends", &["connect", &serving.addr], b"");
    assert_eq!(serving.next_line(), "● connected\n");
    assert_eq!(serving.next_line(), "○ the other side has left\n");
    end(serving);
}
