//! The other end of a connection, as strict a reader as there can be.

use std::collections::VecDeque;

use arbitrary::Arbitrary;
use bytes::BytesMut;
use echosphere_core::wire::{Codec, Decoded, Outbox};

use crate::world::Subject;

pub(crate) struct Peer<M: Subject> {
    codec: M::Codec,
    /// It has said something.
    begun: bool,
    /// It speaks lines, and what it reads is for people.
    person: bool,
    unread: BytesMut,
    answers: VecDeque<M::Message>,
    /// The system's own note of how far the peer has come.
    said: u64,
}

impl<M: Subject> Peer<M> {
    pub(crate) fn new() -> Self {
        Self {
            codec: M::peer(),
            begun: false,
            person: false,
            unread: BytesMut::new(),
            answers: VecDeque::new(),
            said: 0,
        }
    }

    /// Reads what was written to it, which must make sense.
    pub(crate) fn read(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        if self.person {
            let lines = self
                .unread
                .iter()
                .rposition(|&byte| byte == b'\n')
                .map_or(0, |end| end + 1);
            let _ = self.unread.split_to(lines);
            return;
        }
        while let Some(decoded) = self
            .codec
            .decode(&mut self.unread)
            .expect("a stream that can be read on")
        {
            match decoded {
                Decoded::Message(message) => M::answer(&message, &mut self.said, &mut self.answers),
                Decoded::Keepalive => {}
                Decoded::Invalid(error) => panic!("was sent what is no request: {error}"),
            }
        }
    }

    /// Whether the stream so far ends between two frames.
    pub(crate) fn has_read_all(&self) -> bool {
        self.unread.is_empty()
    }

    /// What it sends.
    pub(crate) fn write(&mut self, what: &M::Said) -> Vec<u8> {
        let bytes = M::say(what, self);
        if let Some(&first) = bytes.first()
            && !self.begun
        {
            self.begun = true;
            self.person = M::PEOPLE && first != 0;
        }
        bytes
    }

    /// The answers to what it was sent and has not answered, the oldest first.
    pub(crate) fn answers(&mut self, most: usize) -> Vec<u8> {
        let most = most.min(self.answers.len());
        let answers: Vec<_> = self.answers.drain(..most).collect();
        self.encode(&answers)
    }

    fn encode(&mut self, messages: &[M::Message]) -> Vec<u8> {
        let mut outbox = Outbox::new();
        for message in messages {
            self.codec.encode(message, &mut outbox);
        }
        outbox.chunks().collect::<Vec<_>>().concat()
    }
}

/// What a peer says whose system's words are `W`.
#[derive(Arbitrary, Debug)]
pub(crate) enum Said<W> {
    Hello,
    Word(W),
    /// The right answers to what it was sent.
    Answers(u8),
    Line(u8),
    Any(Vec<u8>),
}

impl<W> Said<W> {
    /// Its bytes. `word` makes a message of a word, given how far the peer has come; `lines` are what people type.
    pub(crate) fn bytes<M: Subject>(
        &self,
        peer: &mut Peer<M>,
        word: impl FnOnce(&W, &mut u64) -> M::Message,
        lines: &[&str],
    ) -> Vec<u8> {
        match self {
            Self::Hello => vec![0; 4],
            Self::Word(what) => {
                let message = word(what, &mut peer.said);
                peer.encode(&[message])
            }
            Self::Answers(most) => peer.answers((*most).into()),
            Self::Line(which) => lines[usize::from(*which) % lines.len()].into(),
            Self::Any(bytes) => bytes.clone(),
        }
    }
}
