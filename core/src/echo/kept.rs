//! How the ledger stores X.

use alloc::vec::Vec;
use core::ops::Deref;

use bytes::Bytes;

use crate::wire::{detach, is_copied};

/// The most spare buffers that are kept.
const SPARE: usize = 1024;
/// A spare buffer is used only if its capacity is at most twice the length of X plus this many bytes.
const SLACK: usize = 64;

/// A stored X. An X that outboxes copy is copied here too; a larger one is shared with them.
#[derive(Debug)]
pub(super) enum Kept {
    Copied(Vec<u8>),
    Shared(Bytes),
}

impl Kept {
    /// X for sending. `received` is an equal X that was just received.
    pub(super) fn to_send(&self, received: Bytes) -> Bytes {
        match self {
            Self::Copied(_) => received,
            Self::Shared(x) => x.clone(),
        }
    }

    /// X for sending again, without a received copy at hand.
    pub(super) fn to_send_again(&self) -> Bytes {
        match self {
            Self::Copied(x) => Bytes::copy_from_slice(x),
            Self::Shared(x) => x.clone(),
        }
    }
}

impl Deref for Kept {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Copied(x) => x,
            Self::Shared(x) => x,
        }
    }
}

/// Spare buffers for short X.
#[derive(Debug, Default)]
pub(super) struct Spare(Vec<Vec<u8>>);

impl Spare {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Stores X for longer than the event that brought it.
    pub(super) fn keep(&mut self, x: &Bytes) -> Kept {
        if !is_copied(x) {
            return Kept::Shared(detach(x));
        }
        // An oversized buffer would hold far more memory than the limits on bytes count.
        let fits = |spare: &Vec<u8>| (x.len()..=2 * x.len() + SLACK).contains(&spare.capacity());
        let spare = self.0.pop().filter(fits);
        let mut buffer = spare.unwrap_or_else(|| Vec::with_capacity(x.len()));
        buffer.extend_from_slice(x);
        Kept::Copied(buffer)
    }

    /// Releases an X; keeps its buffer as a spare one.
    pub(super) fn drop(&mut self, kept: Kept) {
        if let Kept::Copied(mut buffer) = kept
            && self.0.len() < SPARE
        {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}
