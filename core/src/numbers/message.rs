use bytes::Bytes;
use uuid::Uuid;

use crate::wire::ErrorCode;

/// What travels between a client and a server: requests one way, numbers and errors the other.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// `START`: begin a stateless stream.
    Start,
    /// `CONTINUE x`: begin a stateless stream with the number after x, which is not 0.
    Continue(u64),
    /// `START <uuid> <n>`: begin a session.
    StartSession {
        /// The session's name, which decides its numbers.
        uuid: Uuid,
        /// How many numbers, 1 or more.
        n: u16,
    },
    /// `CONTINUE <uuid> <last> [<count>]`: go on with a session.
    ContinueSession {
        /// The session's name.
        uuid: Uuid,
        /// The last number that the client has got.
        last: u64,
        /// How many numbers it has got. Without it, the server looks for the latest place of `last`.
        count: Option<u16>,
    },
    /// `END`: the client wants no more.
    End,
    /// A number of the stream; or what the server says of a session: a count, a checksum.
    Number(u64),
    /// The request was not done: the code and a sentence for people.
    Error(ErrorCode, Bytes),
}
