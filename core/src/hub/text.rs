//! The hub's words, for people: requests typed or pasted at `nc`, and the answers they see.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;

use bytes::{Buf, Bytes, BytesMut};

use super::codec::too_long;
use super::message::{Ids, MAX_BODY, MAX_RECEIVERS, Message, Reply, Request, Unsent};
use crate::wire::{Decoded, ErrorCode, Framer, Outbox, WireError};

/// What the next line of a user who types is.
#[derive(Clone, Debug, Default)]
pub(super) enum Reading {
    #[default]
    Command,
    /// The receivers of a relay.
    Receivers,
    /// The body of a relay in lines, up to two empty ones. Boxed, as most connections have none.
    Lines(Box<Body>),
    /// The body of a relay in so many bytes, and then the end of the line.
    Bytes(Box<(Ids, usize)>),
    /// The rest of a relay that was refused: as many bytes, and the end of the line.
    SkipBytes(usize),
}

/// The body of a relay, as far as it has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Body {
    /// None if the relay was refused: the rest of it is skipped.
    to: Option<Ids>,
    lines: Vec<u8>,
    any: bool,
    /// Empty lines that came last, and are part of the body only if another line follows.
    empty: usize,
}

type Next = Result<Option<Decoded<Message>>, WireError>;

impl Reading {
    /// Takes one request off the front of `input`, or as much of it as is there.
    pub(super) fn next(&mut self, framer: &mut Framer, input: &mut BytesMut) -> Next {
        loop {
            match self {
                Self::Bytes(..) | Self::SkipBytes(_) => {
                    if let Some(decoded) = self.take_bytes(input) {
                        return Ok(Some(decoded));
                    }
                    if !matches!(self, Self::Command) {
                        return Ok(None);
                    }
                }
                Self::Command | Self::Receivers | Self::Lines(_) => {
                    let Some(line) = framer.next(input)? else {
                        return Ok(None);
                    };
                    if let Some(decoded) = self.line(&line) {
                        return Ok(Some(decoded));
                    }
                }
            }
        }
    }

    /// The user's stream has ended, and `input` is what is left of it: the last line may lack its end, and a body in
    /// lines its two empty ones.
    pub(super) fn finish(&mut self, input: &mut BytesMut) -> Option<Decoded<Message>> {
        let mut last = mem::take(input).freeze();
        if last.last() == Some(&b'\r') {
            last.truncate(last.len() - 1);
        }
        let whole = match self {
            Self::Command | Self::Lines(_) => self.line(&last),
            _ => None,
        };
        whole.or_else(|| match mem::take(self) {
            Self::Lines(body) => body.end(),
            Self::Receivers | Self::Bytes(..) => Some(Decoded::Invalid(ErrorCode::Truncated.into())),
            Self::Command | Self::SkipBytes(_) => None,
        })
    }

    fn take_bytes(&mut self, input: &mut BytesMut) -> Option<Decoded<Message>> {
        match self {
            Self::Bytes(exact) => {
                let (to, length) = &mut **exact;
                if input.len() < *length {
                    return None;
                }
                let body = input.split_to(*length).freeze();
                let to = mem::take(to);
                // The end of its line, if it is not left out, is then an empty one.
                *self = Self::Command;
                Some(Decoded::Message(Message::Request(Request::Relay { to, body })))
            }
            Self::SkipBytes(left) => {
                let skipped = input.len().min(*left);
                input.advance(skipped);
                *left -= skipped;
                if *left == 0 {
                    *self = Self::Command;
                }
                None
            }
            _ => None,
        }
    }

    /// Takes a line; a request, an error or a keepalive if that is what it completes.
    fn line(&mut self, line: &Bytes) -> Option<Decoded<Message>> {
        match self {
            Self::Lines(body) => {
                let ended = body.line(line);
                match ended {
                    Ended::No => None,
                    Ended::Yes => {
                        let body = mem::take(&mut **body);
                        *self = Self::Command;
                        body.end()
                    }
                    Ended::TooLong => Some(self.skip_lines(too_long())),
                }
            }
            Self::Receivers => self.receivers(line),
            _ => self.command(line),
        }
    }

