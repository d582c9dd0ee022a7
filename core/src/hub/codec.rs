use alloc::format;
use alloc::vec::Vec;
use core::fmt::Display;

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::ids::{MAX_RECEIVERS, UserIds};
use super::message::{MAX_BODY, Message, Reply, Request, Unsent};
use super::text::{self, Reading};
use crate::wire::{Codec, Decoded, ErrorCode, Framer, Framing, MAX_FRAME, Outbox, WireError, parse_error};

/// The first byte of a payload in length framing.
mod kind {
    pub(super) const IDENTITY: u8 = 0x01;
    pub(super) const LIST: u8 = 0x02;
    pub(super) const ECHO: u8 = 0x03;
    pub(super) const RELAY: u8 = 0x04;
    /// Combined with the kind of the request that a reply answers.
    pub(super) const REPLY: u8 = 0x80;
    pub(super) const DELIVERY: u8 = 0x85;
    pub(super) const ERROR: u8 = 0xFF;
}

const UNKNOWN: u8 = 1;
const TOO_SLOW: u8 = 2;

/// The longest frame of a user, in bytes: a relay of the longest body to the most receivers.
const MAX_REQUEST: u32 = (2 + MAX_RECEIVERS * 8 + MAX_BODY) as u32;

/// The hub's wire format: binary in length framing, text in lines (PROTOCOL.md, "Hub").
#[derive(Clone, Debug)]
pub struct HubCodec {
    framer: Framer,
    reading: Reading,
}

impl HubCodec {
    /// For the hub's side of a connection.
    #[must_use]
    pub const fn accepted() -> Self {
        Self {
            framer: Framer::accepted(MAX_REQUEST),
            reading: Reading::Command,
        }
    }

    /// For the user's side.
    #[must_use]
    pub const fn dialled() -> Self {
        Self {
            framer: Framer::dialled(MAX_FRAME),
            reading: Reading::Command,
        }
    }

    fn write_reply(&self, reply: &Reply, output: &mut Outbox) {
        let nothing = Bytes::new();
        match reply {
            Reply::Identity(id) => {
                let mut head = [0; 9];
                head[0] = kind::REPLY | kind::IDENTITY;
                head[1..].copy_from_slice(&id.to_be_bytes());
                self.framer.write(&head, &nothing, output);
            }
            Reply::List(ids) => self.framer.write(&[kind::REPLY | kind::LIST], ids.as_wire(), output),
            Reply::Echo(body) => self.framer.write(&[kind::REPLY | kind::ECHO], body, output),
            Reply::Relayed { sent, unsent } => {
                let mut head = Vec::with_capacity(2 + unsent.len() * 9);
                head.extend([kind::REPLY | kind::RELAY, *sent]);
                for (id, why) in unsent {
                    head.push(match why {
                        Unsent::Unknown => UNKNOWN,
                        Unsent::TooSlow => TOO_SLOW,
                    });
                    head.extend(id.to_be_bytes());
                }
                self.framer.write(&head, &nothing, output);
            }
            Reply::Error(code, text) => self.framer.write_error(&[kind::ERROR], *code, text, output),
            Reply::Delivery { from, body } => {
                let mut head = [0; 9];
                head[0] = kind::DELIVERY;
                head[1..].copy_from_slice(&from.to_be_bytes());
                self.framer.write(&head, body, output);
            }
        }
    }

    fn write_request(&self, request: &Request, output: &mut Outbox) {
        let nothing = Bytes::new();
        match request {
            Request::Identity => self.framer.write(&[kind::IDENTITY], &nothing, output),
            Request::List => self.framer.write(&[kind::LIST], &nothing, output),
            Request::Echo(body) => self.framer.write(&[kind::ECHO], body, output),
            Request::Relay { to, body } => {
                let mut head = BytesMut::with_capacity(2 + to.as_wire().len());
                head.put_u8(kind::RELAY);
                head.put_u8(to.len() as u8);
                head.put_slice(to.as_wire());
                self.framer.write(&head, body, output);
            }
        }
    }
}

impl Codec for HubCodec {
    type Message = Message;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Decoded<Message>>, WireError> {
        if !self.framer.is_dialled() && self.framer.receives(input) == Some(Framing::Lines) {
            return self.reading.next(&mut self.framer, input);
        }
        let Some(payload) = self.framer.next(input)? else {
            return Ok(None);
        };
        if payload.is_empty() {
            return Ok(Some(Decoded::Keepalive));
        }
        let parsed = if !self.framer.is_dialled() {
            request(payload).map(Message::Request)
        } else {
            // In lines, a hub sends only an error before it closes.
            let lines = self.framer.receives(input) == Some(Framing::Lines);
            let reply = if lines {
                text::farewell(&payload)
            } else {
                reply(payload)
            };
            Ok(Message::Reply(reply?))
        };
        Ok(Some(match parsed {
            Ok(message) => Decoded::Message(message),
            Err(error) => Decoded::Invalid(error),
        }))
    }

