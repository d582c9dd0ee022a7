//! The rules of the server: one peer at a time, everything heard once, lost sessions kept.

use std::collections::{BTreeMap, BTreeSet};

use echosphere_core::chat::{Failure, Message, Notice, ServerConfig};
use echosphere_core::wire::ErrorCode;
use echosphere_core::{Action, CloseReason, ConnId, Event, Machine, Time};

use super::callers::Answering;
use super::sessions::{Sending, Session, Sessions, answered_at_once};
use crate::marks::{Mark, Marks};
use crate::observe::{ActionOf, EventOf};
use crate::words;

#[derive(Debug)]
pub(super) struct ServerModel {
    config: ServerConfig,
    marks: Marks,
    draining: bool,
    talk: Option<Talk>,
    /// Connections that have not said what they want, and since when.
    strangers: BTreeMap<ConnId, Time>,
    /// Connections that neither side has closed.
    open: BTreeSet<ConnId>,
    sending: Sending,
}

/// Whom the server talks with.
#[derive(Debug)]
struct Talk {
    number: u64,
    /// None while the peer is lost.
    conn: Option<ConnId>,
    /// Since when it is.
    lost: Option<Time>,
    /// It was lost because half-received messages held too much.
    refused: bool,
    /// The peer types.
    lines: bool,
    /// It was heard only in part, as it has gone: nothing more may come of it.
    cut: bool,
    /// Known once something was heard.
    session: Option<usize>,
    /// The last answer that was sent whole.
    sent: u64,
    /// Answers given, and those of them that were said to be delivered, or not to be.
    said: u64,
    delivered: u64,
    undelivered: u64,
}

/// How somebody who types begins, with their first line.
const TYPED: Message = Message::Begin { session: 0 };

type Step<'a> = (&'a EventOf<Answering>, &'a [ActionOf<Answering>]);

impl ServerModel {
    pub(super) fn new(config: ServerConfig, marks: Marks) -> Self {
        Self {
            config,
            marks,
            draining: false,
            talk: None,
            strangers: BTreeMap::new(),
            open: BTreeSet::new(),
            sending: Sending::default(),
        }
    }

    pub(super) fn restart(&mut self) {
        *self = Self::new(self.config.clone(), self.marks.clone());
    }

    fn peer(&self) -> Option<ConnId> {
        self.talk.as_ref()?.conn
    }

    pub(super) fn step(
        &mut self,
        sessions: &mut Sessions,
        now: Time,
        event: &EventOf<Answering>,
        actions: &[ActionOf<Answering>],
    ) -> Result<(), String> {
        let step = (event, actions);
        let cut = self.talk.as_ref().is_some_and(|talk| talk.cut);
        if cut && !matches!(event, Event::Closed(conn, _) if self.peer() == Some(*conn)) {
            return Err("a part of a line was taken for the whole, and its connection goes on".into());
        }
        match event {
            Event::Opened(conn, opened) => {
                self.open.insert(*conn);
                if !self.draining && opened.text {
                    self.introduced(sessions, *conn, &TYPED, actions)?;
                } else if !self.draining {
                    self.strangers.insert(*conn, now);
                }
            }
            Event::Received(conn, message) if self.strangers.remove(conn).is_some() => {
                self.introduced(sessions, *conn, message, actions)?;
            }
            Event::Received(conn, message) if self.peer() == Some(*conn) => self.hears(*conn, message, actions)?,
            Event::Closed(conn, reason) => {
                self.open.remove(conn);
                self.strangers.remove(conn);
                if self.peer() == Some(*conn) {
                    self.lost(now, *reason, actions)?;
                }
            }
            Event::Drain => {
                self.draining = true;
                self.strangers.clear();
            }
            _ => {}
        }
        for action in actions {
            match action {
                Action::Notify(notice) => self.told(sessions, now, notice, step)?,
                Action::Send(conn, Message::Welcome { .. }) => self.welcomes(*conn, event)?,
                Action::Send(conn, Message::Part { .. } | Message::Taken { .. }) if self.peer() != Some(*conn) => {
                    return Err(format!("{conn:?} is talked with, and is not the peer"));
                }
                Action::Send(_, Message::Part { id, last: true, .. }) => {
                    let talk = self.talk.as_mut().ok_or("something is said to nobody")?;
                    talk.sent = talk.sent.max(*id);
                }
                Action::Close(conn, reason) => self.closes(now, *conn, *reason)?,
                _ => {}
            }
        }
        self.check_got(sessions, step)?;
        self.sending.note(now, self.config.talk.window, actions)
    }

