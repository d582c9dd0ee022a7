//! What a chat takes from its caller and reports to it.

use core::error::Error;
use core::fmt;
use core::time::Duration;

use bytes::Bytes;

use crate::CloseReason;
use crate::failure::Failure;

/// What a caller can ask of a chat's client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Begin a session: connect, and stay connected. Ignored if there is one.
    Connect,
    /// Say something, at once or when connected.
    Send {
        /// The caller's own number for it, echoed in its notices.
        key: u64,
        /// Any bytes.
        body: Bytes,
    },
    /// The caller has done with a message what it is there for, such as writing it somewhere. Only now is it acknowledged.
    /// What cannot be done is not to be said, and then the session is to be ended by [`Command::HangUp`].
    Read {
        /// The message's session, as [`Notice::Received`] has it.
        session: u64,
        /// The message's id. All messages before it count as read too.
        id: u64,
    },
    /// End the session once everything said, and everything heard up to now, is acknowledged.
    Leave,
    /// End the session now.
    HangUp,
}

/// What a caller can ask of a chat's server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerCommand {
    /// Say something to the peer that is there, or that was lost and is waited for.
    Send {
        /// The caller's own number for it, echoed in its notices.
        key: u64,
        /// Any bytes.
        body: Bytes,
    },
    /// As [`Command::Read`]. A server whose caller cannot read on is to be drained, without time to do so.
    Read {
        /// The message's session, as [`Notice::Received`] has it.
        session: u64,
        /// The message's id. All messages before it count as read too.
        id: u64,
    },
}

/// What the caller is told, on either side.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Notice {
    /// The peer is there.
    Connected {
        /// It was there before, and its connection was lost.
        resumed: bool,
    },
    /// The peer has said something. It is acknowledged when the caller says [`Command::Read`], unless
    /// [`ExchangeConfig::acknowledge_on_receipt`].
    Received {
        /// Which session of this side it was said in; the first is 1.
        session: u64,
        /// The message's id.
        id: u64,
        /// What was said.
        body: Bytes,
    },
    /// The peer has got a message.
    Acknowledged {
        /// The caller's number for it.
        key: u64,
        /// The message's id.
        id: u64,
        /// From the moment its first byte was given to the connection to its acknowledgement; `None` if the connection
        /// was lost in between, and the peer said on the next one that it has it.
        round_trip: Option<Duration>,
    },
    /// The session ended before the message was acknowledged.
    Unacknowledged {
        /// The caller's number for it.
        key: u64,
        /// It had been sent whole, so that the peer may or may not have it; else the peer does not have it.
        sent: bool,
    },
    /// A message was not taken: it will not be sent.
    Refused {
        /// The caller's number for it.
        key: u64,
        /// Why.
        why: SendError,
    },
    /// The connection was lost. What is not acknowledged is kept, for the client tries to come back, or may do so.
    Lost(CloseReason),
    /// An attempt to connect failed, or the connection was lost; another attempt follows.
    Retrying {
        /// What was wrong.
        why: Failure,
        /// How long until the next.
        after: Duration,
    },
    /// Somebody else wanted to talk with the server, and was told that it is busy.
    PeerRefused,
    /// The session has ended, after a notice for each message that was not acknowledged.
    Ended {
        /// Why; `None` if one of the two wanted it, and said so.
        failure: Option<Failure>,
    },
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SendError {
    /// There is no session.
    NoPeer,
    /// This side is leaving.
    Leaving,
    /// Too much waits to be acknowledged, see [`ExchangeConfig::max_queued`].
    QueueFull,
    /// It is longer than [`ExchangeConfig::max_body`].
    TooLong,
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoPeer => "no peer is connected",
            Self::Leaving => "this side is closing the session",
            Self::QueueFull => "too many bytes wait for their acknowledgement",
            Self::TooLong => "the message is longer than the limit",
        })
    }
}

impl Error for SendError {}
