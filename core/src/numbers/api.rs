//! What a numbers client takes from its caller and reports to it.

use core::time::Duration;

use uuid::Uuid;

use crate::failure::Failure;

/// A stream to request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StreamSpec {
    /// A stateless stream.
    Stateless {
        /// The number of numbers, at least 1.
        n: u16,
        /// The number to continue after, not 0; `None` to begin where the server chooses.
        after: Option<u64>,
    },
    /// A session.
    Session {
        /// The name of the session.
        uuid: Uuid,
        /// The number of numbers, at least 1.
        n: u16,
        /// The last number of a session begun before, to resume it; `None` to begin it.
        after: Option<u64>,
    },
}

/// A command to a numbers client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Request a stream. Ignored if the key is in use.
    Get {
        /// The caller's number for the stream, repeated in notices.
        key: u64,
        /// The stream.
        stream: StreamSpec,
    },
}

/// A notice from a numbers client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Notice {
    /// The next number of a stream.
    Number {
        /// The caller's number for the stream.
        key: u64,
        /// Its position; the first is 1.
        place: u32,
        /// The number.
        number: u64,
    },
    /// An attempt failed, the connection was lost, or the server cannot serve now. Another attempt follows.
    Retrying {
        /// The caller's number for the stream.
        key: u64,
        /// Why it failed.
        failure: Failure,
        /// The pause before the next attempt.
        after: Duration,
    },
    /// The stream was resumed.
    Resumed {
        /// The caller's number for the stream.
        key: u64,
        /// Numbers received before, including those of earlier runs of the program if the server knows the session.
        count: u32,
    },
    /// All numbers were received. No notice follows for this key.
    Done {
        /// The caller's number for the stream.
        key: u64,
        /// The result.
        total: Total,
    },
    /// The stream has failed. No notice follows for this key.
    Failed {
        /// The caller's number for the stream.
        key: u64,
        /// Why it failed.
        failure: Failure,
    },
}

/// The result of a complete stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Total {
    /// The sum of the numbers that this client received. Of a stateless stream.
    Sum(u128),
    /// The checksum that the server sent. Of a session.
    Checksum {
        /// The checksum.
        value: u64,
        /// Whether it matches the received numbers.
        valid: bool,
    },
}
