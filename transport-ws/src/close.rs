//! Why a connection is closed: the code and reason of a Close frame (RFC 6455, section 7.4).

use std::borrow::Cow;
use std::str::from_utf8;

use tungstenite::protocol::frame::coding::CloseCode;

/// The longest payload of a control frame (RFC 6455, section 5.5).
pub(crate) const MAX_CONTROL: usize = 125;
/// The longest reason of a Close frame: a control frame without the code.
const MAX_REASON: usize = MAX_CONTROL - 2;

/// The code and reason of a Close frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    pub(crate) code: CloseCode,
    pub(crate) reason: Cow<'static, str>,
}

impl Closing {
    pub(crate) fn new(code: CloseCode, reason: impl Into<Cow<'static, str>>) -> Self {
        let reason = reason.into();
        Self { code, reason }
    }

    /// The peer breaks the rules of WebSocket.
    pub(crate) fn protocol(reason: &'static str) -> Self {
        Self::new(CloseCode::Protocol, reason)
    }

    /// This side has nothing more to send.
    pub(crate) fn normal() -> Self {
        Self::new(CloseCode::Normal, "")
    }

    /// The reason for closing after `words`: the `<code> <text>` of an error. See PROTOCOL.md, "Close codes".
    pub(crate) fn after_error(words: &[u8]) -> Self {
        let end = memchr::memchr(b' ', words).unwrap_or(words.len());
        let code = match &words[..end] {
            b"shutting-down" => CloseCode::Away,
            b"frame-too-long" | b"line-too-long" => CloseCode::Size,
            b"full" | b"busy" | b"too-many-sessions" | b"too-many-waiting" => CloseCode::Again,
            b"truncated" => CloseCode::Protocol,
            _ => CloseCode::Policy,
        };
        Self::new(code, String::from_utf8_lossy(words).into_owned())
    }

    /// The payload of the Close frame. A reason that is too long is cut.
    pub(crate) fn payload(&self) -> Vec<u8> {
        let mut end = self.reason.len().min(MAX_REASON);
        while !self.reason.is_char_boundary(end) {
            end -= 1;
        }
        [&u16::from(self.code).to_be_bytes(), &self.reason.as_bytes()[..end]].concat()
    }

    /// Parses the payload of a received Close frame; `None` if it is empty.
    pub(crate) fn parse(payload: &[u8]) -> Result<Option<Self>, Self> {
        let Some((code, reason)) = payload.split_first_chunk() else {
            return match payload {
                [] => Ok(None),
                _ => Err(Self::protocol("a Close frame with half a code")),
            };
        };
        let code = CloseCode::from(u16::from_be_bytes(*code));
        if !code.is_allowed() {
            return Err(Self::protocol("a Close frame with a code that must not be sent"));
        }
        match from_utf8(reason) {
            Ok(reason) => Ok(Some(Self::new(code, reason.to_owned()))),
            Err(_) => Err(Self::new(
                CloseCode::Invalid,
                "the reason of a Close frame is not UTF-8",
            )),
        }
    }
}
