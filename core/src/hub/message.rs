use alloc::vec::Vec;

use bytes::Bytes;

use super::ids::UserIds;
use crate::wire::ErrorCode;

/// The longest body: 1 MiB.
pub const MAX_BODY: usize = 1024 * 1024;

/// What a user asks of the hub. Each request is answered by one [`Reply`], in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Which user id is mine? Answered by [`Reply::Identity`].
    Identity,
    /// Who else is connected? Answered by [`Reply::List`].
    List,
    /// Send this back: [`Reply::Echo`].
    Echo(Bytes),
    /// Deliver `body`, at most [`MAX_BODY`] bytes, to each of `to`, 1 to [`MAX_RECEIVERS`](super::MAX_RECEIVERS) ids. Answered by
    /// [`Reply::Relayed`].
    Relay {
        /// The receivers; one that is named twice gets it once.
        to: UserIds,
        /// Any bytes.
        body: Bytes,
    },
}

/// What the hub says to a user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// The user's own id.
    Identity(u64),
    /// All other users' ids, ascending.
    List(UserIds),
    /// What was sent.
    Echo(Bytes),
    /// A relay was done.
    Relayed {
        /// How many receivers it was sent to: it is on its way on their connections, after all that was sent there
        /// before.
        sent: u8,
        /// The receivers it was not sent to, ascending by id, and why.
        unsent: Vec<(u64, Unsent)>,
    },
    /// A request could not be done, or the connection is about to end: the code and a sentence for people.
    Error(ErrorCode, Bytes),
    /// Somebody sent this user a body; not an answer.
    Delivery {
        /// The sender's user id.
        from: u64,
        /// What was sent.
        body: Bytes,
    },
}

/// Why a relay was not sent to a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unsent {
    /// No such user is connected.
    Unknown,
    /// More than may wait for long waits for the receiver, as it does not read. It is cut unless it reads on soon.
    TooSlow,
}

/// What travels between a hub and a user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// From the user to the hub.
    Request(Request),
    /// From the hub to the user.
    Reply(Reply),
}