    fn command(&mut self, line: &Bytes) -> Option<Decoded<Message>> {
        let end = memchr::memchr(b' ', line).unwrap_or(line.len());
        let rest = line.slice((end + 1).min(line.len())..);
        let request = match &line[..end] {
            b"" if line.is_empty() => return Some(Decoded::Keepalive),
            b"identity" if rest.is_empty() => Request::Identity,
            b"list" if rest.is_empty() => Request::List,
            b"echo" if rest.len() > MAX_BODY => return Some(Decoded::Invalid(too_long())),
            b"echo" => Request::Echo(rest),
            b"relay" if rest.is_empty() => {
                *self = Self::Receivers;
                return None;
            }
            b"relay" => return self.relay_in_a_line(&rest),
            _ => {
                let expected = "expected `identity`, `list`, `echo TEXT`, `relay IDS TEXT`, or `relay` and then lines";
                return Some(Decoded::Invalid(WireError::new(ErrorCode::UnknownRequest, expected)));
            }
        };
        Some(Decoded::Message(Message::Request(request)))
    }

    /// `relay 2,3 TEXT`, or `relay 2,3` with the body in the lines that follow.
    fn relay_in_a_line(&mut self, rest: &Bytes) -> Option<Decoded<Message>> {
        let (to, after) = match ids(rest) {
            Ok(parsed) => parsed,
            Err(error) if rest.contains(&b' ') => return Some(Decoded::Invalid(error)),
            Err(error) => return Some(self.skip_lines(error)),
        };
        if after == rest.len() {
            *self = Self::Lines(Body::to(Some(to)).into());
            return None;
        }
        let body = rest.slice(after + 1..);
        if body.len() > MAX_BODY {
            return Some(Decoded::Invalid(too_long()));
        }
        Some(Decoded::Message(Message::Request(Request::Relay { to, body })))
    }

    /// `2,3`, or `2,3 LENGTH`. What follows a mistake is the body all the same, and skipped.
    fn receivers(&mut self, line: &Bytes) -> Option<Decoded<Message>> {
        let parsed = ids(line);
        let length = match &parsed {
            Ok((_, after)) => &line[*after..],
            Err(_) => last_word(line),
        };
        let length = length.trim_ascii();
        let bytes = number(length).and_then(|length| usize::try_from(length).ok());
        match (parsed, bytes) {
            (Ok((to, _)), Some(bytes)) if bytes <= MAX_BODY => *self = Self::Bytes((to, bytes).into()),
            (Ok((to, _)), None) if length.is_empty() => *self = Self::Lines(Body::to(Some(to)).into()),
            (Ok(_), None) => {
                let text = format!("\"{}\" is no length in bytes", shown(length));
                return Some(self.skip_lines(WireError::new(ErrorCode::BadReceiver, text)));
            }
            (Err(error), None) => return Some(self.skip_lines(error)),
            (parsed, Some(bytes)) => {
                *self = Self::SkipBytes(bytes);
                return Some(Decoded::Invalid(parsed.err().unwrap_or_else(too_long)));
            }
        }
        None
    }

    /// A relay was refused whose body follows in lines.
    fn skip_lines(&mut self, error: WireError) -> Decoded<Message> {
        *self = Self::Lines(Body::to(None).into());
        let text = format!("{}; what follows is skipped, up to two empty lines", error.text);
        Decoded::Invalid(WireError::new(error.code, text))
    }
}

enum Ended {
    No,
    Yes,
    TooLong,
}

impl Body {
    const fn to(to: Option<Ids>) -> Self {
        Self {
            to,
            lines: Vec::new(),
            any: false,
            empty: 0,
        }
    }

    fn line(&mut self, line: &[u8]) -> Ended {
        if line.is_empty() {
            self.empty += 1;
            return if self.empty == 2 { Ended::Yes } else { Ended::No };
        }
        let empty = mem::take(&mut self.empty);
        if self.to.is_none() {
            return Ended::No;
        }
        let breaks = empty + usize::from(self.any);
        if self.lines.len() + breaks + line.len() > MAX_BODY {
            return Ended::TooLong;
        }
        self.lines.extend(core::iter::repeat_n(b'\n', breaks));
        self.lines.extend_from_slice(line);
        self.any = true;
        Ended::No
    }

