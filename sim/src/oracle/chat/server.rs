//! The rules of the server: one peer at a time, everything heard once, lost sessions kept.

use echosphere_core::chat::{Message, Notice};
use echosphere_core::wire::ErrorCode;
use echosphere_core::{Action, ConnId, Event, Machine, Time};

use super::callers::Answering;
use super::sessions::{Sessions, Started, answered_at_once};
use crate::marks::{Mark, Marks};
use crate::observe::{ActionOf, EventOf};

#[derive(Debug)]
pub(super) struct ServerModel {
    marks: Marks,
    draining: bool,
    talk: Option<Talk>,
    strangers: std::collections::BTreeSet<ConnId>,
    started: Started,
}

/// Whom the server talks with.
#[derive(Debug)]
struct Talk {
    number: u64,
    /// None while the peer is lost.
    conn: Option<ConnId>,
    /// Known once something was heard.
    session: Option<usize>,
    said: u64,
}

type Step<'a> = (&'a EventOf<Answering>, &'a [ActionOf<Answering>]);

impl ServerModel {
    pub(super) fn new(marks: Marks) -> Self {
        Self {
            marks,
            draining: false,
            talk: None,
            strangers: Default::default(),
            started: Started::default(),
        }
    }

    pub(super) fn restart(&mut self) {
        *self = Self::new(self.marks.clone());
    }

    pub(super) fn step(
        &mut self,
        sessions: &mut Sessions,
        now: Time,
        event: &EventOf<Answering>,
        actions: &[ActionOf<Answering>],
    ) -> Result<(), String> {
        let peer = self.talk.as_ref().and_then(|talk| talk.conn);
        match event {
            Event::Opened(conn, _) if !self.draining => {
                self.strangers.insert(*conn);
            }
            Event::Received(conn, message) if self.strangers.remove(conn) => {
                self.introduced(sessions, *conn, message, actions)?;
            }
            Event::Received(conn, message) if peer == Some(*conn) => answered_at_once(*conn, message, actions)?,
            Event::Closed(conn, _) if peer == Some(*conn) => self.lost((event, actions))?,
            Event::Closed(conn, _) => {
                self.strangers.remove(conn);
            }
            Event::Drain => {
                self.draining = true;
                self.strangers.clear();
            }
            _ => {}
        }
        let mut talked = self.talk.is_some();
        for action in actions {
            match action {
                Action::Notify(notice) => self.told(sessions, now, notice, (event, actions), &mut talked)?,
                Action::Send(conn, Message::Part { .. } | Message::Taken { .. } | Message::Welcome { .. })
                    if self.talk.as_ref().and_then(|talk| talk.conn) != Some(*conn) && talked =>
                {
                    return Err(format!("{conn:?} is talked with, and is not the peer"));
                }
                Action::Close(conn, _) => {
                    self.strangers.remove(conn);
                }
                _ => {}
            }
        }
        self.started.note(now, actions);
        Ok(())
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
        let (number, resumes) = match *message {
            Message::Begin { session } => (session, false),
            Message::Resume { session, .. } => (session, true),
            _ => return Err(format!("a client begins with {message:?}")),
        };
        let known = self
            .talk
            .as_ref()
            .is_some_and(|talk| number != 0 && talk.number == number);
        let taken = self.talk.as_ref().is_some_and(|talk| talk.conn.is_some());
        // A greeting that says less than what the client has said to have heard was overtaken by a newer connection.
        let heard = match *message {
            Message::Resume { received, .. } => received,
            _ => 0,
        };
        let told = sessions
            .by_number(number)
            .map_or(0, |session| session.answers_delivered as u64);
        let refusal = match (known, resumes, taken) {
            (true, ..) if heard < told => Some(ErrorCode::UnknownRequest),
            (true, ..) => None,
            (false, true, _) => Some(ErrorCode::UnknownSession),
            (false, false, true) => Some(ErrorCode::Busy),
            (false, false, false) => None,
        };
        if refused != refusal {
            return Err(format!(
                "{message:?} is answered by the error {refused:?}, should be {refusal:?}"
            ));
        }
        if refusal.is_some() {
            self.marks.hit(if taken {
                Mark::ServerTalks
            } else {
                Mark::SessionForgotten
            });
            return if welcome.is_none() {
                Ok(())
            } else {
                Err("both refused and welcomed".into())
            };
        }
        let session = sessions.by_number(number).filter(|_| number != 0 && known);
        let heard = session.map_or(0, |session| session.heard as u64);
        if welcome != Some(heard) {
            return Err(format!("welcomed with {welcome:?} messages heard, where {heard} were"));
        }
        if known {
            self.marks.hit(Mark::Resumed);
            if taken {
                self.marks.hit(Mark::TakenOver);
            }
        }
        match &mut self.talk {
            Some(talk) if known => talk.conn = Some(conn),
            talk => {
                *talk = Some(Talk {
                    number,
                    conn: Some(conn),
                    session: None,
                    said: 0,
                });
            }
        }
        Ok(())
    }

    /// The peer's connection is gone: one that may come back is waited for.
    fn lost(&mut self, (_, actions): Step<'_>) -> Result<(), String> {
        let Some(talk) = &mut self.talk else {
            return Ok(());
        };
        talk.conn = None;
        let kept = actions
            .iter()
            .any(|action| matches!(action, Action::Notify(Notice::Lost(_))));
        if kept != (talk.number != 0 && !self.draining) {
            return Err("a session is kept that is not to be, or the other way round".into());
        }
        Ok(())
    }

    fn told(
        &mut self,
        sessions: &mut Sessions,
        now: Time,
        notice: &Notice,
        (event, actions): Step<'_>,
        talked: &mut bool,
    ) -> Result<(), String> {
        match notice {
            Notice::Heard { body, .. } => {
                let session = sessions.heard(body)?;
                let talk = self.talk.as_mut().ok_or("something is heard from nobody")?;
                if talk.session.replace(session).is_some_and(|other| other != session) {
                    return Err("something is heard of another session".into());
                }
            }
            Notice::Delivered { id, round_trip, .. } => {
                let talk = self.talk.as_mut().ok_or("something is delivered to nobody")?;
                talk.said += 1;
                let session = talk.session.ok_or("an answer is delivered where nothing was heard")?;
                let entry = sessions.get(session);
                entry.answers_delivered += 1;
                if *id != talk.said || entry.answers_delivered > entry.answers {
                    return Err(format!("answer {id} is said to be delivered, and was not heard"));
                }
                match (round_trip, event) {
                    (Some(took), Event::Received(_, Message::Taken { .. })) => self.started.check(now, *id, *took)?,
                    (None, Event::Received(_, Message::Resume { .. })) => {}
                    _ => return Err("something is delivered because of something else".into()),
                }
            }
            Notice::Ended { .. } => {
                // Replaced, in the step in which somebody else has come.
                let replaced = matches!(event, Event::Received(_, Message::Begin { .. }))
                    && actions
                        .iter()
                        .any(|action| matches!(action, Action::Send(_, Message::Welcome { .. })));
                if !replaced {
                    self.talk = None;
                    *talked = false;
                }
            }
            Notice::Refused { .. } if self.talk.is_some() && !self.draining => {
                return Err("an answer is refused".into());
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn compare(&self, server: &Answering) -> Result<(), String> {
        let peer = self.talk.as_ref().and_then(|talk| talk.conn);
        if server.inner.peer() != peer {
            return Err(format!(
                "the server talks with {:?}, should with {peer:?}",
                server.inner.peer()
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
