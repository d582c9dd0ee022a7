//! What is not written is not acknowledged, and a loss is no end.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Output, Stdio};
use std::thread;

use rustix::process::Signal;

use crate::support::{Serving, address, echosphere, json, stderr, stdout};

/// More than the pipes and buffers between two programs hold.
const MUCH: usize = 3_000_000;

fn spawn(name: &str, args: &[&str], out: Stdio) -> Child {
    echosphere(name, args)
        .stdin(Stdio::piped())
        .stdout(out)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn full() -> Stdio {
    OpenOptions::new().write(true).open("/dev/full").unwrap().into()
}

/// Has so much piped into a program, of which it may take less.
fn pipe_into(child: &mut Child, length: usize) {
    let mut stdin = child.stdin.take().unwrap();
    thread::Builder::new()
        .spawn(move || {
            // Whoever has ended takes no more.
            let _ = stdin.write_all(&vec![b'x'; length]);
        })
        .unwrap();
}

/// A chat's server that serves once, and its address.
fn serve(name: &str, args: &[&str], out: Stdio) -> (Child, String) {
    let all = [&["chat", "serve", "--listen", "127.0.0.1:0", "--once"], args].concat();
    let mut child = spawn(name, &all, out);
    // With --json, stdout says it too.
    let mut line = String::new();
    let mut stderr = BufReader::with_capacity(1, child.stderr.take().unwrap());
    stderr.read_line(&mut line).unwrap();
    child.stderr = Some(stderr.into_inner());
    let addr = address(&line);
    (child, addr)
}

/// Reads so many bytes of what a program prints, and then no more.
fn read_some(child: &mut Child, length: usize) {
    let mut out = child.stdout.take().unwrap();
    out.read_exact(&mut vec![0; length]).unwrap();
}

fn assert_unwritten(receiver: &Output, sender: &Output) {
    assert_eq!(receiver.status.code(), Some(1), "{}", stderr(receiver));
    assert!(
        stderr(receiver).contains("error: cannot write to stdout: "),
        "{}",
        stderr(receiver)
    );
    assert_eq!(sender.status.code(), Some(1), "{}", stderr(sender));
    assert!(stderr(sender).contains(" not acknowledged"), "{}", stderr(sender));
}

#[test]
fn a_server_acknowledges_nothing_that_it_cannot_write() {
    for args in [&["--raw"][..], &[]] {
        let (mut server, addr) = serve("unwritten", args, Stdio::piped());
        let mut client = spawn("unwritten", &["chat", "connect", &addr], Stdio::piped());
        pipe_into(&mut client, MUCH);
        read_some(&mut server, 10);
        let client = client.wait_with_output().unwrap();
        assert_unwritten(&server.wait_with_output().unwrap(), &client);

        let (server, addr) = serve("unwritten", args, full());
        let mut client = spawn("unwritten", &["chat", "connect", &addr], Stdio::piped());
        pipe_into(&mut client, 1);
        let client = client.wait_with_output().unwrap();
        assert_unwritten(&server.wait_with_output().unwrap(), &client);
        assert!(stderr(&client).contains("✗ 1 not acknowledged"), "{}", stderr(&client));
    }
}

#[test]
fn a_client_acknowledges_nothing_that_it_cannot_write() {
    let (mut server, addr) = serve("unwritten-client", &["--raw"], Stdio::piped());
    let mut client = spawn("unwritten-client", &["chat", "connect", &addr, "--raw"], Stdio::piped());
    pipe_into(&mut server, MUCH);
    // Whoever has ended its input leaves.
    let _input = client.stdin.take();
    read_some(&mut client, 10);
    let client = client.wait_with_output().unwrap();
    assert_unwritten(&client, &server.wait_with_output().unwrap());
}

#[test]
fn what_is_delivered_is_written() {
    let (mut server, addr) = serve("written", &["--raw"], Stdio::piped());
    let mut client = spawn("written", &["chat", "connect", &addr, "--json"], Stdio::piped());
    pipe_into(&mut client, MUCH);
    let mut written = Vec::new();
    let mut out = server.stdout.take().unwrap();
    // Nobody reads yet: all that is delivered fits the pipe.
    let mut events = BufReader::new(client.stdout.take().unwrap()).lines();
    assert!(events.next().unwrap().unwrap().contains("connected"));
    assert!(events.next().unwrap().unwrap().contains("delivered"));
    out.read_to_end(&mut written).unwrap();
    assert_eq!(written.len(), MUCH);
    assert!(events.last().unwrap().unwrap().contains("ended"));
    assert_eq!(client.wait().unwrap().code(), Some(0));
    assert_eq!(server.wait().unwrap().code(), Some(0));
}

#[test]
fn whoever_listens_at_a_hub_says_what_cannot_be_written() {
    let hub = Serving::start("hub", "unwritten-hub", &[]);
    for (args, to) in [(&[][..], "stdout"), (&["--output", "/dev/full"], "the file /dev/full")] {
        for format in ["text", "raw", "json"] {
            let all = [&["hub", "listen", "--to", &hub.addr, "--format", format], args].concat();
            let mut listener = spawn("unwritten-hub", &all, full());
            let mut line = String::new();
            let mut said = BufReader::new(listener.stderr.take().unwrap());
            said.read_line(&mut line).unwrap();
            let id = line.trim_end().strip_prefix("listening as user ").unwrap();
            let relay = ["hub", "relay", id, "x", "--to", &hub.addr];
            echosphere("unwritten-hub", &relay).output().unwrap();
            said.read_to_string(&mut line).unwrap();
            assert_eq!(listener.wait().unwrap().code(), Some(1), "{format}: {line}");
            assert!(line.contains(&format!("cannot write to {to}: ")), "{format}: {line}");
        }
    }
}

#[test]
fn numbers_that_cannot_be_written_are_an_error() {
    let args = ["numbers", "serve", "--grpc", "127.0.0.1:0", "--period", "1ms"];
    let mut server = spawn("unwritten-numbers", &args, Stdio::null());
    let mut line = String::new();
    let mut said = BufReader::new(server.stderr.take().unwrap());
    said.read_line(&mut line).unwrap();
    let addr = &address(&line);
    for more in [&[][..], &["--json"]] {
        let all = [&["numbers", "get", "3", "--to", addr], more].concat();
        let output = spawn("unwritten-numbers", &all, full()).wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains("cannot write to stdout"),
            "{}",
            stderr(&output)
        );
    }
    server.kill().unwrap();
    server.wait().unwrap();
}

