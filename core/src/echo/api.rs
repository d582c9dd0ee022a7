//! What an echo client takes from its caller and reports to it.

use core::time::Duration;

use bytes::Bytes;

use crate::failure::Failure;

/// A command to an echo client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Connect, send `message X`, and retry until its `ok X` arrives or
    /// [`ClientConfig::give_up_after`](super::ClientConfig::give_up_after) passes.
    Send {
        /// The caller's number for the message, repeated in notices.
        key: u64,
        /// The body of the message.
        x: Bytes,
    },
}

/// A notice from an echo client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Notice {
    /// The `ok X` has arrived and the connection closes. No notice follows for this key.
    Acknowledged {
        /// The caller's number for the message.
        key: u64,
        /// From sending `message X` to receiving `ok X`, on the same connection.
        round_trip: Duration,
        /// From the command to receiving `ok X`.
        total: Duration,
        /// Failed attempts before.
        retries: u32,
    },
    /// An attempt has failed. Another follows.
    Retrying {
        /// The caller's number for the message.
        key: u64,
        /// Why it failed.
        failure: Failure,
        /// The pause before the next attempt.
        after: Duration,
    },
    /// The message was not acknowledged, and no attempt follows. No notice follows for this key.
    GaveUp {
        /// The caller's number for the message.
        key: u64,
        /// Why the last attempt failed.
        failure: Failure,
        /// Attempts made.
        attempts: u32,
    },
}
