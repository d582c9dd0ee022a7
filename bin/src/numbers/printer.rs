//! Prints a stream of numbers as text or as JSON.

use std::time::Duration;

use echosphere_core::failure::Failure;
use echosphere_core::numbers::{Notice, StreamSpec, Total};
use echosphere_core::wire::ErrorCode;
use serde_json::json;

use super::Transport;
use crate::failure::Remote;
use crate::net::{Address, Target};
use crate::output;
use crate::retry::FailedAttempts;
use crate::stderr::{complain, status};
use crate::values::counted;

/// Prints one stream.
pub(super) struct Printer {
    to: Target,
    transport: Transport,
    stream: StreamSpec,
    last: Option<u64>,
    json: bool,
    remote: Remote,
    failed: FailedAttempts,
}

impl Printer {
    /// A printer for the server at `to`, whose client gives up after `give_up`.
    pub(super) fn new(to: Target, transport: Transport, stream: StreamSpec, json: bool, give_up: Duration) -> Self {
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
            stream,
            last: None,
            json,
            remote,
            failed: FailedAttempts::new(give_up),
        }
    }

    /// The server, as error messages name it.
    pub(super) const fn remote(&self) -> &Remote {
        &self.remote
    }

    /// Prints the UUID of a new session.
    pub(super) fn begin(&self) {
        if let StreamSpec::Session { uuid, after: None, .. } = self.stream {
            status!("session {uuid}");
        }
    }

    /// Prints a notice. Returns whether the stream succeeded, once it has ended.
    pub(super) fn notice(&mut self, notice: Notice) -> anyhow::Result<Option<bool>> {
        match notice {
            Notice::Number { place, number, .. } => {
                self.print_failed_attempts();
                self.last = Some(number);
                if self.json {
                    let number = output::exactly(number);
                    output::json(&json!({ "event": "number", "place": place, "number": number }))?;
                } else {
                    output::bytes(format!("{number}\n").as_bytes())?;
                }
            }
            Notice::Retrying {
                failure: why, after, ..
            } => {
                let why = self.remote.explain(&why);
                if self.json {
                    let after = after.as_millis() as u64;
                    output::json(&json!({ "event": "retrying", "why": why, "after_ms": after }))?;
                } else if let Some(line) = self.failed.note(why) {
                    complain!("{line}");
                }
            }
            Notice::Resumed { count, .. } => {
                self.print_failed_attempts();
                if self.json {
                    output::json(&json!({ "event": "resumed", "count": count }))?;
                } else if count > 0 {
                    status!("continuing after {}", counted(count.into(), "number"));
                }
            }
            Notice::Done { total, .. } => {
                self.print_failed_attempts();
                return self.done(total).map(Some);
            }
            Notice::Failed { failure, .. } => {
                self.print_failed_attempts();
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

    /// Prints the number of failed attempts, if it is not printed yet.
    fn print_failed_attempts(&mut self) {
        if let Some(line) = self.failed.finish() {
            complain!("{line}");
        }
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
            Total::Checksum { value, valid } => {
                if self.json {
                    output::json(&json!({ "event": "done", "checksum": value, "valid": valid }))?;
                } else {
                    let verdict = if valid { "valid" } else { "NOT valid" };
                    output::bytes(format!("checksum {value} {verdict}\n").as_bytes())?;
                }
                if !valid {
                    complain!("error: the checksum of the numbers differs; did the session begin with another N?");
                }
                Ok(valid)
            }
        }
    }

    fn hint(&self, failure: &Failure) {
        match failure {
            // The session is lost and cannot be resumed.
            Failure::Rejected(ErrorCode::UnknownSession, _) => {
                if let StreamSpec::Session { uuid, n, .. } = self.stream {
                    complain!(
                        "the server has restarted, or it kept the session for too short a time; to start again with the same numbers:"
                    );
                    complain!("  echosphere numbers get --uuid {uuid}{} {n}", self.server_options());
                }
            }
            Failure::Rejected(..) | Failure::ProtocolViolation | Failure::OtherProtocol(_) => {}
            _ => self.how_to_resume(),
        }
    }

    /// Prints the command that resumes the stream, if a number has arrived.
    pub(super) fn how_to_resume(&self) {
        let Some(last) = self.last else {
            return;
        };
        let (which, n) = match self.stream {
            StreamSpec::Session { uuid, n, .. } => (format!(" --uuid {uuid}"), n.to_string()),
            StreamSpec::Stateless { .. } => (String::new(), "N".to_owned()),
        };
        complain!(
            "to resume: echosphere numbers get{which} --resume {last}{} {n}",
            self.server_options()
        );
    }

    /// The options for the server's address, if they are needed.
    fn server_options(&self) -> String {
        let port = self.transport.port();
        let to = (self.to != Address::loopback(port).or_port(port)).then(|| format!(" --to {}", self.to));
        let tcp = (self.transport == Transport::Tcp).then_some(" --transport tcp");
        to.unwrap_or_default() + tcp.unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_to_be_repeated_has_the_options_that_differ_from_the_defaults() {
        for (to, transport, options) in [
            ("127.0.0.1:1337", Transport::Grpc, ""),
            ("127.0.0.1:1338", Transport::Grpc, " --to 127.0.0.1:1338"),
            ("127.0.0.1:1338", Transport::Tcp, " --transport tcp"),
            ("127.0.0.1:1337", Transport::Tcp, " --to 127.0.0.1:1337 --transport tcp"),
            ("[::1]:1337", Transport::Grpc, " --to [::1]:1337"),
        ] {
            let address: Address = to.parse().unwrap();
            let stream = StreamSpec::Stateless { n: 1, after: None };
            let printer = Printer::new(address.or_port(1), transport, stream, false, Duration::ZERO);
            assert_eq!(printer.server_options(), options, "{to}");
        }
    }
}
