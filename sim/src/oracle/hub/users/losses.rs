//! What happens to a session when an attempt or its connection fails.

use echosphere_core::hub::{Failure, Notice};
use echosphere_core::{Action, CloseReason};

use super::answers::is_retried;
use super::{ActionIter, Ask, Stage, Step, must};
use crate::marks::Mark;
use crate::words;

impl Step<'_> {
    /// The attempt, or the connection, has failed. What there is left of it is closed for a reason, if that is known here.
    pub(super) fn fails(
        &mut self,
        number: u64,
        failure: &Failure,
        reason: Option<CloseReason>,
        actual: &mut ActionIter<'_>,
    ) -> Result<(), String> {
        let now = self.host.now;
        let reconnects = self.host.config.reconnect;
        let refused = matches!(failure, Failure::Dial(_)) && !self.host.connected;
        let session = self.of(number)?;
        let was_open = matches!(session.stage, Stage::Open(_));
        let comes_back = reconnects && !session.leaving;
        let passes = !matches!(failure, Failure::Rejected(code, _) if !is_retried(*code));
        let goes_on = !was_open || comes_back && passes;
        match reason {
            Some(reason) => self.let_go(number, reason, actual)?,
            None => self.of(number)?.stage = Stage::Pause,
        }
        let session = self.of(number)?;
        session.due = None;
        session.attempts.fails(now, refused);
        let sent = session.asks.partition_point(|ask| ask.sent.is_some());
        for Ask { number: ask, .. } in session.asks.drain(..sent).collect::<Vec<_>>() {
            self.unanswered(number, ask, actual)?;
        }
        if !goes_on {
            return self.ends(number, Some(failure), actual);
        }
        let broken = |rule: String| format!("session {number}: {rule}");
        if let Some(Action::Notify(Notice::Retrying {
            session: of,
            failure: why,
            after,
        })) = actual.clone().next()
        {
            actual.next();
            if *of != number || why != failure {
                return Err(format!(
                    "session {number} failed ({}), and the notice is of session {of} ({})",
                    words::brief(failure),
                    words::brief(why)
                ));
            }
            let until = self.of(number)?.attempts.pauses(now, *after).map_err(broken)?;
            return self.wait(number, Some(until));
        }
        self.of(number)?.attempts.gives_up(now).map_err(broken)?;
        self.marks.hit(Mark::UserGaveUp);
        self.ends(number, Some(failure), actual)
    }

    /// The session lets go of what it has.
    pub(super) fn let_go(
        &mut self,
        number: u64,
        reason: CloseReason,
        actual: &mut ActionIter<'_>,
    ) -> Result<(), String> {
        match std::mem::replace(&mut self.of(number)?.stage, Stage::Pause) {
            Stage::Pause => Ok(()),
            Stage::Dialling(token) => must(actual, &Action::AbandonDial(token)),
            Stage::Open(conn) => must(actual, &Action::Close(conn, reason)),
        }
    }

    /// The session is over, and its caller is notified of all pending requests.
    pub(super) fn ends(
        &mut self,
        number: u64,
        failure: Option<&Failure>,
        actual: &mut ActionIter<'_>,
    ) -> Result<(), String> {
        let session = self.host.sessions.remove(&number);
        let session = session.ok_or_else(|| format!("session {number} ends twice"))?;
        for ask in session.asks {
            self.unanswered(number, ask.number, actual)?;
        }
        let failure = failure.cloned();
        must(
            actual,
            &Action::Notify(Notice::Ended {
                session: number,
                failure,
            }),
        )
    }
}
