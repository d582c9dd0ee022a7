//! The hub's messages, commands and notices in short words.

use echosphere_core::hub::{Command, Message, Notice, Reply, Request, Unsent};

use crate::trace::{Brief, brief_bytes};
use crate::words;

/// Why a relay was not sent to a receiver.
pub(super) const fn unsent_because(why: Unsent) -> &'static str {
    match why {
        Unsent::Unknown => "unknown",
        Unsent::TooSlow => "too slow",
    }
}

impl Brief for Request {
    fn brief(&self, line: &mut String) {
        match self {
            Self::Identity => line.push_str("identity"),
            Self::List => line.push_str("list"),
            Self::Echo(body) => {
                line.push_str("echo ");
                brief_bytes(body, line);
            }
            Self::Relay { to, body } => {
                *line += &format!("relay {to} ");
                brief_bytes(body, line);
            }
        }
    }
}

impl Brief for Reply {
    fn brief(&self, line: &mut String) {
        match self {
            Self::Identity(id) => *line += &format!("identity {id}"),
            Self::List(ids) => *line += &format!("list {ids}"),
            Self::Echo(body) => {
                line.push_str("echo ");
                brief_bytes(body, line);
            }
            Self::Relayed { sent, unsent } => {
                *line += &format!("relayed to {sent}");
                for (id, why) in unsent {
                    *line += &format!(", not to {id} ({})", unsent_because(*why));
                }
            }
            Self::Error(code, _) => *line += &format!("error {code}"),
            Self::Delivery { from, body } => {
                *line += &format!("from {from}: ");
                brief_bytes(body, line);
            }
        }
    }
}

impl Brief for Message {
    fn brief(&self, line: &mut String) {
        match self {
            Self::Request(request) => request.brief(line),
            Self::Reply(reply) => reply.brief(line),
        }
    }
}

impl Brief for Command {
    fn brief(&self, line: &mut String) {
        match self {
            Self::Connect { session } => *line += &format!("connect session {session}"),
            Self::Ask { session, ask, request } => {
                *line += &format!("session {session} asks, as number {ask}: ");
                request.brief(line);
            }
            Self::Leave { session } => *line += &format!("leave session {session}"),
        }
    }
}

impl Brief for Notice {
    fn brief(&self, line: &mut String) {
        match self {
            Self::Answered {
                session, ask, reply, ..
            } => {
                *line += &format!("session {session}, number {ask} answered: ");
                reply.brief(line);
            }
            Self::Received { session, from, body } => {
                *line += &format!("session {session} got from {from}: ");
                brief_bytes(body, line);
            }
            Self::Connected { session } => *line += &format!("session {session} is connected"),
            Self::Unanswered { session, ask } => *line += &format!("session {session}, number {ask} is not answered"),
            Self::Retrying {
                session,
                failure: why,
                after,
            } => {
                *line += &format!("session {session} retries in {after:?}: {}", words::brief(why));
            }
            Self::Ended { session, failure } => {
                *line += &format!(
                    "session {session} ends: {}",
                    words::or_none(failure.as_ref().map(words::brief))
                );
            }
        }
    }
}
