//! The frames of the peer, as the bytes that a [`Framer`](echosphere_core::wire::Framer) reads.

use std::io::Cursor;
use std::mem;

use echosphere_core::wire::Framing;
use tokio::io::ReadBuf;
use tungstenite::protocol::Role;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{CloseCode, Control, Data, OpCode};

use crate::close::{Closing, MAX_CONTROL};
use crate::mask::{self, NotUtf8, Utf8Check};

/// The longest header of a frame.
const MAX_HEADER: usize = 14;
/// The header of a length frame.
const LENGTH: usize = 4;

/// Decodes frames. A message in one frame, and every line, passes without being buffered. A binary message in several frames is
/// collected, since its length comes first.
#[derive(Debug)]
pub(crate) struct Incoming {
    role: Role,
    /// The longest message.
    limit: u32,
    /// The framing that the first message has shown.
    framing: Option<Framing>,
    /// Whether the first line has begun.
    lines_begun: bool,
    header: PartialHeader,
    frame: Option<Frame>,
    message: Option<Message>,
    text: Utf8Check,
    /// A length frame that is collected, with its header.
    collected: Vec<u8>,
    /// The payload of a control frame.
    control: Vec<u8>,
    pong: Option<Vec<u8>>,
    end: Option<End>,
}

/// How the peer has ended its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// A Close frame.
    Clean,
    /// A Close frame in the middle of a message.
    Torn,
}

/// Decoded bytes: what the reader has room for, then the rest.
pub(crate) struct Output<'a, 'b> {
    pub(crate) reader: &'a mut ReadBuf<'b>,
    pub(crate) rest: &'a mut Vec<u8>,
}

impl Output<'_, '_> {
    fn put(&mut self, bytes: &[u8]) {
        let room = if self.rest.is_empty() {
            self.reader.remaining().min(bytes.len())
        } else {
            0
        };
        self.reader.put_slice(&bytes[..room]);
        self.rest.extend_from_slice(&bytes[room..]);
    }
}

#[derive(Debug, Default)]
struct PartialHeader {
    bytes: [u8; MAX_HEADER],
    length: u8,
}

/// A frame whose payload is not complete.
#[derive(Clone, Copy, Debug)]
struct Frame {
    kind: FrameKind,
    is_final: bool,
    mask: Option<[u8; 4]>,
    left: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FrameKind {
    Data,
    Close,
    Ping,
    Pong,
}

/// A message that is not complete.
#[derive(Clone, Copy, Debug)]
struct Message {
    is_text: bool,
    length: u64,
    carried: Carried,
}

/// How the bytes of a message are passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Carried {
    /// As a line.
    Line,
    /// As a length frame of which the header is passed on.
    Frame,
    /// Collected, until the length is known.
    Collected,
}

impl Incoming {
    /// `limit` is the longest message in bytes.
    pub(crate) fn new(role: Role, limit: u32) -> Self {
        Self {
            role,
            limit,
            framing: None,
            lines_begun: false,
            header: PartialHeader::default(),
            frame: None,
            message: None,
            text: Utf8Check::default(),
            collected: Vec::new(),
            control: Vec::new(),
            pong: None,
            end: None,
        }
    }

    /// How the peer has ended its stream, if it has.
    pub(crate) const fn end(&self) -> Option<End> {
        self.end
    }

    /// Whether a Ping is to be answered.
    pub(crate) const fn owes_pong(&self) -> bool {
        self.pong.is_some()
    }

    /// Takes the payload of the last Ping that is not answered.
    pub(crate) const fn take_pong(&mut self) -> Option<Vec<u8>> {
        self.pong.take()
    }

    /// How many of the next bytes are passed on as they are, by [`Incoming::pass`].
    pub(crate) fn passes(&self) -> u64 {
        match (&self.frame, &self.message) {
            (Some(frame), Some(message)) if frame.kind == FrameKind::Data && message.carried == Carried::Frame => {
                frame.left
            }
            _ => 0,
        }
    }

    /// Unmasks bytes in place that are passed on as they are.
    ///
    /// # Errors
    ///
    /// As [`Incoming::decode`].
    pub(crate) fn pass(&mut self, payload: &mut [u8]) -> Result<(), Closing> {
        let (Some(frame), Some(message)) = (&mut self.frame, &self.message) else {
            return Ok(());
        };
        frame.take(payload);
        let left = frame.left;
        if message.is_text {
            self.text.check(payload)?;
        }
        if left == 0 {
            self.frame = None;
            self.end_message()?;
        }
        Ok(())
    }

