//! The model's record of one session of the server.

use std::time::Duration;

use echosphere_core::chat::{Failure, Message};
use echosphere_core::{CloseReason, ConnId, Event, Time};

use super::machines::SimServer;
use crate::observe::{ActionOf, EventOf};
use crate::words;

/// What happened to the server, and what it did.
pub(super) type Step<'a> = (&'a EventOf<SimServer>, &'a [ActionOf<SimServer>]);

/// A session of the server.
#[derive(Debug, Default)]
pub(super) struct ServerSession {
    pub(super) number: u64,
    /// Which of the server's sessions it is.
    pub(super) ordinal: u64,
    /// None while the peer is lost.
    pub(super) conn: Option<ConnId>,
    /// Since when it is.
    pub(super) lost: Option<Time>,
    /// It was lost because half-received messages held too much.
    pub(super) refused: bool,
    /// The peer types.
    pub(super) lines: bool,
    /// Its last line was received only in part: nothing more may follow.
    pub(super) cut: bool,
    /// The peer types, has finished sending, and gets what there is to come.
    pub(super) finished: bool,
    /// Known once a message was received.
    pub(super) session: Option<usize>,
    /// Messages received, and those read by the caller; and how many must be read before a draining server ends.
    pub(super) heard: u64,
    pub(super) read: u64,
    pub(super) to_read: u64,
    /// The last answer that was sent whole.
    pub(super) sent: u64,
    /// Answers given, and those reported as acknowledged, or as not acknowledged.
    pub(super) said: u64,
    pub(super) delivered: u64,
    pub(super) undelivered: u64,
}

impl ServerSession {
    /// Whether the caller has read every message.
    pub(super) const fn is_read(&self) -> bool {
        self.read == self.heard
    }

    /// A session ends: it had to, and of every answer it is known what became of it.
    pub(super) fn check_end(
        &self,
        now: Time,
        failure: Option<&Failure>,
        step: Step<'_>,
        draining: bool,
        keep: Duration,
    ) -> Result<(), String> {
        let over = self.lost.is_some_and(|since| now >= since + keep);
        let right = match (step.0, failure) {
            (Event::Received(_, Message::Bye), None) => true,
            (Event::Received(_, Message::Begin { .. }) | Event::Opened(..), Some(Failure::Replaced)) => {
                self.conn.is_none()
            }
            (Event::Closed(_, CloseReason::PeerClosed), None) => self.lines && self.is_read(),
            (Event::Closed(_, CloseReason::PeerClosed), Some(_)) if self.lines => false,
            (Event::Closed(_, reason), Some(Failure::Closed(why))) => why == reason,
            (Event::Deadline, Some(Failure::TimedOut)) => over,
            (_, None) => self.finished && self.is_read(),
            (_, Some(Failure::ShuttingDown)) => {
                draining && (self.conn.is_none() || (self.undelivered == 0 && self.read >= self.to_read))
            }
            _ => false,
        };
        if !right {
            return Err(format!(
                "a session ends for this reason: {}; the event was: {}",
                words::or_none(failure.map(words::brief)),
                words::event(step.0)
            ));
        }
        if self.delivered + self.undelivered != self.said {
            return Err("a session ends without a result for each answer".into());
        }
        Ok(())
    }
}