#[test]
fn numbers_that_stop_coming_are_a_loss() {
    for transport in ["grpc", "tcp"] {
        let args = [
            "numbers",
            "serve",
            "--grpc",
            "127.0.0.1:0",
            "--tcp",
            "127.0.0.1:0",
            "--period",
            "1ms",
        ];
        let mut server = spawn("stopped-numbers", &args, Stdio::null());
        let mut said = BufReader::new(server.stderr.take().unwrap()).lines();
        let mut addr = || address(&said.next().unwrap().unwrap());
        let addrs = [addr(), addr()];
        let addr = &addrs[usize::from(transport == "tcp")];
        for kind in [&[][..], &["--stateful"]] {
            let to = [
                "numbers",
                "get",
                "60000",
                "--to",
                addr,
                "--transport",
                transport,
                "--timeout",
                "2s",
            ];
            let mut client = spawn("stopped-numbers", &[&to, kind].concat(), Stdio::piped());
            let mut first = String::new();
            BufReader::new(client.stdout.as_mut().unwrap())
                .read_line(&mut first)
                .unwrap();
            let pid = rustix::process::Pid::from_child(&server);
            rustix::process::kill_process(pid, Signal::STOP).unwrap();
            let output = client.wait_with_output().unwrap();
            rustix::process::kill_process(pid, Signal::CONT).unwrap();
            assert_eq!(
                output.status.code(),
                Some(1),
                "{transport} {kind:?}: {}",
                stderr(&output)
            );
            assert!(stderr(&output).contains("to resume: "), "{}", stderr(&output));
        }
        server.kill().unwrap();
        server.wait().unwrap();
    }
}

