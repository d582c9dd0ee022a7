//! How a connection's bytes are written and read: by the real codec, or in lines by code that shares
//! nothing with it.

use std::marker::PhantomData;

use bytes::{Bytes, BytesMut};
use echosphere_core::wire::{Codec, Decoded, ErrorCode, Outbox, WireError};

/// How a person at a terminal writes requests and reads replies.
pub trait Typist: Clone + Send + 'static {
    /// What travels.
    type Message;

    /// The line or lines of a request, the `said`-th of this connection: what can be written in several ways is
    /// written in each in turn. Messages that only a server sends are empty here.
    fn write(said: usize, request: &Self::Message, output: &mut Outbox);

    /// Takes a reply off the front of `input`, if it is all there.
    ///
    /// # Errors
    ///
    /// It cannot be read, which breaks the connection.
    fn read(input: &mut BytesMut) -> Result<Option<Decoded<Self::Message>>, WireError>;
}

/// Follows typed input, for how much of it is no whole request yet.
pub trait Typing {
    /// Takes what was typed next. Says how many requests it completes.
    fn take(&mut self, typed: &[u8]) -> usize;

    /// The bytes of the request that is not whole.
    fn unfinished(&self) -> usize;
}

/// Requests of one line each.
#[derive(Debug, Default)]
pub struct Lines {
    unfinished: usize,
}

impl Typing for Lines {
    fn take(&mut self, typed: &[u8]) -> usize {
        let ends = typed.iter().filter(|byte| **byte == b'\n').count();
        self.unfinished = match typed.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => typed.len() - end - 1,
            None => self.unfinished + typed.len(),
        };
        ends
    }

    fn unfinished(&self) -> usize {
        self.unfinished
    }
}

/// Takes a line off the front of `input`, without its LF; `None` if it is not whole.
pub(super) fn take_line(input: &mut BytesMut) -> Option<Bytes> {
    let end = input.iter().position(|byte| *byte == b'\n')?;
    Some(input.split_to(end + 1).freeze().slice(..end))
}

/// What follows a word at the start of a line.
pub(super) fn after(line: &Bytes, word: &str) -> Option<Bytes> {
    line.starts_with(word.as_bytes()).then(|| line.slice(word.len()..))
}

/// Reads `error CODE TEXT`.
pub(super) fn read_error(line: &Bytes) -> Option<(ErrorCode, Bytes)> {
    let words = after(line, "error ")?;
    let space = words.iter().position(|byte| *byte == b' ').unwrap_or(words.len());
    let text = words.slice((space + 1).min(words.len())..);
    Some((ErrorCode::parse(&words[..space]), text))
}

/// Whether a line can end in `text`.
pub(super) fn fits_a_line(text: &[u8]) -> bool {
    !text.contains(&b'\n') && !text.ends_with(b"\r")
}

/// What one side of a connection speaks.
#[derive(Clone, Debug)]
pub enum Words<C, T> {
    /// The real codec.
    Real(C),
    /// Lines.
    Typed {
        /// Requests written so far.
        said: usize,
        /// Which client writes them.
        by: PhantomData<T>,
    },
}

impl<C, T> Words<C, T> {
    pub(super) const fn typed() -> Self {
        Self::Typed {
            said: 0,
            by: PhantomData,
        }
    }
}

impl<C: Codec, T: Typist<Message = C::Message>> Codec for Words<C, T> {
    type Message = C::Message;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Decoded<C::Message>>, WireError> {
        match self {
            Self::Real(codec) => codec.decode(input),
            Self::Typed { .. } => T::read(input),
        }
    }

    fn finish(&mut self, input: &mut BytesMut) -> Option<Decoded<C::Message>> {
        match self {
            Self::Real(codec) => codec.finish(input),
            Self::Typed { .. } => None,
        }
    }

    fn encode(&mut self, message: &C::Message, output: &mut Outbox) {
        match self {
            Self::Real(codec) => codec.encode(message, output),
            Self::Typed { said, .. } => {
                *said += 1;
                T::write(*said, message, output);
            }
        }
    }

    fn encode_keepalive(&mut self, output: &mut Outbox) {
        match self {
            Self::Real(codec) => codec.encode_keepalive(output),
            Self::Typed { .. } => output.put(b"\n"),
        }
    }

    fn encode_error(&mut self, code: ErrorCode, text: &str, output: &mut Outbox) {
        // A typing client does not see this.
        if let Self::Real(codec) = self {
            codec.encode_error(code, text, output);
        }
    }

    fn is_text(&self) -> bool {
        match self {
            Self::Real(codec) => codec.is_text(),
            Self::Typed { .. } => true,
        }
    }
}
