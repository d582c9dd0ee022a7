//! Failures of every client in words for its user: what failed, why, and what to do.

use std::fmt::Display;

use echosphere_core::DialError;
use echosphere_core::failure::Failure;
use echosphere_core::wire::{ErrorCode, Protocol};

use crate::connector::NegotiationError;
use crate::escape;
use crate::net::Target;

/// The other end of a client's connection, as error messages name it.
#[derive(Clone, Debug)]
pub(crate) struct Remote {
    /// Its address, or "the peer" on a server.
    name: String,
    /// What it should be, with an article.
    expected: &'static str,
    /// The command that starts one.
    start: String,
    /// The option that bounds the wait for an answer.
    timeout_flag: &'static str,
    over_grpc: bool,
    negotiation: NegotiationError,
}

impl Remote {
    /// A server at `to`. `serve` is the command that starts one, without the program's name and the address.
    pub(crate) fn server(to: &Target, expected: &'static str, serve: &str, timeout_flag: &'static str) -> Self {
        let start = match to.url {
            Some(_) => format!("echosphere {} {}", serve.replace("--listen", "--ws"), to.address()),
            None => format!("echosphere {serve} {to}"),
        };
        Self {
            name: to.to_string(),
            expected,
            start,
            timeout_flag,
            over_grpc: false,
            negotiation: NegotiationError::default(),
        }
    }

    /// The clients of a server: `expected` with an article.
    pub(crate) fn client(expected: &'static str) -> Self {
        Self {
            name: "the peer".to_owned(),
            expected,
            start: String::new(),
            timeout_flag: "--idle-timeout",
            over_grpc: false,
            negotiation: NegotiationError::default(),
        }
    }

    /// The same server, reached over gRPC.
    pub(crate) fn over_grpc(self) -> Self {
        let over_grpc = true;
        Self { over_grpc, ..self }
    }

    /// Where a connector reports why a connection cannot be negotiated.
    pub(crate) fn negotiation(&self) -> NegotiationError {
        self.negotiation.clone()
    }

    /// What failed, why, and what to do.
    pub(crate) fn explain(&self, failure: &Failure) -> String {
        let Self { name, expected, .. } = self;
        match failure {
            Failure::Dial(DialError::Refused) => {
                format!("no server listens at {name} (start one with `{}`)", self.start)
            }
            Failure::Dial(DialError::Unavailable) => {
                format!("the server at {name} accepts no connections now: it is full or shutting down")
            }
            Failure::Dial(DialError::OtherProtocol(protocol)) | Failure::OtherProtocol(protocol) => {
                self.other_protocol(*protocol)
            }
            Failure::Dial(DialError::Unreachable) if self.over_grpc => format!("cannot connect to {name} over gRPC"),
            Failure::Dial(DialError::Unreachable) => format!("cannot connect to {name}"),
            Failure::Dial(DialError::NegotiationFailed) => {
                let why = self.negotiation.get().unwrap_or_else(|| failure.to_string());
                format!("cannot connect to {name}: {}", escape::error_text(why.as_bytes()))
            }
            Failure::Closed(reason) => format!("the connection to {name} was lost: {reason}"),
            Failure::Rejected(code, text) => format!("{name} reports {}", protocol_error(*code, text)),
            Failure::TimedOut => format!("{name} did not answer in time ({})", self.timeout_flag),
            Failure::ProtocolViolation => format!("{name} sent an unexpected answer; is it {expected}?"),
            Failure::Replaced | Failure::ShuttingDown => failure.to_string(),
        }
    }

    fn other_protocol(&self, protocol: Option<Protocol>) -> String {
        if self.over_grpc && protocol == Some(Protocol::Http2) {
            return format!("{} is an HTTP/2 server without the gRPC service grpc.Comms", self.name);
        }
        other_protocol(&self.name, protocol, self.expected)
    }
}

/// An error that a peer sent: its code, and its text with everything escaped that could change a terminal.
pub(crate) fn protocol_error(code: ErrorCode, text: &[u8]) -> String {
    format!("{code}: {}", escape::error_text(text))
}

