use alloc::borrow::Cow;
use core::fmt;

use bytes::Bytes;

/// What an error begins with where a payload is text.
pub(crate) const ERROR: &[u8] = b"error ";

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $class:ident, $text:literal;)*) => {
        /// What is wrong, as it stands on the wire in `error <code> <text>`. One table for every protocol.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $variant,)*
            /// A code this version does not know.
            Unknown,
        }

        impl ErrorCode {
            /// Every code but [`ErrorCode::Unknown`], in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// What the error ends, and so how a client reacts to it.
            #[must_use]
            pub const fn class(self) -> ErrorClass {
                match self {
                    $(Self::$variant => ErrorClass::$class,)*
                    Self::Unknown => ErrorClass::Request,
                }
            }

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
    FrameTooLong = "frame-too-long", Fatal, "the frame is longer than the limit";
    /// A line over the limit. The connection is closed.
    LineTooLong = "line-too-long", Fatal, "the line is longer than the limit";
    /// The peer closed in the middle of a frame or line.
    Truncated = "truncated", Connection, "the stream ended in the middle of a message";
    /// Not a request of this protocol. The connection stays.
    UnknownRequest = "unknown-request", Request, "not a request of this protocol";
    /// Nothing was sent in time after connecting. The connection is closed.
    HandshakeTimeout = "handshake-timeout", Connection, "no complete frame or line came in time after connecting";
    /// Nothing was sent for too long. The connection is closed.
    IdleTimeout = "idle-timeout", Connection, "nothing came for too long; send an empty frame or line to stay connected";
    /// The server is going away. Try again elsewhere or later.
    ShuttingDown = "shutting-down", Temporary, "the server is shutting down; connect again later";
    /// The server has as many connections as it takes. The connection is closed.
    Full = "full", Connection, "the server has as many connections as it takes; connect again later";
    /// The connection has as much waiting for its ok as it may have. The message was not taken.
    TooManyWaiting = "too-many-waiting", Temporary, "too much of yours waits for its ok; wait for some, then send again";
    /// All connections together have as much waiting as the server takes. The message was not taken.
    Busy = "busy", Temporary, "the server holds as many messages as it takes; send again later";
    /// An ok for something that was not forwarded to this connection. It was ignored.
    NotHeld = "not-held", Request, "that was not forwarded to you, or you have answered it already";
    /// A relay that names nobody. It was not done.
    NoReceivers = "no-receivers", Request, "name the receivers by their user ids, with commas between them";
    /// A relay that names more receivers than there may be. It was not done.
    TooManyReceivers = "too-many-receivers", Request, "a relay can name 255 receivers at most";
    /// A relay to something that is no user id. It was not done.
    BadReceiver = "bad-receiver", Request, "not a user id";
    /// A session that the server does not know, or no longer. The connection is closed.
    UnknownSession = "unknown-session", Request, "no such session is kept here, or no longer; begin a new one";
    /// The stream of this connection has begun. The request was not done; the stream goes on.
    AlreadyRunning = "already-running", Request, "server was already running; END this stream, or use another connection";
    /// The server does not give this kind of stream. The request was not done.
    WrongMode = "wrong-mode", Request, "this server does not give this kind of stream";
    /// Not a uuid. The request was not done.
    InvalidUuid = "invalid-uuid", Request, "invalid uuid";
    /// Not a count of numbers that a session can have. The request was not done.
    InvalidCount = "invalid-n", Request, "invalid n value";
    /// A session of this name was begun already. The request was not done.
    UuidTaken = "uuid-taken", Request, "uuid already taken; CONTINUE it, or choose another";
    /// A number that the stream does not hold, or that was not sent yet. The request was not done.
    BadNumber = "bad-number", Request, "that number was not sent in this session";
    /// The server keeps as many sessions as it can. The request was not done.
    TooManySessions = "too-many-sessions", Temporary, "the server keeps as many sessions as it can; START again later";
    /// The session is gone on with on another connection. This one is closed.
    TakenOver = "taken-over", Temporary, "the session goes on on another connection";
    /// A body over the limit. The request was not done.
    BodyTooLong = "body-too-long", Request, "a body can have 1048576 bytes at most";
}

/// What an error ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorClass {
    /// The request that it answers. The same request fails again.
    Request,
    /// The request or connection that it answers. The same request can succeed later.
    Temporary,
    /// The connection alone: a session can be resumed on another.
    Connection,
    /// The connection. The same bytes fail again.
    Fatal,
}

impl ErrorCode {
    /// Whether the same request can succeed later, so that a client may retry.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self.class(), ErrorClass::Temporary | ErrorClass::Connection)
    }
}

/// Reads `<code> <text>`. The text shares the memory of `words`.
pub(crate) fn parse_error(words: &Bytes) -> (ErrorCode, Bytes) {
    let end = memchr::memchr(b' ', words).unwrap_or(words.len());
    let text = words.slice((end + 1).min(words.len())..);
    (ErrorCode::parse(&words[..end]), text)
}

/// Reads `error <code> <text>`; `None` if `line` does not begin with `error `.
pub(crate) fn parse_error_line(line: &Bytes) -> Option<(ErrorCode, Bytes)> {
    let words = line.strip_prefix(ERROR)?;
    Some(parse_error(&line.slice_ref(words)))
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
