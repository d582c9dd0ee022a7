use alloc::vec::Vec;

use bytes::Bytes;

use super::ids::UserIds;
use crate::wire::ErrorCode;

/// The longest body: 1 MiB.
pub const MAX_BODY: usize = 1024 * 1024;

/// A request to the hub. Each gets one [`Reply`], in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Asks for the user's own id. Answered by [`Reply::Identity`].
    Identity,
    /// Asks for the ids of all other users. Answered by [`Reply::List`].
    List,
    /// Asks for the body back. Answered by [`Reply::Echo`].
    Echo(Bytes),
    /// Delivers `body`, at most [`MAX_BODY`] bytes, to `to`, 1 to [`MAX_RECEIVERS`](super::MAX_RECEIVERS) ids. Answered
    /// by [`Reply::Relayed`].
    Relay {
        /// The receivers. Each gets the body once, even if named twice.
        to: UserIds,
        /// Any bytes.
        body: Bytes,
    },
}

/// A message from the hub to a user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// The user's own id.
    Identity(u64),
    /// All other users' ids, ascending.
    List(UserIds),
    /// The body of the request.
    Echo(Bytes),
    /// The result of a relay.
    Relayed {
        /// The number of receivers on whose connections the body is queued.
        sent: u8,
        /// The receivers that do not get the body, ascending by id.
        unsent: Vec<(u64, Unsent)>,
    },
    /// A request was refused, or the connection is about to end: the code, and a sentence for people.
    Error(ErrorCode, Bytes),
    /// A body from another user. Not an answer.
    Delivery {
        /// The sender's user id.
        from: u64,
        /// The body.
        body: Bytes,
    },
}

/// Why a receiver does not get the body of a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unsent {
    /// No such user is connected.
    Unknown,
    /// Too many bytes wait for the receiver, which does not read. It is disconnected unless it reads on soon.
    TooSlow,
}

/// A message of the hub protocol.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// From the user to the hub.
    Request(Request),
    /// From the hub to the user.
    Reply(Reply),
}
