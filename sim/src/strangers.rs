//! Strangers: peers that speak no protocol. What they send, and what they must receive according to
//! `docs/PROTOCOL.md`, in which framing and order. The code shares nothing with the codecs.

use std::fmt;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use echosphere_core::connection::ConnectionConfig;
use serde::{Deserialize, Serialize};

use crate::marks::{Mark, Marks};
use crate::oracle::System;
use crate::scenario::LINK;
use crate::words;

/// What a stranger sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StrangerKind {
    /// Nothing at all.
    Nothing,
    /// A part of a frame.
    Half,
    /// A longer part of a longer frame.
    LongHalf,
    /// An empty frame, as one who listens, and nothing more.
    Hello,
    /// A frame that is no request of any protocol.
    Unknown,
    /// The same after an empty frame.
    HelloUnknown,
    /// The start of a frame that is too long for every protocol, after an empty one.
    TooLong,
    /// A part of a frame after an empty one, and the end of the stream.
    Cut,
    /// A line as from a browser.
    Web,
}

/// In words, as in "a stranger sends …".
impl fmt::Display for StrangerKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "nothing",
            Self::Half => "half a frame",
            Self::LongHalf => "half a long frame",
            Self::Hello => "an empty frame",
            Self::Unknown => "a frame that is no request",
            Self::HelloUnknown => "an empty frame and one that is no request",
            Self::TooLong => "a frame that is too long",
            Self::Cut => "half a frame and the end",
            Self::Web => "a browser's request",
        })
    }
}

impl StrangerKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Nothing,
        Self::Half,
        Self::LongHalf,
        Self::Hello,
        Self::Unknown,
        Self::HelloUnknown,
        Self::TooLong,
        Self::Cut,
        Self::Web,
    ];

    const fn says(self) -> &'static [u8] {
        match self {
            Self::Nothing => b"",
            Self::Half => b"\0\0\0\x05me",
            // As long as every protocol's frames may be.
            Self::LongHalf => {
                const LONG: [u8; 154] = {
                    let mut long = [b'm'; 154];
                    (long[0], long[1], long[2], long[3]) = (0, 0, 0, 200);
                    long
                };
                &LONG
            }
            Self::Hello => b"\0\0\0\0",
            Self::Unknown => b"\0\0\0\x05\xEEwhat",
            Self::HelloUnknown => b"\0\0\0\0\0\0\0\x05\xEEwhat",
            Self::TooLong => b"\0\0\0\0\0\xFF\xFF\xFFx",
            Self::Cut => b"\0\0\0\0\0\0\0\x05me",
            Self::Web => b"GET / HTTP/1.1\r\n",
        }
    }

    /// The codes that it must receive. `greets`: the server closes clients that send no request in time, and what is no
    /// request ends a connection.
    const fn is_told(self, greets: bool) -> &'static [&'static str] {
        match self {
            Self::Nothing | Self::Half | Self::LongHalf => &["handshake-timeout"],
            Self::Hello if greets => &["handshake-timeout"],
            Self::Hello => &["idle-timeout"],
            Self::Unknown | Self::HelloUnknown | Self::Web if greets => &["unknown-request"],
            Self::Unknown | Self::HelloUnknown | Self::Web => &["unknown-request", "idle-timeout"],
            Self::TooLong => &["frame-too-long"],
            Self::Cut => &["truncated"],
        }
    }

    /// Whether it sends no whole frame.
    const fn is_no_start(self) -> bool {
        matches!(self, Self::Nothing | Self::Half | Self::LongHalf)
    }

    /// Whether it sends a part of a frame.
    const fn is_half(self) -> bool {
        matches!(self, Self::Half | Self::LongHalf | Self::Cut)
    }
}

/// One of them, with what it received.
#[derive(Debug)]
pub(crate) struct Stranger {
    kind: StrangerKind,
    /// Half-received messages may be too much for the server.
    bounded: bool,
    /// The errors that it must receive, in this order; the last comes before the end.
    expected: &'static [&'static str],
    /// How an error begins in a frame.
    error: &'static [u8],
    /// Lines that it receives may be those of a body.
    bodies: bool,
    /// Bytes of a frame or line that is not whole.
    heard: BytesMut,
    /// Whether it receives lines, once that is known.
    lines: Option<bool>,
    /// The codes of the errors that it received.
    told: Vec<String>,
}

impl Stranger {
    /// A stranger that connects to a server of `S`, whose connections have these bounds.
    pub(crate) fn new<S: System>(kind: StrangerKind, link: &ConnectionConfig) -> Self {
        // Where any line begins a session, a browser's request is valid.
        let kind = match kind {
            StrangerKind::Web if S::greets() => StrangerKind::Unknown,
            kind => kind,
        };
        Self {
            kind,
            bounded: link.max_partial_bytes < LINK.max_partial_bytes,
            expected: kind.is_told(S::greets()),
            error: S::error_frame(),
            bodies: S::bodies_of_lines(),
            heard: BytesMut::new(),
            lines: None,
            told: Vec::new(),
        }
    }

