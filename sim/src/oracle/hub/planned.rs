//! The plan of a run: the sessions of users and their requests.

use std::time::Duration;

use bytes::Bytes;
use echosphere_core::hub::{Command, Request};
use serde::de::Deserializer;
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use crate::oracle::escape;

/// Something that is planned. Its number in the plan is that of its session, or of its request.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
        #[serde(serialize_with = "write_request", deserialize_with = "read_request")]
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

/// A request as it is in files.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
enum WrittenRequest {
    Identity,
    List,
    Echo(#[serde(with = "escape")] Bytes),
    Relay(Vec<u64>, #[serde(with = "escape")] Bytes),
}

fn write_request<S: Serializer>(request: &Request, serializer: S) -> Result<S::Ok, S::Error> {
    let written = match request.clone() {
        Request::Identity => WrittenRequest::Identity,
        Request::List => WrittenRequest::List,
        Request::Echo(body) => WrittenRequest::Echo(body),
        Request::Relay { to, body } => WrittenRequest::Relay(to.iter().collect(), body),
    };
    written.serialize(serializer)
}

fn read_request<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Request, D::Error> {
    Ok(match WrittenRequest::deserialize(deserializer)? {
        WrittenRequest::Identity => Request::Identity,
        WrittenRequest::List => Request::List,
        WrittenRequest::Echo(body) => Request::Echo(body),
        WrittenRequest::Relay(to, body) => Request::Relay {
            to: to.into_iter().collect(),
            body,
        },
    })
}
