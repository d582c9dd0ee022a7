use alloc::borrow::Cow;
use alloc::format;
use alloc::string::String;
use core::fmt;

use bytes::Bytes;

/// The start of an error where payloads are text.
pub(crate) const ERROR: &[u8] = b"error ";

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $name:literal, $class:ident, $text:literal;)*) => {
        /// The code of an error, in `error <code> <text>`. One table for all protocols of Echosphere (PROTOCOL.md,
        /// "Errors"), and [`ErrorCode::Custom`] for others.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])* $variant,)*
            /// A code of a protocol that is not part of this crate.
            Custom(&'static CustomCode),
            /// A code that this version does not know.
            Unknown,
        }

        impl ErrorCode {
            /// Every code of the table, in its order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// What the error ends, and so how a client reacts to it.
            #[must_use]
            pub const fn class(self) -> ErrorClass {
                match self {
                    $(Self::$variant => ErrorClass::$class,)*
                    Self::Custom(code) => code.class,
                    Self::Unknown => ErrorClass::Request,
                }
            }

            /// The code on the wire.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Custom(code) => code.name,
                    Self::Unknown => "unknown",
                }
            }

            /// The text that is sent where there is no more specific one.
            #[must_use]
            pub const fn describe(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                    Self::Custom(code) => code.text,
                    Self::Unknown => "an error this version does not know",
                }
            }

            /// Parses a code of the table from the wire.
            #[must_use]
            pub fn parse(code: &[u8]) -> Self {
                $(if code == $name.as_bytes() { return Self::$variant; })*
                Self::Unknown
            }
        }
    };
}

codes! {
    /// A frame over the limit. The connection is closed.
    FrameTooLong = "frame-too-long", Fatal, "the frame is longer than the limit";
    /// A line over the limit. The connection is closed.
    LineTooLong = "line-too-long", Fatal, "the line is longer than the limit";
    /// The peer closed in the middle of a frame or line.
    Truncated = "truncated", Connection, "the stream ended in the middle of a message";
    /// Not a request of this protocol. The connection stays.
    UnknownRequest = "unknown-request", Request, "not a request of this protocol";
    /// No complete frame in time after connecting. The connection is closed.
    HandshakeTimeout = "handshake-timeout", Connection, "no complete frame or line arrived in time after connecting";
    /// Nothing received for too long. The connection is closed.
    IdleTimeout = "idle-timeout", Connection, "nothing was received for too long; send an empty frame or line to stay connected";
    /// The server is shutting down.
    ShuttingDown = "shutting-down", Temporary, "the server is shutting down; connect again later";
    /// The server has the most connections that it accepts. The connection is closed.
    Full = "full", Connection, "the server is full; connect again later";
    /// Too many messages of this connection wait for their ok. The message was refused.
    TooManyWaiting = "too-many-waiting", Temporary, "too many of your messages wait for their ok; wait for some, then send again";
    /// Too many messages of all connections wait for their ok. The message was refused.
    Busy = "busy", Temporary, "the server holds the maximum of messages; send again later";
    /// An ok for something that this connection does not hold. It was ignored.
    NotHeld = "not-held", Request, "this was not forwarded to you, or you have acknowledged it already";
    /// A relay without receivers. It was refused.
    NoReceivers = "no-receivers", Request, "name the receivers by their user ids, separated by commas";
    /// A relay with too many receivers. It was refused.
    TooManyReceivers = "too-many-receivers", Request, "a relay can name 255 receivers at most";
    /// A relay to something that is not a user id. It was refused.
    BadReceiver = "bad-receiver", Request, "not a user id";
    /// The session does not exist, or no longer. A chat's connection is closed.
    UnknownSession = "unknown-session", Request, "this session does not exist or was discarded; begin a new one";
    /// The connection has a stream already. The request was refused; the stream continues.
    AlreadyRunning = "already-running", Request, "server was already running; END this stream, or use another connection";
    /// The server does not offer this kind of stream. The request was refused.
    WrongMode = "wrong-mode", Request, "this server does not offer this kind of stream";
    /// Not a uuid. The request was refused.
    InvalidUuid = "invalid-uuid", Request, "invalid uuid";
    /// Not a valid count of numbers. The request was refused.
    InvalidCount = "invalid-n", Request, "invalid n value";
    /// A session with this name exists. The request was refused.
    UuidTaken = "uuid-taken", Request, "uuid already taken; CONTINUE it, or choose another";
    /// A number that is not in the stream, or was not sent yet. The request was refused.
    BadNumber = "bad-number", Request, "that number was not sent in this session";
    /// The server has the most sessions that it keeps. The request was refused.
    TooManySessions = "too-many-sessions", Temporary, "the server has the maximum of sessions; START again later";
    /// The session was resumed on another connection. This one is closed.
    TakenOver = "taken-over", Temporary, "the session was resumed on another connection";
    /// A body over the limit. The request was refused.
    BodyTooLong = "body-too-long", Request, "a body can have 1048576 bytes at most";
    /// Plain text at a port that speaks TLS. The connection is closed.
    TlsRequired = "tls-required", Fatal, "this port speaks TLS; connect with --tls";
    /// A TLS handshake at a port without TLS. The connection is closed.
    TlsUnsupported = "tls-unsupported", Fatal, "this port does not speak TLS; connect without --tls";
    /// Something else than HTTP at a port that speaks WebSocket. The connection is closed.
    WsRequired = "ws-required", Fatal, "this port speaks WebSocket; connect with ws://";
}

