use alloc::format;

use bytes::{Buf, Bytes, BytesMut};

use super::{ErrorCode, Outbox, WireError};

/// The largest limit on a frame. The first byte of the length stays 0x00, which distinguishes the framings.
pub const MAX_FRAME: u32 = 0x00FF_FFFF;

const HEADER: usize = 4;

/// How one direction of a connection is divided into frames. The first byte shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// First byte 0x00: a big-endian u32 length, then that many bytes.
    Length,
    /// Any other first byte: lines ended by LF or CRLF.
    Lines,
}

/// The framing of a connection, in both directions. A side that dials sends [`Framing::Length`]; a side that accepts
/// sends what it receives.
#[derive(Clone, Debug)]
pub struct Framer {
    received: Option<Framing>,
    dialled: bool,
    limit: u32,
    searched: u32,
}

/// The position of a line in a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) start: usize,
    /// The end of its text.
    pub(crate) end: usize,
    /// The end of the line, after its line end.
    pub(crate) next: usize,
}

impl Line {
    /// Takes the text from the front of `input`. Removes everything up to the end of the line.
    pub(crate) fn take(self, input: &mut BytesMut) -> Bytes {
        let mut line = input.split_to(self.next);
        line.truncate(self.end);
        line.advance(self.start);
        line.freeze()
    }
}

impl Framer {
    /// For an accepted connection. `limit` is the longest frame or line in bytes, without header or line end; at most
    /// [`MAX_FRAME`].
    #[must_use]
    pub const fn accepted(limit: u32) -> Self {
        let limit = if limit > MAX_FRAME { MAX_FRAME } else { limit };
        Self {
            received: None,
            dialled: false,
            limit,
            searched: 0,
        }
    }

    /// For a dialled connection; `limit` as for [`Framer::accepted`].
    #[must_use]
    pub const fn dialled(limit: u32) -> Self {
        let mut framer = Self::accepted(limit);
        framer.dialled = true;
        framer
    }

    /// The longest frame or line in bytes, without header or line end.
    #[must_use]
    pub const fn limit(&self) -> u32 {
        self.limit
    }

    /// Whether this side made the connection.
    pub(crate) const fn is_dialled(&self) -> bool {
        self.dialled
    }

    /// The framing of the connection: [`Framing::Length`] if this side dialled, otherwise what the peer's first byte
    /// shows. (A dialled server may send an error in lines before it closes; that does not change the framing.)
    #[must_use]
    pub const fn framing(&self) -> Option<Framing> {
        if self.dialled {
            Some(Framing::Length)
        } else {
            self.received
        }
    }

    /// The framing of received data, once its first byte is known from an earlier `input` or this one.
    pub fn receives(&mut self, input: &[u8]) -> Option<Framing> {
        if self.received.is_none() {
            let first = input.first()?;
            self.received = Some(if *first == 0 { Framing::Length } else { Framing::Lines });
        }
        self.received
    }

    /// Takes one frame's payload from the front of `input`; `None` if it is incomplete. The payload shares the memory
    /// of `input`.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::FrameTooLong`] or [`ErrorCode::LineTooLong`]; the rest of the stream cannot be decoded.
    pub fn next(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, WireError> {
        match self.receives(input) {
            None => Ok(None),
            Some(Framing::Length) => self.next_by_length(input),
            Some(Framing::Lines) => self.next_line(input),
        }
    }

    fn next_by_length(&self, input: &mut BytesMut) -> Result<Option<Bytes>, WireError> {
        let Some(&header) = input.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(header);
        if length > self.limit {
            let text = format!("a frame of {length} bytes; the limit is {}", self.limit);
            return Err(WireError::new(ErrorCode::FrameTooLong, text));
        }
        let length = length as usize;
        if input.len() < HEADER + length {
            return Ok(None);
        }
        input.advance(HEADER);
        Ok(Some(input.split_to(length).freeze()))
    }

    fn next_line(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, WireError> {
        Ok(self.find_line(input, 0)?.map(|line| line.take(input)))
    }

    /// Finds the line that begins at `start`; `None` if it is incomplete. Does not change earlier lines.
    pub(crate) fn find_line(&mut self, input: &[u8], start: usize) -> Result<Option<Line>, WireError> {
        let limit = self.limit as usize;
        let searched = (start + self.searched as usize).min(input.len());
        let Some(feed) = memchr::memchr(b'\n', &input[searched..]).map(|at| searched + at) else {
            // One more byte, for the CR of an incomplete line end.
            if input.len() - start > limit + 1 {
                return Err(self.line_too_long());
            }
            self.searched = (input.len() - start) as u32;
            return Ok(None);
        };
        self.searched = 0;
        let returned = feed > start && input[feed - 1] == b'\r';
        let line = Line {
            start,
            end: feed - usize::from(returned),
            next: feed + 1,
        };
        if line.end - start > limit {
            return Err(self.line_too_long());
        }
        Ok(Some(line))
    }

    fn line_too_long(&self) -> WireError {
        let text = format!("a line of more than {} bytes, which is the limit", self.limit);
        WireError::new(ErrorCode::LineTooLong, text)
    }

    /// Appends one frame with the payload `head` and `body`. In lines, neither may contain a line break.
    pub fn write(&self, head: &[u8], body: &Bytes, output: &mut Outbox) {
        match self.sent() {
            Framing::Length => {
                let length = (head.len() + body.len()) as u32;
                output.put(&length.to_be_bytes());
                output.put(head);
                output.put_shared(body);
            }
            Framing::Lines => {
                output.put(head);
                output.put_shared(body);
                output.put(b"\n");
            }
        }
    }

    /// Appends one frame with an error: `prefix`, then `<code> <text>`. In lines, neither may contain a line break.
    pub fn write_error(&self, prefix: &[u8], code: ErrorCode, text: &Bytes, output: &mut Outbox) {
        let head = [prefix, code.as_str().as_bytes(), b" "].concat();
        self.write(&head, text, output);
    }

    const fn sent(&self) -> Framing {
        match self.framing() {
            Some(framing) => framing,
            // Before the peer has shown its framing, only an error for people is sent.
            None => Framing::Lines,
        }
    }
}
