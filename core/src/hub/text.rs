//! The hub's protocol in lines, for people who type or paste requests.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;

use bytes::{Buf, Bytes, BytesMut};

use super::ids::{self, UserIds};
use super::message::{MAX_BODY, Message, Reply, Request, Unsent};
use crate::wire::{Decoded, ERROR, ErrorCode, Framer, Line, Outbox, WireError, parse_error_line};

/// The state of reading requests in lines. A relay stays in `input` until it is complete, so that an unfinished one is
/// held in one buffer, the connection's. Offsets count from the relay's first byte.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Reading {
    #[default]
    Command,
    /// Next: the line with a relay's receivers, at this offset.
    Receivers(u32),
    Lines(Lines),
    /// Next: a body of `length` bytes, then a line end.
    Bytes {
        to: Span,
        body: u32,
        length: u32,
    },
    /// Skip the rest of a refused relay, up to two empty lines.
    SkipLines {
        empty: u8,
    },
    /// Skip the rest of a refused relay: this many bytes and a line end.
    SkipBytes(usize),
}

/// Where a relay's user ids are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    start: u32,
    end: u32,
}

/// An unfinished relay whose body is in lines.
#[derive(Clone, Copy, Debug)]
pub(super) struct Lines {
    to: Span,
    body: u32,
    /// The offset of the next line.
    next: u32,
    /// The length of the body so far, including line breaks between its lines.
    length: u32,
    any: bool,
    /// Empty lines at the end; part of the body only if another line follows.
    empty: u8,
}

type Next = Result<Option<Decoded<Message>>, WireError>;

impl Reading {
    /// Takes one request from the front of `input`, if it is complete.
    pub(super) fn next(&mut self, framer: &mut Framer, input: &mut BytesMut) -> Next {
        loop {
            let start = match *self {
                Self::Command | Self::SkipLines { .. } => 0,
                Self::Receivers(start) => start as usize,
                Self::Lines(lines) => lines.next as usize,
                Self::Bytes { body, length, .. } if input.len() < (body + length) as usize => return Ok(None),
                Self::Bytes { to, body, length } => {
                    let to = to.read(input);
                    input.advance(body as usize);
                    let body = input.split_to(length as usize).freeze();
                    // The optional line end after the body is then read as an empty line.
                    *self = Self::Command;
                    return Ok(Some(relay(to, body)));
                }
                Self::SkipBytes(left) => {
                    let skipped = input.len().min(left);
                    input.advance(skipped);
                    if skipped < left {
                        *self = Self::SkipBytes(left - skipped);
                        return Ok(None);
                    }
                    *self = Self::Command;
                    continue;
                }
            };
            let Some(line) = framer.find_line(input, start)? else {
                return Ok(None);
            };
            if let Some(decoded) = self.line(line, input) {
                return Ok(Some(decoded));
            }
        }
    }

    /// Ends the stream: `input` is its rest. The last line needs no line end, and a body in lines needs no two empty
    /// lines.
    pub(super) fn finish(&mut self, input: &mut BytesMut) -> Option<Decoded<Message>> {
        let start = match *self {
            Self::Lines(lines) => lines.next as usize,
            _ => 0,
        };
        let end = input.len() - usize::from(input[start..].last() == Some(&b'\r'));
        let next = input.len();
        let whole = match self {
            Self::Command | Self::Lines(_) => self.line(Line { start, end, next }, input),
            _ => None,
        };
        let last = whole.or_else(|| match mem::take(self) {
            Self::Lines(lines) => Some(lines.end(input)),
            Self::Receivers(_) | Self::Bytes { .. } => Some(Decoded::Invalid(ErrorCode::Truncated.into())),
            Self::Command | Self::SkipLines { .. } | Self::SkipBytes(_) => None,
        });
        input.clear();
        last
    }

    /// Handles one line. Returns the request, error or keepalive that it completes, and then removes it from `input`.
    fn line(&mut self, line: Line, input: &mut BytesMut) -> Option<Decoded<Message>> {
        match self {
            Self::Lines(lines) => match lines.line(line) {
                Ended::No => None,
                Ended::Yes => {
                    let relay = lines.end(input);
                    input.advance(line.next);
                    *self = Self::Command;
                    Some(relay)
                }
                Ended::TooLong => Some(self.skip_lines(ErrorCode::BodyTooLong.into(), line, input)),
            },
            Self::SkipLines { empty } => {
                *empty = if line.end > line.start { 0 } else { *empty + 1 };
                if *empty == 2 {
                    *self = Self::Command;
                }
                input.advance(line.next);
                None
            }
            Self::Receivers(_) => self.receivers(line, input),
            _ => self.command(line, input),
        }
    }

