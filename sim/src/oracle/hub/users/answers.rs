//! The rules of a hub's replies, compared with the requests.

use std::collections::BTreeSet;
use std::time::Duration;

use echosphere_core::Action;
use echosphere_core::hub::{Failure, Notice, Reply, Request};
use echosphere_core::wire::ErrorCode;

use super::{ActionIter, Session, Step, UsersModel, must};
use crate::marks::Mark;
use crate::scenario::RESPONSE_TIMEOUT;
use crate::words;

/// What a time may be off by, as clocks are read at different moments.
const SLACK: Duration = Duration::from_millis(5);

/// Whether a hub's client retries after this error: PROTOCOL.md, Errors.
pub(super) const fn is_retried(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Busy
            | ErrorCode::ShuttingDown
            | ErrorCode::Full
            | ErrorCode::Truncated
            | ErrorCode::HandshakeTimeout
            | ErrorCode::IdleTimeout
    )
}

impl UsersModel {
    /// No request has waited for its answer for longer than it may, by a clock that goes too slow.
    pub(super) fn check_given_up(&self, host: usize) -> Result<(), String> {
        let Some((now, of)) = self.now.zip(self.hosts.get(&host)) else {
            return Ok(());
        };
        let paused = self.paused.get(&host).copied().unwrap_or_default();
        let over = |sent: Duration| now > (sent + RESPONSE_TIMEOUT.mul_f64(1.12)).max(paused) + SLACK;
        let oldest = of.sessions.values().filter_map(|session| session.asks.front());
        let mut waiting = oldest.filter_map(|ask| Some((ask.number, ask.sent?.1?)));
        match waiting.find(|(_, sent)| over(*sent)) {
            Some((ask, sent)) => Err(format!("number {ask} has waited for its answer for {:?}", now - sent)),
            None => Ok(()),
        }
    }
}

impl Step<'_> {
    pub(super) fn heard(&mut self, number: u64, reply: &Reply, actual: &mut ActionIter<'_>) -> Result<(), String> {
        let (now, marks) = (self.host.now, self.marks);
        let session = self.of(number)?;
        match reply {
            Reply::Delivery { from, body } => {
                marks.hit(Mark::Delivered);
                session.attempts.proves();
                let delivered = Notice::Received {
                    session: number,
                    from: *from,
                    body: body.clone(),
                };
                must(actual, &Action::Notify(delivered))?;
            }
            // The connection is about to end.
            Reply::Error(code, text) if is_retried(*code) => {
                if *code == ErrorCode::Full {
                    marks.hit(Mark::ToldFull);
                }
                session.told = Some(Failure::Rejected(*code, text.clone()));
                return Ok(());
            }
            reply => {
                let ask = session.asks.pop_front();
                let ask = ask.ok_or_else(|| {
                    format!(
                        "session {number} waits for no answer, and receives: {}",
                        words::brief(reply)
                    )
                })?;
                let (sent, _) = ask.sent.ok_or("an answer to what was not sent")?;
                if !session.fits(&ask.request, reply) {
                    return Err(format!(
                        "a request ({}) is answered by another kind of reply ({})",
                        words::brief(&ask.request),
                        words::brief(reply)
                    ));
                }
                session.attempts.proves();
                let answered = Notice::Answered {
                    session: number,
                    ask: ask.number,
                    reply: reply.clone(),
                    round_trip: now.since(sent),
                };
                must(actual, &Action::Notify(answered))?;
            }
        }
        self.settle(number, actual)
    }
}

impl Session {
    fn fits(&mut self, request: &Request, reply: &Reply) -> bool {
        match (request, reply) {
            (Request::Identity, Reply::Identity(id)) => *self.id.get_or_insert(*id) == *id,
            (Request::List, Reply::List(ids)) => {
                let ids: Vec<u64> = ids.iter().collect();
                ids.is_sorted_by(|a, b| a < b) && self.id.is_none_or(|id| !ids.contains(&id))
            }
            (Request::Echo(body), Reply::Echo(same)) => body == same,
            (Request::Relay { to, .. }, Reply::Relayed { sent, unsent }) => {
                let named: BTreeSet<u64> = to.iter().collect();
                usize::from(*sent) + unsent.len() == named.len()
            }
            _ => false,
        }
    }
}
