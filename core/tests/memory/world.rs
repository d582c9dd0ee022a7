//! A server, and peers that send given bytes.

use bytes::{Bytes, BytesMut};
use echosphere_core::connection::{ConnectionConfig, SocketAction};
use echosphere_core::endpoint::Endpoint;
use echosphere_core::wire::{Codec, ErrorCode};
use echosphere_core::{ConnId, Machine, Time};

/// The size of a driver's read buffer.
const READ_BYTES: usize = 64 * 1024;

/// The pieces that a peer sends; an empty piece waits for a second.
pub(crate) type Pieces = fn() -> Vec<Vec<u8>>;

/// A kind of traffic.
pub(crate) struct Traffic<S> {
    /// What a connection sends first, before it is idle.
    pub(crate) hello: Pieces,
    /// What it sends then.
    pub(crate) pieces: Pieces,
    /// Whether many messages are in progress at the same time.
    pub(crate) many: bool,
    /// The errors that the server may answer.
    pub(crate) errors: &'static [ErrorCode],
    pub(crate) system: std::marker::PhantomData<S>,
}

impl<S> Clone for Traffic<S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<S> Copy for Traffic<S> {}

pub(crate) trait System: Sized {
    type Server: Machine<Message: Clone>;
    type Codec: Codec<Message = <Self::Server as Machine>::Message> + Clone;
    /// Whether the server has one session at a time.
    const ALONE: bool;
    /// A connection that sends only its hello.
    const HELLO: Traffic<Self>;
    /// The errors that answer the end of stream in the middle of a message.
    const HALF: &'static [ErrorCode];

    /// A peer's answers to what it has read.
    fn answers(read: &[u8]) -> Vec<u8>;
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The peer closes.
    Close,
    /// The peer closes in the middle of a message.
    HalfMessage,
    /// The connection breaks.
    Loss,
}

pub(crate) struct World<S: System> {
    endpoint: Endpoint<S::Server, S::Codec>,
    now: Time,
    scratch: BytesMut,
    open: Vec<ConnId>,
    /// The errors that the server may send now.
    expected: &'static [ErrorCode],
}

/// One frame in length framing.
pub(crate) fn frame(payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    [&u32::try_from(payload.len()).unwrap().to_be_bytes(), payload].concat()
}

impl<S: System> World<S> {
    pub(crate) fn new(server: S::Server, codec: S::Codec, config: ConnectionConfig) -> Self {
        Self {
            endpoint: Endpoint::new(server, codec, config),
            now: Time::ZERO,
            scratch: BytesMut::new(),
            open: Vec::new(),
            expected: &[],
        }
    }

    /// Opens a connection, exchanges its traffic and ends it.
    pub(crate) fn live(&mut self, traffic: Traffic<S>, end: End) {
        let id = self.open(traffic);
        self.talk(id, traffic);
        if end == End::HalfMessage {
            self.expected = S::HALF;
        }
        match end {
            End::Close => {}
            End::HalfMessage if (traffic.hello)()[0][0] == 0 => self.receive(id, &[0, 0, 1]),
            End::HalfMessage => self.receive(id, b"half a li"),
            End::Loss => self.endpoint.failed(self.now, id),
        }
        self.close(id);
        assert!(self.endpoint.is_zero(), "something is left");
    }

    /// Opens a connection, which is idle then.
    pub(crate) fn open(&mut self, traffic: Traffic<S>) -> ConnId {
        let id = self.endpoint.accept(self.now).unwrap();
        self.open.push(id);
        self.expected = &[];
        for piece in (traffic.hello)() {
            self.receive(id, &piece);
        }
        self.exchange();
        id
    }

    /// Sends all pieces of a connection and exchanges all answers.
    pub(crate) fn talk(&mut self, id: ConnId, traffic: Traffic<S>) {
        self.expected = traffic.errors;
        for piece in (traffic.pieces)() {
            if piece.is_empty() {
                self.pass();
            } else {
                self.receive(id, &piece);
            }
            self.exchange();
        }
    }

    pub(crate) fn close(&mut self, id: ConnId) {
        self.endpoint.peer_closed(self.now, id);
        self.exchange();
        self.open.retain(|open| *open != id);
        // Lets a kept session expire.
        while let Some(due) = self.endpoint.next_deadline().filter(|_| self.open.is_empty()) {
            self.now = due;
            self.endpoint.expire(due);
        }
        self.exchange();
    }

    /// Reads as a driver does, into one buffer for all connections.
    pub(crate) fn receive(&mut self, id: ConnId, bytes: &[u8]) {
        for part in bytes.chunks(READ_BYTES) {
            self.scratch.clear();
            self.scratch.reserve(READ_BYTES);
            self.scratch.extend_from_slice(part);
            self.endpoint.receive(self.now, id, &mut self.scratch);
        }
    }

    fn pass(&mut self) {
        let until = self.now + std::time::Duration::from_secs(1);
        while let Some(due) = self.endpoint.next_deadline().filter(|due| *due <= until) {
            self.now = due;
            self.endpoint.expire(due);
        }
        self.now = until;
    }

    /// Lets all peers read and answer until nothing is sent any more.
    fn exchange(&mut self) {
        loop {
            while self.endpoint.poll_effect().is_some() {}
            let mut quiet = true;
            for at in 0..self.open.len() {
                let id = self.open[at];
                let read = self.read(id);
                let answers = S::answers(&read);
                if !answers.is_empty() {
                    self.receive(id, &answers);
                }
                quiet &= read.is_empty() && answers.is_empty();
            }
            if quiet {
                return;
            }
        }
    }

    fn read(&mut self, id: ConnId) -> Bytes {
        let chunks = self
            .endpoint
            .outbox(id)
            .map(|outbox| outbox.chunks().collect::<Vec<_>>());
        let read = chunks.map_or_else(Bytes::new, |chunks| chunks.concat().into());
        for error in errors(&read) {
            assert!(self.expected.contains(&error), "{error}, not {:?}", self.expected);
        }
        self.endpoint.wrote(id, read.len());
        if self.endpoint.socket_action(id) == SocketAction::Shutdown {
            self.endpoint.shut_down(self.now, id);
        }
        read
    }
}

/// The codes of the errors in `read`: each follows `error ` where payloads are text, otherwise a byte 0xFF.
fn errors(read: &[u8]) -> impl Iterator<Item = ErrorCode> {
    let mut before = &b""[..];
    read.split(|byte| *byte == b' ').filter_map(move |word| {
        let of_text = std::mem::replace(&mut before, word).ends_with(b"error");
        let start = word.iter().rposition(|byte| *byte == 0xFF).map_or(0, |at| at + 1);
        let code = ErrorCode::parse(&word[start..]);
        (of_text || (start > 0 && code != ErrorCode::Unknown)).then_some(code)
    })
}

/// The payloads of the frames in `read`.
pub(crate) fn payloads(mut read: &[u8]) -> Vec<&[u8]> {
    let mut all = Vec::new();
    while let Some((length, rest)) = read.split_first_chunk() {
        let (payload, rest) = rest.split_at(u32::from_be_bytes(*length) as usize);
        all.push(payload);
        read = rest;
    }
    all
}
