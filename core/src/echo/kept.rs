//! How the ledger keeps X.

use alloc::vec::Vec;
use core::ops::Deref;

use bytes::Bytes;

use crate::wire::{detach, is_copied};

/// Buffers of short X kept for the next ones, at most.
const SPARE: usize = 1024;
/// A spare buffer may have so many bytes more than X needs, and X's length besides.
const SLACK: usize = 64;

/// An X: one that outboxes copy lies in a buffer of its own, one that they share is shared with them.
#[derive(Debug)]
pub(super) enum Kept {
    Copied(Vec<u8>),
    Shared(Bytes),
}

impl Kept {
    /// X, to be sent: `came` is the same X as it was just received.
    pub(super) fn to_send(&self, came: Bytes) -> Bytes {
        match self {
            Self::Copied(_) => came,
            Self::Shared(x) => x.clone(),
        }
    }

    /// X, to be sent when it has not just been received.
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

/// Buffers to keep X in.
#[derive(Debug, Default)]
pub(super) struct Spare(Vec<Vec<u8>>);

impl Spare {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// X, to be kept for longer than the event that brought it.
    pub(super) fn keep(&mut self, x: &Bytes) -> Kept {
        if !is_copied(x) {
            return Kept::Shared(detach(x));
        }
        // Not one that is much too long, or what is kept could take far more than its bytes.
        let fits = |spare: &Vec<u8>| (x.len()..=2 * x.len() + SLACK).contains(&spare.capacity());
        let spare = self.0.pop().filter(fits);
        let mut buffer = spare.unwrap_or_else(|| Vec::with_capacity(x.len()));
        buffer.extend_from_slice(x);
        Kept::Copied(buffer)
    }

    /// X is not needed any more.
    pub(super) fn drop(&mut self, kept: Kept) {
        if let Kept::Copied(mut buffer) = kept
            && self.0.len() < SPARE
        {
            buffer.clear();
            self.0.push(buffer);
        }
    }
}
