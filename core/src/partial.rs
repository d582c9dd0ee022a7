//! Partial messages: received in part, and held until the rest arrives.

use alloc::collections::BTreeSet;
use core::cmp::Reverse;

use bytes::BytesMut;

use crate::{ConnId, Time};

/// The smallest buffer of a partial message, in bytes.
const SMALLEST: usize = 64;

/// The buffer for `len` bytes of a partial message: the next power of two, at least 64 bytes.
const fn room_for(len: usize) -> usize {
    let room = len.next_power_of_two();
    if room < SMALLEST { SMALLEST } else { room }
}

/// Appends to a buffer from which nothing was taken; its capacity grows as in [`room_for`].
pub(crate) fn append(buffer: &mut BytesMut, bytes: &[u8]) {
    let len = buffer.len() + bytes.len();
    if len > buffer.capacity() {
        buffer.reserve(room_for(len) - buffer.len());
    }
    buffer.extend_from_slice(bytes);
}

/// One connection's partial message.
#[derive(Debug, Default)]
pub(crate) struct Partial {
    /// The received bytes that the codec has not taken.
    pub(crate) bytes: BytesMut,
    /// The bytes of memory that it counts.
    held: usize,
    /// When its first byte arrived.
    since: Time,
}

/// The partial messages of all connections of an endpoint.
#[derive(Debug)]
pub(crate) struct Partials {
    held: usize,
    /// Ordered by size, then from newest to oldest.
    by_size: BTreeSet<(usize, Reverse<Time>, Reverse<ConnId>)>,
}

impl Partials {
    pub(crate) const fn new() -> Self {
        Self {
            held: 0,
            by_size: BTreeSet::new(),
        }
    }

    /// Bytes of memory of all partial messages.
    pub(crate) const fn held(&self) -> usize {
        self.held
    }

    pub(crate) fn largest(&self) -> Option<ConnId> {
        self.by_size.last().map(|&(.., Reverse(id))| id)
    }

    /// Sets the size of a connection's partial message. `begun`: it is another message than before.
    pub(crate) fn note(&mut self, now: Time, id: ConnId, partial: &mut Partial, held: usize, begun: bool) {
        let since = if begun || partial.held == 0 { now } else { partial.since };
        if (held, since) != (partial.held, partial.since) {
            self.forget(id, partial);
            partial.held = held;
            partial.since = since;
            self.held += held;
            self.by_size.insert((held, Reverse(since), Reverse(id)));
        }
    }

    /// Removes a connection's partial message.
    pub(crate) fn forget(&mut self, id: ConnId, partial: &Partial) {
        if partial.held > 0 {
            self.held -= partial.held;
            self.by_size
                .remove(&(partial.held, Reverse(partial.since), Reverse(id)));
        }
    }
}
