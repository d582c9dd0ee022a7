//! What is seen of a stream, by people and by programs.

use std::time::Duration;

use echosphere_core::DialError;
use echosphere_core::numbers::{Failure, Notice, StreamSpec, Total};
use echosphere_core::wire::{ErrorCode, Protocol};
use serde_json::json;

use super::Transport;
use crate::attempts::{Failures, other_protocol};
use crate::net::{Address, Target};
use crate::stderr::{complain, status};
use crate::values::counted;
use crate::{output, shown};

/// Shows what comes of one stream.
pub(super) struct Show {
    to: Target,
    transport: Transport,
    want: StreamSpec,
    last: Option<u64>,
    over: bool,
    json: bool,
    failures: Failures,
}

impl Show {
    /// For a stream from the server at `to`, without which `give_up` passes at most.
    pub(super) fn new(to: Target, transport: Transport, want: StreamSpec, json: bool, give_up: Duration) -> Self {
        Self {
            to,
            transport,
            want,
            last: None,
            over: false,
            json,
            failures: Failures::new(give_up),
        }
    }

    /// Says what is about to come, where it is not what was typed.
    pub(super) fn begin(&self) {
        if let StreamSpec::Session { uuid, after: None, .. } = self.want {
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
                if self.json {
                    let (why, after) = (self.explain(&why), after.as_millis() as u64);
                    output::json(&json!({ "event": "retrying", "why": why, "after_ms": after }))?;
                } else {
                    let why = self.explain(&why);
                    if let Some(line) = self.failures.note(why) {
                        complain!("{line}");
                    }
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
                let why = self.explain(&failure);
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
        if let Some(line) = self.failures.over() {
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
            Total::Checksum { value: said, valid } => {
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

    /// Says how to go on later.
    pub(super) fn interrupted(&self) {
        self.how_to_resume();
    }

    fn hint(&self, failure: &Failure) {
        match failure {
            // The session is lost: there is nothing to go on with.
            Failure::Rejected(ErrorCode::UnknownSession, _) => {
                if let StreamSpec::Session { uuid, n, .. } = self.want {
                    complain!("The server has restarted or waited too long. From the start, with the same numbers:");
                    complain!("  echosphere numbers get --uuid {uuid}{} {n}", self.whereto());
                }
            }
            Failure::Rejected(..) | Failure::ProtocolViolation | Failure::OtherProtocol(_) => {}
            _ => self.how_to_resume(),
        }
    }

    fn how_to_resume(&self) {
        let Some(last) = self.last else {
            return;
        };
        let (which, n) = match self.want {
            StreamSpec::Session { uuid, n, .. } => (format!(" --uuid {uuid}"), n.to_string()),
            StreamSpec::Stateless { .. } => (String::new(), "N".to_owned()),
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

    fn explain(&self, failure: &Failure) -> String {
        let to = &self.to;
        let flag = match self.transport {
            Transport::Grpc => "--grpc",
            Transport::Tcp => "--tcp",
        };
        match failure {
            Failure::Dial(DialError::Refused) => {
                format!("nobody listens at {to} (start a server there with `echosphere numbers serve {flag} {to}`)")
            }
            Failure::Dial(DialError::Unavailable) => {
                format!("the server at {to} takes no calls now: it is full or shutting down")
            }
            Failure::Dial(_) => {
                format!("cannot reach {to}, or no server that speaks {}", self.transport_name())
            }
            Failure::Closed(_) => format!("the connection to {to} was lost"),
            Failure::Rejected(code, text) => format!("the server says: {code}: {}", shown::words(text)),
            Failure::TimedOut => format!("nothing came from {to} in time (--timeout)"),
            Failure::ProtocolViolation => {
                format!("{to} said what does not fit what came before; is it a numbers server?")
            }
            Failure::ShuttingDown | Failure::Replaced => failure.to_string(),
            Failure::OtherProtocol(Some(Protocol::Http2)) if self.transport == Transport::Grpc => {
                format!("{to} is a gRPC server without numbers (service grpc.Comms)")
            }
            Failure::OtherProtocol(protocol) => {
                let wanted = match self.transport {
                    Transport::Grpc => "a numbers server (gRPC)",
                    Transport::Tcp => "a numbers server (TCP)",
                };
                other_protocol(to, *protocol, wanted)
            }
        }
    }

    const fn transport_name(&self) -> &'static str {
        match self.transport {
            Transport::Grpc => "gRPC",
            Transport::Tcp => "numbers over TCP",
        }
    }
}