#[test]
fn a_sender_that_is_killed_has_not_ended() {
    for (client_args, server_args) in [(&[][..], &[][..]), (&["--reconnect"], &["--keep", "100ms"])] {
        let (mut server, addr) = serve("killed", &[&["--raw"], server_args].concat(), Stdio::piped());
        let connect = [&["chat", "connect", &addr, "--json"], client_args].concat();
        let mut client = spawn("killed", &connect, Stdio::piped());
        client.stdin.as_mut().unwrap().write_all(b"the first half").unwrap();
        let mut half = [0; 14];
        server.stdout.as_mut().unwrap().read_exact(&mut half).unwrap();
        // It has read everything, so that its end is a clean one.
        let mut events = BufReader::new(client.stdout.take().unwrap()).lines();
        while !events.next().unwrap().unwrap().contains("delivered") {}
        client.kill().unwrap();
        client.wait().unwrap();
        let server = server.wait_with_output().unwrap();
        assert_eq!(server.status.code(), Some(1), "{}", stderr(&server));
        assert!(stderr(&server).contains("○ "), "{}", stderr(&server));
    }
}

#[test]
fn a_server_that_is_killed_has_not_ended() {
    let serving = Serving::start("chat", "killed-server", &[]);
    let mut client = spawn(
        "killed-server",
        &["chat", "connect", &serving.addr, "--raw"],
        Stdio::piped(),
    );
    let mut line = String::new();
    let mut said = BufReader::new(client.stderr.take().unwrap());
    said.read_line(&mut line).unwrap();
    serving.signal(Signal::KILL);
    serving.wait();
    said.read_to_string(&mut line).unwrap();
    assert_eq!(client.wait().unwrap().code(), Some(1), "{line}");
    assert!(line.contains("○ the connection to "), "{line}");
}

#[test]
fn whoever_types_may_end_with_a_fin() {
    let (server, addr) = serve("typed-end", &["--raw"], Stdio::piped());
    let mut typist = std::net::TcpStream::connect(addr).unwrap();
    typist.write_all(b"one\ntwo").unwrap();
    typist.shutdown(std::net::Shutdown::Write).unwrap();
    let mut seen = String::new();
    typist.read_to_string(&mut seen).unwrap();
    assert_eq!(seen, "ok 1\nok 2\n");
    let server = server.wait_with_output().unwrap();
    assert_eq!((stdout(&server).as_str(), server.status.code()), ("onetwo", Some(0)));
}

#[test]
fn whoever_listens_at_a_hub_says_that_something_may_be_missing() {
    let hub = Serving::start("hub", "lost-hub", &[]);
    let addr = hub.addr.clone();
    let args = ["hub", "listen", "--to", &addr, "--count", "1", "--format", "json"];
    let mut listener = spawn("lost-hub", &args, Stdio::piped());
    let mut events = BufReader::new(listener.stdout.take().unwrap()).lines();
    let mut next = || -> serde_json::Value { serde_json::from_str(&events.next().unwrap().unwrap()).unwrap() };
    assert_eq!(next()["event"], "connected");
    hub.signal(Signal::KILL);
    hub.wait();
    let hub = Serving::start("hub", "lost-hub", &["--listen", &addr, "--json"]);
    assert_eq!(next()["event"], "lost");
    let mut again = next();
    // An attempt may come too early.
    while again["event"] != "connected" {
        again = next();
    }
    let id = again["user_id"].as_str().unwrap();
    echosphere("lost-hub", &["hub", "relay", id, "x", "--to", &addr])
        .output()
        .unwrap();
    assert_eq!(next()["text"], "x");
    let output = listener.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("was lost and made again"),
        "{}",
        stderr(&output)
    );
    hub.signal(Signal::INT);
    assert_eq!(json(&hub.wait())["zero"], true);
}

#[test]
fn whoever_stops_listening_before_the_count_is_interrupted() {
    let hub = Serving::start("hub", "listen-interrupted", &[]);
    for (args, code) in [(&[][..], 0), (&["--count", "2"], 130)] {
        let all = [&["hub", "listen", "--to", &hub.addr], args].concat();
        let mut listener = spawn("listen-interrupted", &all, Stdio::null());
        let mut line = String::new();
        let mut said = BufReader::new(listener.stderr.take().unwrap());
        said.read_line(&mut line).unwrap();
        let pid = rustix::process::Pid::from_child(&listener);
        rustix::process::kill_process(pid, Signal::TERM).unwrap();
        assert_eq!(listener.wait().unwrap().code(), Some(code), "{args:?}");
    }
}
