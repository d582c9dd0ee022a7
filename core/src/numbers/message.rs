use bytes::Bytes;
use uuid::Uuid;

use crate::wire::ErrorCode;

/// A message of the numbers protocol: requests in one direction, numbers and errors in the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// `START`: begin a stateless stream.
    Start,
    /// `CONTINUE x`: begin a stateless stream after the number x, which is not 0.
    Continue(u64),
    /// `START <uuid> <n>`: begin a session.
    StartSession {
        /// The name of the session, which determines its numbers.
        uuid: Uuid,
        /// The number of numbers, at least 1.
        n: u16,
    },
    /// `CONTINUE <uuid> <last> [<count>]`: resume a session.
    ContinueSession {
        /// The name of the session.
        uuid: Uuid,
        /// The last number that the client received.
        last: u64,
        /// How many numbers it received. If `None`, the server looks for the latest position of `last`.
        count: Option<u16>,
    },
    /// `END`: end the stream.
    End,
    /// A number of the stream; in the answer to a resumption, the count or checksum so far.
    Number(u64),
    /// The request was refused: the code, and a sentence for people.
    Error(ErrorCode, Bytes),
}
