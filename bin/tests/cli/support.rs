//! The program, run as people and scripts run it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// The program in an empty folder of its own, with none of this environment's settings.
pub(crate) fn echosphere(name: &str, args: &[&str]) -> Command {
    let folder = folder(name);
    let mut command = Command::new(env!("CARGO_BIN_EXE_echosphere"));
    command.args(args).current_dir(folder).env_clear();
    command
}

pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(&folder).unwrap();
    folder
}

pub(crate) fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// The last JSON object that was printed: of a server, what it has left.
pub(crate) fn json(output: &Output) -> Value {
    lines(output).pop().unwrap_or_default()
}

/// Every JSON object that was printed.
pub(crate) fn lines(output: &Output) -> Vec<Value> {
    let text = stdout(output);
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    text.lines().map(parse).collect()
}

/// The address in the first line of a server.
pub(crate) fn address(line: &str) -> String {
    let rest = line.strip_prefix("listening on ").unwrap_or_else(|| panic!("{line}"));
    rest.split(' ').next().unwrap().to_owned()
}

/// A server of this system on a free port.
pub(crate) struct Serving {
    pub(crate) child: Child,
    pub(crate) stderr: BufReader<ChildStderr>,
    pub(crate) addr: String,
}

impl Serving {
    pub(crate) fn start(system: &str, name: &str, args: &[&str]) -> Self {
        let free = match system {
            _ if ["--listen", "--tcp", "--grpc"].iter().any(|flag| args.contains(flag)) => &[][..],
            "numbers" => &["--tcp", "127.0.0.1:0"],
            _ => &["--listen", "127.0.0.1:0"],
        };
        let all = [&[system, "serve"], free, args].concat();
        let mut command = echosphere(name, &all);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let addr = address(&line);
        Self { child, stderr, addr }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().try_into().unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.stderr.read_line(&mut line).unwrap();
        line
    }

    pub(crate) fn wait(self) -> Output {
        self.child.wait_with_output().unwrap()
    }
}

/// Runs a command that must end with this exit code, and returns stdout and stderr together.
pub(crate) fn outcome(test: &str, args: &[&str], code: i32) -> String {
    let output = echosphere(test, args).stdin(Stdio::null()).output().unwrap();
    let text = stdout(&output) + &stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
    text
}

pub(crate) fn contains(text: &str, parts: &[&str]) {
    assert!(parts.iter().all(|part| text.contains(part)), "{parts:?} in {text}");
}

/// Drains a server, which must end with 0.
pub(crate) fn drained(server: Serving) -> Output {
    server.signal(Signal::TERM);
    let output = server.wait();
    assert!(output.status.success(), "{output:?}");
    output
}