/// An error code that a protocol outside this crate defines.
///
/// ```
/// use echosphere_core::wire::{CustomCode, ErrorClass, ErrorCode, WireError};
///
/// const SOLD_OUT: CustomCode = CustomCode {
///     name: "sold-out",
///     class: ErrorClass::Temporary,
///     text: "all tickets are sold; ask again later",
/// };
/// /// All codes of the protocol.
/// static CODES: [CustomCode; 1] = [SOLD_OUT];
///
/// // A server refuses a request.
/// let error = WireError::from(ErrorCode::Custom(&CODES[0]));
/// assert_eq!(error.to_string(), "sold-out all tickets are sold; ask again later");
///
/// // A client parses the code, and retries as for a code of the table.
/// let code = ErrorCode::parse_with(b"sold-out", &CODES);
/// assert_eq!(code, error.code);
/// assert!(code.is_retryable());
/// assert_eq!(ErrorCode::parse_with(b"busy", &CODES), ErrorCode::Busy);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CustomCode {
    /// The code on the wire: lower-case words joined by `-`, without spaces, and no name of the table.
    pub name: &'static str,
    /// What the error ends.
    pub class: ErrorClass,
    /// The text that is sent where there is no more specific one. One line.
    pub text: &'static str,
}

/// What an error ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorClass {
    /// The request that it answers. The same request would fail again.
    Request,
    /// The request or connection that it answers. The same request can succeed later.
    Temporary,
    /// The connection alone. A session can be resumed on another.
    Connection,
    /// The connection. The same bytes would fail again.
    Fatal,
}

impl ErrorCode {
    /// Whether the same request can succeed later, so that a client may retry.
    #[must_use]
    pub const fn is_retryable(self) -> bool {
        matches!(self.class(), ErrorClass::Temporary | ErrorClass::Connection)
    }

    /// Parses a code of the table or one of `custom` from the wire. A name of the table is always the table's.
    #[must_use]
    pub fn parse_with(code: &[u8], custom: &'static [CustomCode]) -> Self {
        match Self::parse(code) {
            Self::Unknown => {
                let known = custom.iter().find(|known| known.name.as_bytes() == code);
                known.map_or(Self::Unknown, Self::Custom)
            }
            known => known,
        }
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

/// An error to send to the peer: what is wrong with its bytes, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireError {
    /// The code.
    pub code: ErrorCode,
    /// A sentence for people, without line breaks.
    pub text: Cow<'static, str>,
}

impl WireError {
    /// An error with a text of its own. The text must not contain line breaks.
    #[must_use]
    pub fn new(code: ErrorCode, text: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            text: text.into(),
        }
    }

    /// The error as a line, `error <code> <text>` and LF. Every client accepts it as the first thing that a server sends,
    /// in either framing (PROTOCOL.md, "Framing").
    #[must_use]
    pub fn to_line(&self) -> String {
        format!("error {self}\n")
    }
}

/// The error with the text of [`ErrorCode::describe`].
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
