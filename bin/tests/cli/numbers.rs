//! The numbers' commands.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::process::{Child, ChildStderr, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::support::{echosphere, json, stderr, stdout};

const UUID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";
const FIRST: [u64; 5] = [884_115_364, 984_080_323, 2_820_519_488, 1_474_247_489, 1_847_739_336];
const CHECKSUM: u64 = 12_528;

/// A server over both transports.
struct Serving {
    child: Child,
    stderr: BufReader<ChildStderr>,
    grpc: String,
    tcp: String,
}

impl Serving {
    fn start(name: &str, args: &[&str]) -> Self {
        Self::at(name, "127.0.0.1:0", args)
    }

    fn at(name: &str, grpc: &str, args: &[&str]) -> Self {
        let all = [
            &[
                "numbers",
                "serve",
                "--period",
                "10ms",
                "--grpc",
                grpc,
                "--tcp",
                "127.0.0.1:0",
            ],
            args,
        ]
        .concat();
        let mut command = echosphere(name, &all);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut next = |transport: &str| {
            let mut line = String::new();
            stderr.read_line(&mut line).unwrap();
            let rest = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}"));
            let (addr, rest) = rest.split_once(" for ").unwrap();
            assert!(rest.starts_with(transport), "{line}");
            addr.to_owned()
        };
        let (grpc, tcp) = (next("gRPC"), next("TCP"));
        Self {
            child,
            stderr,
            grpc,
            tcp,
        }
    }

    fn get(&self, name: &str, args: &[&str]) -> Output {
        get(name, &[args, &["--to", &self.grpc]].concat())
    }

    fn get_tcp(&self, name: &str, args: &[&str]) -> Output {
        get(name, &[args, &["--to", &self.tcp, "--transport", "tcp"]].concat())
    }

    /// What the server sends to these bytes until it closes.
    fn say(&self, lines: &str) -> String {
        let mut stream = TcpStream::connect(&self.tcp).unwrap();
        stream.write_all(lines.as_bytes()).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Ends without a word.
    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    fn end(mut self) -> Output {
        self.signal(Signal::INT);
        self.stderr.read_to_string(&mut String::new()).unwrap();
        self.child.wait_with_output().unwrap()
    }
}

fn get(name: &str, args: &[&str]) -> Output {
    echosphere(name, &[&["numbers", "get"], args].concat())
        .output()
        .unwrap()
}

fn lines(numbers: &[u64]) -> String {
    numbers.iter().map(|number| format!("{number}\n")).collect()
}

