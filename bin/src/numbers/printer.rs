//! What is seen of a stream, by people and by programs.

use std::time::Duration;

use echosphere_core::numbers::{Failure, Notice, Total, Want};
use echosphere_core::wire::ErrorCode;
use serde_json::json;

use super::Transport;
use crate::failure::Remote;
use crate::net::{Address, Target};
use crate::output;
use crate::retry::FailedAttempts;
use crate::stderr::{complain, status};
use crate::values::counted;

/// Shows what comes of one stream.
pub(super) struct Printer {
    to: Target,
    transport: Transport,
    want: Want,
    last: Option<u64>,
    over: bool,
    json: bool,
    remote: Remote,
    failed: FailedAttempts,
}

impl Printer {
    /// For a stream from the server at `to`, without which `give_up` passes at most.
    pub(super) fn new(to: Target, transport: Transport, want: Want, json: bool, give_up: Duration) -> Self {
        let expected = match transport {
            Transport::Grpc => "a numbers server (gRPC)",
            Transport::Tcp => "a numbers server (TCP)",
        };
        let remote = match transport {
            Transport::Grpc => Remote::server(&to, expected, "numbers serve --grpc", "--timeout").over_grpc(),
            Transport::Tcp => Remote::server(&to, expected, "numbers serve --tcp", "--timeout"),
        };
        Self {
            to,
            transport,
            want,
            last: None,
            over: false,
            json,
            remote,
            failed: FailedAttempts::new(give_up),
        }
    }

    /// Says what is about to come, where it is not what was typed.
    pub(super) fn begin(&self) {
        if let Want::Session { uuid, after: None, .. } = self.want {
            status!("session {uuid}");
        }
    }

    /// Shows what the client tells. Returns whether all went well, once it is over or nobody looks any more.
    pub(super) fn notice(&mut self, notice: Notice) -> anyhow::Result<Option<bool>> {
        match notice {
            Notice::Number { place, number, .. } => {
                self.say_failures();
                self.last = Some(number);
                if self.json {
                    let number = output::exactly(number);
                    output::json(&json!({ "event": "number", "place": place, "number": number }))?;
                } else {
                    output::bytes(format!("{number}\n").as_bytes())?;
                }
            }
            Notice::Retrying { why, after, .. } => {
                let why = self.remote.explain(&why);
                if self.json {
                    let after = after.as_millis() as u64;
                    output::json(&json!({ "event": "retrying", "why": why, "after_ms": after }))?;
                } else if let Some(line) = self.failed.note(why) {
                    complain!("{line}");
                }
            }
            Notice::Resumed { count, .. } => {
                self.say_failures();
                if self.json {
                    output::json(&json!({ "event": "resumed", "count": count }))?;
                } else if count > 0 {
                    status!("going on after {}", counted(count.into(), "number"));
                }
            }
            Notice::Done { total, .. } => {
                self.say_failures();
                self.over = true;
                return self.done(total).map(Some);
            }
            Notice::Failed { failure, .. } => {
                self.say_failures();
                self.over = true;
                let why = self.remote.explain(&failure);
                if self.json {
                    output::json(&json!({ "event": "failed", "why": why }))?;
                } else {
                    complain!("error: {why}");
                }
                self.hint(&failure);
                return Ok(Some(false));
            }
        }
        Ok(None)
    }

    /// Says how many attempts failed, if that was not said.
    fn say_failures(&mut self) {
        if let Some(line) = self.failed.finish() {
            complain!("{line}");
        }
    }

    /// Whether the stream has ended.
    pub(super) const fn is_over(&self) -> bool {
        self.over
    }

    fn done(&self, total: Total) -> anyhow::Result<bool> {
        match total {
            Total::Sum(sum) => {
                if self.json {
                    output::json(&json!({ "event": "done", "sum": sum.to_string() }))?;
                } else {
                    output::bytes(format!("sum {sum}\n").as_bytes())?;
                }
                Ok(true)
            }
            Total::Checksum { said, valid } => {
                if self.json {
                    output::json(&json!({ "event": "done", "checksum": said, "valid": valid }))?;
                } else {
                    let verdict = if valid { "valid" } else { "NOT valid" };
                    output::bytes(format!("checksum {said} {verdict}\n").as_bytes())?;
                }
                if !valid {
                    complain!(
                        "error: the numbers that came do not have this checksum; was the session begun with another N?"
                    );
                }
                Ok(valid)
            }
        }
    }

    fn hint(&self, failure: &Failure) {
        match failure {
            // The session is lost: there is nothing to go on with.
            Failure::Rejected(ErrorCode::UnknownSession, _) => {
                if let Want::Session { uuid, n, .. } = self.want {
                    complain!("The server has restarted or waited too long. From the start, with the same numbers:");
                    complain!("  echosphere numbers get --uuid {uuid}{} {n}", self.whereto());
                }
            }
            Failure::Rejected(..) | Failure::Confused | Failure::OtherProtocol(_) => {}
            _ => self.how_to_resume(),
        }
    }

    /// Prints the command that resumes the stream, if a number has come.
    pub(super) fn how_to_resume(&self) {
        let Some(last) = self.last else {
            return;
        };
        let (which, n) = match self.want {
            Want::Session { uuid, n, .. } => (format!(" --uuid {uuid}"), n.to_string()),
            Want::Plain { .. } => (String::new(), "N".to_owned()),
        };
        complain!(
            "to go on: echosphere numbers get{which} --resume {last}{} {n}",
            self.whereto()
        );
    }

    /// The flags that say where the server is, if they are needed.
    fn whereto(&self) -> String {
        let port = self.transport.port();
        let to = (self.to != Address::loopback(port).or_port(port)).then(|| format!(" --to {}", self.to));
        let tcp = (self.transport == Transport::Tcp).then_some(" --transport tcp");
        to.unwrap_or_default() + tcp.unwrap_or_default()
    }
}
