//! Why a client failed: one type for the clients of all systems.

use core::error::Error;
use core::fmt::{self, Write};

use bytes::Bytes;

use crate::machine::{CloseReason, DialError};
use crate::wire::{ErrorCode, Protocol};

/// Why a client's attempt, request or session failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The attempt to connect failed.
    Dial(DialError),
    /// The connection ended.
    Closed(CloseReason),
    /// The server answered with this error: its code, and its text as received.
    Rejected(ErrorCode, Bytes),
    /// No connection, or no answer, in time.
    TimedOut,
    /// This side is shutting down.
    ShuttingDown,
    /// The server speaks another protocol; which one, if its first bytes show it. Retrying cannot help.
    OtherProtocol(Option<Protocol>),
    /// The peer's message does not fit the protocol or what came before.
    ProtocolViolation,
    /// Another client began a session while this one's connection was lost. Only a chat's server reports it.
    Replaced,
}

impl Failure {
    /// The failure of a client of `spoken` that the server answers with `error <code> <text>`: the text of some errors
    /// shows that the server speaks another protocol.
    pub(crate) fn rejected(code: ErrorCode, text: Bytes, spoken: Protocol) -> Self {
        match Protocol::from_error(code, &text) {
            Some(other) if other != spoken => Self::OtherProtocol(Some(other)),
            _ => Self::Rejected(code, text),
        }
    }
}

impl From<DialError> for Failure {
    fn from(error: DialError) -> Self {
        match error {
            DialError::OtherProtocol(protocol) => Self::OtherProtocol(protocol),
            error => Self::Dial(error),
        }
    }
}

impl From<CloseReason> for Failure {
    fn from(reason: CloseReason) -> Self {
        match reason {
            CloseReason::OtherProtocol(protocol) => Self::OtherProtocol(protocol),
            reason => Self::Closed(reason),
        }
    }
}

/// One line. A server's text is escaped: it cannot control a terminal.
impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(error) => error.fmt(f),
            Self::Closed(reason) => write!(f, "the connection ended: {reason}"),
            Self::Rejected(code, text) => {
                write!(f, "the server answered with the error {code}: ")?;
                write_escaped(text, f)
            }
            Self::TimedOut => f.write_str("no answer in time"),
            Self::ProtocolViolation => f.write_str("the peer broke the protocol"),
            Self::ShuttingDown => f.write_str("this side is shutting down"),
            Self::OtherProtocol(protocol) => DialError::OtherProtocol(*protocol).fmt(f),
            Self::Replaced => f.write_str("another client began a session while this one's connection was lost"),
        }
    }
}

impl Error for Failure {}

fn write_escaped(text: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for chunk in text.utf8_chunks() {
        for char in chunk.valid().chars() {
            match char {
                '"' | '\'' | '\\' => f.write_char(char)?,
                _ => char.escape_debug().try_for_each(|char| f.write_char(char))?,
            }
        }
        write!(f, "{}", chunk.invalid().escape_ascii())?;
    }
    Ok(())
}
