//! WebSocket: every server and client, plain and over TLS, the options and their errors, and what is not WebSocket.

use std::io::{Read, Write};
use std::net::TcpStream;

use crate::support::{Serving, address, contains, drained, lines, outcome};

/// A server that also speaks WebSocket, and the address of that port.
fn serving(system: &str, test: &str, more: &[&str]) -> (Serving, String) {
    let mut server = Serving::start(system, test, &[&["--ws", "127.0.0.1:0"], more].concat());
    loop {
        let line = server.next_line();
        if line.contains("WebSocket") {
            return (server, address(&line));
        }
        assert_ne!(line, "", "the server has ended");
    }
}

/// Sends `request` to a port and reads the answer to its end.
fn ask(addr: &str, request: &str) -> String {
    let mut peer = TcpStream::connect(addr).unwrap();
    peer.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    peer.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn every_client_reaches_its_server() {
    let test = "ws_every_client";
    let (echo, addr) = serving("echo", test, &[]);
    let url = format!("ws://{addr}/any/path");
    let to = ["--to", &url];
    contains(
        &outcome(test, &[&["echo", "send", "hi"], &to[..]].concat(), 0),
        &["ok hi"],
    );
    for load in [
        &["echo", "load", "--clients", "20", "--over", "50ms"][..],
        &["echo", "load", "--connections", "3", "--duration", "100ms"],
        &[
            "echo",
            "load",
            "--connections",
            "4",
            "--shards",
            "2",
            "--duration",
            "100ms",
        ],
    ] {
        contains(&outcome(test, &[load, &to].concat(), 0), &["PASSED"]);
    }
    drained(echo);

    let (hub, addr) = serving("hub", test, &[]);
    let url = format!("ws://{addr}");
    let to = ["--to", &url];
    outcome(test, &[&["hub", "identity"], &to[..]].concat(), 0);
    let load = ["hub", "load", "--users", "5", "--messages", "3"];
    contains(&outcome(test, &[&load, &to[..]].concat(), 0), &["PASSED"]);
    drained(hub);

    let (numbers, addr) = serving("numbers", test, &["--period", "1ms"]);
    let url = format!("ws://{addr}");
    outcome(test, &["numbers", "get", "3", "--to", &url], 0);
    outcome(test, &["numbers", "get", "3", "--stateful", "--to", &url], 0);
    drained(numbers);

    let (chat, addr) = serving("chat", test, &["--once"]);
    outcome(test, &["chat", "connect", &format!("ws://{addr}")], 0);
    assert!(chat.wait().status.success());
}

#[test]
fn tls_holds_for_both_ports() {
    let test = "ws_tls";
    let mut server = Serving::start("echo", test, &["--ws", "127.0.0.1:0", "--tls-self-signed"]);
    let trust = server.next_line();
    let fingerprint = trust.trim_end().rsplit(' ').next().unwrap().to_owned();
    let line = server.next_line();
    contains(&line, &["WebSocket", "https://"]);
    let addr = address(&line);
    let url = format!("wss://{addr}");
    let send =
        |to: &str, more: &[&str], code| outcome(test, &[&["echo", "send", "hi", "--to", to], more].concat(), code);
    contains(&send(&url, &["--tls-fingerprint", &fingerprint], 0), &["ok hi"]);
    contains(
        &send(&server.addr.clone(), &["--tls-fingerprint", &fingerprint], 0),
        &["ok hi"],
    );
    // The certificate is checked, and each wrong scheme is explained.
    let short = ["--timeout", "1s"];
    contains(&send(&url, &short, 1), &["certificate"]);
    contains(&send(&format!("ws://{addr}"), &short, 1), &["TLS"]);
    contains(&send(&format!("ws://{addr}"), &["--tls"], 2), &["write wss://"]);
    drained(server);
}

#[test]
fn io_threads_and_websocket_go_together() {
    let test = "ws_io_threads";
    let (server, addr) = serving("echo", test, &["--io-threads", "2"]);
    for to in [&format!("ws://{addr}"), &server.addr.clone()] {
        contains(&outcome(test, &["echo", "send", "hi", "--to", to], 0), &["ok hi"]);
    }
    drained(server);
}

#[test]
fn each_port_is_reported_and_answered_requests_are_counted() {
    let test = "ws_json";
    let (server, addr) = serving("echo", test, &["--json"]);
    let tcp = server.addr.clone();
    assert!(ask(&addr, "GET /none HTTP/1.1\r\nHost: x\r\n\r\n").starts_with("HTTP/1.1 404 "));
    assert!(ask(&addr, "message hi\n").starts_with("error ws-required "));
    let output = drained(server);
    let events = lines(&output);
    for (event, transport, addr) in [(&events[0], "tcp", &tcp), (&events[1], "ws", &addr)] {
        assert_eq!(
            (&event["event"], &event["transport"]),
            (&"listening".into(), &transport.into())
        );
        assert_eq!(event["address"], addr.as_str());
    }
    let stopped = events.last().unwrap();
    assert_eq!(
        (&stopped["zero"], &stopped["counters"]["answered"]),
        (&true.into(), &2.into())
    );
}

#[test]
fn pages_of_other_hosts_need_permission() {
    let test = "ws_origin";
    let origins = ["--ws-origin", "https://a.example", "--ws-origin", "https://b.example"];
    let (server, addr) = serving("echo", test, &origins);
    let status = |origin: &str| {
        let request = format!(
            "GET / HTTP/1.1\r\nHost: {addr}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: {origin}\r\n\r\n"
        );
        let mut peer = TcpStream::connect(&addr).unwrap();
        peer.write_all(request.as_bytes()).unwrap();
        let mut start = [0; 12];
        peer.read_exact(&mut start).unwrap();
        String::from_utf8_lossy(&start[9..]).into_owned()
    };
    for (origin, expected) in [
        ("https://a.example", "101"),
        ("https://b.example", "101"),
        (&*format!("http://{addr}"), "101"),
        ("https://c.example", "403"),
    ] {
        assert_eq!(status(origin), expected, "{origin}");
    }
    drained(server);
}

#[test]
fn the_wrong_kind_of_client_is_told() {
    let test = "ws_wrong";
    let (server, addr) = serving("echo", test, &[]);
    let plain = server.addr.clone();
    let send = |to: &str| outcome(test, &["echo", "send", "hi", "--timeout", "2s", "--to", to], 1);
    contains(&send(&addr), &["WebSocket", "ws://"]);
    contains(&send(&format!("ws://{plain}")), &["echo server"]);
    contains(&send(&format!("wss://{addr}")), &["TLS"]);
    drained(server);
}

#[test]
fn wrong_options_are_explained() {
    let test = "ws_options";
    for (args, words) in [
        (
            &[
                "echo",
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--ws-origin",
                "https://a.example",
            ][..],
            "--ws",
        ),
        (
            &["echo", "serve", "--ws", "127.0.0.1:0", "--ws-origin", "a.example"],
            "SCHEME://HOST",
        ),
        (&["echo", "serve", "--ws", "ws://127.0.0.1:1"], "HOST:PORT"),
        (&["echo", "send", "hi", "--to", "http://127.0.0.1:1"], "ws://"),
        (&["echo", "send", "hi", "--to", "ws://127.0.0.1:x"], "ws://"),
    ] {
        contains(&outcome(test, args, 2), &[words]);
    }
    let nobody = outcome(
        test,
        &["echo", "send", "hi", "--timeout", "1s", "--to", "ws://127.0.0.1:1"],
        1,
    );
    contains(&nobody, &["echo serve --ws 127.0.0.1:1"]);
}
