//! The rules of the server: one peer at a time, each message received once, lost sessions kept.

use std::collections::{BTreeMap, BTreeSet};

use echosphere_core::chat::{Message, Notice, ServerConfig};
use echosphere_core::wire::ErrorCode;
use echosphere_core::{Action, CloseReason, ConnId, Event, Machine, Time};

use super::machines::{Read, SimServer};
use super::server_session::{ServerSession, Step};
use super::sessions::{Answers, Sending, Sessions};
use crate::marks::{Mark, Marks};
use crate::observe::{ActionOf, EventOf};
use crate::words;

#[derive(Debug)]
pub(super) struct ServerModel {
    config: ServerConfig,
    marks: Marks,
    draining: bool,
    current: Option<ServerSession>,
    /// Connections without a greeting, and since when.
    strangers: BTreeMap<ConnId, Time>,
    /// Connections that neither side has closed.
    open: BTreeSet<ConnId>,
    sending: Sending,
    answers: Answers,
    /// Sessions that it began.
    begun: u64,
    /// A session that has ended, and in which the caller has not read everything.
    behind: Option<ServerSession>,
}

/// How a typing client begins, with its first line.
const TYPED: Message = Message::Begin { session: 0 };

impl ServerModel {
    pub(super) fn new(config: ServerConfig, marks: Marks) -> Self {
        Self {
            config,
            marks,
            draining: false,
            current: None,
            strangers: BTreeMap::new(),
            open: BTreeSet::new(),
            sending: Sending::default(),
            answers: Answers::default(),
            begun: 0,
            behind: None,
        }
    }

    pub(super) fn restart(&mut self) {
        *self = Self::new(self.config.clone(), self.marks.clone());
    }

    fn peer(&self) -> Option<ConnId> {
        self.current.as_ref()?.conn
    }

    pub(super) fn step(
        &mut self,
        sessions: &mut Sessions,
        server: &SimServer,
        event: &EventOf<SimServer>,
        actions: &[ActionOf<SimServer>],
    ) -> Result<(), String> {
        let now = server.now;
        let step = (event, actions);
        let cut = self
            .current
            .as_ref()
            .is_some_and(|current| current.cut && !current.finished);
        let ends = |conn: &ConnId| self.peer() == Some(*conn);
        if cut && !matches!(event, Event::Closed(conn, _) | Event::PeerFinished(conn) if ends(conn)) {
            return Err("a part of a line was taken for the whole, and its connection stays open".into());
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
            Event::Received(conn, message) if self.peer() == Some(*conn) => self.hears(message, actions)?,
            Event::Closed(conn, reason) => {
                self.open.remove(conn);
                self.strangers.remove(conn);
                if self.peer() == Some(*conn) {
                    if self.answers.are_withheld() {
                        self.marks.hit(Mark::LostWhileWithheld);
                    }
                    self.lost(now, *reason, actions)?;
                }
            }
            Event::PeerFinished(conn) => self.finishes(*conn)?,
            Event::Drain => {
                self.draining = true;
                self.strangers.clear();
                self.behind = None;
                if let Some(current) = &mut self.current {
                    current.to_read = current.heard;
                }
            }
            _ => {}
        }
        let mut reads = server.reads.iter().peekable();
        for (at, action) in actions.iter().enumerate() {
            while let Some(read) = reads.next_if(|read| read.after <= at) {
                self.reads(sessions, read);
            }
            match action {
                Action::Notify(notice) => self.told(sessions, now, notice, step)?,
                Action::Send(conn, Message::Welcome { .. }) => self.welcomes(*conn, event)?,
                Action::Send(conn, Message::Part { .. } | Message::Taken { .. }) if self.peer() != Some(*conn) => {
                    return Err(format!("{conn:?} is sent a message, and is not the peer"));
                }
                Action::Send(_, Message::Part { id, last: true, .. }) => {
                    let current = self.current.as_mut().ok_or("a message is sent without a session")?;
                    current.sent = current.sent.max(*id);
                }
                Action::Close(conn, reason) => self.closes(now, *conn, *reason)?,
                _ => {}
            }
        }
        reads.for_each(|read| self.reads(sessions, read));
        self.check_got(sessions, step)?;
        if let Some((conn, read)) = self
            .current
            .as_ref()
            .and_then(|current| Some((current.conn?, current.read)))
        {
            self.answers.check(conn, read, actions)?;
            if self.answers.are_withheld() {
                self.marks.hit(Mark::AnswerWithheld);
            }
        }
        self.sending.note(now, self.config.exchange.window, actions)
    }

    /// The caller has read a message.
    fn reads(&mut self, sessions: &mut Sessions, read: &Read) {
        let of = |current: &&mut ServerSession| current.ordinal == read.session;
        let Some(current) = self.current.as_mut().filter(of).or(self.behind.as_mut().filter(of)) else {
            return;
        };
        current.read = read.id;
        current.said += u64::from(read.answered && !self.draining);
        if let Some(session) = current.session {
            let entry = sessions.get_mut(session);
            // A line that was cut is no message.
            entry.read = entry.heard.min(entry.read + 1);
        }
        if self
            .current
            .as_ref()
            .is_none_or(|current| current.ordinal != read.session)
        {
            self.marks.hit(Mark::ReadTooLate);
        }
        self.behind.take_if(|current| current.is_read());
    }