fn events(output: &Output) -> Vec<Value> {
    stdout(output)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn a_stateless_stream_is_printed_and_summed() {
    let serving = Serving::start("numbers-plain", &[]);
    let output = serving.get("numbers-plain", &["3", "--resume", "5"]);
    assert_eq!(stdout(&output), "15\n45\n135\nsum 195\n");
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    let output = serving.get_tcp("numbers-plain", &["2", "--json", "--resume", "5"]);
    assert_eq!(
        events(&output),
        [
            json!({"event": "resumed", "count": 0}),
            json!({"event": "number", "place": 1, "number": "15"}),
            json!({"event": "number", "place": 2, "number": "45"}),
            json!({"event": "done", "sum": "60"}),
        ]
    );
    let output = serving.get("numbers-plain", &["--stateful", "2"]);
    assert!(stderr(&output).starts_with("session "), "{}", stderr(&output));
    assert_eq!(serving.end().status.code(), Some(0));
}

#[test]
fn a_session_begun_over_one_transport_is_gone_on_with_over_the_other() {
    let serving = Serving::start("numbers-both", &["--json"]);
    let output = serving.get("numbers-both", &["--uuid", UUID, "5"]);
    assert_eq!(stdout(&output), format!("{}checksum {CHECKSUM} valid\n", lines(&FIRST)));
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    let output = serving.get_tcp(
        "numbers-both",
        &["--uuid", UUID, "--resume", &FIRST[1].to_string(), "5"],
    );
    assert_eq!(
        stdout(&output),
        format!("{}checksum {CHECKSUM} valid\n", lines(&FIRST[2..]))
    );
    assert_eq!(stderr(&output), "continuing after 2 numbers\n");

    let output = serving.get("numbers-both", &["--uuid", UUID, "5"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("uuid already taken"), "{}", stderr(&output));
    let state = json(&serving.end());
    assert_eq!(state["zero"], true);
    assert_eq!(state["counters"]["sessions"], 1);
    assert_eq!(state["counters"]["resumed"], 1);
}

#[test]
fn a_checksum_that_does_not_match_is_exit_code_1() {
    let serving = Serving::start("numbers-wrong", &[]);
    let output = serving.get("numbers-wrong", &["--uuid", UUID, "5"]);
    assert_eq!(output.status.code(), Some(0));
    // Its fourth number is taken for the checksum.
    let output = serving.get(
        "numbers-wrong",
        &["--uuid", UUID, "--resume", &FIRST[1].to_string(), "3", "--json"],
    );
    assert_eq!(output.status.code(), Some(1));
    let done = events(&output).pop().unwrap();
    assert_eq!(done, json!({"event": "done", "checksum": FIRST[3], "valid": false}));
    serving.end();
}

#[test]
fn a_stateless_stream_goes_on_through_a_restart_and_a_session_is_said_to_be_lost() {
    let serving = Serving::start("numbers-restart", &[]);
    let addr = serving.grpc.clone();
    let begin = |args: &[&str]| {
        let all = [&["numbers", "get", "--to", &addr, "--json"], args].concat();
        let mut command = echosphere("numbers-restart", &all);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        out.read_line(&mut first).unwrap();
        (child, out, first)
    };
    let plain = begin(&["--resume", "1", "300"]);
    let session = begin(&["--uuid", UUID, "300"]);
    serving.kill();
    let restarted = Serving::at("numbers-restart", &addr, &[]);

    let rest = |(mut child, mut out, first): (Child, BufReader<_>, String)| {
        let mut text = first;
        out.read_to_string(&mut text).unwrap();
        let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let code = child.wait().unwrap().code();
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        (events, code, said)
    };
    let (events, code, _) = rest(plain);
    assert_eq!(code, Some(0));
    assert!(events.iter().any(|event| event["event"] == "retrying"), "{events:?}");
    let number = |event: &Value| event["number"].as_str()?.parse().ok();
    let numbers: Vec<u64> = events.iter().filter_map(number).collect();
    let expected = std::iter::successors(Some(3_u64), |number| Some(number.wrapping_mul(3)));
    assert!(numbers.iter().copied().eq(expected.take(300)), "{numbers:?}");

    let (events, code, said) = rest(session);
    assert_eq!(code, Some(1));
    let failed = events.last().unwrap();
    assert!(failed["why"].as_str().unwrap().contains("unknown-session"), "{failed}");
    assert!(said.contains(&format!("numbers get --uuid {UUID}")), "{said}");
    restarted.end();
}

#[test]
fn it_ends_when_nobody_reads_its_numbers() {
    let serving = Serving::start("numbers-unread", &[]);
    let args = ["numbers", "get", "65535", "--to", &serving.grpc];
    let mut child = echosphere("numbers-unread", &args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        stderr(&output).contains("cannot write to stdout"),
        "{}",
        stderr(&output)
    );
    serving.end();
}

#[test]
fn lines_are_answered_to_people() {
    let serving = Serving::start("numbers-lines", &[]);
    let said = serving.say(&format!("START {UUID} 5\n"));
    assert_eq!(said, format!("{}{CHECKSUM}\n", lines(&FIRST)));
    let said = serving.say(&format!("START {UUID} 0\n"));
    assert!(said.starts_with("error invalid-n invalid n value"), "{said}");
    serving.end();
}

#[test]
fn wrong_use_says_what_to_do() {
    for (args, hint) in [
        (&["0"][..], "from 1 to 65,535"),
        (&["65536"], "from 1 to 65,535"),
        (&["5", "--uuid", "x"], "--uuid"),
        (&["5", "--stateful", "--resume", "7"], "also needs its --uuid"),
        (&["5", "--resume", "0"], "no stream contains 0"),
    ] {
        let output = get("numbers-wrong-use", args);
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(stderr(&output).contains(hint), "{args:?}: {}", stderr(&output));
    }
    let output = echosphere("numbers-wrong-use", &["numbers", "serve", "--period", "0s"])
        .output()
        .unwrap();
    assert!(stderr(&output).contains("write 1us or more"), "{}", stderr(&output));

    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap().to_string();
    let output = echosphere("numbers-wrong-use", &["numbers", "serve", "--grpc", &addr])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("choose another port with --grpc"),
        "{}",
        stderr(&output)
    );
    drop(free);
    let output = get("numbers-wrong-use", &["5", "--to", &addr, "--timeout", "1ms"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("numbers serve --grpc"), "{}", stderr(&output));
}

#[test]
fn a_full_server_says_so_and_logs_it() {
    let mut serving = Serving::start("numbers-full", &["--max-connections", "1"]);
    let silent = TcpStream::connect(&serving.grpc).unwrap();
    let output = serving.get("numbers-full", &["1", "--timeout", "1s"]);
    assert_eq!(output.status.code(), Some(1));
    let said = stderr(&output);
    assert!(said.contains("accepts no connections now: it is full"), "{said}");
    drop(silent);
    serving.signal(Signal::INT);
    let mut logged = String::new();
    serving.stderr.read_to_string(&mut logged).unwrap();
    assert!(logged.contains("the limit of connections is reached"), "{logged}");
    serving.child.wait().unwrap();
}
