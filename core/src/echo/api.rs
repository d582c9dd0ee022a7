//! What an echo client takes from its caller and reports to it.

use core::time::Duration;

use bytes::Bytes;

use crate::failure::Failure;

/// What a caller can ask of an echo client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Connect, send `message X`, and stay until its `ok X`, however often that takes.
    Send {
        /// The caller's name for this message, echoed in notices.
        id: u64,
        /// X.
        x: Bytes,
    },
}

/// What the caller of an echo client is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Notice {
    /// The `ok X` has come and the connection closes: the natural end. Nothing follows for this id.
    Acknowledged {
        /// The caller's name for the message.
        id: u64,
        /// From the `message X` on the connection that got the ok.
        round_trip: Duration,
        /// From the command.
        total: Duration,
        /// Attempts that failed before.
        retries: u32,
    },
    /// An attempt has failed; another follows.
    Retrying {
        /// The caller's name for the message.
        id: u64,
        /// What was wrong with this one.
        failure: Failure,
        /// How long until the next.
        after: Duration,
    },
    /// The message was not acknowledged, and the client does not try again. Nothing follows for this id.
    GaveUp {
        /// The caller's name for the message.
        id: u64,
        /// What was wrong with the last attempt.
        failure: Failure,
        /// Attempts made.
        attempts: u32,
    },
}
