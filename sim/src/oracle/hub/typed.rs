//! A hub's requests and replies in lines, as a person types and reads them.

use bytes::BytesMut;
use echosphere_core::hub::{Message, Reply, Request, Unsent, UserIds};
use echosphere_core::wire::{Decoded, ErrorCode, Outbox, WireError};

use crate::oracle::typed::{Typing, Typist, fits_a_line, read_error, take_line};

/// A typing user. A relay is written in each of the ways that section "By lines, for people" of `docs/PROTOCOL.md` has, in turn.
#[derive(Clone, Debug)]
pub struct HubTypist;

impl Typist for HubTypist {
    type Message = Message;

    fn write(said: usize, message: &Message, output: &mut Outbox) {
        if let Message::Request(request) = message {
            write(said, request, output);
        }
    }

    fn read(input: &mut BytesMut) -> Result<Option<Decoded<Message>>, WireError> {
        read(input)
    }
}

/// Follows what users type, of whom each names receivers that there may be.
#[derive(Debug, Default)]
pub(super) struct Requests {
    reads: Reads,
    /// The line that is not whole.
    line: Vec<u8>,
    unfinished: usize,
}

#[derive(Debug, Default)]
enum Reads {
    #[default]
    Request,
    /// The line with the receivers of a relay.
    Receivers,
    /// The body of a relay up to two empty lines, of which the last may have been the first.
    Body { empty: bool },
    /// Bytes of a relay's body.
    Bytes(usize),
}

impl Requests {
    /// Takes a line. Says whether it completes a request.
    fn line(&mut self) -> bool {
        let line = std::mem::take(&mut self.line);
        let line = line.strip_suffix(b"\r").unwrap_or(&line);
        let (reads, whole) = match self.reads {
            Reads::Request if line == b"relay" => (Reads::Receivers, false),
            Reads::Request => match line.strip_prefix(b"relay ") {
                Some(to) if to.iter().all(|byte| b"0123456789, ".contains(byte)) && !is_a_body(to) => {
                    (Reads::Body { empty: false }, false)
                }
                _ => (Reads::Request, true),
            },
            Reads::Receivers => match length(line) {
                Some(0) => (Reads::Request, true),
                Some(length) => (Reads::Bytes(length), false),
                None => (Reads::Body { empty: false }, false),
            },
            Reads::Body { empty: true } if line.is_empty() => (Reads::Request, true),
            Reads::Body { .. } => (Reads::Body { empty: line.is_empty() }, false),
            Reads::Bytes(_) => (Reads::Request, true),
        };
        self.reads = reads;
        whole
    }
}

/// The length behind receivers, if there is one: behind a space that no comma comes before.
fn length(receivers: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(receivers).ok()?;
    let (to, length) = text.rsplit_once(' ')?;
    if to.ends_with(',') { None } else { length.parse().ok() }
}

/// Whether the rest of a line behind `relay ` has a body: a space that no comma comes before.
fn is_a_body(rest: &[u8]) -> bool {
    rest.windows(2).any(|two| two[0] != b',' && two[1] == b' ')
}

impl Typing for Requests {
    fn take(&mut self, mut typed: &[u8]) -> usize {
        let mut whole = 0;
        while !typed.is_empty() {
            if let Reads::Bytes(left) = &mut self.reads {
                let taken = typed.len().min(*left);
                typed = &typed[taken..];
                self.unfinished += taken;
                *left -= taken;
                if *left > 0 {
                    break;
                }
                // The end of its line is an empty line for itself.
                self.reads = Reads::Request;
            } else {
                let end = typed.iter().position(|byte| *byte == b'\n');
                let taken = end.map_or(typed.len(), |end| end + 1);
                self.line.extend_from_slice(&typed[..end.unwrap_or(taken)]);
                typed = &typed[taken..];
                self.unfinished += taken;
                if end.is_none() || !self.line() {
                    continue;
                }
            }
            self.unfinished = 0;
            whole += 1;
        }
        whole
    }

    fn unfinished(&self) -> usize {
        self.unfinished
    }
}

/// Whether these are lines up to the first two empty ones.
fn fits_lines(text: &[u8]) -> bool {
    let lines: Vec<&[u8]> = text.split(|byte| *byte == b'\n').collect();
    let two_empty = lines.windows(2).any(|two| two.iter().all(|line| line.is_empty()));
    text.is_empty() || !two_empty && !text.ends_with(b"\n") && lines.iter().all(|line| !line.ends_with(b"\r"))
}