    /// What it sends at once after connecting.
    pub(crate) const fn says(&self) -> &'static [u8] {
        self.kind.says()
    }

    /// Whether it then finishes.
    pub(crate) fn ends(&self) -> bool {
        self.kind == StrangerKind::Cut
    }

    /// Takes what it receives, `age` after it began to connect. `patience` is how long a server waits
    /// for its first word. Returns what there is to note.
    pub(crate) fn hear(
        &mut self,
        bytes: &[u8],
        age: Duration,
        patience: Duration,
        marks: &Marks,
    ) -> Result<Option<String>, String> {
        let before = self.told.len();
        self.heard.extend_from_slice(bytes);
        while let Some(payload) = self.next() {
            let error: &[u8] = if self.lines == Some(true) {
                b"error "
            } else {
                self.error
            };
            if let Some(error) = payload.strip_prefix(error) {
                let code = error.split(|byte| *byte == b' ').next().unwrap_or_default();
                if self.expected.first().map(|code| code.as_bytes()) == Some(code) {
                    marks.hit(Mark::StrangerTold);
                }
                self.told.push(String::from_utf8_lossy(code).into_owned());
            } else if self.kind.is_no_start() || payload.is_empty() && self.lines == Some(true) && !self.bodies {
                return Err(self.wrong("no error, though it has sent no whole frame, or a keepalive in lines"));
            } else if payload.starts_with(b"message ") {
                marks.hit(Mark::StrangerHolds);
            }
        }
        let (kind, new) = (self.kind, self.told[before..].join(", "));
        // By a clock that goes too fast.
        if kind.is_no_start() && new == "handshake-timeout" && age < patience.mul_f64(0.9) {
            return Err(format!("a stranger is closed {age:?} after it began to connect"));
        }
        Ok((!new.is_empty()).then(|| format!("a stranger that sent {kind} receives {new}")))
    }

    fn next(&mut self) -> Option<BytesMut> {
        let lines = *self.lines.get_or_insert(*self.heard.first()? != 0);
        if lines {
            let end = self.heard.iter().position(|byte| *byte == b'\n')?;
            let mut line = self.heard.split_to(end + 1);
            line.truncate(end);
            return Some(line);
        }
        let length = u32::from_be_bytes(*self.heard.first_chunk()?) as usize;
        if self.heard.len() < 4 + length {
            return None;
        }
        self.heard.advance(4);
        Some(self.heard.split_to(length))
    }

    /// Whether it has received no error.
    pub(crate) const fn is_told_nothing(&self) -> bool {
        self.told.is_empty()
    }

    /// Whether it was refused before it had sent anything.
    pub(crate) fn is_turned_away(&self) -> bool {
        self.told.len() == 1 && ["full", "shutting-down"].contains(&&*self.told[0])
    }

    /// Checks all that it received, at the end. `unread`: the server had not read all that it sent.
    pub(crate) fn check(&self, unread: bool) -> Result<(), String> {
        if !self.heard.is_empty() {
            return Err(self.wrong("half a frame or line"));
        }
        let told = self.told.iter().map(String::as_str);
        let right = told
            .clone()
            .zip(self.expected)
            .take_while(|(told, code)| told == *code)
            .count();
        let rest: Vec<&str> = told.skip(right).collect();
        let more = right < self.expected.len();
        let at_the_door = self.is_turned_away();
        let told_right = match rest[..] {
            [] => !more,
            ["full"] => at_the_door,
            ["busy"] => more && self.bounded && self.kind.is_half(),
            ["shutting-down"] => more,
            // Those who only listen are silent, too.
            ["idle-timeout"] if self.kind == StrangerKind::Hello => more,
            ["handshake-timeout" | "idle-timeout"] => more && unread,
            _ => false,
        };
        if !told_right {
            return Err(self.wrong("that"));
        }
        let types = matches!(self.kind, StrangerKind::Nothing | StrangerKind::Web);
        let in_lines = self.lines.unwrap_or(types);
        // What was not read showed no framing.
        if in_lines != types && !(in_lines && (unread || at_the_door)) {
            return Err(self.wrong("that in the other framing"));
        }
        Ok(())
    }

    pub(crate) fn wrong(&self, what: &str) -> String {
        format!(
            "a stranger that sent {} received {}, should receive {}: {what}",
            self.kind,
            words::list(&self.told),
            words::list(self.expected)
        )
    }
}
