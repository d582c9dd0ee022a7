//! The plan of a run: the sessions of users and their requests.

use std::time::Duration;

use echosphere_core::hub::{Command, Request};

/// Something that is planned. Its number in the plan is that of its session, or of its request.
#[derive(Clone, Debug)]
pub enum Planned {
    /// A session.
    Session {
        /// On which host.
        host: usize,
        /// Its number: its place in the plan, when that was drawn.
        session: u64,
        /// From when, since the run began.
        at: Duration,
        /// To when.
        leaves: Duration,
    },
    /// Something that a session asks.
    Ask {
        /// The session's host.
        host: usize,
        /// The session's number.
        session: u64,
        /// When, since the run began.
        at: Duration,
        /// What.
        request: Request,
    },
}

impl Planned {
    pub(super) const fn host(&self) -> usize {
        match self {
            Self::Session { host, .. } | Self::Ask { host, .. } => *host,
        }
    }

    /// What its host is to do and when, if its place in the plan is `number`.
    pub(super) fn commands(&self, number: u64) -> Vec<(Duration, Command)> {
        match self {
            Self::Session {
                session, at, leaves, ..
            } => {
                let session = *session;
                vec![
                    (*at, Command::Connect { session }),
                    (*leaves, Command::Leave { session }),
                ]
            }
            Self::Ask {
                session, at, request, ..
            } => {
                let command = Command::Ask {
                    session: *session,
                    ask: number,
                    request: request.clone(),
                };
                vec![(*at, command)]
            }
        }
    }
}
