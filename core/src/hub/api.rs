//! What a hub's client takes from its caller and reports to it.

use core::time::Duration;

use bytes::Bytes;

use super::message::{Reply, Request};
use crate::failure::Failure;

/// A command to a hub's client. The caller chooses the numbers of sessions and requests.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Begin a session: connect as a user and stay connected. Ignored if the session exists.
    Connect {
        /// The session's number.
        session: u64,
    },
    /// Send a request: at once if connected, otherwise after connecting.
    Ask {
        /// The session's number.
        session: u64,
        /// The request's number, repeated in its notice.
        ask: u64,
        /// The request.
        request: Request,
    },
    /// End the session once every request is answered.
    Leave {
        /// The session's number.
        session: u64,
    },
}

/// A notice from a hub's client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Notice {
    /// The session is connected.
    Connected {
        /// The session's number.
        session: u64,
    },
    /// A request was answered.
    Answered {
        /// The session's number.
        session: u64,
        /// The request's number.
        ask: u64,
        /// The answer; [`Reply::Error`] if the hub refused the request.
        reply: Reply,
        /// From sending the request to receiving the answer.
        round_trip: Duration,
    },
    /// A request got no answer and will get none. The hub may have executed it.
    Unanswered {
        /// The session's number.
        session: u64,
        /// The request's number.
        ask: u64,
    },
    /// Another user sent this user a body.
    Received {
        /// The session's number.
        session: u64,
        /// The sender's user id.
        from: u64,
        /// The body.
        body: Bytes,
    },
    /// An attempt to connect failed, or the connection was lost. Another attempt follows. Each request in progress got
    /// an [`Notice::Unanswered`] before.
    Retrying {
        /// The session's number.
        session: u64,
        /// Why it failed.
        failure: Failure,
        /// The pause before the next attempt.
        after: Duration,
    },
    /// The session has ended. Each of its requests got a notice before. No notice follows for this number until it is
    /// used again.
    Ended {
        /// The session's number.
        session: u64,
        /// Why it ended; `None` after [`Command::Leave`].
        failure: Option<Failure>,
    },
}
