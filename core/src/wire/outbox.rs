use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

use bytes::{Buf, Bytes};

/// Bodies of at least this size are shared and not copied: a body sent to many connections is in memory once.
const SHARE_FROM: usize = 2 * 1024;

/// When at least this many bytes at the front were written and they are half of the buffer, they are removed: a backlog
/// that never empties must not grow without limit.
const COMPACT_FROM: usize = 64 * 1024;

/// Whether a body is copied into the outbox.
pub(crate) const fn is_copied(body: &Bytes) -> bool {
    body.len() < SHARE_FROM
}

/// The bytes that wait to be written to one connection, in order. Small frames are joined into one write; large bodies
/// are shared. Uses no memory once everything is written.
#[derive(Debug, Default)]
pub struct Outbox {
    /// Everything before the tail, if there are shared bodies.
    #[expect(
        clippy::box_collection,
        reason = "most outboxes have none, and an idle connection keeps room for it"
    )]
    segments: Option<Box<VecDeque<Bytes>>>,
    tail: Vec<u8>,
    tail_written: usize,
    len: usize,
}

impl Outbox {
    /// An empty outbox.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            segments: None,
            tail: Vec::new(),
            tail_written: 0,
            len: 0,
        }
    }

    /// Appends a copy of `bytes`.
    pub fn put(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Appends `bytes`; shares them if they are large.
    pub fn put_shared(&mut self, bytes: &Bytes) {
        if is_copied(bytes) {
            self.put(bytes);
            return;
        }
        if !self.tail.is_empty() {
            let mut tail = Bytes::from(mem::take(&mut self.tail));
            tail.advance(mem::take(&mut self.tail_written));
            self.segments.get_or_insert_default().push_back(tail);
        }
        self.segments.get_or_insert_default().push_back(bytes.clone());
        self.len += bytes.len();
    }

    /// The number of bytes not yet written.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether everything is written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The bytes not yet written, in order and in pieces.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let tail = &self.tail[self.tail_written..];
        self.segments
            .iter()
            .flat_map(|segments| segments.iter())
            .map(|segment| &segment[..])
            .chain((!tail.is_empty()).then_some(tail))
    }

    /// Removes the first `written` bytes, which were written.
    ///
    /// # Panics
    ///
    /// If there are fewer bytes.
    pub fn advance(&mut self, written: usize) {
        assert!(written <= self.len, "wrote {written} bytes of {}", self.len);
        self.len -= written;
        let mut left = written;
        while let Some(segments) = &mut self.segments
            && let Some(first) = segments.front_mut()
        {
            if left < first.len() {
                first.advance(left);
                return;
            }
            left -= first.len();
            segments.pop_front();
        }
        self.tail_written += left;
        if self.is_empty() {
            self.tail.clear();
            self.tail_written = 0;
        } else if self.tail_written >= COMPACT_FROM && self.tail_written * 2 >= self.tail.len() {
            self.tail.drain(..mem::take(&mut self.tail_written));
        }
    }

    /// Takes the empty buffer of the outbox, if it has one.
    pub(crate) fn take_buffer(&mut self) -> Option<Vec<u8>> {
        if !self.is_empty() {
            return None;
        }
        self.segments = None;
        (self.tail.capacity() > 0).then(|| mem::take(&mut self.tail))
    }

    /// Whether the outbox has no buffer.
    pub(crate) const fn has_no_buffer(&self) -> bool {
        self.tail.capacity() == 0
    }

    pub(crate) fn give_buffer(&mut self, buffer: Vec<u8>) {
        self.tail = buffer;
    }
}