    /// A peer has finished sending, and its connection stays open: a typing client with unread messages.
    fn finishes(&mut self, conn: ConnId) -> Result<(), String> {
        match &mut self.current {
            Some(current) if current.conn == Some(conn) && current.lines && !current.is_read() => {
                self.marks.hit(Mark::FinishedTyping);
                current.finished = true;
                Ok(())
            }
            _ => Err(format!("{conn:?} stays open, though its peer has finished sending")),
        }
    }

    /// The peer sends a message.
    fn hears(&mut self, message: &Message, actions: &[ActionOf<SimServer>]) -> Result<(), String> {
        let ends = |action: &ActionOf<SimServer>| matches!(action, Action::Notify(Notice::Ended { .. }));
        match message {
            Message::Taken { .. } => self.sending.answered(),
            Message::Bye if !actions.iter().any(ends) => return Err("a session continues after bye".into()),
            _ => self.answers.came(message),
        }
        Ok(())
    }

    /// The first message of a connection: the server welcomes or refuses it.
    fn introduced(
        &mut self,
        sessions: &Sessions,
        conn: ConnId,
        message: &Message,
        actions: &[ActionOf<SimServer>],
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
        let read = self.known_session(number).map_or(0, |current| current.read);
        if welcome != Some(read) {
            return Err(format!(
                "welcomed with this number of messages read: {}; should be {read}",
                words::or_none(welcome)
            ));
        }
        if known {
            self.marks.hit(Mark::Resumed);
            if self.known_session(number).is_some_and(|current| !current.is_read()) {
                self.marks.hit(Mark::HeardNotRead);
            }
            if taken {
                self.marks.hit(Mark::TakenOver);
            }
        }
        Ok(())
    }

    /// Whether this is the session that it talks in, or waits for.
    fn knows(&self, number: u64) -> bool {
        let current = self.current.as_ref();
        current.is_some_and(|current| number != 0 && current.number == number)
    }

    /// The session of this number, if the server still knows it. One that has ended, and is begun again by a greeting that was
    /// overtaken, is a new one to the server, without messages.
    fn known_session(&self, number: u64) -> Option<&ServerSession> {
        self.current.as_ref().filter(|_| self.knows(number))
    }

    /// Which session a greeting is for, and why it is refused, if it is.
    fn greeted(&self, sessions: &Sessions, message: &Message) -> Result<(u64, Option<ErrorCode>), String> {
        let (number, resumes, heard) = match *message {
            Message::Begin { session } => (session, false, 0),
            Message::Resume { session, received } => (session, true, received),
            _ => return Err(format!("a client begins with: {}", words::brief(message))),
        };
        // A greeting that reports less than the client had acknowledged was overtaken by a newer connection; one that
        // reports more than was sent is of a session that has ended, and was begun again by a greeting that was overtaken.
        let session = self.known_session(number).and_then(|current| current.session);
        let told = session.map_or(0, |session| sessions.get(session).answers_delivered as u64);
        let sent = self.current.as_ref().map_or(0, |current| current.sent);
        let refusal = match (self.knows(number), resumes) {
            (true, _) if heard < told => Some(ErrorCode::UnknownRequest),
            (true, _) => (heard > sent).then_some(ErrorCode::UnknownSession),
            (false, true) => Some(ErrorCode::UnknownSession),
            // A lost client may be replaced once all its messages are read.
            (false, false) => {
                let unread = |current: &ServerSession| !current.is_read();
                let busy = self.peer().is_some() || self.behind.is_some() || self.current.as_ref().is_some_and(unread);
                busy.then_some(ErrorCode::Busy)
            }
        };
        Ok((number, refusal))
    }

