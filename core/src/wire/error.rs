use alloc::borrow::Cow;
use core::fmt;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $text:literal;)*) => {
        /// What is wrong, as it stands on the wire in `error <code> <text>`. One table for every protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $variant,)*
            /// A code this version does not know.
            Unknown,
        }

        impl ErrorCode {
            /// The code as it stands on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Unknown => "unknown",
                }
            }

            /// What a person is told where nothing more specific is known.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Unknown => "an error this version does not know",
                }
            }

            /// Reads a code off the wire.
            #[must_use]
            pub fn parse(code: &[u8]) -> Self {
                $(if code == $name.as_bytes() { return Self::$variant; })*
                Self::Unknown
            }
        }
    };
}

codes! {
    /// A length-prefixed frame over the limit. The connection is closed.
    FrameTooLong = "frame-too-long", "the frame is longer than the limit";
    /// A line over the limit. The connection is closed.
    LineTooLong = "line-too-long", "the line is longer than the limit";
    /// The peer closed in the middle of a frame or line.
    Truncated = "truncated", "the stream ended in the middle of a message";
    /// Not a request of this protocol. The connection stays.
    UnknownRequest = "unknown-request", "not a request of this protocol";
    /// Nothing was sent in time after connecting. The connection is closed.
    HandshakeTimeout = "handshake-timeout", "no complete frame or line came in time after connecting";
    /// Nothing was sent for too long. The connection is closed.
    IdleTimeout = "idle-timeout", "nothing came for too long; send an empty frame or line to stay connected";
    /// The server is going away. Try again elsewhere or later.
    ShuttingDown = "shutting-down", "the server is shutting down; connect again later";
    /// The server has as many connections as it takes. The connection is closed.
    Full = "full", "the server has as many connections as it takes; connect again later";
    /// The connection has as much waiting for its ok as it may have. The message was not taken.
    TooManyWaiting = "too-many-waiting", "too much of yours waits for its ok; wait for some, then send again";
    /// All connections together have as much waiting as the server takes. The message was not taken.
    Busy = "busy", "the server holds as many messages as it takes; send again later";
    /// An ok for something that was not forwarded to this connection. It was ignored.
    NotHeld = "not-held", "that was not forwarded to you, or you have answered it already";
    /// A relay that names nobody. It was not done.
    NoReceivers = "no-receivers", "name the receivers by their user ids, with commas between them";
    /// A relay that names more receivers than there may be. It was not done.
    TooManyReceivers = "too-many-receivers", "a relay can name 255 receivers at most";
    /// A relay to something that is no user id. It was not done.
    BadReceiver = "bad-receiver", "not a user id";
    /// A session that the server does not know, or no longer. The connection is closed.
    UnknownSession = "unknown-session", "no such session is kept here, or no longer; begin a new one";
    /// The stream of this connection has begun. The request was not done; the stream goes on.
    AlreadyRunning = "already-running", "server was already running; END this stream, or use another connection";
    /// The server does not give this kind of stream. The request was not done.
    WrongMode = "wrong-mode", "this server does not give this kind of stream";
    /// Not a uuid. The request was not done.
    InvalidUuid = "invalid-uuid", "invalid uuid";
    /// Not a count of numbers that a session can have. The request was not done.
    InvalidCount = "invalid-n", "invalid n value";
    /// A session of this name was begun already. The request was not done.
    UuidTaken = "uuid-taken", "uuid already taken; CONTINUE it, or choose another";
    /// A number that the stream does not hold, or that was not sent yet. The request was not done.
    BadNumber = "bad-number", "that number was not sent in this session";
    /// The server keeps as many sessions as it can. The request was not done.
    TooManySessions = "too-many-sessions", "the server keeps as many sessions as it can; START again later";
    /// The session is gone on with on another connection. This one is closed.
    TakenOver = "taken-over", "the session goes on on another connection";
    /// A body over the limit. The request was not done.
    BodyTooLong = "body-too-long", "a body can have 1048576 bytes at most";
}

impl ErrorCode {
    /// Whether the same request can succeed later, so that a client may try again.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::ShuttingDown
                | Self::Full
                | Self::TooManyWaiting
                | Self::Busy
                | Self::TooManySessions
                | Self::TakenOver
                | Self::HandshakeTimeout
                | Self::IdleTimeout
                | Self::Truncated
        )
    }
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is wrong with bytes that came in, and what was expected instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireError {
    /// The kind.
    pub code: ErrorCode,
    /// For the peer's human: one line, no line breaks.
    pub text: Cow<'static, str>,
}

impl WireError {
    pub(crate) fn new(code: ErrorCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }
}

impl From<ErrorCode> for WireError {
    fn from(code: ErrorCode) -> Self {
        Self::new(code, code.describe())
    }
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text)
    }
}

impl core::error::Error for WireError {}