    /// The peer says something.
    fn hears(&mut self, conn: ConnId, message: &Message, actions: &[ActionOf<Answering>]) -> Result<(), String> {
        let ends = |action: &ActionOf<Answering>| matches!(action, Action::Notify(Notice::Ended { .. }));
        match message {
            Message::Taken { .. } => self.sending.answered(),
            Message::Bye if !actions.iter().any(ends) => return Err("a session goes on after bye".into()),
            _ => {}
        }
        answered_at_once(conn, message, actions)
    }

    /// The first message of a connection: the server talks with it, or says why not.
    fn introduced(
        &mut self,
        sessions: &Sessions,
        conn: ConnId,
        message: &Message,
        actions: &[ActionOf<Answering>],
    ) -> Result<(), String> {
        let welcome = actions.iter().find_map(|action| match action {
            Action::Send(to, Message::Welcome { received }) if *to == conn => Some(*received),
            _ => None,
        });
        let refused = actions.iter().find_map(|action| match action {
            Action::Send(to, Message::Error(code, _)) if *to == conn => Some(*code),
            _ => None,
        });
        let (number, refusal) = self.greeted(sessions, message)?;
        let known = self.knows(number);
        let taken = self.peer().is_some();
        if refused != refusal {
            return Err(format!(
                "a greeting ({}) is answered by this error: {}; should be by: {}",
                words::brief(message),
                words::or_none(refused),
                words::or_none(refusal)
            ));
        }
        if let Some(code) = refusal {
            self.marks.hit(match code {
                ErrorCode::Busy => Mark::ServerTalks,
                ErrorCode::UnknownSession => Mark::SessionForgotten,
                _ => Mark::Overtaken,
            });
            return if welcome.is_none() {
                Ok(())
            } else {
                Err("both refused and welcomed".into())
            };
        }
        let heard = self
            .talked_of(sessions, number)
            .map_or(0, |session| session.heard as u64);
        if welcome != Some(heard) {
            return Err(format!(
                "welcomed with this number of messages heard: {}; should be {heard}",
                words::or_none(welcome)
            ));
        }
        if known {
            self.marks.hit(Mark::Resumed);
            if taken {
                self.marks.hit(Mark::TakenOver);
            }
        }
        Ok(())
    }

    /// Whether this is the session that it talks in, or waits for.
    fn knows(&self, number: u64) -> bool {
        let talk = self.talk.as_ref();
        talk.is_some_and(|talk| number != 0 && talk.number == number)
    }

