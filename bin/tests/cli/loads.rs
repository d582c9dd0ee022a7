//! What load tools say of servers that do not keep their promises, and of runs without a seed.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Stdio};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::support::{echosphere, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    /// Answers every message.
    Honest,
    /// Answers all but each tenth message, and closes once no more can be sent.
    Loses,
    /// Answers every message twice.
    Doubles,
    /// Answers each tenth message with another's ok, and closes once no more can be sent.
    Confuses,
    /// Answers every second message before the one before it.
    Reorders,
}

/// Messages without their ok that the load allows on its connection.
const WINDOW: u32 = 4;

fn frame(payload: &[u8]) -> Vec<u8> {
    [&u32::try_from(payload.len()).unwrap().to_be_bytes(), payload].concat()
}

impl Server {
    fn start(self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let serve = move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let talk = move || self.serve(stream);
                thread::Builder::new().spawn(talk).unwrap();
            }
        };
        thread::Builder::new().spawn(serve).unwrap();
        addr
    }

    fn serve(self, mut stream: TcpStream) -> Option<()> {
        let (mut count, mut held) = (0, Vec::new());
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        loop {
            // The last of an odd number has none after it.
            while matches!(stream.peek(&mut [0]), Err(error) if error.kind() == ErrorKind::WouldBlock) {
                stream.write_all(&std::mem::take(&mut held)).ok()?;
            }
            let mut length = [0; 4];
            stream.read_exact(&mut length).ok()?;
            let mut payload = vec![0; u32::from_be_bytes(length) as usize];
            stream.read_exact(&mut payload).ok()?;
            let Some(x) = payload.strip_prefix(b"message ") else {
                continue;
            };
            count += 1;
            let ok = frame(&[b"ok ", x].concat());
            let answer = match self {
                Self::Loses if count % 10 == 0 => Vec::new(),
                Self::Confuses if count % 10 == 0 => frame(b"ok to nobody"),
                Self::Doubles => [&ok[..], &ok].concat(),
                Self::Reorders if count % 2 == 1 => {
                    held = ok;
                    Vec::new()
                }
                Self::Reorders => [ok, std::mem::take(&mut held)].concat(),
                Self::Honest | Self::Loses | Self::Confuses => ok,
            };
            stream.write_all(&answer).ok()?;
            // Each lost message keeps its place in the window.
            if matches!(self, Self::Loses | Self::Confuses) && count == 10 * WINDOW {
                return None;
            }
        }
    }
}

/// What a load of connections that stay says of it.
fn load(server: Server) -> (Option<i32>, Value) {
    let addr = server.start().to_string();
    // The first two close their connection, which ends the load.
    let duration = match server {
        Server::Loses | Server::Confuses => "20s",
        Server::Honest | Server::Doubles | Server::Reorders => "200ms",
    };
    let args = [
        "echo",
        "load",
        "--to",
        &addr,
        "--connections",
        "1",
        "--window",
        "4",
        "--duration",
        duration,
        "--json",
    ];
    let output = echosphere("load-of-a-liar", &args).output().unwrap();
    (output.status.code(), json(&output))
}

#[test]
fn a_load_tells_what_a_server_does_wrong() {
    for server in [
        Server::Honest,
        Server::Loses,
        Server::Doubles,
        Server::Confuses,
        Server::Reorders,
    ] {
        let (code, report) = load(server);
        let number = |name: &str| report[name].as_u64().unwrap();
        let (sent, acknowledged, lost) = (number("sent"), number("acknowledged"), number("lost"));
        let broken = |how: &str| report["broken"][how].as_u64().unwrap_or(0);
        let unexpected = broken("ok for an unknown message");
        let closed = broken("the peer closed it");
        assert!(sent > 0, "{server:?}: {report}");
        assert_eq!(sent, acknowledged + lost, "{server:?}: {report}");
        let expected = match server {
            Server::Honest | Server::Reorders => (0, 0, 0),
            Server::Loses => (4, 0, 1),
            Server::Doubles => (0, sent, 0),
            Server::Confuses => (4, 4, 1),
        };
        assert_eq!((lost, unexpected, closed), expected, "{server:?}: {report}");
        let passed = expected == (0, 0, 0);
        assert_eq!(report["passed"], passed, "{server:?}: {report}");
        assert_eq!(code, Some(i32::from(!passed)), "{server:?}: {report}");
    }
}

#[test]
fn two_runs_without_a_seed_differ_and_with_one_they_do_not() {
    let seed = |args: &[&str]| {
        let load = ["echo", "load", "--clients", "2", "--over", "1ms", "--json"];
        let output = echosphere("load-seeds", &[&load, args].concat()).output().unwrap();
        json(&output)["seed"].as_str().unwrap().to_owned()
    };
    assert_ne!(seed(&[]), seed(&[]));
    assert_eq!(seed(&["--seed", "18446744073709551615"]), "18446744073709551615");
}

/// A load that waits, and the lines of its stderr.
fn spawn(args: &[&str]) -> (Child, BufReader<ChildStderr>) {
    let mut command = echosphere("load-interrupted", args);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    (child, stderr)
}

fn interrupt(child: &Child) {
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
}

#[test]
fn an_interrupt_ends_the_opening_of_connections() {
    for more in [&[][..], &["--shards", "2"]] {
        // It accepts one connection, and the queue of the system has no place for all others.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let args = ["echo", "load", "--to", &addr, "--connections", "500", "--json"];
        let (child, mut stderr) = spawn(&[&args, more].concat());
        let first = listener.accept().unwrap();
        interrupt(&child);
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        assert!(line.starts_with("interrupted: "), "{line}");
        drop((first, listener));
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130));
        let report = json(&output);
        assert_eq!(
            (&report["passed"], &report["sent"]),
            (&false.into(), &0.into()),
            "{report}"
        );
    }
}

#[test]
fn a_second_interrupt_ends_a_load_at_once() {
    for load in [
        &["hub", "load", "--users", "1"][..],
        &["echo", "load", "--clients", "1", "--over", "1ms"],
        &["echo", "load", "--hold", "--connections", "1"],
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        let (child, mut stderr) = spawn(&[load, &["--to", &addr]].concat());
        let (mut peer, _) = listener.accept().unwrap();
        peer.read_exact(&mut [0]).unwrap();
        interrupt(&child);
        let mut line = String::new();
        while !line.starts_with("interrupted: ") {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "{load:?}");
        }
        interrupt(&child);
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "ended at once\n", "{load:?}");
        assert_eq!(child.wait_with_output().unwrap().status.code(), Some(130));
    }
}
