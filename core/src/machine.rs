//! The contract between a protocol and whatever drives it: [`Event`]s in, [`Action`]s out.

use alloc::collections::BTreeSet;
use alloc::vec::{self, Vec};
use core::error::Error;
use core::ops::Add;
use core::time::Duration;
use core::{fmt, mem};

use crate::wire::{ErrorCode, Protocol};

/// A moment, in nanoseconds since the driver started. Only drivers mint one; machines compare and add.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// The moment the driver started.
    pub const ZERO: Self = Self(0);

    /// The far end of time.
    pub const FAR: Self = Self(u64::MAX);

    /// The moment `nanos` nanoseconds after the driver started.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the driver started.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long after `earlier` this moment is; zero if it is not after it.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Saturates at the far end of time, some 584 years after the start.
impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, after: Duration) -> Self {
        let nanos = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// Names one connection for its whole life. Minted by the driver; `slot` is dense and reused, `generation` is not, so
/// that an id kept past its connection's end is recognised as stale instead of reaching the slot's next owner.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    /// Index into tables of live connections.
    pub slot: u32,
    /// How often the slot had been used before.
    pub generation: u32,
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}.{}", self.slot, self.generation)
    }
}

/// Names one attempt to connect. Minted by the machine, unique for the machine's life, echoed by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialToken(pub u64);

/// What a machine is told about a connection when it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Opened {
    /// The attempt that led to it; `None` if the peer connected to us.
    pub dial: Option<DialToken>,
    /// The peer speaks lines of text: it cannot be sent a body that holds a line break.
    pub text: bool,
}

/// Why an attempt to connect failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DialError {
    /// Nobody listens there.
    Refused,
    /// A server is there, but takes no connections now: it is full, or shutting down.
    Unavailable,
    /// Any other failure of the network or of this host (out of descriptors, no route).
    Unreachable,
    /// Something else listens there than what is spoken to; what, if that can be told.
    OtherProtocol(Option<Protocol>),
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused: no server listens there"),
            Self::Unavailable => f.write_str("the server accepts no connections now: it is full or shutting down"),
            Self::Unreachable => f.write_str("the server cannot be reached"),
            Self::OtherProtocol(None) => f.write_str("the peer speaks another protocol"),
            Self::OtherProtocol(Some(protocol)) => write!(f, "the peer speaks another protocol: it is {protocol}"),
        }
    }
}

impl Error for DialError {}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseReason {
    /// The protocol's own natural end.
    Finished,
    /// The peer closed its side in order (FIN).
    PeerClosed,
    /// The connection broke: reset by the peer, or an error of the network.
    Reset,
    /// The peer sent bytes after which the stream cannot be read on.
    Malformed(ErrorCode),
    /// The peer sent nothing within the handshake time-out.
    HandshakeTimeout,
    /// The peer was silent for the idle time-out.
    IdleTimeout,
    /// The peer did not read, and what waited for it exceeded the outbox's cap.
    SlowConsumer,
    /// Partial messages held more bytes than they may, and this peer's was the largest.
    PartialLimit,
    /// What was awaited from the peer did not come in time.
    TimedOut,
    /// The peer answered with an error.
    Rejected(ErrorCode),
    /// This side is shutting down.
    ShuttingDown,
    /// The first that came on a connection that this side made makes no sense: the peer speaks something else; what, if that
    /// can be told.
    OtherProtocol(Option<Protocol>),
}

impl CloseReason {
    /// A name for logs, which stays the same from version to version.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::PeerClosed => "peer-closed",
            Self::Reset => "reset",
            Self::Malformed(_) => "malformed",
            Self::HandshakeTimeout => "handshake-timeout",
            Self::IdleTimeout => "idle-timeout",
            Self::SlowConsumer => "slow-consumer",
            Self::PartialLimit => "partial-limit",
            Self::TimedOut => "timed-out",
            Self::Rejected(_) => "rejected",
            Self::ShuttingDown => "shutting-down",
            Self::OtherProtocol(_) => "other-protocol",
        }
    }

    /// The error the peer is told before a connection closes for this reason; `None` where there is nothing to tell.
    #[must_use]
    pub const fn error_code(self) -> Option<ErrorCode> {
        match self {
            Self::Malformed(code) => Some(code),
            Self::HandshakeTimeout => Some(ErrorCode::HandshakeTimeout),
            Self::IdleTimeout => Some(ErrorCode::IdleTimeout),
            Self::ShuttingDown => Some(ErrorCode::ShuttingDown),
            Self::PartialLimit => Some(ErrorCode::Busy),
            Self::SlowConsumer
            | Self::Finished
            | Self::PeerClosed
            | Self::Reset
            | Self::TimedOut
            | Self::Rejected(_)
            | Self::OtherProtocol(_) => None,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "the protocol finished",
            Self::PeerClosed => "the peer closed it",
            Self::Reset => "it broke (reset by the peer, or a network error)",
            Self::Malformed(code) => return write!(f, "the peer sent bytes that cannot be decoded ({code})"),
            Self::HandshakeTimeout => "the peer sent nothing within the handshake time-out",
            Self::IdleTimeout => "the peer sent nothing within the idle time-out",
            Self::SlowConsumer => "the peer did not read for too long",
            Self::PartialLimit => "the unfinished message of the peer exceeded the memory limit",
            Self::TimedOut => "the peer did not answer in time",
            Self::Rejected(code) => return write!(f, "the peer answered with the error {code}"),
            Self::ShuttingDown => "this side is shutting down",
            Self::OtherProtocol(protocol) => return DialError::OtherProtocol(*protocol).fmt(f),
        })
    }
}

