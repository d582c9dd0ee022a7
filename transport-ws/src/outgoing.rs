//! The bytes that a [`Framer`](echosphere_core::wire::Framer) writes, as the frames of this side.

use std::mem;

use echosphere_core::wire::Framing;
use rand::random;
use tungstenite::protocol::Role;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use crate::close::Closing;
use crate::mask::{self, NotUtf8, Utf8Check};

/// The longest piece of a message that is encoded at once.
pub(crate) const PIECE: usize = 16 * 1024;
/// The header of a length frame.
const LENGTH: usize = 4;
/// The start of an error where payloads are text, and where they are not.
const ERRORS: [&[u8]; 2] = [b"error ", &[0xFF]];
/// More of an error than a Close frame takes.
const ERROR_BYTES: usize = 160;

/// Encodes messages. The payload of a length frame is not buffered. A line is, up to [`PIECE`] bytes: a longer one is sent in
/// fragments.
#[derive(Debug)]
pub(crate) struct Outgoing {
    role: Role,
    /// The framing of the first byte.
    framing: Option<Framing>,
    /// The incomplete header of a length frame.
    header: [u8; LENGTH],
    header_length: u8,
    /// The bytes that are missing in the payload of a frame.
    left: u32,
    mask: [u8; 4],
    /// The start of a line.
    line: Vec<u8>,
    /// The line whose first fragment is encoded.
    fragmented: Option<FragmentedLine>,
    /// Whether a message was encoded.
    has_begun: bool,
    last: LastMessage,
}

#[derive(Clone, Copy, Debug)]
struct FragmentedLine {
    /// Whether it is sent as text, and the check of it.
    text: Option<Utf8Check>,
}

/// The last message, if it can be an error.
#[derive(Debug, Default)]
struct LastMessage {
    is_error: bool,
    bytes: Vec<u8>,
}

impl Outgoing {
    pub(crate) fn new(role: Role) -> Self {
        Self {
            role,
            framing: None,
            header: [0; LENGTH],
            header_length: 0,
            left: 0,
            mask: [0; 4],
            line: Vec::new(),
            fragmented: None,
            has_begun: false,
            last: LastMessage::default(),
        }
    }

    pub(crate) const fn role(&self) -> Role {
        self.role
    }

    /// Whether the frames are complete, so that a control frame can follow.
    pub(crate) const fn is_between_frames(&self) -> bool {
        self.left == 0
    }

    /// Whether a Close frame can follow: no message is incomplete.
    pub(crate) const fn is_between_messages(&self) -> bool {
        self.left == 0 && self.header_length == 0 && self.line.is_empty() && self.fragmented.is_none()
    }

    /// How many of the next bytes are sent as they are.
    pub(crate) const fn passes(&self) -> usize {
        match self.role {
            Role::Server => self.left as usize,
            Role::Client => 0,
        }
    }

    /// Notes that bytes were sent as they are.
    pub(crate) fn passed(&mut self, payload: &[u8]) {
        self.last.extend(payload);
        self.left -= payload.len() as u32;
    }

