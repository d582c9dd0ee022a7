use alloc::format;

use bytes::{Buf, Bytes, BytesMut};

use super::{ErrorCode, Outbox, WireError};

/// The largest limit on a frame: its length's first byte stays 0x00, which is what tells the framings apart.
pub const MAX_FRAME: u32 = 0x00FF_FFFF;

const HEADER: usize = 4;

/// How one direction of a connection is cut into frames. Told by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// First byte 0x00: a big-endian u32 length, then that many bytes.
    Length,
    /// Any other first byte: lines ended by LF or CRLF.
    Lines,
}

/// Both directions' framing of one connection. What is sent is framed as what was received; a side that dials speaks
/// first, in [`Framing::Length`].
#[derive(Clone, Debug)]
pub struct Framer {
    received: Option<Framing>,
    dialled: bool,
    limit: u32,
    searched: u32,
}

/// Where a line stands in a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Line {
    pub(crate) start: usize,
    /// Behind its text.
    pub(crate) end: usize,
    /// Behind its line end.
    pub(crate) next: usize,
}

impl Line {
    /// Takes the text off the front of `input`, with all that stands before it and its line end.
    pub(crate) fn take(self, input: &mut BytesMut) -> Bytes {
        let mut line = input.split_to(self.next);
        line.truncate(self.end);
        line.advance(self.start);
        line.freeze()
    }
}

impl Framer {
    /// For a connection that was accepted. `limit` is the longest frame or line taken, in bytes, without header or
    /// line end; at most [`MAX_FRAME`].
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

    /// For a connection that we dialled; `limit` as for [`Framer::accepted`].
    #[must_use]
    pub const fn dialled(limit: u32) -> Self {
        let mut framer = Self::accepted(limit);
        framer.dialled = true;
        framer
    }

    /// Whether this side made the connection.
    pub(crate) const fn is_dialled(&self) -> bool {
        self.dialled
    }

    /// The framing the two speak: what we chose if we dialled, else what the peer has shown, if it has. (A server's
    /// farewell may come in lines to a peer that dialled; that does not change what the peer speaks.)
    #[must_use]
    pub const fn framing(&self) -> Option<Framing> {
        if self.dialled {
            Some(Framing::Length)
        } else {
            self.received
        }
    }

    /// The framing of what is received, if its first byte has come, in an earlier `input` or in this one.
    pub fn receives(&mut self, input: &[u8]) -> Option<Framing> {
        if self.received.is_none() {
            let first = input.first()?;
            self.received = Some(if *first == 0 { Framing::Length } else { Framing::Lines });
        }
        self.received
    }

    /// Takes one frame's payload off the front of `input`; `None` if it is not all there yet. The payload shares
    /// `input`'s memory.
    ///
    /// # Errors
    ///
    /// [`ErrorCode::FrameTooLong`] or [`ErrorCode::LineTooLong`]; the stream cannot be read on.
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

    /// Ends a stream that leaves `input` over. Returns whether that is the rest of lines, which the caller then takes.
    pub(crate) fn ends_in_lines(&mut self, input: &[u8]) -> bool {
        self.searched = 0;
        self.receives(input) == Some(Framing::Lines)
    }

    fn next_line(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>, WireError> {
        Ok(self.find_line(input, 0)?.map(|line| line.take(input)))
    }

    /// Finds the line of `input` that begins at `start`; `None` if its end has not come. Lines before it are left alone.
    pub(crate) fn find_line(&mut self, input: &[u8], start: usize) -> Result<Option<Line>, WireError> {
        let limit = self.limit as usize;
        let searched = start + self.searched as usize;
        let Some(feed) = memchr::memchr(b'\n', &input[searched..]).map(|at| searched + at) else {
            // One more for the CR of an end of line that is still under way.
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

    /// Appends one frame whose payload is `head` and then `body`, neither of which holds a line break where the
    /// framing is lines.
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

    /// Appends one frame with an error: `prefix`, then `<code> <text>`.
    pub(crate) fn write_error(&self, prefix: &[u8], code: ErrorCode, text: &Bytes, output: &mut Outbox) {
        let head = [prefix, code.as_str().as_bytes(), b" "].concat();
        self.write(&head, text, output);
    }

    const fn sent(&self) -> Framing {
        match self.framing() {
            Some(framing) => framing,
            // Only a farewell is sent before the peer has shown a framing, and it is for people.
            None => Framing::Lines,
        }
    }
}
