//! A pool of empty outbox buffers.

use alloc::vec::Vec;

use crate::wire::Outbox;

/// The most buffers in the pool.
const BUFFERS: usize = 4096;
/// The most bytes in the pool.
const BYTES: usize = 4 * 1024 * 1024;
/// Larger buffers are freed.
const BUFFER_BYTES: usize = 64 * 1024;
/// The capacity of a new buffer: a few small frames.
const NEW_BYTES: usize = 128;

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

    /// Gives a buffer to an outbox without one.
    pub(crate) fn lend(&mut self, outbox: &mut Outbox) {
        if !outbox.has_no_buffer() {
            return;
        }
        let spare = self.spare.pop();
        self.bytes -= spare.as_ref().map_or(0, Vec::capacity);
        outbox.give_buffer(spare.unwrap_or_else(|| Vec::with_capacity(NEW_BYTES)));
    }

    /// Takes the buffer of an empty outbox.
    pub(crate) fn take_back(&mut self, outbox: &mut Outbox) {
        let Some(buffer) = outbox.take_buffer() else {
            return;
        };
        let capacity = buffer.capacity();
        if self.spare.len() < BUFFERS && capacity <= BUFFER_BYTES && self.bytes + capacity <= BYTES {
            self.bytes += capacity;
            self.spare.push(buffer);
        }
    }
}
