//! Every exit code that the help of a command documents, made to happen.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Serving, echosphere, stdout};

/// How a command comes to end.
#[derive(Clone, Copy, Debug)]
enum End {
    /// By itself, against a server that runs.
    Served,
    /// By itself, without a server at the address.
    NoServer,
    /// By itself, with an option that keeps it from starting.
    CannotStart,
    /// By itself, as stdout cannot be written.
    DiskFull,
    /// By SIGINT, as a server.
    Drained,
    /// By a second SIGINT, as a server that still drains.
    EndedAtOnce,
    /// By SIGINT, against a server that never answers.
    Interrupted,
}

use End::{CannotStart, DiskFull, Drained, EndedAtOnce, Interrupted, NoServer, Served};

/// Exit codes, and how each comes about.
type Codes = &'static [(i32, End)];

/// Each command with its further arguments, and how each exit code comes about.
const COMMANDS: [(&str, &str, Codes); 16] = [
    ("echo serve", "--listen 127.0.0.1:0 --json", SERVER),
    ("echo send", "x --timeout 20s --to ADDR", CLIENT),
    ("echo load", "--clients 1 --over 1ms --timeout 20s --to ADDR", CLIENT),
    ("hub serve", "--listen 127.0.0.1:0 --json", SERVER),
    ("hub connect", "--to ADDR", CLIENT),
    ("hub identity", "--to ADDR", CLIENT),
    ("hub list", "--to ADDR", CLIENT),
    ("hub relay", "1 x --to ADDR", CLIENT),
    ("hub listen", "--count 1 --to ADDR", CLIENT),
    ("hub load", "--users 1 --messages 1 --timeout 20s --to ADDR", CLIENT),
    ("numbers serve", "--tcp 127.0.0.1:0 --json", SERVER),
    ("numbers get", "1 --transport tcp --to ADDR", CLIENT),
    ("chat serve", "--listen 127.0.0.1:0 --json", SERVER),
    ("chat connect", "--to ADDR", CLIENT),
    ("chat ping", "--count 1 --to ADDR", CLIENT),
    ("chat", "", &[(2, CannotStart)]),
];

const SERVER: Codes = &[(0, Drained), (1, DiskFull), (2, CannotStart), (130, EndedAtOnce)];
const CLIENT: Codes = &[(0, Served), (1, NoServer), (2, CannotStart), (130, Interrupted)];

fn interrupt(child: &Child) {
    let pid = Pid::from_raw(child.id().try_into().unwrap()).unwrap();
    kill_process(pid, Signal::INT).unwrap();
}