    /// Decodes `input` to `output`. Unmasks `input`. What follows a Close frame is ignored.
    ///
    /// # Errors
    ///
    /// The peer breaks a rule; how the connection is to be closed. Nothing can be decoded after it.
    pub(crate) fn decode(&mut self, mut input: &mut [u8], output: &mut Output<'_, '_>) -> Result<(), Closing> {
        while self.end.is_none() {
            let Some(mut frame) = self.frame.take() else {
                let Some((header, length, used)) = self.parse_header(input)? else {
                    return Ok(());
                };
                input = &mut input[used..];
                self.frame = Some(self.begin(&header, length, output)?);
                continue;
            };
            let here = input.len().min(usize::try_from(frame.left).unwrap_or(usize::MAX));
            let (payload, rest) = input.split_at_mut(here);
            input = rest;
            frame.take(payload);
            self.take_payload(frame, payload, output)?;
            if frame.left > 0 {
                self.frame = Some(frame);
                return Ok(());
            }
            self.end_frame(frame, output)?;
        }
        Ok(())
    }

    /// Parses a header. Returns how many bytes of `input` it has, too; `None` if it is incomplete, and then keeps it.
    fn parse_header(&mut self, input: &[u8]) -> Result<Option<(FrameHeader, u64, usize)>, Closing> {
        let invalid = |_| Closing::protocol("a frame of an unknown kind");
        let kept = usize::from(self.header.length);
        if kept == 0 {
            let mut cursor = Cursor::new(input);
            if let Some((header, length)) = FrameHeader::parse(&mut cursor).map_err(invalid)? {
                return Ok(Some((header, length, cursor.position() as usize)));
            }
        }
        let added = input.len().min(MAX_HEADER - kept);
        let known = kept + added;
        self.header.bytes[kept..known].copy_from_slice(&input[..added]);
        let mut cursor = Cursor::new(&self.header.bytes[..known]);
        let Some((header, length)) = FrameHeader::parse(&mut cursor).map_err(invalid)? else {
            self.header.length = known as u8;
            return Ok(None);
        };
        self.header.length = 0;
        Ok(Some((header, length, cursor.position() as usize - kept)))
    }