    fn command(&mut self, line: Line, input: &mut BytesMut) -> Option<Decoded<Message>> {
        let text = &input[..line.end];
        if matches!(text, b"relay" | b"relay ") {
            *self = Self::Receivers(line.next as u32);
            return None;
        }
        let end = memchr::memchr(b' ', text).unwrap_or(text.len());
        if &text[..end] == b"relay" {
            return self.relay_in_a_line(end + 1, line, input);
        }
        let text = line.take(input);
        let rest = text.slice((end + 1).min(text.len())..);
        let request = match &text[..end] {
            b"" if text.is_empty() => return Some(Decoded::Keepalive),
            b"identity" if rest.is_empty() => Request::Identity,
            b"list" if rest.is_empty() => Request::List,
            b"echo" if rest.len() > MAX_BODY => return Some(Decoded::Invalid(ErrorCode::BodyTooLong.into())),
            b"echo" => Request::Echo(rest),
            _ => {
                let expected = "expected `identity`, `list`, `echo TEXT`, `relay IDS TEXT`, or `relay` and then lines";
                return Some(Decoded::Invalid(WireError::new(ErrorCode::UnknownRequest, expected)));
            }
        };
        Some(Decoded::Message(Message::Request(request)))
    }

    /// `relay 2,3 TEXT`, or `relay 2,3` followed by the body in lines. The user ids begin at `start`.
    fn relay_in_a_line(&mut self, start: usize, line: Line, input: &mut BytesMut) -> Option<Decoded<Message>> {
        let rest = &input[start..line.end];
        let (to, after) = match ids::parse(rest) {
            Ok(parsed) => parsed,
            Err(error) if rest.contains(&b' ') => {
                input.advance(line.next);
                return Some(Decoded::Invalid(error));
            }
            Err(error) => return Some(self.skip_lines(error, line, input)),
        };
        if after == rest.len() {
            *self = Self::Lines(Lines::after(Span::new(start, line.end), line));
            return None;
        }
        let body = line.take(input).slice(start + after + 1..);
        if body.len() > MAX_BODY {
            return Some(Decoded::Invalid(ErrorCode::BodyTooLong.into()));
        }
        Some(relay(to, body))
    }

    /// `2,3`, or `2,3 LENGTH`. If it is invalid, the body that follows is skipped.
    fn receivers(&mut self, line: Line, input: &mut BytesMut) -> Option<Decoded<Message>> {
        let text = &input[line.start..line.end];
        let parsed = ids::parse(text);
        let length = match &parsed {
            Ok((_, after)) => &text[*after..],
            Err(_) => last_word(text),
        };
        let length = length.trim_ascii();
        let bytes = ids::number(length).and_then(|length| usize::try_from(length).ok());
        match (parsed, bytes) {
            (Ok((_, after)), Some(bytes)) if bytes <= MAX_BODY => {
                *self = Self::Bytes {
                    to: Span::new(line.start, line.start + after),
                    body: line.next as u32,
                    length: bytes as u32,
                };
                None
            }
            (Ok((_, after)), None) if length.is_empty() => {
                *self = Self::Lines(Lines::after(Span::new(line.start, line.start + after), line));
                None
            }
            (Ok(_), None) => {
                let text = format!("\"{}\" is not a length in bytes", ids::excerpt(length));
                Some(self.skip_lines(WireError::new(ErrorCode::BadReceiver, text), line, input))
            }
            (Err(error), None) => Some(self.skip_lines(error, line, input)),
            (parsed, Some(bytes)) => {
                *self = Self::SkipBytes(bytes);
                input.advance(line.next);
                Some(Decoded::Invalid(
                    parsed.err().unwrap_or_else(|| ErrorCode::BodyTooLong.into()),
                ))
            }
        }
    }

    /// Refuses a relay whose body follows in lines; skips all of it up to `line`.
    fn skip_lines(&mut self, error: WireError, line: Line, input: &mut BytesMut) -> Decoded<Message> {
        *self = Self::SkipLines { empty: 0 };
        input.advance(line.next);
        let text = format!("{}; what follows is skipped, up to two empty lines", error.text);
        Decoded::Invalid(WireError::new(error.code, text))
    }
}

