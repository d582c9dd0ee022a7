//! One modelled connection: its two sockets, and the bytes in flight between them.

use std::collections::VecDeque;

use bytes::{Buf, BytesMut};
use echosphere_core::{ConnId, DialToken};

use super::net::Nanos;
use super::strangers::Visit;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// This number of bytes.
    Data(usize),
    Fin,
    Reset,
}

/// One connection, or an attempt at one.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) host: usize,
    pub(super) token: DialToken,
    /// Tells apart the connections that had the same index.
    pub(super) serial: u32,
    pub(super) ends: [End; 2],
    pub(super) pipes: [Pipe; 2],
    /// Nothing passes any more, and no side notices.
    pub(super) dead: bool,
    /// The client waits for the answer.
    pub(super) attempted: bool,
    /// The server has accepted it, and its negotiation is not over.
    pub(super) negotiating: bool,
    /// Its negotiation has found a principal.
    pub(super) named: bool,
    /// The client speaks lines: its first byte is no zero.
    pub(super) lines: bool,
    /// Its first byte is under way or has come.
    pub(super) spoken: bool,
    /// Who has made it, if that is no client.
    pub(super) stranger: Option<Box<Visit>>,
}

/// One side's socket.
#[derive(Debug, Default)]
pub(super) struct End {
    pub(super) id: Option<ConnId>,
    pub(super) blocked: bool,
    pub(super) fin_sent: bool,
    /// It has read the other side's end of stream.
    pub(super) fin_heard: bool,
    /// Its host gives up the connection, or is about to, because nothing is acknowledged.
    pub(super) given_up: bool,
    /// Its host has lost what it had not written.
    pub(super) crashed: bool,
}

/// What one side sent and the other has not read.
#[derive(Debug, Default)]
pub(super) struct Pipe {
    pub(super) segments: VecDeque<Segment>,
    pub(super) data: BytesMut,
    /// Bytes in the window: those of `data`, and those written into the void.
    pub(super) bytes: usize,
    pub(super) last_arrival: Nanos,
    /// Segments whose arrival came while the link was held.
    pub(super) kept: u32,
    /// What its side's machine sent and the other's has not received.
    pub(super) said: VecDeque<u64>,
}

/// What an empty pipe keeps of its memory, at most.
const SPARE: usize = 1024;

impl Pipe {
    /// As new, but for the memory.
    pub(super) fn emptied(mut self) -> Self {
        self.segments.clear();
        self.data.clear();
        self.shrink();
        self.said.clear();
        Self {
            segments: self.segments,
            data: self.data,
            said: self.said,
            ..Self::default()
        }
    }

    /// Moves the next `len` bytes to `input`.
    pub(super) fn take(&mut self, len: usize, input: &mut BytesMut) {
        input.extend_from_slice(&self.data[..len]);
        self.data.advance(len);
        self.bytes -= len;
        self.shrink();
    }

    fn shrink(&mut self) {
        if self.data.is_empty() && self.data.capacity() > SPARE {
            self.data = BytesMut::new();
        }
    }
}

/// What a segment brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    Data,
    Fin,
    Reset,
}
