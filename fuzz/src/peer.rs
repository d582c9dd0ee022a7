//! The other end of a connection, as strict a reader as there can be.

use std::collections::VecDeque;

use bytes::BytesMut;
use echosphere_core::echo::{EchoCodec, Message};
use echosphere_core::wire::{Codec, Decoded, MAX_FRAME, Outbox};

use crate::plan;

pub(crate) struct Peer {
    codec: EchoCodec,
    unread: BytesMut,
    unanswered: VecDeque<bytes::Bytes>,
}

impl Peer {
    pub(crate) fn new() -> Self {
        Self {
            codec: EchoCodec::accepted(MAX_FRAME),
            unread: BytesMut::new(),
            unanswered: VecDeque::new(),
        }
    }

    /// Reads what was written to it, which must make sense.
    pub(crate) fn read(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        while let Some(decoded) = self
            .codec
            .decode(&mut self.unread)
            .expect("a stream that can be read on")
        {
            match decoded {
                Decoded::Message(Message::Message(y)) => self.unanswered.push_back(y),
                Decoded::Message(_) | Decoded::Keepalive => {}
                Decoded::Invalid(error) => panic!("was sent what is no request: {error}"),
            }
        }
    }

    /// Whether the stream so far ends between two frames.
    pub(crate) fn has_read_all(&self) -> bool {
        self.unread.is_empty()
    }

    /// What it sends.
    pub(crate) fn write(&mut self, what: &plan::Bytes) -> Vec<u8> {
        match what {
            plan::Bytes::Hello => frame(b""),
            plan::Bytes::Message(x) => frame(&[b"message ", &word(*x)[..]].concat()),
            plan::Bytes::Ok(x) => frame(&[b"ok ", &word(*x)[..]].concat()),
            plan::Bytes::Large(length) => frame(&[b"message ", &vec![b'x'; (*length).into()][..]].concat()),
            plan::Bytes::Error(code) => {
                frame(format!("error {} text", ERRORS[usize::from(*code) % ERRORS.len()]).as_bytes())
            }
            plan::Bytes::EmptyLine => b"\n".to_vec(),
            plan::Bytes::LineMessage(x) => [b"message ", &word(*x)[..], b"\r\n"].concat(),
            plan::Bytes::LineOk(x) => [b"ok ", &word(*x)[..], b"\n"].concat(),
            plan::Bytes::Answers(most) => self.answers((*most).into()),
            plan::Bytes::Any(bytes) => bytes.clone(),
        }
    }

    fn answers(&mut self, most: usize) -> Vec<u8> {
        let mut outbox = Outbox::new();
        for y in self.unanswered.drain(..most.min(self.unanswered.len())) {
            self.codec.encode(&Message::Ok(y), &mut outbox);
        }
        outbox.chunks().collect::<Vec<_>>().concat()
    }
}

const ERRORS: [&str; 4] = ["busy", "not-held", "unknown-request", "what"];

/// Few different ones, so that they meet: one is empty, and one can only be sent by length.
pub(crate) fn word(x: u8) -> Vec<u8> {
    match x % 8 {
        0 => Vec::new(),
        1 => b"a\nb".to_vec(),
        x => vec![b'0' + x],
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u32;
    [&length.to_be_bytes(), payload].concat()
}