impl Error for CloseReason {}

/// What happened. `M` is the protocol's message, `C` what the local caller can ask for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event<M, C> {
    /// A connection can be used: the peer has shown its framing, or our dial succeeded.
    Opened(ConnId, Opened),
    /// The peer sent a message.
    Received(ConnId, M),
    /// The connection ended and not by [`Action::Close`]. Heard at most once; nothing follows for this id. After
    /// [`Action::Finish`] it is always heard, with the reasons that are listed there.
    Closed(ConnId, CloseReason),
    /// The peer has sent its end of stream (FIN), and [`Machine::keeps_open_after_fin`] has said that the connection goes on.
    PeerFinished(ConnId),
    /// An attempt to connect failed.
    DialFailed(DialToken, DialError),
    /// The local caller asks for something.
    Command(C),
    /// Take on nothing new, and close every connection once it has finished what it had begun.
    Drain,
    /// The moment that [`Machine::next_deadline`] named has come (or something near it: spurious ones are harmless).
    /// Everything that had arrived by then was given before, however late that is.
    Deadline,
}

/// What the driver shall do. `M` is the protocol's message, `N` what the local caller is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action<M, N> {
    /// Connect to the address the driver was given. Answered by `Opened` or `DialFailed` with the same token.
    Dial(DialToken),
    /// Forget that attempt: neither answer will come.
    AbandonDial(DialToken),
    /// Send a message; ignored if the connection is gone.
    Send(ConnId, M),
    /// Flush, then close. No event follows for this id.
    Close(ConnId, CloseReason),
    /// Tell the local caller.
    Notify(N),
    /// Flush, send the end of stream (FIN), and wait for the peer to close. Nothing can be sent any more, and what the peer
    /// still sends is received. `Closed` follows with one of these reasons: `PeerClosed`, the peer has closed too;
    /// `Reset`, the connection broke; `TimedOut`, neither happened within the idle time-out; `Finished`, the peer had
    /// finished sending before, so nothing shows whether it received everything. Any other reason of `Closed` may come as well.
    Finish(ConnId),
}

/// The caller's buffer that a machine writes its actions into, in the order they are to be done; and what the machine may
/// want to know of connections before it sends more.
#[derive(Debug)]
pub struct Actions<M, N> {
    list: Vec<Action<M, N>>,
    behind: BTreeSet<ConnId>,
}

impl<M, N> Actions<M, N> {
    /// An empty buffer.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            list: Vec::new(),
            behind: BTreeSet::new(),
        }
    }

    /// Appends one action.
    pub fn push(&mut self, action: Action<M, N>) {
        self.list.push(action);
    }

    /// Takes all actions out, oldest first.
    pub fn drain(&mut self) -> vec::Drain<'_, Action<M, N>> {
        self.list.drain(..)
    }

    /// Swaps the actions with those in `list`.
    pub(crate) const fn swap(&mut self, list: &mut Vec<Action<M, N>>) {
        mem::swap(&mut self.list, list);
    }

    /// The actions not yet taken, oldest first.
    #[must_use]
    pub fn as_slice(&self) -> &[Action<M, N>] {
        &self.list
    }

    /// Whether nothing is left to take.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether more waits to be written to the connection than may wait for long, so that it will be dropped unless
    /// its peer reads on soon. Machines that can do without sending ask this first.
    #[must_use]
    pub fn is_backlogged(&self, id: ConnId) -> bool {
        self.behind.contains(&id)
    }

    /// For drivers: says whether so much waits to be written to the connection.
    pub fn set_backlogged(&mut self, id: ConnId, behind: bool) {
        if behind {
            self.behind.insert(id);
        } else if !self.behind.is_empty() {
            self.behind.remove(&id);
        }
    }
}

impl<M, N> Default for Actions<M, N> {
    fn default() -> Self {
        Self::new()
    }
}

/// A protocol as a pure state machine. It never fails, blocks, reads a clock or draws from a global RNG.
pub trait Machine {
    /// What travels on the wire.
    type Message;
    /// What the local caller can ask for.
    type Command;
    /// What the local caller is told.
    type Notice;

    /// Takes one event and appends what follows from it to `actions`. `now` never decreases between calls.
    fn handle(
        &mut self,
        now: Time,
        event: Event<Self::Message, Self::Command>,
        actions: &mut Actions<Self::Message, Self::Notice>,
    );

    /// Whether a connection stays open whose peer has sent its end of stream (FIN), because the peer may still read what
    /// there is to come. Asked once, when the FIN comes; if so, the machine hears [`Event::PeerFinished`], is to close the
    /// connection itself, and hears [`Event::Closed`] only if the connection breaks. By default it hears that it is closed.
    fn keeps_open_after_fin(&self, id: ConnId) -> bool {
        let _ = id;
        false
    }

    /// Bytes of memory that the machine holds of a message that this connection has sent in parts and not ended. None once
    /// the connection has ended or was closed. They count against
    /// [`ConnectionConfig::max_partial_bytes`](crate::connection::ConnectionConfig::max_partial_bytes).
    fn partial_bytes(&self, id: ConnId) -> usize {
        let _ = id;
        0
    }

    /// When to call again with [`Event::Deadline`] at the latest; `None` if there is nothing to wait for.
    fn next_deadline(&self) -> Option<Time>;

    /// Whether every map, queue, set and timer is empty.
    fn is_zero(&self) -> bool;
}