    /// Encodes the start of `input`, [`PIECE`] bytes or a little more, to `output`. Returns how many bytes it took.
    ///
    /// # Errors
    ///
    /// A long line began as text and is not.
    pub(crate) fn encode(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, NotUtf8> {
        let mut rest = input;
        while output.len() < PIECE
            && let Some(first) = rest.first()
        {
            let shown = if *first == 0 { Framing::Length } else { Framing::Lines };
            let taken = match *self.framing.get_or_insert(shown) {
                Framing::Length => self.encode_frame(rest, output),
                Framing::Lines => self.encode_line(rest, output)?,
            };
            rest = &rest[taken..];
        }
        Ok(input.len() - rest.len())
    }

    /// Encodes the start of a line, so that it reaches the peer.
    ///
    /// # Errors
    ///
    /// As [`Outgoing::encode`].
    pub(crate) fn flush(&mut self, output: &mut Vec<u8>) -> Result<(), NotUtf8> {
        if self.line.is_empty() {
            return Ok(());
        }
        self.encode_fragment(&[], &[], false, output)
    }

    /// Encodes a Pong.
    pub(crate) fn pong(&self, payload: &mut [u8], output: &mut Vec<u8>) {
        self.frame(OpCode::Control(Control::Pong), true, &[payload], output);
    }

    /// Encodes a Close frame. Without a reason of its own, its reason is the error that was sent last.
    pub(crate) fn close(&mut self, closing: Option<Closing>, output: &mut Vec<u8>) {
        let closing = closing.or_else(|| self.last.error().map(Closing::after_error));
        let payload = closing.unwrap_or_else(Closing::normal).payload();
        self.frame(OpCode::Control(Control::Close), true, &[&payload], output);
    }

    fn encode_frame(&mut self, input: &[u8], output: &mut Vec<u8>) -> usize {
        if self.left > 0 {
            let here = input.len().min(self.left as usize).min(PIECE);
            self.left -= here as u32;
            self.last.extend(&input[..here]);
            let start = output.len();
            output.extend_from_slice(&input[..here]);
            if self.role == Role::Client {
                self.mask = mask::apply(self.mask, &mut output[start..]);
            }
            return here;
        }
        let known = usize::from(self.header_length);
        let added = input.len().min(LENGTH - known);
        self.header[known..known + added].copy_from_slice(&input[..added]);
        self.header_length += added as u8;
        if known + added == LENGTH {
            self.header_length = 0;
            let length = u32::from_be_bytes(self.header);
            self.last.begin();
            // A first message is not a Ping: it shows the framing.
            if length == 0 && mem::replace(&mut self.has_begun, true) {
                self.frame(OpCode::Control(Control::Ping), true, &[], output);
            } else {
                self.has_begun = true;
                self.left = length;
                self.mask = self.header(OpCode::Data(Data::Binary), true, u64::from(length), output);
            }
        }
        added
    }

    fn encode_line(&mut self, input: &[u8], output: &mut Vec<u8>) -> Result<usize, NotUtf8> {
        let window = &input[..input.len().min(PIECE)];
        let end = memchr::memchr(b'\n', window);
        let piece = &window[..end.unwrap_or(window.len())];
        if self.line.is_empty() && self.fragmented.is_none() {
            self.last.begin();
        }
        self.last.extend(piece);
        if end.is_some() {
            self.encode_fragment(piece, &[], true, output)?;
            return Ok(piece.len() + 1);
        }
        if self.line.len() + piece.len() < PIECE {
            self.line.extend_from_slice(piece);
        } else {
            let rest = &input[piece.len()..];
            let ahead = &rest[..memchr::memchr(b'\n', rest).unwrap_or(rest.len())];
            self.encode_fragment(piece, ahead, false, output)?;
        }
        Ok(piece.len())
    }

    /// Encodes the start of the line and `piece`. `ahead` follows in the same line, and can already show that it is not text.
    fn encode_fragment(
        &mut self,
        piece: &[u8],
        ahead: &[u8],
        is_final: bool,
        output: &mut Vec<u8>,
    ) -> Result<(), NotUtf8> {
        let line = mem::take(&mut self.line);
        let mut check = Utf8Check::default();
        let opcode = match self.fragmented.take() {
            None if is_final && line.is_empty() && piece.is_empty() => {
                self.frame(OpCode::Control(Control::Ping), true, &[], output);
                return Ok(());
            }
            None => {
                let is_text = check.check(&line).and_then(|()| check.check(piece)).and_then(|()| {
                    let mut check = check;
                    check.check(ahead)?;
                    if is_final { check.finish() } else { Ok(()) }
                });
                self.fragmented = Some(FragmentedLine {
                    text: is_text.is_ok().then_some(check),
                });
                OpCode::Data(if is_text.is_ok() { Data::Text } else { Data::Binary })
            }
            Some(FragmentedLine { text: None }) => {
                self.fragmented = Some(FragmentedLine { text: None });
                OpCode::Data(Data::Continue)
            }
            Some(FragmentedLine { text: Some(before) }) => {
                check = before;
                check.check(&line)?;
                check.check(piece)?;
                if is_final {
                    check.finish()?;
                }
                self.fragmented = Some(FragmentedLine { text: Some(check) });
                OpCode::Data(Data::Continue)
            }
        };
        if is_final {
            self.fragmented = None;
        }
        self.frame(opcode, is_final, &[&line, piece], output);
        Ok(())
    }

    /// Appends a frame with this payload.
    fn frame(&self, opcode: OpCode, is_final: bool, payload: &[&[u8]], output: &mut Vec<u8>) {
        let length: usize = payload.iter().map(|piece| piece.len()).sum();
        let mask = self.header(opcode, is_final, length as u64, output);
        let start = output.len();
        for piece in payload {
            output.extend_from_slice(piece);
        }
        if self.role == Role::Client {
            mask::apply(mask, &mut output[start..]);
        }
    }

    /// Appends the header of a frame, and returns its mask.
    fn header(&self, opcode: OpCode, is_final: bool, length: u64, output: &mut Vec<u8>) -> [u8; 4] {
        let mask = (self.role == Role::Client).then(random::<[u8; 4]>);
        let header = FrameHeader {
            is_final,
            opcode,
            mask,
            ..FrameHeader::default()
        };
        header.format(length, output).expect("a Vec takes everything");
        mask.unwrap_or_default()
    }
}

impl LastMessage {
    fn begin(&mut self) {
        self.is_error = true;
        self.bytes.clear();
    }

    /// Takes the next bytes of the message.
    fn extend(&mut self, piece: &[u8]) {
        let room = ERROR_BYTES.saturating_sub(self.bytes.len());
        if !self.is_error || room == 0 {
            return;
        }
        let can_begin = |bytes: &[u8]| ERRORS.iter().any(|error| bytes.iter().zip(*error).all(|(a, b)| a == b));
        // Most messages are not errors: their first byte shows it.
        if self.bytes.is_empty() && !can_begin(&piece[..piece.len().min(1)]) {
            self.is_error = false;
            return;
        }
        self.bytes.extend_from_slice(&piece[..piece.len().min(room)]);
        if !can_begin(&self.bytes) {
            *self = Self::default();
        }
    }

    /// The code and text of the error.
    fn error(&self) -> Option<&[u8]> {
        ERRORS.iter().find_map(|error| self.bytes.strip_prefix(*error))
    }
}
