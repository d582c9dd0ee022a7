//! Counters of what happened in runs: faults, and rare events that they cause.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! systems {
    ([$($system:ident),+]) => { &[$(stringify!($system)),+] };
}

macro_rules! marks {
    ($($lane:ident of $systems:tt { $($(#[$doc:meta])* $mark:ident,)* })*) => {
        /// Something that must happen in some run of every campaign, or the campaign shows nothing about it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Mark {
            $($($(#[$doc])* $mark,)*)*
        }

        impl Mark {
            /// All of them.
            pub const ALL: &[Self] = &[$($(Self::$mark,)*)*];

            /// Whether it can be reached in `lane` by the system of this name.
            #[must_use]
            pub fn is_in(self, lane: Lane, system: &str) -> bool {
                let (of_lane, of_systems) = self.place();
                let is_of = |of: &&str| ["any", system].contains(of);
                [Lane::Both, lane].contains(&of_lane) && of_systems.iter().any(is_of)
            }

            const fn place(self) -> (Lane, &'static [&'static str]) {
                match self {
                    $($(Self::$mark => (Lane::$lane, systems!($systems)),)*)*
                }
            }
        }
    };
}

impl Mark {
    /// Whether it counts how often a fault of the network or the hosts happened; all others count their consequences.
    #[must_use]
    pub const fn is_fault(self) -> bool {
        matches!(
            self,
            Self::LatencyRange
                | Self::LatencySpike
                | Self::Hold
                | Self::Partition
                | Self::PartitionToServer
                | Self::PartitionToClient
                | Self::ClientCrash
                | Self::ClientPowerLoss
                | Self::ClientDrain
                | Self::ServerCrash
                | Self::ServerPowerLoss
                | Self::ServerDrain
                | Self::Stall
                | Self::DialRefused
                | Self::Blackhole
                | Self::Split
                | Self::Joined
                | Self::LostFin
                | Self::Negotiated
                | Self::FailedNegotiation
                | Self::ConnReset
                | Self::HalfOpen
                | Self::LinkFailure
                | Self::Narrow
                | Self::Pause
                | Self::SlowReader
                | Self::ClockSkew
                | Self::Stranger
        )
    }
}

/// Where a mark can be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Anywhere.
    Both,
    /// With the real driver on turmoil's network.
    Turmoil,
    /// With the direct driver.
    Direct,
}

marks! {
Both of [any] {
    /// Messages between two hosts took different times, so that connections overtake each other.
    LatencyRange,
    /// A link became slow for a while.
    LatencySpike,
    /// A link kept everything back.
    Hold,
    /// A link let go of what it had kept back.
    Release,
    /// A link dropped everything, both ways.
    Partition,
    /// A link dropped everything on its way to the server.
    PartitionToServer,
    /// A link dropped everything on its way to the clients.
    PartitionToClient,
    /// A host of clients crashed; its peers saw its connections end.
    ClientCrash,
    /// A host of clients crashed without its peers noticing.
    ClientPowerLoss,
    /// The server crashed; its peers saw their connections end.
    ServerCrash,
    /// The server crashed without its peers noticing.
    ServerPowerLoss,
    /// A host of clients was drained.
    ClientDrain,
    /// The server was drained while clients came and went.
    ServerDrain,
    /// A host did nothing for a while.
    Pause,
    /// A host was paused for longer than its peers may be silent, and what they had sent meanwhile counted.
    HeardAfterPause,
    /// A socket was not ready for a while.
    Stall,
    /// A socket was full.
    BackPressure,
    /// An attempt to connect was refused.
    DialRefused,
    /// An attempt to connect was given up.
    DialAbandoned,
    /// A client tried again because no ok came in time.
    ResponseTimeout,
    /// The server gave up a connection for its silence.
    ServerIdleTimeout,
    /// The server's connection was reset.
    ServerReset,
    /// A client's connection was reset.
    ClientReset,
    /// A connection that sent nothing was closed.
    HandshakeTimeout,
    /// A connection did not close cleanly.
    Lingered,
    /// A stranger connected.
    Stranger,
    /// A stranger received the right error.
    StrangerTold,
    /// A client was sent `full`: the server had as many connections as it accepts.
    ToldFull,
    /// A connection was negotiated before its first byte.
    Negotiated,
    /// A negotiation failed.
    FailedNegotiation,
}

Turmoil of [any] {
    /// A link broke by itself, losing all that was on its way.
    LinkFailure,
    /// A socket took only a part of one write.
    PartialWrite,
    /// A socket took a part of a vectored write that ended beyond its first slice.
    PartialVectoredWrite,
    /// A socket gave less than it had.
    ShortRead,
    /// A socket reported that it was not ready to read, and then was.
    SpuriousReadPending,
    /// A socket reported that it was not ready to write, and then was.
    SpuriousWritePending,
    /// A stream kept what was written until it was flushed.
    BufferedWrite,
}

Direct of [any] {
    /// A connection ended inside a frame.
    Truncated,
    /// An attempt to connect was never answered.
    Blackhole,
    /// A write was split in two segments.
    Split,
    /// Two segments were read as one.
    Joined,
    /// An end of stream never arrived.
    LostFin,
    /// A connection was reset.
    ConnReset,
    /// A connection died unnoticed.
    HalfOpen,
    /// A link carried few bytes a second.
    Narrow,
    /// A reader took a few bytes at a time.
    SlowReader,
    /// Clocks went at different speeds.
    ClockSkew,
    /// A connection was dropped because too much waited to be written to it.
    SlowConsumer,
    /// A connection was refused because half-received messages held too much.
    PartialRefused,
    /// Neither side of a connection sent a message for an hour, and then the connection was used.
    SilentForAnHour,
}

Both of [echo, chat] {
    /// A message was not acknowledged at once: its receiver had not read it, or took its time.
    AnswerWithheld,
    /// A connection ended before an acknowledgement that was withheld on it was sent.
    LostWhileWithheld,
}

Both of [echo] {
    /// Clients answered after a constant delay.
    AckDelayConstant,
    /// Clients answered after a uniform delay.
    AckDelayUniform,
    /// Clients answered after an exponential delay.
    AckDelayExponential,
    /// Several clients sent the same X.
    SameX,
    /// An X longer than all the reads that a driver gives one connection in one turn.
    LargeX,
    /// The server forwarded an X anew because its holder had left.
    Reforward,
    /// The server ignored an ok that came too late.
    LateOk,
    /// One ok answered several who waited.
    SharedOk,
    /// A connection got its own message back.
    ForwardToSelf,
    /// A client spoke lines.
    Lines,
    /// A client was sent `not-held`.
    NotHeld,
    /// A connection waited for the same X twice.
    WaitsTwice,
    /// A client was sent `busy`: the server held as many messages as it accepts.
    ServerBusy,
    /// A client was notified that its X is too long.
    TooLong,
    /// A client that drained gave a message up.
    GivenUpInDrain,
    /// A client gave a message up because its first attempt was refused.
    GivenUpWhenRefused,
    /// A stranger was forwarded an X.
    StrangerHolds,
}

Direct of [echo] {
    /// A connection had as much waiting for its ok as it may have.
    TooManyWaiting,
    /// A client answered at once, having as many answers to give as it may delay.
    AnswerNotDelayed,
}

Both of [hub] {
    /// A user sent to itself.
    RelayToSelf,
    /// A relay named a receiver twice.
    NamedTwice,
    /// A relay named more than two.
    FanOut,
    /// A typing user sent a body that a line can carry.
    TypedRelay,
    /// A typing user sent a body that no line can carry.
    TypedRelayOfAnyBytes,
    /// A typing user was sent a body.
    DeliveredInLines,
    /// A relay named a user that was not connected.
    UnknownReceiver,
    /// A body arrived.
    Delivered,
    /// A body was empty.
    EmptyBody,
    /// A body was longer than all the reads that a driver gives one connection in one turn.
    LargeBody,
    /// A request was not answered, and its caller was notified.
    Unanswered,
    /// Something was asked of a session that had ended, or was about to.
    AskedTooLate,
    /// A session ended because its caller wanted it, once all was answered.
    LeftAfterAll,
    /// A session came back after the loss of its connection.
    UserCameBack,
    /// A session ended because the time for attempts was over, or the first was refused.
    UserGaveUp,
}

Direct of [hub] {
    /// A relay was sent to more than 64.
    WideFanOut,
    /// A peer that does not read was given its time again, since the host had been paused.
    ReadsAgain,
    /// A relay left out a user that did not read.
    SlowReceiver,
}

Direct of [chat] {
    /// A client came back to its session before the server had noticed that it was gone.
    TakenOver,
    /// A client's greeting came after that of a newer connection of its own.
    Overtaken,
    /// A client came back to its session that had been refused because half-received messages held too much.
    BackAfterBusy,
}

Both of [chat] {
    /// A server had a session with a typing client.
    ChatTyped,
    /// A client was sent `busy`: the server had a session with another.
    ServerTalks,
    /// A client came back to a session that was not kept.
    SessionForgotten,
    /// A client came back to its session.
    Resumed,
    /// A client resumed a session in which the server had received more than its caller had read.
    HeardNotRead,
    /// The server's caller read a message of a session that had ended.
    ReadTooLate,
    /// A typing client had finished sending before all its messages were read.
    FinishedTyping,
    /// A message had arrived whose acknowledgement was lost with the connection.
    DeliveredBefore,
    /// A session ended before a message was acknowledged that was sent.
    PerhapsDelivered,
    /// A session ended before a message was sent.
    NotDelivered,
    /// A client ended its session because the time for attempts was over, or the first was refused.
    ChatGaveUp,
}

Both of [numbers] {
    /// A stateless stream began with a number that the server drew.
    FirstDrawn,
    /// A client went on with a stream.
    WentOn,
    /// A client that was cut off before the first number began its session because the server did not know it.
    BegunInstead,
    /// A session was resumed from a place before the highest that was reached.
    ResumedWithFewer,
    /// A session was resumed from a place before one that was proven already: a late request.
    LateContinue,
    /// A session was resumed while another connection had it.
    SessionTakenOver,
    /// A session was discarded because no client resumed it.
    SessionExpired,
    /// A session was resumed less than a period before it was to be discarded.
    JustInTime,
    /// A session was resumed whose time was over, as the request had arrived before that was noticed.
    InTimeThoughOver,
    /// A session was to begin whose uuid is taken.
    UuidTaken,
    /// A session began again because its connection had broken before it was resumed.
    BegunAgain,
    /// A session was asked for that was lost with an earlier life of the server.
    SessionLost,
    /// A session was discarded because its client wanted no more.
    SessionEnded,
    /// A session was resumed after its checksum was sent.
    ChecksumAgain,
    /// A client closed after the end of its session.
    EndAcknowledged,
    /// A client did not close in time after the end of its session.
    EndNotAcknowledged,
    /// A session's end was sent to a client that had finished sending.
    EndToFinishedSender,
    /// A session was resumed before the end that was sent on another connection was acknowledged.
    EndTakenOver,
    /// Something was asked after a session's end on the same connection.
    AskedAfterTheEnd,
    /// A session was asked for with a number that was not sent.
    NotProven,
    /// A session was resumed by a number that had been sent twice.
    LatestPlace,
    /// A session was to begin, and the server kept as many as it keeps.
    TooManySessions,
    /// A number of a session was sent while the server drained.
    SentInDrain,
    /// A number was sent to a peer that had finished sending.
    FinishedSender,
    /// A second stream was asked for on a connection.
    AlreadyRunning,
    /// A kind of stream was asked for that the server does not give.
    WrongMode,
    /// A client gave up.
    GaveUp,
    /// A typing client requested numbers.
    NumbersInLines,
}

Direct of [numbers] {
    /// A number waited because its peer did not read.
    HeldBack,
    /// A connection ended on which a number waited because its peer did not read.
    LostWhileHeldBack,
}
}

/// Counters of marks, shared by all who can set one.
#[derive(Clone, Debug)]
pub struct Marks(Arc<[AtomicU64]>);

impl Default for Marks {
    fn default() -> Self {
        Self(Mark::ALL.iter().map(|_| AtomicU64::new(0)).collect())
    }
}

impl Marks {
    /// Counts `mark` once.
    pub fn hit(&self, mark: Mark) {
        self.add(mark, 1);
    }

    /// Counts `mark` this number of times.
    pub fn add(&self, mark: Mark, times: u64) {
        self.0[mark as usize].fetch_add(times, Ordering::Relaxed);
    }

    /// How often `mark` was counted.
    #[must_use]
    pub fn count(&self, mark: Mark) -> u64 {
        self.0[mark as usize].load(Ordering::Relaxed)
    }

    /// Adds another run's counts to these.
    pub fn merge(&self, other: &Self) {
        for &mark in Mark::ALL {
            self.add(mark, other.count(mark));
        }
    }

    /// The marks that can be reached in `lane` by the system of this name and were never counted.
    #[must_use]
    pub fn missing(&self, lane: Lane, system: &str) -> Vec<Mark> {
        let missing = Mark::ALL.iter().copied().filter(|&mark| self.count(mark) == 0);
        missing.filter(|mark| mark.is_in(lane, system)).collect()
    }
}
