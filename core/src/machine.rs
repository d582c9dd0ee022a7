//! The interface between a protocol and its driver: [`Event`]s in, [`Action`]s out.

use alloc::collections::BTreeSet;
use alloc::vec::{self, Vec};
use core::error::Error;
use core::ops::Add;
use core::time::Duration;
use core::{fmt, mem};

use crate::principal::Principal;
use crate::wire::{ErrorCode, Protocol};

/// A point in time, in nanoseconds since the driver started. Drivers create times; machines compare and add.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(u64);

impl Time {
    /// When the driver started.
    pub const ZERO: Self = Self(0);

    /// Later than every deadline.
    pub const FAR: Self = Self(u64::MAX);

    /// `nanos` nanoseconds after the driver started.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the driver started.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The time from `earlier` to this; zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Saturates at [`Time::FAR`], some 584 years after the start.
impl Add<Duration> for Time {
    type Output = Self;

    fn add(self, after: Duration) -> Self {
        let nanos = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(nanos))
    }
}

/// Identifies one connection for its whole life. Assigned by the endpoint. Slots are dense and reused; generations are
/// not, so an id that outlives its connection is detected as stale.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId {
    /// An index into tables of live connections.
    pub slot: u32,
    /// How often the slot was used before.
    pub generation: u32,
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "c{}.{}", self.slot, self.generation)
    }
}

/// Identifies one attempt to connect. Assigned by the machine, unique for the machine's life, returned by the driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialToken(pub u64);

/// Where to connect to: an index into the connectors of the driver, in the order in which they were added to it. The
/// default is the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DialTarget(pub u32);

/// A connection that has opened.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Opened {
    /// The attempt that made it; `None` if the peer connected to this side.
    pub dial: Option<DialToken>,
    /// Whether the peer speaks lines of text: a body with a line break cannot be sent to it.
    pub text: bool,
    /// Who the peer has proved to the transport to be, if it has.
    pub principal: Option<Principal>,
}

/// Why an attempt to connect failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DialError {
    /// No server listens there.
    Refused,
    /// The server accepts no connections now: it is full or shutting down.
    Unavailable,
    /// Any other failure of the network or of this host (no route, no file descriptors left).
    Unreachable,
    /// The server speaks another protocol; which one, if its first bytes show it.
    OtherProtocol(Option<Protocol>),
    /// The transport could not negotiate the connection: a TLS handshake or an HTTP upgrade failed.
    NegotiationFailed,
}

impl fmt::Display for DialError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("connection refused: no server listens there"),
            Self::Unavailable => f.write_str("the server accepts no connections now: it is full or shutting down"),
            Self::Unreachable => f.write_str("the server cannot be reached"),
            Self::OtherProtocol(None) => f.write_str("the peer speaks another protocol"),
            Self::OtherProtocol(Some(protocol)) => write!(f, "the peer speaks another protocol: it is {protocol}"),
            Self::NegotiationFailed => f.write_str("the connection could not be negotiated"),
        }
    }
}

impl Error for DialError {}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseReason {
    /// The protocol's normal end.
    Finished,
    /// The peer closed its side cleanly (FIN).
    PeerClosed,
    /// The connection broke: reset by the peer, or a network error.
    Reset,
    /// The peer sent bytes that cannot be decoded; the rest of the stream is lost.
    Malformed(ErrorCode),
    /// The peer did not complete the handshake in time.
    HandshakeTimeout,
    /// The peer sent nothing within the idle time-out.
    IdleTimeout,
    /// The peer did not read, and more bytes waited for it than
    /// [`ConnectionConfig`](crate::connection::ConnectionConfig) allows.
    SlowConsumer,
    /// Partial messages of all connections exceeded their limit, and this connection's was the largest.
    PartialLimit,
    /// The peer did not answer in time.
    TimedOut,
    /// The peer answered with an error.
    Rejected(ErrorCode),
    /// This side is shutting down.
    ShuttingDown,
    /// The transport could not negotiate the connection: a TLS handshake or an HTTP upgrade failed.
    NegotiationFailed,
    /// The peer asked the transport for something else than a connection, such as a web page, and was answered.
    Answered,
    /// The first bytes on a connection that this side made are not of its protocol; which protocol it is, if they show
    /// it.
    OtherProtocol(Option<Protocol>),
}

impl CloseReason {
    /// A name for logs. Names do not change between versions.
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
            Self::NegotiationFailed => "negotiation-failed",
            Self::Answered => "answered",
            Self::OtherProtocol(_) => "other-protocol",
        }
    }

    /// The error that is sent to the peer before the connection closes; `None` if no error is sent.
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
            | Self::NegotiationFailed
            | Self::Answered
            | Self::OtherProtocol(_) => None,
        }
    }
}

/// Completes the sentence "the connection ended: …".
impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Finished => "the protocol finished",
            Self::PeerClosed => "the peer closed it",
            Self::Reset => "it broke (reset by the peer, or a network error)",
            Self::Malformed(code) => return write!(f, "the peer sent bytes that cannot be decoded ({code})"),
            Self::HandshakeTimeout => "the peer did not complete the handshake in time",
            Self::IdleTimeout => "the peer sent nothing within the idle time-out",
            Self::SlowConsumer => "the peer did not read for too long",
            Self::PartialLimit => "the unfinished message of the peer exceeded the memory limit",
            Self::TimedOut => "the peer did not answer in time",
            Self::Rejected(code) => return write!(f, "the peer answered with the error {code}"),
            Self::ShuttingDown => "this side is shutting down",
            Self::NegotiationFailed => "the transport could not negotiate it",
            Self::Answered => "the transport answered the request of the peer",
            Self::OtherProtocol(protocol) => return DialError::OtherProtocol(*protocol).fmt(f),
        })
    }
}

