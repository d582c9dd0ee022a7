//! Commands at servers that are not there, do not answer, or are others than they look for.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStderr, Output, Stdio};
use std::thread;

use crate::support::{address, echosphere, stderr};

struct Server {
    child: Child,
    addr: String,
    /// Kept open, so that the server can write to it.
    _stderr: BufReader<ChildStderr>,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that these arguments start, on a free port.
fn serve(args: &[&str]) -> Server {
    let mut command = echosphere("other-server", args);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut line).unwrap();
    let addr = address(&line);
    Server {
        child,
        addr,
        _stderr: stderr,
    }
}

fn run(args: &[&str]) -> Output {
    let mut command = echosphere("other-client", args);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // For those that read; others may have ended by then.
    let _ = child.stdin.take().unwrap().write_all(b"identity\n");
    child.wait_with_output().unwrap()
}

/// The commands that connect, what they look for, and how they are told where.
fn commands(addr: &str) -> Vec<(&'static str, Vec<&str>)> {
    vec![
        ("echo", vec!["echo", "send", "x", "--to", addr]),
        ("hub", vec!["hub", "identity", "--to", addr]),
        ("hub", vec!["hub", "listen", "--count", "1", "--to", addr]),
        ("hub", vec!["hub", "connect", "--to", addr]),
        ("chat", vec!["chat", "connect", addr]),
        ("chat", vec!["chat", "connect", addr, "--reconnect"]),
        ("chat", vec!["chat", "ping", addr, "--count", "1"]),
        ("tcp", vec!["numbers", "get", "1", "--transport", "tcp", "--to", addr]),
        (
            "tcp",
            vec!["numbers", "get", "1", "--stateful", "--transport", "tcp", "--to", addr],
        ),
        ("grpc", vec!["numbers", "get", "1", "--to", addr]),
        ("grpc", vec!["numbers", "get", "1", "--stateful", "--to", addr]),
    ]
}

#[test]
fn each_command_says_which_other_server_it_has_met_and_ends() {
    for (serves, args, name) in [
        (
            "echo",
            &["echo", "serve", "--listen", "127.0.0.1:0"][..],
            "is an echo server, not a",
        ),
        ("hub", &["hub", "serve", "--listen", "127.0.0.1:0"], "is a hub, not a"),
        (
            "chat",
            &["chat", "serve", "--listen", "127.0.0.1:0"],
            "is a chat server, not a",
        ),
        (
            "tcp",
            &["numbers", "serve", "--tcp", "127.0.0.1:0"],
            "is a numbers server (TCP), not a",
        ),
        (
            "grpc",
            &["numbers", "serve", "--grpc", "127.0.0.1:0"],
            "is an HTTP/2 server (gRPC or web), not a",
        ),
    ] {
        let server = serve(args);
        for (wants, args) in commands(&server.addr) {
            if wants == serves {
                continue;
            }
            let output = run(&args);
            let text = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{args:?} at {serves}: {text}");
            assert!(text.contains(name), "{args:?} at {serves}: {text}");
            assert!(text.lines().count() <= 2, "{args:?} at {serves}: {text}");
            assert!(!text.contains("trying again"), "{args:?} at {serves}: {text}");
        }
    }
}

/// A port at which nobody listens.
fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().to_string()
}

#[test]
fn a_first_attempt_that_is_refused_ends_each_command_at_once() {
    let addr = free_port();
    for (_, args) in commands(&addr) {
        let output = run(&args);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
        assert!(text.contains("no server listens at "), "{args:?}: {text}");
        assert!(!text.contains("trying again"), "{args:?}: {text}");
        assert!(text.lines().count() <= 2, "{args:?}: {text}");
    }
}

#[test]
fn with_retry_a_command_waits_for_the_server_and_says_once_why() {
    let addr = free_port();
    for (_, mut args) in commands(&addr) {
        if args[1] == "ping" {
            continue;
        }
        args.extend(["--retry", "--timeout", "900ms"]);
        let output = run(&args);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
        assert_eq!(text.matches("trying again").count(), 1, "{args:?}: {text}");
        assert!(text.lines().count() <= 4, "{args:?}: {text}");
    }
    // And if it comes, all is well.
    let to = addr.clone();
    let waits = thread::Builder::new().name("client".to_owned());
    let client = waits
        .spawn(move || run(&["echo", "send", "x", "--retry", "--to", &to]))
        .unwrap();
    let args = ["echo", "serve", "--listen", &addr];
    let _server = serve(&args);
    let output = client.join().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
}

#[test]
fn a_server_that_says_nothing_is_left_when_the_time_is_over() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    for (_, mut args) in commands(&addr) {
        args.extend(["--timeout", "300ms"]);
        let output = run(&args);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {}", stderr(&output));
    }
}

/// Accepts connections, and closes each once it has heard something; says how many there were.
fn hangs_up() -> (String, thread::JoinHandle<usize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let counts = thread::Builder::new().name("hangs up".to_owned());
    let counts = counts.spawn(move || {
        for (count, stream) in listener.incoming().enumerate() {
            let mut first = [0; 256];
            let read = stream.unwrap().read(&mut first).unwrap();
            if first[..read] == *b"enough" {
                return count;
            }
        }
        0
    });
    (addr, counts.unwrap())
}

#[test]
fn a_server_that_hangs_up_is_not_stormed() {
    for at in 0..commands("").len() {
        let (addr, counts) = hangs_up();
        let (_, mut args) = commands(&addr).swap_remove(at);
        args.extend(["--timeout", "1500ms"]);
        let output = run(&args);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
        // How it ended may be seen in two ways, in turn.
        assert!(text.lines().count() <= 12, "{args:?}: {text}");
        TcpStream::connect(&addr).unwrap().write_all(b"enough").unwrap();
        let count = counts.join().unwrap();
        assert!((1..=10).contains(&count), "{args:?} connected {count} times");
    }
}