/// States that `to` is not what was `expected`, what it is if that is known, and the command for it.
fn other_protocol(to: impl Display, protocol: Option<Protocol>, expected: &str) -> String {
    let Some(protocol) = protocol else {
        return format!("{to} is not {expected}: it speaks another protocol");
    };
    let command = match protocol {
        Protocol::Echo => format!("echo send --to {to} TEXT"),
        Protocol::Hub => format!("hub connect --to {to}"),
        Protocol::Chat => format!("chat connect --to {to}"),
        Protocol::Numbers => format!("numbers get --transport tcp --to {to} 5"),
        Protocol::Http2 | Protocol::Http1 | Protocol::Ssh | Protocol::Tls | Protocol::WebSocket => {
            return format!("{to} is {protocol}, not {expected}");
        }
    };
    format!("{to} is {protocol}, not {expected} (use `echosphere {command}`)")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use echosphere_core::CloseReason;

    use super::*;

    const EVERY_CLOSE_REASON: [CloseReason; 13] = [
        CloseReason::Finished,
        CloseReason::PeerClosed,
        CloseReason::Reset,
        CloseReason::Malformed(ErrorCode::Unknown),
        CloseReason::HandshakeTimeout,
        CloseReason::IdleTimeout,
        CloseReason::TimedOut,
        CloseReason::SlowConsumer,
        CloseReason::PartialLimit,
        CloseReason::Rejected(ErrorCode::Busy),
        CloseReason::ShuttingDown,
        CloseReason::OtherProtocol(Some(Protocol::Ssh)),
        CloseReason::OtherProtocol(None),
    ];

    #[test]
    fn each_failure_is_explained_in_words_of_its_own() {
        let to = "127.0.0.1:1".parse::<crate::net::Address>().unwrap().or_port(1);
        let remote = Remote::server(&to, "a hub", "hub serve --listen", "--timeout");
        let failures = vec![
            Failure::Dial(DialError::Refused),
            Failure::Dial(DialError::Unavailable),
            Failure::Dial(DialError::Unreachable),
            Failure::Dial(DialError::NegotiationFailed),
            Failure::Rejected(ErrorCode::Busy, (&b"no room\x1b[2J"[..]).into()),
            Failure::TimedOut,
            Failure::ProtocolViolation,
            Failure::Replaced,
            Failure::ShuttingDown,
        ];
        let closed = EVERY_CLOSE_REASON.map(Failure::Closed);
        let all: Vec<Failure> = failures.into_iter().chain(closed).collect();
        let texts: BTreeSet<String> = all.iter().map(|failure| remote.explain(failure)).collect();
        assert_eq!(texts.len(), all.len(), "{texts:#?}");
        for text in &texts {
            // Names of variants are for programmers.
            let words = text.split(|c: char| !c.is_ascii_alphabetic());
            let camel = |word: &str| word.chars().skip(1).any(char::is_uppercase) && !["SSH", "FIN"].contains(&word);
            assert!(!words.clone().any(camel), "{text}");
            assert!(!text.contains('\x1b'), "{text}");
        }
        assert!(
            texts.contains(
                "no server listens at 127.0.0.1:1 (start one with `echosphere hub serve --listen 127.0.0.1:1`)"
            )
        );
        assert!(texts.contains("127.0.0.1:1 did not answer in time (--timeout)"));
    }

    #[test]
    fn another_protocol_is_named_with_the_command_for_it() {
        let to = "127.0.0.1:1";
        for (protocol, text) in [
            (
                Some(Protocol::Echo),
                "127.0.0.1:1 is an echo server, not a hub (use `echosphere echo send --to 127.0.0.1:1 TEXT`)",
            ),
            (
                Some(Protocol::Hub),
                "127.0.0.1:1 is a hub, not a hub (use `echosphere hub connect --to 127.0.0.1:1`)",
            ),
            (
                Some(Protocol::Chat),
                "127.0.0.1:1 is a chat server, not a hub (use `echosphere chat connect --to 127.0.0.1:1`)",
            ),
            (
                Some(Protocol::Numbers),
                "127.0.0.1:1 is a numbers server (TCP), not a hub (use `echosphere numbers get --transport tcp --to 127.0.0.1:1 5`)",
            ),
            (
                Some(Protocol::Http2),
                "127.0.0.1:1 is an HTTP/2 server (gRPC or web), not a hub",
            ),
            (Some(Protocol::Http1), "127.0.0.1:1 is a web server (HTTP/1), not a hub"),
            (Some(Protocol::Ssh), "127.0.0.1:1 is an SSH server, not a hub"),
            (None, "127.0.0.1:1 is not a hub: it speaks another protocol"),
        ] {
            assert_eq!(other_protocol(to, protocol, "a hub"), text);
        }
        let to = to.parse::<crate::net::Address>().unwrap().or_port(1);
        let grpc = Remote::server(&to, "a numbers server (gRPC)", "numbers serve --grpc", "--timeout").over_grpc();
        assert_eq!(
            grpc.explain(&Failure::OtherProtocol(Some(Protocol::Http2))),
            "127.0.0.1:1 is an HTTP/2 server without the gRPC service grpc.Comms"
        );
        for protocol in [None, Some(Protocol::Ssh)] {
            let text = grpc.explain(&Failure::OtherProtocol(protocol));
            assert_eq!(text, other_protocol("127.0.0.1:1", protocol, "a numbers server (gRPC)"));
        }
        assert_eq!(
            grpc.explain(&Failure::Dial(DialError::Unreachable)),
            "cannot connect to 127.0.0.1:1 over gRPC"
        );
    }
}