    /// The server welcomes this connection after its greeting.
    fn welcomes(&mut self, conn: ConnId, event: &EventOf<SimServer>) -> Result<(), String> {
        let (number, received) = match *event {
            Event::Received(from, Message::Begin { session }) if from == conn => (session, 0),
            Event::Opened(from, ref opened) if from == conn && opened.text => {
                self.marks.hit(Mark::ChatTyped);
                (0, 0)
            }
            Event::Received(from, Message::Resume { session, received }) if from == conn => (session, received),
            _ => return Err(format!("{conn:?} is welcomed, and did not greet")),
        };
        self.sending = Sending::after(received);
        self.answers = Answers::default();
        let known = self.knows(number);
        let known = self.current.take().filter(|_| known);
        self.begun += u64::from(known.is_none());
        let new = ServerSession {
            number,
            ordinal: self.begun,
            lines: matches!(event, Event::Opened(..)),
            ..ServerSession::default()
        };
        if known.as_ref().is_some_and(|current| current.refused) {
            self.marks.hit(Mark::BackAfterBusy);
        }
        self.current = Some(ServerSession {
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

    /// A resuming client has received exactly what it reports.
    fn check_got(&self, sessions: &mut Sessions, (event, actions): Step<'_>) -> Result<(), String> {
        let welcome = |action: &ActionOf<SimServer>| matches!(action, Action::Send(_, Message::Welcome { .. }));
        match (event, &self.current) {
            (Event::Received(_, Message::Resume { received, .. }), Some(current)) if actions.iter().any(welcome) => {
                let delivered = current
                    .session
                    .map_or(0, |session| sessions.get(session).answers_delivered);
                if delivered as u64 == *received {
                    Ok(())
                } else {
                    Err(format!(
                        "the client reports {received} messages as received; acknowledged are {delivered}"
                    ))
                }
            }
            _ => Ok(()),
        }
    }

    /// The peer's connection is gone: one that may come back is waited for.
    fn lost(&mut self, now: Time, reason: CloseReason, actions: &[ActionOf<SimServer>]) -> Result<(), String> {
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        current.conn = None;
        current.lost = Some(now);
        current.refused = reason == CloseReason::PartialLimit;
        let kept = actions
            .iter()
            .any(|action| matches!(action, Action::Notify(Notice::Lost(_))));
        if kept != (current.number != 0 && !self.draining) {
            return Err("the server is wrong on whether a lost session is kept".into());
        }
        Ok(())
    }

    fn told(&mut self, sessions: &mut Sessions, now: Time, notice: &Notice, step: Step<'_>) -> Result<(), String> {
        match notice {
            Notice::Received {
                session: ordinal,
                id,
                body,
            } => {
                let current = self.current.as_mut().ok_or("a message is received without a session")?;
                current.heard += 1;
                if (*ordinal, *id) != (current.ordinal, current.heard) {
                    return Err(format!("message {id} of session {ordinal} is received out of order"));
                }
                let session = match sessions.heard(body) {
                    Ok(session) => session,
                    Err(_) if current.lines && sessions.is_cut(current.session, body) => {
                        current.cut = true;
                        return Ok(());
                    }
                    Err(rule) => return Err(rule),
                };
                if current.session.replace(session).is_some_and(|other| other != session) {
                    return Err("a message of another session is received".into());
                }
            }
            Notice::Acknowledged { id, round_trip, .. } => {
                let current = self
                    .current
                    .as_mut()
                    .ok_or("an answer is acknowledged without a session")?;
                current.delivered += 1;
                let session = current
                    .session
                    .ok_or("an answer is acknowledged where no message was received")?;
                let entry = sessions.get_mut(session);
                entry.answers_delivered += 1;
                if *id != current.delivered || entry.answers_delivered > entry.answers_read {
                    return Err(format!("answer {id} is reported as acknowledged, and was not read"));
                }
                match (round_trip, step.0) {
                    (Some(took), Event::Received(_, Message::Taken { .. })) => self.sending.check(now, *id, *took)?,
                    (None, Event::Received(_, Message::Resume { .. })) => {}
                    _ => return Err("an acknowledgement is reported after the wrong event".into()),
                }
            }
            Notice::Unacknowledged { .. } => {
                let current = self
                    .current
                    .as_mut()
                    .ok_or("an answer is reported as lost without a session")?;
                current.undelivered += 1;
            }
            Notice::Ended { failure } => {
                let current = self.current.take().ok_or("no session ends")?;
                current.check_end(now, failure.as_ref(), step, self.draining, self.config.session_ttl)?;
                self.behind = Some(current).filter(|current| !self.draining && !current.is_read());
            }
            Notice::Refused { .. } if self.current.is_some() && !self.draining => {
                return Err("an answer is refused".into());
            }
            _ => {}
        }
        Ok(())
    }

    pub(super) fn compare(&self, server: &SimServer) -> Result<(), String> {
        let peer = self.peer();
        if server.inner.peer() != peer {
            return Err(format!(
                "the server's peer is {}, should be {}",
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
        let lost = self.current.as_ref().and_then(|current| current.lost);
        let due = strangers.chain(lost.map(|since| since + self.config.session_ttl)).min();
        if server.inner.next_deadline() != due {
            return Err(format!(
                "the server's next deadline is {}, should be {}",
                words::moment(server.inner.next_deadline()),
                words::moment(due)
            ));
        }
        let nothing = self.current.is_none() && self.strangers.is_empty() && self.behind.is_none();
        if nothing != server.inner.is_zero() {
            return Err("the server and the model disagree on whether it is at zero".into());
        }
        Ok(())
    }

    pub(super) fn ends(&self) -> Result<(), String> {
        match (&self.current, &self.behind, self.strangers.len()) {
            (None, None, 0) => Ok(()),
            _ => Err("the server still has a session".into()),
        }
    }
}