    fn begin(&mut self, header: &FrameHeader, length: u64, output: &mut Output<'_, '_>) -> Result<Frame, Closing> {
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(Closing::protocol("a frame of an extension; none was negotiated"));
        }
        match (self.role, header.mask) {
            (Role::Server, None) => return Err(Closing::protocol("a frame of a client must be masked")),
            (Role::Client, Some(_)) => return Err(Closing::protocol("a frame of a server must not be masked")),
            _ => {}
        }
        let kind = match header.opcode {
            OpCode::Data(data) => {
                self.begin_data(data, header.is_final, length, output)?;
                FrameKind::Data
            }
            OpCode::Control(control) => {
                if !header.is_final || length > MAX_CONTROL as u64 {
                    return Err(Closing::protocol(
                        "a control frame has at most 125 bytes and is not fragmented",
                    ));
                }
                match control {
                    Control::Ping => FrameKind::Ping,
                    Control::Pong => FrameKind::Pong,
                    Control::Close | Control::Reserved(_) => FrameKind::Close,
                }
            }
        };
        Ok(Frame {
            kind,
            is_final: header.is_final,
            mask: header.mask,
            left: length,
        })
    }

    fn begin_data(
        &mut self,
        data: Data,
        is_final: bool,
        length: u64,
        output: &mut Output<'_, '_>,
    ) -> Result<(), Closing> {
        let before = self.message.map_or(0, |message| message.length);
        let total = before.saturating_add(length);
        if total > u64::from(self.limit) {
            let text = format!("a message of more than {} bytes, which is the limit", self.limit);
            return Err(Closing::new(CloseCode::Size, text));
        }
        let is_text = match (data, &mut self.message) {
            (Data::Continue, Some(message)) => {
                message.length = total;
                return Ok(());
            }
            (Data::Continue, None) => return Err(Closing::protocol("a fragment without a message")),
            (_, Some(_)) => return Err(Closing::protocol("a message within the fragments of another")),
            (data, None) => data == Data::Text,
        };
        let shown = if is_text { Framing::Lines } else { Framing::Length };
        let carried = match (*self.framing.get_or_insert(shown), is_final) {
            (Framing::Lines, _) => Carried::Line,
            (Framing::Length, true) => Carried::Frame,
            (Framing::Length, false) => Carried::Collected,
        };
        match carried {
            Carried::Line => {}
            // The limit of a message fits.
            Carried::Frame => output.put(&(length as u32).to_be_bytes()),
            Carried::Collected => self.collected.resize(LENGTH, 0),
        }
        self.message = Some(Message {
            is_text,
            length,
            carried,
        });
        Ok(())
    }

    fn take_payload(&mut self, frame: Frame, payload: &[u8], output: &mut Output<'_, '_>) -> Result<(), Closing> {
        if frame.kind != FrameKind::Data {
            self.control.extend_from_slice(payload);
            return Ok(());
        }
        let Some(message) = self.message else {
            return Ok(());
        };
        if message.is_text {
            self.text.check(payload)?;
        }
        match message.carried {
            Carried::Line if memchr::memchr(b'\n', payload).is_some() => {
                let reason = "a message of text is one line: send each line as a message of its own";
                return Err(Closing::new(CloseCode::Invalid, reason));
            }
            Carried::Line if !self.lines_begun && payload.first() == Some(&0) => {
                // As the first byte it would show length framing.
                let reason = "the first line cannot begin with a zero byte";
                return Err(Closing::new(CloseCode::Invalid, reason));
            }
            Carried::Line => {
                self.lines_begun |= !payload.is_empty();
                output.put(payload);
            }
            Carried::Frame => output.put(payload),
            Carried::Collected => self.collected.extend_from_slice(payload),
        }
        Ok(())
    }

    fn end_frame(&mut self, frame: Frame, output: &mut Output<'_, '_>) -> Result<(), Closing> {
        match frame.kind {
            FrameKind::Data if frame.is_final => match self.end_message()? {
                Some(Carried::Line) => {
                    self.lines_begun = true;
                    output.put(b"\n");
                }
                Some(Carried::Collected) => {
                    let mut collected = mem::take(&mut self.collected);
                    let length = (collected.len() - LENGTH) as u32;
                    collected[..LENGTH].copy_from_slice(&length.to_be_bytes());
                    if output.rest.is_empty() && collected.len() > output.reader.remaining() {
                        *output.rest = collected;
                    } else {
                        output.put(&collected);
                    }
                }
                Some(Carried::Frame) | None => {}
            },
            FrameKind::Data => {}
            FrameKind::Ping => {
                // Only the last one must be answered (RFC 6455, section 5.5.3).
                self.pong = Some(mem::take(&mut self.control));
                self.note_alive(output);
            }
            FrameKind::Pong => {
                self.control = Vec::new();
                self.note_alive(output);
            }
            FrameKind::Close => {
                let closing = Closing::parse(&mem::take(&mut self.control))?;
                if let Some(Closing { code, reason }) = closing {
                    tracing::debug!(code = u16::from(code), %reason, "the peer closes");
                }
                self.end = Some(if self.message.is_some() { End::Torn } else { End::Clean });
            }
        }
        Ok(())
    }

    fn end_message(&mut self) -> Result<Option<Carried>, NotUtf8> {
        let Some(message) = self.message.take() else {
            return Ok(None);
        };
        if message.is_text {
            self.text.finish()?;
        }
        Ok(Some(message.carried))
    }

    /// Passes on an empty frame or line, so that the peer counts as heard. Not before the framing is known: the codec would take
    /// it from this one. Not in the middle of a line.
    fn note_alive(&self, output: &mut Output<'_, '_>) {
        match (self.framing, self.message) {
            (Some(Framing::Length), _) => output.put(&[0; LENGTH]),
            (Some(Framing::Lines), None) => output.put(b"\n"),
            _ => {}
        }
    }
}

impl Frame {
    /// Unmasks the next bytes of the payload.
    fn take(&mut self, payload: &mut [u8]) {
        if let Some(mask) = &mut self.mask {
            *mask = mask::apply(*mask, payload);
        }
        self.left -= payload.len() as u64;
    }
}

impl From<NotUtf8> for Closing {
    fn from(_: NotUtf8) -> Self {
        Self::new(
            CloseCode::Invalid,
            "a message of text is not UTF-8; send it as a binary message",
        )
    }
}
