use bytes::Bytes;

use crate::wire::ErrorCode;

/// The longest body: 1 MiB.
pub const MAX_BODY: usize = 1024 * 1024;

/// The most bytes of a body that one frame may carry. (Echosphere's own sides send less, see
/// [`ExchangeConfig::part`](super::ExchangeConfig::part).)
pub const MAX_FRAME_BODY: usize = MAX_BODY;

/// What travels between the two sides. The messages of each direction of a session are numbered 1, 2, 3, …: their ids.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// The first message of a client that begins a session. Answered by [`Message::Welcome`].
    Begin {
        /// Chosen by the client at random; 0 if it will not come back after a loss.
        session: u64,
    },
    /// The first message of a client that comes back to its session on another connection. Answered by
    /// [`Message::Welcome`].
    Resume {
        /// The number that the session was begun with.
        session: u64,
        /// The id of the last message that the client has got.
        received: u64,
    },
    /// The server's answer to a client that it talks with.
    Welcome {
        /// The id of the last message that the server has got in this session.
        received: u64,
    },
    /// A message, or a part of one. Answered by [`Message::Taken`].
    Part {
        /// The message's id: one more than that of the message before.
        id: u64,
        /// The next bytes of it.
        body: Bytes,
        /// Nothing of it follows.
        last: bool,
    },
    /// The answer to a part; to the last one, the acknowledgement of the message.
    Taken {
        /// The message's id.
        id: u64,
        /// It is there whole.
        last: bool,
    },
    /// The client leaves: the session has ended.
    Bye,
    /// The connection is about to end: the code and a sentence for people.
    Error(ErrorCode, Bytes),
}
