//! The chat's messages, commands and notices in short words.

use echosphere_core::chat::{Command, Message, Notice, SendError, ServerCommand};

use crate::trace::{Brief, brief_bytes};
use crate::words;

/// Why a message was not sent.
pub(super) const fn unsaid(why: SendError) -> &'static str {
    match why {
        SendError::NoPeer => "no peer",
        SendError::Leaving => "this side is leaving",
        SendError::QueueFull => "the queue is full",
        SendError::TooLong => "too long",
    }
}

impl Brief for Message {
    fn brief(&self, line: &mut String) {
        match self {
            Self::Part { id, body, last } => {
                *line += &format!("{} {id} ", if *last { "message" } else { "part of" });
                brief_bytes(body, line);
            }
            Self::Error(code, _) => *line += &format!("error {code}"),
            Self::Begin { session } => *line += &format!("begin session {session}"),
            Self::Resume { session, received } => {
                *line += &format!("resume session {session}, {received} received");
            }
            Self::Welcome { received } => *line += &format!("welcome, {received} received"),
            Self::Taken { id, last } => {
                *line += &format!("{} {id} taken", if *last { "message" } else { "part of" });
            }
            Self::Bye => line.push_str("bye"),
        }
    }
}

impl Brief for Command {
    fn brief(&self, line: &mut String) {
        match self {
            Self::Send { key, body } => {
                *line += &format!("say {key} ");
                brief_bytes(body, line);
            }
            Self::Connect => line.push_str("connect"),
            Self::Read { session, id } => *line += &format!("message {id} of session {session} is read"),
            Self::Leave => line.push_str("leave"),
            Self::HangUp => line.push_str("hang up"),
        }
    }
}

impl Brief for ServerCommand {
    fn brief(&self, line: &mut String) {
        match self {
            Self::Send { key, body } => {
                *line += &format!("say {key} ");
                brief_bytes(body, line);
            }
            Self::Read { session, id } => *line += &format!("message {id} of session {session} is read"),
        }
    }
}

impl Brief for Notice {
    fn brief(&self, line: &mut String) {
        match self {
            Self::Received { id, body, .. } => {
                *line += &format!("heard {id} ");
                brief_bytes(body, line);
            }
            Self::Connected { resumed: false } => line.push_str("connected"),
            Self::Connected { resumed: true } => line.push_str("connected again"),
            Self::Acknowledged { key, id, round_trip } => {
                *line += &format!("message {key} is delivered as {id}");
                if let Some(took) = round_trip {
                    *line += &format!(" in {took:?}");
                }
            }
            Self::Unacknowledged { key, sent } => {
                *line += &format!(
                    "message {key} is not delivered, {}sent",
                    if *sent { "" } else { "not " }
                );
            }
            Self::Refused { key, why } => *line += &format!("message {key} is refused: {}", unsaid(*why)),
            Self::Lost(reason) => *line += &format!("connection lost ({})", words::why(*reason)),
            Self::Retrying { failure: why, after } => {
                *line += &format!("tries again in {after:?}: {}", words::brief(why));
            }
            Self::PeerRefused => line.push_str("another client is refused"),
            Self::Ended { failure } => {
                *line += &format!("session ends: {}", words::or_none(failure.as_ref().map(words::brief)));
            }
        }
    }
}
