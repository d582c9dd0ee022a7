//! What a numbers client takes from its caller and reports to it.

use core::time::Duration;

use uuid::Uuid;

use crate::failure::Failure;

/// What numbers a caller wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamSpec {
    /// A stateless stream.
    Stateless {
        /// How many numbers, 1 or more.
        n: u16,
        /// Those after this one, which is not 0; else whatever the server begins with.
        after: Option<u64>,
    },
    /// A session.
    Session {
        /// The session's name.
        uuid: Uuid,
        /// How many numbers, 1 or more.
        n: u16,
        /// Go on with a session that was begun before and whose last number is this; else begin it.
        after: Option<u64>,
    },
}

/// What a caller can ask of a numbers client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Get numbers. Ignored if the key is in use.
    Get {
        /// The caller's own number for it, echoed in its notices.
        key: u64,
        /// Which numbers.
        stream: StreamSpec,
    },
}

/// What the caller is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Notice {
    /// The next number.
    Number {
        /// The caller's number for the request.
        key: u64,
        /// Its place: 1 is the first.
        place: u32,
        /// The number.
        number: u64,
    },
    /// There is no connection, or the server cannot serve now; another attempt follows.
    Retrying {
        /// The caller's number for the request.
        key: u64,
        /// What was wrong.
        why: Failure,
        /// How long until the next attempt.
        after: Duration,
    },
    /// The stream goes on after so many numbers.
    Resumed {
        /// The caller's number for the request.
        key: u64,
        /// Numbers got before, those of earlier runs of the caller included where the server knows of them.
        count: u32,
    },
    /// All numbers have come.
    Done {
        /// The caller's number for the request.
        key: u64,
        /// What they come to.
        total: Total,
    },
    /// There will be no more.
    Failed {
        /// The caller's number for the request.
        key: u64,
        /// Why.
        failure: Failure,
    },
}

/// What all numbers of a stream come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Total {
    /// The sum of the numbers that this client got.
    Sum(u128),
    /// What the server says of the whole session.
    Checksum {
        /// The server's.
        value: u64,
        /// Whether it is that of the numbers that came.
        valid: bool,
    },
}