/// An input of a machine. `M` is the protocol's message, `C` the local caller's command.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Event<M, C> {
    /// A connection is ready: the peer has shown its framing, or this side's attempt succeeded.
    Opened(ConnId, Opened),
    /// The peer sent a message.
    Received(ConnId, M),
    /// The connection ended, other than by [`Action::Close`]. Sent at most once; no event follows for this id. Always
    /// sent after [`Action::Finish`], with the reasons listed there.
    Closed(ConnId, CloseReason),
    /// The peer has sent its end of stream (FIN), and [`Machine::keeps_open_after_fin`] returned true.
    PeerFinished(ConnId),
    /// An attempt to connect failed.
    DialFailed(DialToken, DialError),
    /// A command of the local caller.
    Command(C),
    /// Accept no new work, and close every connection once its work in progress is done.
    Drain,
    /// The time of [`Machine::next_deadline`] has come. May be sent at other times; that is harmless. Everything that
    /// had arrived by then was sent before, however late this is.
    Deadline,
}

/// An output of a machine. `M` is the protocol's message, `N` the notice to the local caller.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Action<M, N> {
    /// Connect to a target. Answered by [`Event::Opened`] or [`Event::DialFailed`] with the same token.
    Dial(DialToken, DialTarget),
    /// Abandon an attempt: no answer follows.
    AbandonDial(DialToken),
    /// Send a message. Ignored if the connection has ended.
    Send(ConnId, M),
    /// Flush, then close. No event follows for this id.
    Close(ConnId, CloseReason),
    /// Notify the local caller.
    Notify(N),
    /// Flush, send the end of stream (FIN), and wait for the peer to close. Nothing more can be sent; what the peer
    /// still sends is received. [`Event::Closed`] follows: `PeerClosed` if the peer closes too, `Reset` if the
    /// connection breaks, `TimedOut` if neither happens within the idle time-out, `Finished` if the peer had finished
    /// before, so that nothing shows whether it received everything. Other reasons of `Closed` are possible too.
    Finish(ConnId),
}

/// The buffer into which a machine appends its actions, in order. Also tells which connections are backlogged.
#[derive(Debug)]
pub struct Actions<M, N> {
    list: Vec<Action<M, N>>,
    backlogged: BTreeSet<ConnId>,
}

impl<M, N> Actions<M, N> {
    /// An empty buffer.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            list: Vec::new(),
            backlogged: BTreeSet::new(),
        }
    }

    /// Appends one action.
    pub fn push(&mut self, action: Action<M, N>) {
        self.list.push(action);
    }

    /// Takes all actions, oldest first.
    pub fn drain(&mut self) -> vec::Drain<'_, Action<M, N>> {
        self.list.drain(..)
    }

    /// Swaps the actions with those in `list`.
    pub(crate) const fn swap(&mut self, list: &mut Vec<Action<M, N>>) {
        mem::swap(&mut self.list, list);
    }

    /// The actions, oldest first.
    #[must_use]
    pub fn as_slice(&self) -> &[Action<M, N>] {
        &self.list
    }

    /// Whether there is no action.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether more bytes wait to be written to the connection than
    /// [`ConnectionConfig::max_backlog`](crate::connection::ConnectionConfig::max_backlog). It is dropped unless its
    /// peer reads on soon. A machine that can hold a message back asks this first.
    #[must_use]
    pub fn is_backlogged(&self, id: ConnId) -> bool {
        self.backlogged.contains(&id)
    }

    /// For endpoints: marks a connection as backlogged or not.
    pub fn set_backlogged(&mut self, id: ConnId, backlogged: bool) {
        if backlogged {
            self.backlogged.insert(id);
        } else if !self.backlogged.is_empty() {
            self.backlogged.remove(&id);
        }
    }
}

impl<M, N> Default for Actions<M, N> {
    fn default() -> Self {
        Self::new()
    }
}

/// A protocol as a pure state machine: it does not fail, block, read a clock or use a global RNG.
pub trait Machine {
    /// A message on the wire.
    type Message;
    /// A command of the local caller.
    type Command;
    /// A notice to the local caller.
    type Notice;

    /// Handles one event and appends the resulting actions to `actions`. `now` never decreases between calls.
    fn handle(
        &mut self,
        now: Time,
        event: Event<Self::Message, Self::Command>,
        actions: &mut Actions<Self::Message, Self::Notice>,
    );

    /// Whether a connection stays open after its peer's end of stream (FIN), because there is more to send. Called
    /// once, when the FIN arrives. If true, the machine receives [`Event::PeerFinished`] and must close the connection
    /// itself; [`Event::Closed`] follows only if the connection ends in another way. If false, the default, the machine receives
    /// [`Event::Closed`].
    fn keeps_open_after_fin(&self, id: ConnId) -> bool {
        let _ = id;
        false
    }

    /// Bytes of memory that the machine holds for an unfinished message of this connection; 0 once the connection has
    /// ended. They count against
    /// [`ConnectionConfig::max_partial_bytes`](crate::connection::ConnectionConfig::max_partial_bytes).
    fn partial_bytes(&self, id: ConnId) -> usize {
        let _ = id;
        0
    }

    /// When to call [`Machine::handle`] with [`Event::Deadline`] at the latest; `None` without deadlines.
    fn next_deadline(&self) -> Option<Time>;

    /// Whether every map, queue, set and timer is empty.
    fn is_zero(&self) -> bool;
}