fn command(path: &str, args: &str, addr: &str) -> Command {
    let args = args.replace("ADDR", addr);
    let args: Vec<&str> = path.split(' ').chain(args.split_whitespace()).collect();
    let mut command = echosphere("exit-codes", &args);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// The exit code of a command that ends so.
fn code(path: &str, args: &str, end: End) -> Option<i32> {
    let system = path.split(' ').next().unwrap();
    match end {
        Served => {
            let mut serving = Serving::start(system, "exit-codes", &[]);
            let addr = serving.addr.clone();
            let mut client = command(path, args, &addr);
            let code = match path {
                "hub listen" => {
                    let mut listener = client.stderr(Stdio::piped()).spawn().unwrap();
                    let mut line = String::new();
                    BufReader::new(listener.stderr.take().unwrap())
                        .read_line(&mut line)
                        .unwrap();
                    let user = line.trim_end().rsplit(' ').next().unwrap();
                    let sent = command("hub relay", &format!("{user} x --to ADDR"), &addr)
                        .status()
                        .unwrap();
                    assert!(sent.success(), "{line}");

                    listener.wait().unwrap().code()
                }
                _ => client.status().unwrap().code(),
            };
            serving.child.kill().unwrap();
            serving.child.wait().unwrap();
            code
        }
        NoServer => {
            let args = args.replace("--timeout 20s", "--timeout 300ms");
            command(path, &args, "127.0.0.1:1").status().unwrap().code()
        }
        CannotStart if path == "chat" => command(path, args, "").status().unwrap().code(),
        CannotStart => {
            let args = format!("{args} --env-file=none.env");
            command(path, &args, "127.0.0.1:1").status().unwrap().code()
        }
        DiskFull => {
            let full = File::options().write(true).open("/dev/full").unwrap();
            command(path, args, "").stdout(full).status().unwrap().code()
        }
        Drained => {
            let (mut child, _) = listening(path, args);
            interrupt(&child);
            child.wait().unwrap().code()
        }
        EndedAtOnce => {
            let (mut child, addr) = listening(path, args);
            // A connection that its peer does not close drains for seconds.
            let mut peer = TcpStream::connect(addr).unwrap();
            peer.write_all(b"identity\n").unwrap();
            peer.read_exact(&mut [0]).unwrap();
            loop {
                interrupt(&child);
                if let Some(status) = child.try_wait().unwrap() {
                    return status.code();
                }
            }
        }
        Interrupted => {
            let silent = TcpListener::bind("127.0.0.1:0").unwrap();
            let addr = silent.local_addr().unwrap().to_string();
            let mut child = command(path, args, &addr).stdin(Stdio::piped()).spawn().unwrap();
            let _connection = silent.accept().unwrap();
            // `wait` would close it, and the end of stdin ends some commands.
            let _stdin = child.stdin.take();
            interrupt(&child);
            child.wait().unwrap().code()
        }
    }
}

/// A server, and where it listens.
fn listening(path: &str, args: &str) -> (Child, String) {
    let mut command = command(path, args, "");
    // The end of its stdin does not end a chat.
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap())
        .read_line(&mut line)
        .unwrap();
    let event: serde_json::Value = serde_json::from_str(&line).unwrap();
    (child, event["address"].as_str().unwrap().to_owned())
}

fn help(path: &str) -> String {
    let args: Vec<&str> = path.split_whitespace().chain(["--help"]).collect();
    stdout(&echosphere("exit-codes", &args).output().unwrap())
}

/// Every command that can be run, as the help lists them.
fn commands() -> BTreeSet<String> {
    let listed = |help: &str| -> Vec<String> {
        let (_, list) = help.split_once("Commands:\n").unwrap_or_default();
        let lines = list.lines().take_while(|line| !line.is_empty());
        let names = lines.filter_map(|line| line.split_whitespace().next());
        names.filter(|name| *name != "help").map(str::to_owned).collect()
    };
    let systems = listed(&help(""));
    let paths = systems.iter().flat_map(|system| {
        let commands = listed(&help(system)).into_iter();
        commands.map(move |command| format!("{system} {command}"))
    });
    // A chat has commands, and runs without one.
    paths.chain(["chat".to_owned()]).collect()
}

/// The exit codes in the help of a command.
fn documented(path: &str) -> BTreeSet<i32> {
    let help = help(path);
    let words: Vec<&str> = help.split_whitespace().collect();
    let help = words.join(" ");
    let (_, codes) = help
        .split_once("Exit codes: ")
        .unwrap_or_else(|| panic!("{path}: {help}"));
    let codes = codes
        .split("; ")
        .filter_map(|code| code.split(' ').next()?.parse().ok());
    codes.collect()
}

#[test]
fn every_documented_exit_code_comes_about() {
    let listed: BTreeSet<String> = COMMANDS.iter().map(|(path, ..)| (*path).to_owned()).collect();
    assert_eq!(listed, commands(), "commands of the program");
    let tests: Vec<_> = COMMANDS
        .into_iter()
        .map(|(path, args, ends)| {
            let test = move || {
                let codes: BTreeSet<i32> = ends.iter().map(|(code, _)| *code).collect();
                assert_eq!(documented(path), codes, "{path}");
                for (expected, end) in ends {
                    assert_eq!(code(path, args, *end), Some(*expected), "{path} ends by {end:?}");
                }
            };
            thread::Builder::new().name(path.to_owned()).spawn(test).unwrap()
        })
        .collect();
    for test in tests {
        test.join().unwrap();
    }
}