enum Ended {
    No,
    Yes,
    TooLong,
}

impl Span {
    const fn new(start: usize, end: usize) -> Self {
        Self {
            start: start as u32,
            end: end as u32,
        }
    }

    /// Reads the ids, which were checked before.
    fn read(self, input: &[u8]) -> UserIds {
        ids::parse(&input[self.start as usize..self.end as usize]).map_or_else(|_| UserIds::default(), |(ids, _)| ids)
    }
}

impl Lines {
    const fn after(to: Span, line: Line) -> Self {
        Self {
            to,
            body: line.next as u32,
            next: line.next as u32,
            length: 0,
            any: false,
            empty: 0,
        }
    }

    fn line(&mut self, line: Line) -> Ended {
        self.next = line.next as u32;
        if line.end == line.start {
            self.empty += 1;
            return if self.empty == 2 { Ended::Yes } else { Ended::No };
        }
        let breaks = mem::take(&mut self.empty) + u8::from(self.any);
        self.any = true;
        self.length += u32::from(breaks) + (line.end - line.start) as u32;
        if self.length as usize > MAX_BODY {
            return Ended::TooLong;
        }
        Ended::No
    }

    /// Builds the relay after its last line.
    fn end(&self, input: &[u8]) -> Decoded<Message> {
        let lines = &input[self.body as usize..self.next as usize];
        let mut body = Vec::with_capacity(lines.len() + 1);
        for line in lines.split(|byte| *byte == b'\n') {
            body.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
            body.push(b'\n');
        }
        // Empty lines at the end and the last line end are not part of the body.
        body.truncate(self.length as usize);
        relay(self.to.read(input), body.into())
    }
}

fn relay(to: UserIds, body: Bytes) -> Decoded<Message> {
    Decoded::Message(Message::Request(Request::Relay { to, body }))
}

/// The length at the end of a line of receivers, if there is one.
fn last_word(line: &[u8]) -> &[u8] {
    let space = line.iter().rposition(|b| *b == b' ');
    match space {
        Some(space) if !line[..space].trim_ascii_end().ends_with(b",") => &line[space..],
        _ => b"",
    }
}

/// Appends a reply as text. A body follows the line with its length, and ends with a line end.
pub(super) fn write(reply: &Reply, framer: &Framer, output: &mut Outbox) {
    match reply {
        Reply::Identity(id) => output.put(format!("identity {id}").as_bytes()),
        Reply::List(ids) if ids.is_empty() => output.put(b"list nobody"),
        Reply::List(ids) => output.put(format!("list {ids}").as_bytes()),
        Reply::Echo(body) => {
            output.put(b"echo ");
            output.put_shared(body);
        }
        Reply::Relayed { sent, unsent } => output.put(receipt(*sent, unsent).as_bytes()),
        Reply::Error(code, text) => return framer.write_error(ERROR, *code, text, output),
        Reply::Delivery { from, body } => {
            output.put(format!("from {from}, {} bytes:\n", body.len()).as_bytes());
            output.put_shared(body);
        }
    }
    output.put(b"\n");
}

/// The result of a relay in one line: `relayed to 1 of 2 users; unknown: 9`. For `sent` and `unsent` see
/// [`Reply::Relayed`].
#[must_use]
pub fn receipt(sent: u8, unsent: &[(u64, Unsent)]) -> String {
    let all = usize::from(sent) + unsent.len();
    let users = if all == 1 { "user" } else { "users" };
    let mut line = format!("relayed to {sent} of {all} {users}");
    for (why, word) in [(Unsent::Unknown, "unknown"), (Unsent::TooSlow, "too slow")] {
        let ids: UserIds = unsent
            .iter()
            .filter(|(_, what)| *what == why)
            .map(|(id, _)| *id)
            .collect();
        if !ids.is_empty() {
            line += &format!("; {word}: {ids}");
        }
    }
    line
}

/// Reads the line that a hub sends before it closes a connection on which it has read nothing: an error.
pub(super) fn farewell(line: &Bytes) -> Result<Reply, WireError> {
    let (code, text) = parse_error_line(line)
        .ok_or_else(|| WireError::new(ErrorCode::UnknownRequest, "expected `error CODE TEXT`"))?;
    Ok(Reply::Error(code, text))
}
