//! The rules of notices: one result for each message, its round trip, and the pauses between attempts.

use std::time::Duration;

use echosphere_core::Time;
use echosphere_core::echo::{Command, Failure, Notice};
use echosphere_core::wire::ErrorCode;

use super::{ClientModel, SLACK};
use crate::marks::Mark;
use crate::oracle::attempts::{AttemptRule, Attempts};
use crate::oracle::echo::words::{ModelEvent, Payload};
use crate::words;

/// After these the same message may be sent again.
const TEMPORARY: [ErrorCode; 7] = [
    ErrorCode::ShuttingDown,
    ErrorCode::Full,
    ErrorCode::Busy,
    ErrorCode::TooManyWaiting,
    ErrorCode::HandshakeTimeout,
    ErrorCode::IdleTimeout,
    ErrorCode::Truncated,
];

/// A reported duration is right, up to the error of the client's clock.
fn same_time(what: &str, said: Duration, took: Duration) -> Result<(), String> {
    let (least, most) = (took.mul_f64(0.89), took.mul_f64(1.11) + SLACK);
    if said + SLACK < least || said > most {
        return Err(format!("{what} of {said:?}, which took {took:?}"));
    }
    Ok(())
}

impl ClientModel {
    pub(super) fn notify(
        &mut self,
        host: usize,
        notice: &Notice,
        event: &ModelEvent<'_, Command>,
    ) -> Result<(), String> {
        match notice {
            Notice::Acknowledged {
                key: id,
                round_trip,
                total,
                retries,
            } => {
                // That this connection had sent X, and has ended by its ok, was checked when it closed.
                match *event {
                    ModelEvent::Received(_, Payload::Ok(x)) if self.says[*id as usize] == x => {}
                    _ => return Err(format!("message number {id} acknowledged without its ok")),
                }
                let failed = self.attempts.get(id).map_or(0, Attempts::failures);
                if *retries != failed {
                    return Err(format!(
                        "message number {id} took {retries} retries, they say, and {failed} failed"
                    ));
                }
                if let (Some(now), Some(sent)) = (self.now, self.acknowledged_on) {
                    same_time("a round trip", *round_trip, now.saturating_sub(sent))?;
                }
                if round_trip > total {
                    return Err(format!(
                        "message number {id} took {round_trip:?} there and back, and {total:?} in all"
                    ));
                }
                self.settled(host, *id)?;
            }
            Notice::Retrying { key: id, .. } if self.host(host).draining => {
                return Err(format!("message number {id} is tried again, though the client drains"));
            }
            Notice::Retrying {
                key: id,
                failure,
                after,
            } => {
                self.retries += 1;
                let connected = self.host(host).connected;
                let rule = AttemptRule {
                    insists: !self.meek.contains(&host),
                    ..self.rule
                };
                let attempts = self
                    .attempts
                    .entry(*id)
                    .or_insert_with(|| Attempts::begins(rule, Time::ZERO));
                let refused = matches!(failure, Failure::Dial(_)) && !connected;
                attempts.fails(Time::ZERO, refused);
                let paused = attempts.pauses(Time::ZERO, *after);
                paused.map_err(|rule| format!("message number {id}: {rule}"))?;
                // A clock that goes too fast makes it shorter.
                let until = self.now.unwrap_or_default() + after.mul_f64(0.9);
                self.pauses.insert((host, until, *id));
                match failure {
                    Failure::TimedOut => self.marks.hit(Mark::ResponseTimeout),
                    Failure::Rejected(code, _) if !TEMPORARY.contains(code) => {
                        return Err(format!("message number {id} is sent again after {code}"));
                    }
                    _ => {}
                }
            }
            Notice::GaveUp {
                key: id,
                failure: Failure::Rejected(ErrorCode::FrameTooLong | ErrorCode::LineTooLong, _),
                ..
            } if self.too_long.contains(id) => {
                self.marks.hit(Mark::TooLong);
                self.settled(host, *id)?;
                self.given_up.insert(*id);
            }
            Notice::GaveUp { key: id, .. } if self.host(host).draining => {
                self.marks.hit(Mark::GivenUpInDrain);
                self.settled(host, *id)?;
                self.given_up.insert(*id);
            }
            Notice::GaveUp {
                key: id,
                failure: Failure::Dial(_),
                attempts,
            } if self.meek.contains(&host) && !self.host(host).connected => {
                self.marks.hit(Mark::GivenUpWhenRefused);
                let failed = self.attempts.get(id).map_or(0, Attempts::failures);
                if *attempts != failed + 1 {
                    return Err(format!(
                        "the caller was notified after {failed} failed attempts: {}",
                        words::brief(notice)
                    ));
                }
                self.settled(host, *id)?;
                self.given_up.insert(*id);
            }
            Notice::GaveUp { key: id, failure, .. } => {
                return Err(format!(
                    "message number {id} is given up, which it never should be: {}",
                    words::brief(failure)
                ));
            }
        }
        Ok(())
    }

    /// An attempt begins because it is asked for, or because the pause after another is over.
    pub(super) fn dial(&mut self, host: usize, event: &ModelEvent<'_, Command>) -> Result<(), String> {
        if self.host(host).draining {
            return Err("an attempt to connect, though the client drains".into());
        }
        if matches!(event, ModelEvent::Command(_)) {
            return Ok(());
        }
        let of_host = (host, Duration::ZERO, 0)..(host + 1, Duration::ZERO, 0);
        let Some(&first) = self.pauses.range(of_host).next() else {
            return Err("an attempt that no message needs".into());
        };
        self.pauses.remove(&first);
        match self.now {
            Some(now) if now < first.1 => Err(format!("an attempt {:?} too early", first.1 - now)),
            _ => Ok(()),
        }
    }

    /// The host is done with a message.
    fn settled(&mut self, host: usize, id: u64) -> Result<(), String> {
        let at = id as usize;
        if self.under_way[at].take_if(|of| *of == host as u32).is_none() {
            return Err(format!("message number {id} acknowledged or given up twice"));
        }
        self.attempts.remove(&id);
        let x = self.says[at] as usize;
        let host = self.host(host);
        host.under_way -= 1;
        host.wanted[x] -= 1;
        Ok(())
    }

    /// The driver notified the caller.
    pub(in crate::oracle::echo) fn told(&mut self, host: usize, notice: &Notice) -> Result<(), String> {
        let (Notice::Acknowledged { key: id, .. } | Notice::GaveUp { key: id, .. }) = notice else {
            return Ok(());
        };
        let at = *id as usize;
        if self.under_way[at] == Some(host as u32) || !std::mem::take(&mut self.open[at]) {
            return Err(format!(
                "the caller was notified of message number {id} twice or too early"
            ));
        }
        self.open_count -= 1;
        Ok(())
    }
}
