use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::mem;

use bytes::{Buf, Bytes};

/// Bodies from this size on are not copied into the outbox but shared: a body sent to many is held once.
const SHARE_FROM: usize = 2 * 1024;

/// From this size on, what was written is cut off the front once it is half of the buffer: a backlog that never
/// empties must not keep all that ever passed through it.
const COMPACT_FROM: usize = 64 * 1024;

/// Whether a body is copied into the outbox, and not shared.
pub(crate) const fn is_copied(body: &Bytes) -> bool {
    body.len() < SHARE_FROM
}

/// What waits to be written to one connection, in order. Small frames are joined so that a burst is one write; large
/// bodies are shared. Holds no memory once all is written.
#[derive(Debug, Default)]
pub struct Outbox {
    /// What comes before the tail, if shared bodies are waiting.
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

    /// Appends bytes by copying them.
    pub fn put(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        self.len += bytes.len();
    }

    /// Appends bytes, sharing them if they are many.
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

    /// Bytes not yet written.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether all is written.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What is not yet written, in order, in as many pieces as it lies in memory.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        let tail = &self.tail[self.tail_written..];
        self.segments
            .iter()
            .flat_map(|segments| segments.iter())
            .map(|segment| &segment[..])
            .chain((!tail.is_empty()).then_some(tail))
    }

    /// Takes note that the first `written` bytes were written.
    ///
    /// # Panics
    ///
    /// If that is more than there was.
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

    /// Gives the outbox's empty buffer away for others to use, if it has one.
    pub(crate) fn take_buffer(&mut self) -> Option<Vec<u8>> {
        if !self.is_empty() {
            return None;
        }
        self.segments = None;
        (self.tail.capacity() > 0).then(|| mem::take(&mut self.tail))
    }

    /// Whether a buffer from a pool would be of use.
    pub(crate) const fn has_no_buffer(&self) -> bool {
        self.tail.capacity() == 0
    }

    pub(crate) fn give_buffer(&mut self, buffer: Vec<u8>) {
        self.tail = buffer;
    }
}
