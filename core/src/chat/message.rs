use bytes::Bytes;

use crate::wire::ErrorCode;

/// The longest body: 1 MiB.
pub const MAX_BODY: usize = 1024 * 1024;

/// The most bytes of a body in one frame. This implementation sends at most
/// [`ExchangeConfig::part`](super::ExchangeConfig::part).
pub const MAX_FRAME_BODY: usize = MAX_BODY;

/// A message of the chat protocol. The ids of each direction of a session are 1, 2, 3, …
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// Begins a session; the client's first message. Answered by [`Message::Welcome`].
    Begin {
        /// A random number chosen by the client; 0 if the session is not resumed after a loss.
        session: u64,
    },
    /// Resumes a session on another connection; the client's first message there. Answered by [`Message::Welcome`].
    Resume {
        /// The number of the session.
        session: u64,
        /// The id of the last message that the client has received.
        received: u64,
    },
    /// The server accepts the session.
    Welcome {
        /// The id of the last message that the server has received in this session.
        received: u64,
    },
    /// A message or a part of one. Answered by [`Message::Taken`].
    Part {
        /// The message's id: one more than that of the message before.
        id: u64,
        /// The next bytes of the message.
        body: Bytes,
        /// Whether this is the last part.
        last: bool,
    },
    /// Answers a part. For a last part, it is the acknowledgement of the message.
    Taken {
        /// The message's id.
        id: u64,
        /// Whether it answers the last part.
        last: bool,
    },
    /// The client ends the session.
    Bye,
    /// The connection is about to end: the code, and a sentence for people.
    Error(ErrorCode, Bytes),
}
