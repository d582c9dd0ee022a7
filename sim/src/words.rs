//! Plain words for what traces and rules name.

use std::fmt::Display;

use echosphere_core::failure::Failure;
use echosphere_core::wire::Protocol;
use echosphere_core::{Action, CloseReason, ConnId, DialError, Event, Time};

use crate::trace::{Brief, brief_action, brief_event};

/// Something in a few words.
pub(crate) fn brief(what: &impl Brief) -> String {
    let mut words = String::new();
    what.brief(&mut words);
    words
}

/// An event of a machine.
pub(crate) fn event<M: Brief, C: Brief>(event: &Event<M, C>) -> String {
    let mut words = String::new();
    brief_event(event, &mut words);
    words
}

/// What a machine did.
pub(crate) fn action<M: Brief, N: Brief>(action: &Action<M, N>) -> String {
    let mut words = String::new();
    brief_action(action, &mut words);
    words
}

/// All that a machine did.
pub(crate) fn actions<M: Brief, N: Brief>(actions: &[Action<M, N>]) -> String {
    list(actions.iter().map(action))
}

/// Each of `items`, with commas between; or that there is none.
pub(crate) fn list(items: impl IntoIterator<Item = impl Display>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() {
        "nothing".to_owned()
    } else {
        items.join(", ")
    }
}

/// Connections, as a list.
pub(crate) fn conns<'a>(ids: impl IntoIterator<Item = &'a ConnId>) -> String {
    list(ids.into_iter().map(|id| format!("{id:?}")))
}

/// A connection, or none.
pub(crate) fn conn(id: Option<ConnId>) -> String {
    id.map_or_else(|| "nobody".to_owned(), |id| format!("{id:?}"))
}

/// What there is, or that there is none.
pub(crate) fn or_none(what: Option<impl Display>) -> String {
    what.map_or_else(|| "none".to_owned(), |what| what.to_string())
}

/// When, by a host's clock; or never.
pub(crate) fn moment(at: Option<Time>) -> String {
    at.map_or_else(|| "never".to_owned(), |at| format!("{:?}", at.since(Time::ZERO)))
}

/// Why a connection ended or is closed.
pub(crate) fn why(reason: CloseReason) -> String {
    match reason {
        CloseReason::Finished => "finished".to_owned(),
        CloseReason::PeerClosed => "closed by the peer".to_owned(),
        CloseReason::Reset => "broken off".to_owned(),
        CloseReason::Malformed(code) => format!("unreadable: {code}"),
        CloseReason::HandshakeTimeout => "handshake time-out".to_owned(),
        CloseReason::IdleTimeout => "idle time-out".to_owned(),
        CloseReason::SlowConsumer => "slow consumer".to_owned(),
        CloseReason::PartialLimit => "too many half-received bytes".to_owned(),
        CloseReason::TimedOut => "response time-out".to_owned(),
        CloseReason::Rejected(code) => format!("rejected: {code}"),
        CloseReason::NegotiationFailed => "negotiation failed".to_owned(),
        CloseReason::Answered => "answered by the transport".to_owned(),
        CloseReason::ShuttingDown => "shutting down".to_owned(),
        CloseReason::OtherProtocol(protocol) => other(protocol),
    }
}

/// Why an attempt to connect failed.
pub(crate) fn not_connected(error: DialError) -> String {
    match error {
        DialError::Refused => "connection refused".to_owned(),
        DialError::Unavailable => "server full or shutting down".to_owned(),
        DialError::Unreachable => "host unreachable".to_owned(),
        DialError::NegotiationFailed => "negotiation failed".to_owned(),
        DialError::OtherProtocol(protocol) => other(protocol),
    }
}

/// What else than a server of the client's own protocol is there.
pub(crate) fn other(protocol: Option<Protocol>) -> String {
    protocol.map_or_else(
        || "another protocol".to_owned(),
        |protocol| format!("another protocol: {protocol}"),
    )
}

impl Brief for Failure {
    fn brief(&self, line: &mut String) {
        *line += &match self {
            Self::Dial(error) => not_connected(*error),
            Self::Closed(reason) => format!("connection ended, {}", why(*reason)),
            Self::Rejected(code, _) => format!("error {code}"),
            Self::OtherProtocol(protocol) => other(*protocol),
            Self::TimedOut => "no answer in time".to_owned(),
            Self::ShuttingDown => "shutting down".to_owned(),
            Self::ProtocolViolation => "the peer broke the protocol".to_owned(),
            Self::Replaced => "replaced by another session".to_owned(),
        };
    }
}

/// Names connections so that no two of a run have the same name: a host calls its own `c4.0`, and so may another host, or
/// the same one in another life.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Whose {
    pub(crate) host: &'static str,
    /// How often the host had started.
    pub(crate) life: u32,
}

impl Whose {
    /// What is put behind the name that the host has for a connection.
    fn suffix(self) -> String {
        match self.life {
            0 | 1 => format!("@{}", self.host),
            life => format!("@{}#{life}", self.host),
        }
    }

    /// A result whose error names connections as this host does, with their names.
    pub(crate) fn name_all(self, result: Result<(), String>) -> Result<(), String> {
        result.map_err(|rule| self.names_in(&rule))
    }

    /// A connection's name.
    pub(crate) fn name(self, id: ConnId) -> String {
        format!("{id:?}{}", self.suffix())
    }

    /// `text` with all names of connections as those of this host. Quoted text is of the run and stays.
    pub(crate) fn names_in(self, text: &str) -> String {
        let suffix = self.suffix();
        let mut named = String::new();
        let (mut quoted, mut escaped) = (false, false);
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let starts_word = !named.ends_with(|before: char| before.is_alphanumeric() || "-_".contains(before));
            if !quoted
                && starts_word
                && let Some(len) = name_at(rest)
            {
                named += &rest[..len];
                named += &suffix;
                rest = &rest[len..];
                continue;
            }
            quoted ^= next == '"' && !escaped;
            escaped = quoted && next == '\\' && !escaped;
            named.push(next);
            rest = &rest[next.len_utf8()..];
        }
        named
    }
}

/// The length of a connection's name that `text` begins with, such as `c4.0`, unless it says whose that is.
fn name_at(text: &str) -> Option<usize> {
    let digits = |from: usize| text[from..].bytes().take_while(u8::is_ascii_digit).count();
    let slot = text.strip_prefix('c').map(|_| digits(1)).filter(|slot| *slot > 0)?;
    let dot = 1 + slot;
    let generation = text[dot..].strip_prefix('.').map(|_| digits(dot + 1))?;
    let end = dot + 1 + generation;
    let ends = !text[end..].starts_with(|after: char| after.is_alphanumeric() || after == '@');
    (generation > 0 && ends).then_some(end)
}
