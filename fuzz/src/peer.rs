//! The other end of a connection. Reads strictly: whatever it is sent must decode.

use std::collections::VecDeque;

use arbitrary::Arbitrary;
use bytes::BytesMut;
use echosphere_core::wire::{Codec, Decoded, Outbox};

pub(crate) struct Peer<C: Codec> {
    codec: C,
    /// Whether the endpoint's text in lines is for people and cannot be decoded.
    lines_for_people: bool,
    /// Whether it has sent anything.
    begun: bool,
    /// Whether it speaks lines that cannot be decoded.
    person: bool,
    unread: BytesMut,
    answers: VecDeque<C::Message>,
    /// How far the peer has come, in a unit of the protocol.
    progress: u64,
}

/// Appends the correct answers to a message. The number is [`Peer`]'s progress.
pub(crate) type Answer<M> = fn(&M, &mut u64, &mut VecDeque<M>);

impl<C: Codec> Peer<C> {
    pub(crate) fn new(codec: C, lines_for_people: bool) -> Self {
        Self {
            codec,
            lines_for_people,
            begun: false,
            person: false,
            unread: BytesMut::new(),
            answers: VecDeque::new(),
            progress: 0,
        }
    }

    /// Reads bytes from the endpoint, which must decode.
    pub(crate) fn read(&mut self, bytes: &[u8], answer: Answer<C::Message>) {
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
        while let Some(decoded) = self.codec.decode(&mut self.unread).expect("the stream decodes") {
            match decoded {
                Decoded::Message(message) => answer(&message, &mut self.progress, &mut self.answers),
                Decoded::Keepalive => {}
                Decoded::Invalid(error) => panic!("was sent an invalid request: {error}"),
            }
        }
    }

    /// Whether the stream so far ends between two frames.
    pub(crate) fn has_read_all(&self) -> bool {
        self.unread.is_empty()
    }

    /// Encodes what the peer sends next. `message` builds the message of an input from the peer's progress; `lines` are
    /// the lines that people type.
    pub(crate) fn write<I>(
        &mut self,
        input: &Input<I>,
        message: impl FnOnce(&I, &mut u64) -> C::Message,
        lines: &[&str],
    ) -> Vec<u8> {
        match input {
            Input::Hello => vec![0; 4],
            Input::Message(input) => {
                let message = message(input, &mut self.progress);
                self.encode(&[message])
            }
            Input::Answers(most) => self.answers((*most).into()),
            Input::Line(which) => lines[usize::from(*which) % lines.len()].into(),
            Input::Any(bytes) => bytes.clone(),
        }
    }

    /// Notes that `bytes` were sent to the endpoint.
    pub(crate) fn sent(&mut self, bytes: &[u8]) {
        if let Some(&first) = bytes.first()
            && !self.begun
        {
            self.begun = true;
            self.person = self.lines_for_people && first != 0;
        }
    }

    /// Encodes at most `most` of the answers that it owes, oldest first.
    pub(crate) fn answers(&mut self, most: usize) -> Vec<u8> {
        let most = most.min(self.answers.len());
        let answers: Vec<_> = self.answers.drain(..most).collect();
        self.encode(&answers)
    }

    fn encode(&mut self, messages: &[C::Message]) -> Vec<u8> {
        let mut outbox = Outbox::new();
        for message in messages {
            self.codec.encode(message, &mut outbox);
        }
        outbox.chunks().collect::<Vec<_>>().concat()
    }
}

/// What a peer sends. `I` is the input for a message of its protocol.
#[derive(Arbitrary, Debug)]
pub(crate) enum Input<I> {
    Hello,
    Message(I),
    /// The correct answers to what it was sent.
    Answers(u8),
    Line(u8),
    Any(Vec<u8>),
}