    fn finish(&mut self, input: &mut BytesMut) -> Option<Decoded<Message>> {
        if !self.framer.is_dialled() && self.framer.receives(input) == Some(Framing::Lines) {
            self.reading.finish(input)
        } else {
            None
        }
    }

    fn encode(&mut self, message: &Message, output: &mut Outbox) {
        match message {
            Message::Reply(reply) if self.framer.framing() == Some(Framing::Length) => self.write_reply(reply, output),
            Message::Reply(reply) => text::write(reply, &self.framer, output),
            Message::Request(request) => self.write_request(request, output),
        }
    }

    fn encode_error(&mut self, code: ErrorCode, text: &str, output: &mut Outbox) {
        // An error of a user would reach no one: the connection closes.
        if !self.framer.is_dialled() {
            let text = Bytes::copy_from_slice(text.as_bytes());
            self.encode(&Message::Reply(Reply::Error(code, text)), output);
        }
    }

    fn framer(&self) -> Option<&Framer> {
        Some(&self.framer)
    }
}

fn request(mut payload: Bytes) -> Result<Request, WireError> {
    let kind = payload.get_u8();
    match kind {
        kind::IDENTITY | kind::LIST if !payload.is_empty() => Err(unknown(format!(
            "{} bytes after a request without a body",
            payload.len()
        ))),
        kind::IDENTITY => Ok(Request::Identity),
        kind::LIST => Ok(Request::List),
        kind::ECHO if payload.len() > MAX_BODY => Err(ErrorCode::BodyTooLong.into()),
        kind::ECHO => Ok(Request::Echo(payload)),
        kind::RELAY => relay(payload),
        _ => Err(unknown(format!("a request of kind {kind}"))),
    }
}

fn relay(mut payload: Bytes) -> Result<Request, WireError> {
    if payload.is_empty() {
        return Err(unknown("a relay without the number of its receivers"));
    }
    let ids = usize::from(payload.get_u8()) * size_of::<u64>();
    if ids == 0 {
        return Err(ErrorCode::NoReceivers.into());
    }
    if payload.len() < ids {
        return Err(unknown("a relay with fewer receivers than its count"));
    }
    let to = UserIds::from_wire(payload.split_to(ids)).unwrap_or_default();
    if payload.len() > MAX_BODY {
        return Err(ErrorCode::BodyTooLong.into());
    }
    Ok(Request::Relay { to, body: payload })
}

/// Decodes a hub's reply.
fn reply(mut payload: Bytes) -> Result<Reply, WireError> {
    let kind = payload.get_u8();
    let not_whole = || unknown(format!("an incomplete reply of kind {kind}"));
    Ok(match kind ^ kind::REPLY {
        kind::IDENTITY => Reply::Identity(payload.try_get_u64().map_err(|_| not_whole())?),
        kind::LIST => Reply::List(UserIds::from_wire(payload).ok_or_else(not_whole)?),
        kind::ECHO => Reply::Echo(payload),
        kind::RELAY => {
            let sent = payload.try_get_u8().map_err(|_| not_whole())?;
            let (entries, rest) = payload.as_chunks::<9>();
            if !rest.is_empty() {
                return Err(not_whole());
            }
            let unsent = entries.iter().map(|[why, id @ ..]| {
                let why = if *why == TOO_SLOW {
                    Unsent::TooSlow
                } else {
                    Unsent::Unknown
                };
                (u64::from_be_bytes(*id), why)
            });
            Reply::Relayed {
                sent,
                unsent: unsent.collect(),
            }
        }
        _ if kind == kind::DELIVERY => Reply::Delivery {
            from: payload.try_get_u64().map_err(|_| not_whole())?,
            body: payload,
        },
        _ if kind == kind::ERROR => {
            let (code, text) = parse_error(&payload);
            Reply::Error(code, text)
        }
        _ => return Err(unknown(format!("a reply of kind {kind}"))),
    })
}

fn unknown(what: impl Display) -> WireError {
    let text = format!("{what}; a hub expects 1 identity, 2 list, 3 echo or 4 relay");
    WireError::new(ErrorCode::UnknownRequest, text)
}