fn write(said: usize, request: &Request, output: &mut Outbox) {
    let end = if said.is_multiple_of(3) { "\r\n" } else { "\n" };
    let mut put = |parts: &[&[u8]]| parts.iter().for_each(|part| output.put(part));
    match request {
        Request::Identity => put(&[b"identity", end.as_bytes()]),
        Request::List => put(&[b"list", end.as_bytes()]),
        Request::Echo(body) => put(&[b"echo ", body, end.as_bytes()]),
        Request::Relay { to, body } => {
            let comma = if said.is_multiple_of(2) { ", " } else { "," };
            let to: Vec<String> = to.iter().map(|id| id.to_string()).collect();
            let (to, end) = (to.join(comma), end.as_bytes());
            match said % 4 {
                0 if fits_a_line(body) => put(&[b"relay ", to.as_bytes(), b" ", body, end]),
                1 if fits_lines(body) => put(&[b"relay ", to.as_bytes(), end, body, end, end, end]),
                2 if fits_lines(body) => put(&[b"relay", end, to.as_bytes(), end, body, end, end, end]),
                _ => {
                    let length = body.len().to_string();
                    put(&[b"relay", end, to.as_bytes(), b" ", length.as_bytes(), end, body, end]);
                }
            }
        }
    }
}

fn read(input: &mut BytesMut) -> Result<Option<Decoded<Message>>, WireError> {
    let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
        return Ok(None);
    };
    let line = String::from_utf8_lossy(&input[..end]).into_owned();
    if let Some((from, length)) = delivery(&line) {
        let (body, after) = (end + 1, end + 1 + length + 1);
        if input.len() < after {
            return Ok(None);
        }
        let taken = input.split_to(after).freeze();
        if !taken.ends_with(b"\n") {
            return Err(ErrorCode::UnknownRequest.into());
        }
        let body = taken.slice(body..after - 1);
        return Ok(Some(Decoded::Message(Message::Reply(Reply::Delivery { from, body }))));
    }
    let Some(bytes) = take_line(input) else {
        return Ok(None);
    };
    let reply = match line.split_once(' ') {
        Some(("echo", _)) => Some(Reply::Echo(bytes.slice("echo ".len()..))),
        Some(("identity", id)) => id.parse().ok().map(Reply::Identity),
        Some(("list", "nobody")) => Some(Reply::List(UserIds::default())),
        Some(("list", ids)) => numbers(ids).map(|ids| Reply::List(ids.into_iter().collect())),
        Some(("relayed", receipt)) => relayed(receipt),
        Some(("error", _)) => read_error(&bytes).map(|(code, text)| Reply::Error(code, text)),
        _ => None,
    };
    let reply = reply.ok_or(ErrorCode::UnknownRequest)?;
    Ok(Some(Decoded::Message(Message::Reply(reply))))
}

/// Reads `from 3, 14 bytes:`.
fn delivery(line: &str) -> Option<(u64, usize)> {
    let (from, length) = line.strip_prefix("from ")?.strip_suffix(" bytes:")?.split_once(", ")?;
    Some((from.parse().ok()?, length.parse().ok()?))
}

/// Reads `to 2 of 5 users`, with or without `; unknown: 4,9` and `; too slow: 7`.
fn relayed(receipt: &str) -> Option<Reply> {
    let mut parts = receipt.split("; ");
    let (sent, all) = parts.next()?.strip_prefix("to ")?.split_once(" of ")?;
    let sent: u8 = sent.parse().ok()?;
    let all: usize = match all {
        "1 user" => 1,
        all => all.strip_suffix(" users")?.parse().ok().filter(|all| *all != 1)?,
    };
    let mut unsent = Vec::new();
    for part in parts {
        let (why, ids) = part.split_once(": ")?;
        let why = match why {
            "unknown" => Unsent::Unknown,
            "too slow" => Unsent::TooSlow,
            _ => return None,
        };
        unsent.extend(numbers(ids)?.into_iter().map(|id| (id, why)));
    }
    unsent.sort_unstable();
    (all == usize::from(sent) + unsent.len()).then_some(Reply::Relayed { sent, unsent })
}

fn numbers(ids: &str) -> Option<Vec<u64>> {
    ids.split(',').map(|id| id.parse().ok()).collect()
}
