use core::time::Duration;

use bytes::Bytes;

use super::talk::TalkConfig;
use crate::CloseReason;
use crate::machine::DialError;
use crate::random::Backoff;
use crate::wire::{ErrorCode, Protocol};

/// How a chat's server behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// How long a session is kept whose connection was lost. Default 60 s.
    pub keep: Duration,
    /// A connection must say what it wants within this time. Default 10 s.
    pub begin_timeout: Duration,
    /// The bounds of what is said.
    pub talk: TalkConfig,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            keep: Duration::from_secs(60),
            begin_timeout: Duration::from_secs(10),
            talk: TalkConfig::default(),
        }
    }
}

/// How a chat's client behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Come back when the connection was lost. Default no: the session ends.
    pub reconnect: bool,
    /// From [`Command::Connect`], or from the loss of the connection, to the server's welcome; after it the session ends.
    /// Default 60 s.
    pub connect_timeout: Duration,
    /// From a connection to the server's welcome on it, and before that as long for the connection, but no longer than
    /// until the session ends; after it the attempt counts as lost. Default 10 s.
    pub welcome_timeout: Duration,
    /// The wait before trying again to connect. A welcome begins it anew.
    pub backoff: Backoff,
    /// Try again also when an attempt is refused before any has connected; else the session ends then. Default yes.
    pub retry_refused: bool,
    /// The bounds of what is said.
    pub talk: TalkConfig,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            reconnect: false,
            connect_timeout: Duration::from_secs(60),
            welcome_timeout: Duration::from_secs(10),
            backoff: Backoff::default(),
            retry_refused: true,
            talk: TalkConfig::default(),
        }
    }
}

/// What a caller can ask of a chat's client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Begin a session: connect, and stay connected. Ignored if there is one.
    Connect,
    /// Say something, at once or when connected.
    Say {
        /// The caller's own number for it, echoed in its notices.
        key: u64,
        /// Any bytes.
        body: Bytes,
    },
    /// The caller has done with a message what it is there for, such as writing it somewhere. Only now is it acknowledged.
    /// What cannot be done is not to be said, and then the session is to be ended by [`Command::HangUp`].
    Read {
        /// The message's session, as [`Notice::Heard`] has it.
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
    Say {
        /// The caller's own number for it, echoed in its notices.
        key: u64,
        /// Any bytes.
        body: Bytes,
    },
    /// As [`Command::Read`]. A server whose caller cannot read on is to be drained, without time to do so.
    Read {
        /// The message's session, as [`Notice::Heard`] has it.
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
    /// [`TalkConfig::unattended`].
    Heard {
        /// Which session of this side it was said in; the first is 1.
        session: u64,
        /// The message's id.
        id: u64,
        /// What was said.
        body: Bytes,
    },
    /// The peer has got a message.
    Delivered {
        /// The caller's number for it.
        key: u64,
        /// The message's id.
        id: u64,
        /// From the moment its first byte was given to the connection to its acknowledgement; `None` if the connection
        /// was lost in between, and the peer said on the next one that it has it.
        round_trip: Option<Duration>,
    },
    /// The session ended before the message was acknowledged.
    Undelivered {
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
        why: Unsaid,
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
    TurnedAway,
    /// The session has ended, after a notice for each message that was not acknowledged.
    Ended {
        /// Why; `None` if one of the two wanted it, and said so.
        failure: Option<Failure>,
    },
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unsaid {
    /// There is no session.
    NoPeer,
    /// This side is leaving.
    Leaving,
    /// Too much waits to be acknowledged, see [`TalkConfig::max_queued`].
    QueueFull,
    /// It is longer than [`TalkConfig::max_body`].
    TooLong,
}

/// Why a session ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No connection in time.
    Dial(DialError),
    /// The connection ended.
    Closed(CloseReason),
    /// The server ended it: its code and its words.
    Rejected(ErrorCode, Bytes),
    /// The peer did not come back in time.
    TimedOut,
    /// The peer broke the protocol.
    Confused,
    /// This side is shutting down.
    ShuttingDown,
    /// The peer was lost, and somebody else has come.
    Replaced,
    /// Something else listens there than a chat; what, if that can be told. Trying again is of no use.
    OtherProtocol(Option<Protocol>),
}
