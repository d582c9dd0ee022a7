//! What a hub's client takes from its caller and reports to it.

use core::time::Duration;

use bytes::Bytes;

use super::message::{Reply, Request};
use crate::failure::Failure;

/// What a caller can ask of a hub's users. Sessions and requests have numbers of the caller's choice.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Begin a session: connect, and stay connected. Ignored if there is one of this number.
    Connect {
        /// The session's number.
        session: u64,
    },
    /// Send a request, at once or when connected.
    Ask {
        /// The session's number.
        session: u64,
        /// The request's number, echoed in its notice.
        ask: u64,
        /// The request.
        request: Request,
    },
    /// End the session, once all its requests are answered.
    Leave {
        /// The session's number.
        session: u64,
    },
}

/// What the caller is told.
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
        /// The answer; [`Reply::Error`] if the hub could not do it.
        reply: Reply,
        /// From the request to the answer.
        round_trip: Duration,
    },
    /// A request was not answered, and will not be; whether it was done is not known.
    Unanswered {
        /// The session's number.
        session: u64,
        /// The request's number.
        ask: u64,
    },
    /// Somebody sent the session's user a body.
    Received {
        /// The session's number.
        session: u64,
        /// The sender's user id.
        from: u64,
        /// What was sent.
        body: Bytes,
    },
    /// An attempt to connect failed, or the connection was lost; another attempt follows. Requests under way are told as
    /// unanswered before.
    Retrying {
        /// The session's number.
        session: u64,
        /// What was wrong.
        why: Failure,
        /// How long until the next.
        after: Duration,
    },
    /// The session has ended, after a notice for each of its requests. Nothing follows for its number until it is used
    /// again.
    Ended {
        /// The session's number.
        session: u64,
        /// Why; `None` if the caller wanted it.
        failure: Option<Failure>,
    },
}
