use core::fmt;

use super::{ERROR, ErrorCode};

/// A protocol that can be detected from a server's first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Echo.
    Echo,
    /// The hub.
    Hub,
    /// The chat.
    Chat,
    /// Numbers over TCP.
    Numbers,
    /// HTTP/2, which gRPC uses.
    Http2,
    /// HTTP/1.
    Http1,
    /// SSH.
    Ssh,
    /// TLS.
    Tls,
    /// WebSocket.
    WebSocket,
}

/// How many first bytes are examined.
pub const FIRST_BYTES: usize = 160;

/// The phrase in the error by which a chat's server refuses a second client.
pub(crate) const CHAT_IS_BUSY: &str = "another client has a session with this server";

/// Phrases in the errors by which servers refuse unknown requests.
const REFUSALS: [(&[u8], Protocol); 6] = [
    (b"expected `message X` or `ok X`", Protocol::Echo),
    (b"expected START, CONTINUE", Protocol::Numbers),
    (b"; a hub expects ", Protocol::Hub),
    (b"expected `identity`, `list`", Protocol::Hub),
    (b"; a chat expects ", Protocol::Chat),
    (CHAT_IS_BUSY.as_bytes(), Protocol::Chat),
];

impl Protocol {
    /// The protocol of a server that sends these bytes first; `None` if they do not show it, or not yet.
    #[must_use]
    pub fn from_first_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes {
            // A SETTINGS frame of stream 0: its length is a multiple of 6.
            [0, 0, length, 4, 0, 0, 0, 0, 0, ..] if length % 6 == 0 => Some(Self::Http2),
            [0, _, _, _, payload @ ..] => Self::of_payload(payload),
            [0, ..] => None,
            // An alert (RFC 8446, section 5.1).
            [0x15, 3, ..] => Some(Self::Tls),
            line if line.starts_with(b"HTTP/1.") => Some(Self::of_http(line)),
            line if line.starts_with(b"SSH-") => Some(Self::Ssh),
            line => Self::of_line(line),
        }
    }

    /// The protocol of a server that answers a request with `error <code> <text>`, if the text shows it.
    #[must_use]
    pub fn from_error(code: ErrorCode, text: &[u8]) -> Option<Self> {
        let shown = |(words, protocol): (&[u8], Self)| memchr::memmem::find(text, words).map(|_| protocol);
        match code {
            ErrorCode::UnknownRequest | ErrorCode::Busy => REFUSALS.into_iter().find_map(shown),
            ErrorCode::TlsRequired => Some(Self::Tls),
            ErrorCode::WsRequired => Some(Self::WebSocket),
            _ => None,
        }
    }

    /// Whether it is a protocol of Echosphere.
    #[must_use]
    pub const fn is_ours(self) -> bool {
        matches!(self, Self::Echo | Self::Hub | Self::Chat | Self::Numbers)
    }

    fn of_payload(payload: &[u8]) -> Option<Self> {
        match payload {
            [0x81..=0x85, ..] => Some(Self::Hub),
            [0x03, ..] => Some(Self::Chat),
            [0xFF, error @ ..] => Self::of_error_words(error),
            line => Self::of_line(line),
        }
    }

    fn of_line(line: &[u8]) -> Option<Self> {
        if let Some(error) = line.strip_prefix(ERROR) {
            return Self::of_error_words(error);
        }
        if let Some(rest) = line.strip_prefix(b"ok ") {
            // A chat acknowledges by number.
            let typed = rest.first().is_some_and(u8::is_ascii_digit);
            return Some(if typed { Self::Chat } else { Self::Echo });
        }
        if line.starts_with(b"message ") {
            return Some(Self::Echo);
        }
        let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let rest = line.get(digits..).unwrap_or_default();
        (digits > 0 && matches!(rest, [] | [b'\r' | b'\n' | 0, ..])).then_some(Self::Numbers)
    }

    /// A TLS server of Echosphere answers plain HTTP with its error in the body.
    fn of_http(response: &[u8]) -> Self {
        match memchr::memmem::find(response, b"error tls-required ") {
            Some(_) => Self::Tls,
            None => Self::Http1,
        }
    }

    /// Parses `<code> <text>`.
    fn of_error_words(words: &[u8]) -> Option<Self> {
        let end = memchr::memchr(b' ', words)?;
        Self::from_error(ErrorCode::parse(&words[..end]), &words[end..])
    }
}

/// A noun phrase: "a hub".
impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Echo => "an echo server",
            Self::Hub => "a hub",
            Self::Chat => "a chat server",
            Self::Numbers => "a numbers server (TCP)",
            Self::Http2 => "an HTTP/2 server (gRPC or web)",
            Self::Http1 => "a web server (HTTP/1)",
            Self::Ssh => "an SSH server",
            Self::Tls => "a TLS server (connect with --tls)",
            Self::WebSocket => "a WebSocket server (connect with ws://)",
        })
    }
}
