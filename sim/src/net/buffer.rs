//! What a stream keeps until it is flushed, as one with encryption does.

use bytes::{Buf, Bytes, BytesMut};

/// Bytes that were written and not sent.
#[derive(Debug)]
pub(super) struct Unsent {
    bytes: BytesMut,
    most: usize,
}

impl Unsent {
    /// At most this many bytes; none if it is 0.
    pub(super) fn up_to(most: usize) -> Self {
        let bytes = BytesMut::new();
        Self { bytes, most }
    }

    /// Whether the stream keeps bytes at all.
    pub(super) const fn buffers(&self) -> bool {
        self.most > 0
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= self.most
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Keeps as much as there is room for, and returns how much that is.
    pub(super) fn take(&mut self, from: &[u8]) -> usize {
        let taken = from.len().min(self.most - self.bytes.len());
        self.bytes.extend_from_slice(&from[..taken]);
        taken
    }

    /// All of it; `None` if there is nothing.
    pub(super) fn first(&self) -> Option<Bytes> {
        (!self.bytes.is_empty()).then(|| Bytes::copy_from_slice(&self.bytes))
    }

    /// The first `count` bytes were sent.
    pub(super) fn sent(&mut self, count: usize) {
        self.bytes.advance(count);
    }

    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }
}