    /// What was said in the session of this number, if the server still knows it. One that has ended, and is begun again by a
    /// greeting that was overtaken, is a new one to the server: nothing was said in it.
    fn talked_of<'a>(&self, sessions: &'a Sessions, number: u64) -> Option<&'a Session> {
        let talk = self.talk.as_ref().filter(|_| self.knows(number))?;
        talk.session.map(|session| sessions.get(session))
    }

    /// Which session a greeting is for, and why it is refused, if it is.
    fn greeted(&self, sessions: &Sessions, message: &Message) -> Result<(u64, Option<ErrorCode>), String> {
        let (number, resumes, heard) = match *message {
            Message::Begin { session } => (session, false, 0),
            Message::Resume { session, received } => (session, true, received),
            _ => return Err(format!("a client begins with: {}", words::brief(message))),
        };
        // A greeting that says less than what the client has said to have heard was overtaken by a newer connection; one that
        // says more than was sent is of a session that has ended, and was begun again by a greeting that was overtaken.
        let told = self
            .talked_of(sessions, number)
            .map_or(0, |session| session.answers_delivered as u64);
        let sent = self.talk.as_ref().map_or(0, |talk| talk.sent);
        let refusal = match (self.knows(number), resumes) {
            (true, _) if heard < told => Some(ErrorCode::UnknownRequest),
            (true, _) => (heard > sent).then_some(ErrorCode::UnknownSession),
            (false, true) => Some(ErrorCode::UnknownSession),
            (false, false) => self.peer().map(|_| ErrorCode::Busy),
        };
        Ok((number, refusal))
    }

    /// The server talks with this connection from now on, which has just said who it is.
    fn welcomes(&mut self, conn: ConnId, event: &EventOf<Answering>) -> Result<(), String> {
        let (number, received) = match *event {
            Event::Received(from, Message::Begin { session }) if from == conn => (session, 0),
            Event::Opened(from, opened) if from == conn && opened.text => {
                self.marks.hit(Mark::ChatTyped);
                (0, 0)
            }
            Event::Received(from, Message::Resume { session, received }) if from == conn => (session, received),
            _ => return Err(format!("{conn:?} is welcomed, and did not greet")),
        };
        self.sending = Sending::after(received);
        let known = self.knows(number);
        let known = self.talk.take().filter(|_| known);
        let new = Talk {
            number,
            conn: None,
            lost: None,
            refused: false,
            lines: matches!(event, Event::Opened(..)),
            cut: false,
            session: None,
            sent: 0,
            said: 0,
            delivered: 0,
            undelivered: 0,
        };
        if known.as_ref().is_some_and(|talk| talk.refused) {
            self.marks.hit(Mark::BackAfterBusy);
        }
        self.talk = Some(Talk {
            conn: Some(conn),
            lost: None,
            refused: false,
            ..known.unwrap_or(new)
        });
        Ok(())
    }

    fn closes(&mut self, now: Time, conn: ConnId, reason: CloseReason) -> Result<(), String> {
        self.open.remove(&conn);
        let since = self.strangers.remove(&conn);
        match (reason, since) {
            (CloseReason::HandshakeTimeout, Some(since)) if now >= since + self.config.begin_timeout => Ok(()),
            (CloseReason::HandshakeTimeout, _) => Err(format!("{conn:?} is given up too early")),
            _ => Ok(()),
        }
    }

    /// A client that comes back has got all that it says, and nothing else.
    fn check_got(&self, sessions: &mut Sessions, (event, actions): Step<'_>) -> Result<(), String> {
        let welcome = |action: &ActionOf<Answering>| matches!(action, Action::Send(_, Message::Welcome { .. }));
        match (event, &self.talk) {
            (Event::Received(_, Message::Resume { received, .. }), Some(talk)) if actions.iter().any(welcome) => {
                let delivered = talk
                    .session
                    .map_or(0, |session| sessions.get(session).answers_delivered);
                if delivered as u64 == *received {
                    Ok(())
                } else {
                    Err(format!(
                        "{received} are there, says the client, and {delivered} are delivered"
                    ))
                }
            }
            _ => Ok(()),
        }
    }

    /// The peer's connection is gone: one that may come back is waited for.
    fn lost(&mut self, now: Time, reason: CloseReason, actions: &[ActionOf<Answering>]) -> Result<(), String> {
        let Some(talk) = &mut self.talk else {
            return Ok(());
        };
        talk.conn = None;
        talk.lost = Some(now);
        talk.refused = reason == CloseReason::PartialLimit;
        let kept = actions
            .iter()
            .any(|action| matches!(action, Action::Notify(Notice::Lost(_))));
        if kept != (talk.number != 0 && !self.draining) {
            return Err("a session is kept that is not to be, or the other way round".into());
        }
        Ok(())
    }

    fn told(&mut self, sessions: &mut Sessions, now: Time, notice: &Notice, step: Step<'_>) -> Result<(), String> {
        match notice {
            Notice::Heard { body, .. } => {
                let talk = self.talk.as_mut().ok_or("something is heard from nobody")?;
                let session = match sessions.heard(body) {
                    Ok(session) => session,
                    Err(_) if talk.lines && sessions.is_cut(talk.session, body) => {
                        talk.cut = true;
                        talk.said += u64::from(!self.draining);
                        return Ok(());
                    }
                    Err(rule) => return Err(rule),
                };
                if talk.session.replace(session).is_some_and(|other| other != session) {
                    return Err("something is heard of another session".into());
                }
                // A server that drains says nothing more.
                talk.said += u64::from(!self.draining);
            }
            Notice::Delivered { id, round_trip, .. } => {
                let talk = self.talk.as_mut().ok_or("something is delivered to nobody")?;
                talk.delivered += 1;
                let session = talk.session.ok_or("an answer is delivered where nothing was heard")?;
                let entry = sessions.get_mut(session);
                entry.answers_delivered += 1;
                if *id != talk.delivered || entry.answers_delivered > entry.answers {
                    return Err(format!("answer {id} is said to be delivered, and was not heard"));
                }
                match (round_trip, step.0) {
                    (Some(took), Event::Received(_, Message::Taken { .. })) => self.sending.check(now, *id, *took)?,
                    (None, Event::Received(_, Message::Resume { .. })) => {}
                    _ => return Err("something is delivered because of something else".into()),
                }
            }
            Notice::Undelivered { .. } => {
                let talk = self.talk.as_mut().ok_or("an answer to nobody is not delivered")?;
                talk.undelivered += 1;
            }
            Notice::Ended { failure } => {
                let talk = self.talk.take().ok_or("no session ends")?;
                self.check_end(&talk, now, failure.as_ref(), step)?;
            }
            Notice::Refused { .. } if self.talk.is_some() && !self.draining => {
                return Err("an answer is refused".into());
            }
            _ => {}
        }
        Ok(())
    }

    /// A session ends: it had to, and of every answer it is known what became of it.
    fn check_end(&self, talk: &Talk, now: Time, failure: Option<&Failure>, step: Step<'_>) -> Result<(), String> {
        let over = talk.lost.is_some_and(|since| now >= since + self.config.keep);
        let right = match (step.0, failure) {
            (Event::Received(_, Message::Bye), None) => true,
            (Event::Received(_, Message::Begin { .. }) | Event::Opened(..), Some(Failure::Replaced)) => {
                talk.conn.is_none()
            }
            (Event::Closed(_, CloseReason::PeerClosed), failure) => failure.is_none(),
            (Event::Closed(_, reason), Some(Failure::Closed(why))) => why == reason,
            (Event::Deadline, Some(Failure::TimedOut)) => over,
            (Event::Received(..) | Event::Drain, Some(Failure::ShuttingDown)) => {
                self.draining && (talk.conn.is_none() || talk.undelivered == 0)
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
        if talk.delivered + talk.undelivered != talk.said {
            return Err("a session ends, and of some answer nothing is known".into());
        }
        Ok(())
    }

    pub(super) fn compare(&self, server: &Answering) -> Result<(), String> {
        let peer = self.peer();
        if server.inner.peer() != peer {
            return Err(format!(
                "the server talks with {}, should talk with {}",
                words::conn(server.inner.peer()),
                words::conn(peer)
            ));
        }
        let wanted: BTreeSet<ConnId> = self.strangers.keys().copied().chain(peer).collect();
        if let Some(conn) = self.open.difference(&wanted).next() {
            return Err(format!("{conn:?} stays connected, and is neither the peer nor new"));
        }
        if let Some(conn) = wanted.difference(&self.open).next() {
            return Err(format!("{conn:?} is closed, and is the peer or new"));
        }
        let strangers = self.strangers.values().map(|since| *since + self.config.begin_timeout);
        let lost = self.talk.as_ref().and_then(|talk| talk.lost);
        let due = strangers.chain(lost.map(|since| since + self.config.keep)).min();
        if server.next_deadline() != due {
            return Err(format!(
                "the server's next deadline is {}, should be {}",
                words::moment(server.next_deadline()),
                words::moment(due)
            ));
        }
        let nothing = self.talk.is_none() && self.strangers.is_empty();
        if nothing != server.is_zero() {
            return Err("the server is at zero and should not be, or the other way round".into());
        }
        Ok(())
    }

    pub(super) fn ends(&self) -> Result<(), String> {
        match (&self.talk, self.strangers.len()) {
            (None, 0) => Ok(()),
            _ => Err("the server still talks with somebody".into()),
        }
    }
}
