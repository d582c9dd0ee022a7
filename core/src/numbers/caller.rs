use core::time::Duration;

use bytes::Bytes;
use uuid::Uuid;

use crate::CloseReason;
use crate::link::LinkConfig;
use crate::machine::DialError;
use crate::random::Backoff;
use crate::wire::{ErrorCode, Protocol};

/// Which streams a server gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Both kinds.
    #[default]
    Both,
    /// Only those whose client keeps its place.
    Stateless,
    /// Only sessions.
    Stateful,
}

/// How a numbers server behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Which streams it gives. Default both.
    pub mode: Mode,
    /// From one number of a stream to the next; at least 1 µs. Default 1 s.
    pub period: Duration,
    /// How long a session is kept once its connection is known to be lost, or its client has closed after its end.
    /// Default 30 s.
    pub session_ttl: Duration,
    /// How much longer a session is kept whose end was sent to a client that had finished sending: nothing shows whether
    /// that client received it. Should be the time in which such a client notices a loss. Default 60 s.
    pub unacknowledged_ttl: Duration,
    /// Sessions kept at once. Default 1,000,000.
    pub max_sessions: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            mode: Mode::Both,
            period: Duration::from_secs(1),
            session_ttl: Duration::from_secs(30),
            unacknowledged_ttl: Duration::from_secs(60),
            max_sessions: 1_000_000,
        }
    }
}

/// How a numbers client behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// From a request to the first reply, and before that as long for the connection, but no longer than until it gives up;
    /// after it the attempt counts as lost. Default 10 s.
    pub response_timeout: Duration,
    /// From the loss of the connection that the last reply came on, or from the begin if there was none: without another
    /// reply by then, the client gives up. Default 60 s.
    pub give_up: Duration,
    /// The wait before trying again. Any reply but an error begins it anew. Default from 0.5 s to 16 s.
    pub backoff: Backoff,
    /// Try again also when an attempt is refused before any has connected; else the stream fails then. Default yes.
    pub retry_refused: bool,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            response_timeout: Duration::from_secs(10),
            give_up: Duration::from_secs(60),
            backoff: Backoff {
                first: Duration::from_millis(500),
                max: Duration::from_secs(16),
            },
            retry_refused: true,
        }
    }
}

/// Time-outs and bounds of a client's connections: those of all connections, but a silence of 25 s is a loss. A client must
/// notice a loss that its server has noticed at once before the server forgets the session ([`ServerConfig::session_ttl`]).
#[must_use]
pub fn client_links() -> LinkConfig {
    LinkConfig {
        idle_timeout: Duration::from_secs(25),
        ..LinkConfig::default()
    }
}

/// What numbers a caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Want {
    /// A stateless stream.
    Plain {
        /// How many numbers, 1 or more.
        n: u16,
        /// Those after this one, which is not 0; else whatever the server begins with.
        after: Option<u64>,
    },
    /// A session.
    Session {
        /// The session's name.
        uuid: Uuid,
        /// How many numbers, 1 or more.
        n: u16,
        /// Go on with a session that was begun before and whose last number is this; else begin it.
        after: Option<u64>,
    },
}

/// What a caller can ask of a numbers client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Get numbers. Ignored if the key is in use.
    Get {
        /// The caller's own number for it, echoed in its notices.
        key: u64,
        /// Which numbers.
        want: Want,
    },
}

/// What the caller is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Notice {
    /// The next number.
    Number {
        /// The caller's number for the request.
        key: u64,
        /// Its place: 1 is the first.
        place: u32,
        /// The number.
        number: u64,
    },
    /// There is no connection, or the server cannot serve now; another attempt follows.
    Retrying {
        /// The caller's number for the request.
        key: u64,
        /// What was wrong.
        why: Failure,
        /// How long until the next attempt.
        after: Duration,
    },
    /// The stream goes on after so many numbers.
    Resumed {
        /// The caller's number for the request.
        key: u64,
        /// Numbers got before, those of earlier runs of the caller included where the server knows of them.
        count: u32,
    },
    /// All numbers have come.
    Done {
        /// The caller's number for the request.
        key: u64,
        /// What they come to.
        total: Total,
    },
    /// There will be no more.
    Failed {
        /// The caller's number for the request.
        key: u64,
        /// Why.
        failure: Failure,
    },
}

/// What all numbers of a stream come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Total {
    /// The sum of the numbers that this client got.
    Sum(u128),
    /// What the server says of the whole session.
    Checksum {
        /// The server's.
        said: u64,
        /// Whether it is that of the numbers that came.
        valid: bool,
    },
}

/// Why a stream broke off.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No connection.
    Dial(DialError),
    /// The connection ended.
    Closed(CloseReason),
    /// The server's error: its code and its words.
    Rejected(ErrorCode, Bytes),
    /// No connection, or no reply, in time.
    TimedOut,
    /// The server said what does not fit what was asked, or what came before.
    Confused,
    /// This side is shutting down.
    ShuttingDown,
    /// Something else listens there than a numbers server; what, if that can be told. Trying again is of no use.
    OtherProtocol(Option<Protocol>),
}
