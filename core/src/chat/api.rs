//! What a chat's client and server take from their callers and report to them.

use core::error::Error;
use core::fmt;
use core::time::Duration;

use bytes::Bytes;

use crate::CloseReason;
use crate::failure::Failure;

/// A command to a chat's client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Begin a session: connect and stay connected. Ignored if there is a session.
    Connect,
    /// Send a message: at once if connected, otherwise after connecting.
    Send {
        /// The caller's number for the message, repeated in notices.
        key: u64,
        /// The message, any bytes.
        body: Bytes,
    },
    /// The caller has processed a received message, for example stored it. This sends the acknowledgement. If the
    /// caller cannot process a message, it must not send this, and must end the session with [`Command::HangUp`].
    Read {
        /// The session in [`Notice::Received`].
        session: u64,
        /// The message's id. Includes all messages before it.
        id: u64,
    },
    /// End the session once all sent messages are acknowledged, and all messages received so far.
    Leave,
    /// End the session now.
    HangUp,
}

/// A command to a chat's server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ServerCommand {
    /// Send a message to the connected peer, or to one whose lost session is kept.
    Send {
        /// The caller's number for the message, repeated in notices.
        key: u64,
        /// The message, any bytes.
        body: Bytes,
    },
    /// As [`Command::Read`]. A server whose caller cannot process a message must be drained without time to finish.
    Read {
        /// The session in [`Notice::Received`].
        session: u64,
        /// The message's id. Includes all messages before it.
        id: u64,
    },
}

/// A notice from either side of a chat.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Notice {
    /// The peer is connected.
    Connected {
        /// Whether a lost session was resumed.
        resumed: bool,
    },
    /// The peer has sent a message. It is acknowledged by [`Command::Read`], or at once with
    /// [`ExchangeConfig::acknowledge_on_receipt`](super::ExchangeConfig::acknowledge_on_receipt).
    Received {
        /// Counts this side's sessions; the first is 1.
        session: u64,
        /// The message's id.
        id: u64,
        /// The message.
        body: Bytes,
    },
    /// The peer has acknowledged a message.
    Acknowledged {
        /// The caller's number for the message.
        key: u64,
        /// The message's id.
        id: u64,
        /// From sending its first byte to receiving the acknowledgement; `None` if the acknowledgement came with the
        /// resumption of a lost session.
        round_trip: Option<Duration>,
    },
    /// The session ended before the message was acknowledged.
    Unacknowledged {
        /// The caller's number for the message.
        key: u64,
        /// Whether all of it was sent: then the peer may have it, otherwise it does not.
        sent: bool,
    },
    /// A message was not accepted and will not be sent.
    Refused {
        /// The caller's number for the message.
        key: u64,
        /// Why not.
        why: SendError,
    },
    /// The connection was lost. Unacknowledged messages are kept until the session is resumed or ends.
    Lost(CloseReason),
    /// An attempt to connect failed, or the connection was lost. Another attempt follows.
    Retrying {
        /// Why it failed.
        failure: Failure,
        /// The pause before the next attempt.
        after: Duration,
    },
    /// Another client connected and was answered `busy`. Only of a server.
    PeerRefused,
    /// The session has ended. Each unacknowledged message got a notice before.
    Ended {
        /// Why it ended; `None` if one of the sides ended it regularly.
        failure: Option<Failure>,
    },
}

/// Why a message was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SendError {
    /// There is no session.
    NoPeer,
    /// This side is closing the session.
    Leaving,
    /// Too many bytes wait for their acknowledgement; see
    /// [`ExchangeConfig::max_queued`](super::ExchangeConfig::max_queued).
    QueueFull,
    /// It is longer than [`ExchangeConfig::max_body`](super::ExchangeConfig::max_body).
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