    fn end(self) -> Option<Decoded<Message>> {
        let body = Bytes::from(self.lines);
        let to = self.to?;
        Some(Decoded::Message(Message::Request(Request::Relay { to, body })))
    }
}

/// Reads ids with commas between, and perhaps spaces after those; says where they end.
pub(super) fn ids(text: &[u8]) -> Result<(Ids, usize), WireError> {
    let mut ids = Vec::new();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let word = &rest[..rest.iter().position(|b| *b == b',' || *b == b' ').unwrap_or(rest.len())];
        if word.is_empty() && ids.is_empty() {
            return Err(ErrorCode::NoReceivers.into());
        }
        let Some(id) = number(word) else {
            let text = format!(
                "\"{}\" is no user id; expected numbers up to {} with commas between them",
                shown(word),
                u64::MAX
            );
            return Err(WireError::new(ErrorCode::BadReceiver, text));
        };
        ids.push(id);
        at += word.len();
        if text.get(at) != Some(&b',') {
            break;
        }
        at += 1;
        at += text[at..].iter().take_while(|b| **b == b' ').count();
    }
    if ids.len() > MAX_RECEIVERS {
        let text = format!("{} receivers; at most {MAX_RECEIVERS} can be named", ids.len());
        return Err(WireError::new(ErrorCode::TooManyReceivers, text));
    }
    Ok((ids.into_iter().collect(), at))
}

fn number(word: &[u8]) -> Option<u64> {
    let digits = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    digits.then(|| core::str::from_utf8(word).ok()?.parse().ok())?
}

/// The length that a line of receivers ends in, if it has one.
fn last_word(line: &[u8]) -> &[u8] {
    let space = line.iter().rposition(|b| *b == b' ');
    match space {
        Some(space) if !line[..space].trim_ascii_end().ends_with(b",") => &line[space..],
        _ => b"",
    }
}

/// A few bytes of what was typed, for an error's text.
fn shown(word: &[u8]) -> String {
    const SHOWN: usize = 24;
    let mut shown: String = format!("{}", word[..word.len().min(SHOWN)].escape_ascii());
    if word.len() > SHOWN {
        shown.push('…');
    }
    shown
}

/// Appends a reply in words. A body follows the line that gives its length, and ends its own line.
pub(super) fn write(reply: &Reply, output: &mut Outbox) {
    match reply {
        Reply::Identity(id) => output.put(format!("identity {id}").as_bytes()),
        Reply::List(ids) if ids.is_empty() => output.put(b"list nobody"),
        Reply::List(ids) => output.put(format!("list {ids}").as_bytes()),
        Reply::Echo(body) => {
            output.put(b"echo ");
            output.put_shared(body);
        }
        Reply::Relayed { sent, unsent } => output.put(receipt(*sent, unsent).as_bytes()),
        Reply::Error(code, text) => {
            output.put(format!("error {code} ").as_bytes());
            output.put_shared(text);
        }
        Reply::Delivery { from, body } => {
            output.put(format!("from {from}, {} bytes:\n", body.len()).as_bytes());
            output.put_shared(body);
        }
    }
    output.put(b"\n");
}

/// What became of a relay, in one line for people: `relayed to 1 of 2 users; unknown: 9`. `sent` and `unsent` are as in
/// [`Reply::Relayed`].
#[must_use]
pub fn receipt(sent: u8, unsent: &[(u64, Unsent)]) -> String {
    let all = usize::from(sent) + unsent.len();
    let users = if all == 1 { "user" } else { "users" };
    let mut line = format!("relayed to {sent} of {all} {users}");
    for (why, word) in [(Unsent::Unknown, "unknown"), (Unsent::TooSlow, "too slow")] {
        let ids: Ids = unsent
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

/// What a hub says in a line to a user that speaks frames: its last words.
pub(super) fn farewell(line: Bytes) -> Result<Reply, WireError> {
    match line.strip_prefix(b"error ") {
        Some(rest) => Ok(error(&line.slice_ref(rest))),
        None => Err(WireError::new(ErrorCode::UnknownRequest, "expected `error CODE TEXT`")),
    }
}

/// Reads `<code> <text>`.
pub(super) fn error(rest: &Bytes) -> Reply {
    let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
    let text = rest.slice((end + 1).min(rest.len())..);
    Reply::Error(ErrorCode::parse(&rest[..end]), text)
}
