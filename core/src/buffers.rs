//! Empty outbox buffers, kept for the next connections that write.

use alloc::vec::Vec;

/// Kept at most.
const BUFFERS: usize = 4096;
/// All of those kept together.
const BYTES: usize = 4 * 1024 * 1024;
/// Larger ones go back to the allocator.
const BUFFER_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(crate) struct Buffers {
    spare: Vec<Vec<u8>>,
    bytes: usize,
}

impl Buffers {
    pub(crate) const fn new() -> Self {
        Self {
            spare: Vec::new(),
            bytes: 0,
        }
    }

    pub(crate) fn take(&mut self) -> Option<Vec<u8>> {
        let buffer = self.spare.pop()?;
        self.bytes -= buffer.capacity();
        Some(buffer)
    }

    pub(crate) fn put(&mut self, buffer: Vec<u8>) {
        let capacity = buffer.capacity();
        if self.spare.len() < BUFFERS && capacity <= BUFFER_BYTES && self.bytes + capacity <= BYTES {
            self.bytes += capacity;
            self.spare.push(buffer);
        }
    }
}
