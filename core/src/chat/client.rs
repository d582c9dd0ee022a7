use core::mem;
use core::time::Duration;

use bytes::Bytes;
use rand_core::Rng;

use super::caller::{ClientConfig, Command, Failure, Notice, Unsaid};
use super::message::Message;
use super::talk::{ChatCounters, Talk};
use crate::machine::{Actions, DialError, DialToken, Event, Machine};
use crate::timers::SHORTEST;
use crate::wire::ErrorCode;
use crate::{Action, CloseReason, ConnId, Time};

/// The side of a chat that connects.
#[derive(Debug)]
pub struct Client<R> {
    config: ClientConfig,
    rng: R,
    session: Option<Session>,
    last_dial: u64,
    draining: bool,
    counters: ChatCounters,
}

#[derive(Debug)]
struct Session {
    /// 0 if it will not be come back to.
    number: u64,
    /// The server knows it.
    welcomed: bool,
    stage: Stage,
    /// When the stage ends at the latest; `None` if nothing is awaited.
    due: Option<Time>,
    /// Since when there has been no welcome.
    since: Time,
    retries: u32,
    leaving: bool,
    /// The server's last words.
    told: Option<(ErrorCode, Bytes)>,
    talk: Talk,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// For the next attempt.
    Waiting,
    Dialling(DialToken),
    /// For the server's welcome.
    Greeting(ConnId),
    Open(ConnId),
}

impl Session {
    const fn conn(&self) -> Option<ConnId> {
        match self.stage {
            Stage::Greeting(conn) | Stage::Open(conn) => Some(conn),
            Stage::Waiting | Stage::Dialling(_) => None,
        }
    }
}

type Out = Actions<Message, Notice>;

impl<R: Rng> Client<R> {
    /// A client that draws its sessions' numbers and pauses from `rng`.
    pub fn new(config: ClientConfig, rng: R) -> Self {
        Self {
            config,
            rng,
            session: None,
            last_dial: 0,
            draining: false,
            counters: ChatCounters::default(),
        }
    }

    /// What it did so far.
    #[must_use]
    pub const fn counters(&self) -> &ChatCounters {
        &self.counters
    }

    /// Checks what must hold after every step: the books' sums are right and within bounds. O(n): for tests and simulation.
    ///
    /// # Errors
    ///
    /// What does not hold.
    pub fn audit(&self) -> Result<(), &'static str> {
        self.session.as_ref().map_or(Ok(()), |session| session.talk.audit())
    }

    fn connect(&mut self, now: Time, out: &mut Out) {
        if self.session.is_some() {
            return;
        }
        if self.draining {
            let failure = Some(Failure::ShuttingDown);
            out.push(Action::Notify(Notice::Ended { failure }));
            return;
        }
        let number = if self.config.reconnect {
            self.rng.next_u64().max(1)
        } else {
            0
        };
        self.counters.sessions += 1;
        self.session = Some(Session {
            number,
            welcomed: false,
            stage: Stage::Waiting,
            due: None,
            since: now,
            retries: 0,
            leaving: false,
            told: None,
            talk: Talk::new(self.config.talk, self.counters.sessions, false),
        });
        self.dial(out);
    }

    fn dial(&mut self, out: &mut Out) {
        let Some(session) = &mut self.session else {
            return;
        };
        self.last_dial += 1;
        let token = DialToken(self.last_dial);
        session.stage = Stage::Dialling(token);
        session.due = Some(session.since + self.config.connect_timeout.max(SHORTEST));
        out.push(Action::Dial(token));
    }

    /// Waits before the next attempt; `None` if the time for attempts is over.
    fn wait(&mut self, now: Time) -> Option<Duration> {
        let session = self.session.as_mut()?;
        session.stage = Stage::Waiting;
        let after = self.config.backoff.draw(session.retries, &mut self.rng).max(SHORTEST);
        if now.since(session.since) + after > self.config.connect_timeout {
            return None;
        }
        session.retries += 1;
        session.due = Some(now + after);
        Some(after)
    }

    fn dial_failed(&mut self, now: Time, token: DialToken, error: DialError, out: &mut Out) {
        let dialling = |session: &Session| session.stage == Stage::Dialling(token);
        if !self.session.as_ref().is_some_and(dialling) {
            return;
        }
        match self.wait(now) {
            Some(after) => out.push(Action::Notify(Notice::Retrying { error, after })),
            None => self.end(Some(Failure::Dial(error)), out),
        }
    }

    fn opened(&mut self, now: Time, conn: ConnId, dial: Option<DialToken>, out: &mut Out) {
        let stage = dial.map(Stage::Dialling);
        let Some(entry) = self.session.as_mut().filter(|session| Some(session.stage) == stage) else {
            out.push(Action::Close(conn, CloseReason::Finished));
            return;
        };
        entry.stage = Stage::Greeting(conn);
        entry.due = Some(now + self.config.welcome_timeout.max(SHORTEST));
        let session = entry.number;
        let greeting = if entry.welcomed {
            let received = entry.talk.rejoin();
            Message::Resume { session, received }
        } else {
            Message::Begin { session }
        };
        out.push(Action::Send(conn, greeting));
    }

    fn welcomed(&mut self, now: Time, conn: ConnId, received: u64, out: &mut Out) {
        let Some(session) = &mut self.session else {
            return;
        };
        if session.talk.may_resume(received).is_err() {
            self.end(Some(Failure::Confused), out);
            return;
        }
        session.talk.resume(received, &mut self.counters, out);
        let resumed = session.welcomed;
        self.counters.resumed += u64::from(resumed);
        session.welcomed = true;
        session.stage = Stage::Open(conn);
        session.due = None;
        session.retries = 0;
        out.push(Action::Notify(Notice::Connected { resumed }));
        session.talk.pump(now, conn, out);
        self.settle(out);
    }

    fn say(&mut self, now: Time, key: u64, body: Bytes, out: &mut Out) {
        let said = match &mut self.session {
            None => Err(Unsaid::NoPeer),
            Some(session) if session.leaving => Err(Unsaid::Leaving),
            Some(session) => session.talk.say(key, body).map(|()| session),
        };
        match said {
            Ok(session) => {
                self.counters.said += 1;
                if let Stage::Open(conn) = session.stage {
                    session.talk.pump(now, conn, out);
                }
            }
            Err(why) => {
                self.counters.refused += 1;
                out.push(Action::Notify(Notice::Refused { key, why }));
            }
        }
    }

    fn read(&mut self, of: u64, id: u64, out: &mut Out) {
        if let Some(session) = &mut self.session {
            let conn = session.conn();
            session.talk.read(conn, of, id, out);
            self.settle(out);
        }
    }

    fn leave(&mut self, out: &mut Out) {
        if let Some(session) = &mut self.session {
            session.leaving = true;
            session.talk.leave();
            self.settle(out);
        }
    }

    /// Ends a session that is to end and in which everything is acknowledged, on both sides.
    fn settle(&mut self, out: &mut Out) {
        let done = |session: &Session| session.leaving && session.talk.is_done();
        if self.session.as_ref().is_some_and(done) {
            self.end(None, out);
        }
    }

    fn received(&mut self, now: Time, conn: ConnId, message: Message, out: &mut Out) {
        let Some(session) = self.session.as_mut().filter(|session| session.conn() == Some(conn)) else {
            return;
        };
        let open = matches!(session.stage, Stage::Open(_));
        let counters = &mut self.counters;
        let heard = match message {
            Message::Welcome { received } if !open => {
                self.welcomed(now, conn, received, out);
                return;
            }
            Message::Part { id, body, last } if open => session.talk.hear(conn, id, &body, last, counters, out),
            Message::Taken { id, last } if open => {
                let taken = session.talk.taken(now, id, last, counters, out);
                session.talk.pump(now, conn, out);
                taken
            }
            Message::Error(code, text) => {
                session.told = Some((code, text));
                return;
            }
            _ => Err(ErrorCode::UnknownRequest.into()),
        };
        match heard {
            Ok(()) => self.settle(out),
            Err(_) => self.end(Some(Failure::Confused), out),
        }
    }

    fn closed(&mut self, now: Time, conn: ConnId, reason: CloseReason, out: &mut Out) {
        let Some(session) = self.session.as_mut().filter(|session| session.conn() == Some(conn)) else {
            return;
        };
        let open = matches!(session.stage, Stage::Open(_));
        match session.told.take() {
            Some((code, text)) if !is_of_the_connection(code, open) => {
                session.stage = Stage::Waiting;
                self.end(Some(Failure::Rejected(code, text)), out);
            }
            _ => self.lost(now, reason, out),
        }
    }

    /// The connection is gone.
    fn lost(&mut self, now: Time, reason: CloseReason, out: &mut Out) {
        let Some(session) = &mut self.session else {
            return;
        };
        let stage = mem::replace(&mut session.stage, Stage::Waiting);
        if session.number == 0 || self.draining {
            self.end(Some(Failure::Closed(reason)), out);
            return;
        }
        if let Stage::Open(_) = stage {
            session.since = now;
            self.counters.lost += 1;
            out.push(Action::Notify(Notice::Lost(reason)));
        }
        session.talk.lost();
        if self.wait(now).is_none() {
            self.end(Some(Failure::TimedOut), out);
        }
    }

    fn expire(&mut self, now: Time, out: &mut Out) {
        let Some(session) = self
            .session
            .as_mut()
            .filter(|session| session.due.is_some_and(|due| due <= now))
        else {
            return;
        };
        session.due = None;
        match session.stage {
            Stage::Waiting => self.dial(out),
            Stage::Dialling(_) => self.end(Some(Failure::TimedOut), out),
            Stage::Greeting(conn) | Stage::Open(conn) => {
                out.push(Action::Close(conn, CloseReason::TimedOut));
                self.lost(now, CloseReason::TimedOut, out);
            }
        }
    }

    /// Tells the caller of everything that is left, and forgets the session.
    fn end(&mut self, failure: Option<Failure>, out: &mut Out) {
        let Some(mut session) = self.session.take() else {
            return;
        };
        match session.stage {
            Stage::Waiting => {}
            Stage::Dialling(token) => out.push(Action::AbandonDial(token)),
            Stage::Greeting(conn) | Stage::Open(conn) => {
                if failure != Some(Failure::Confused) {
                    out.push(Action::Send(conn, Message::Bye));
                }
                out.push(Action::Close(conn, CloseReason::Finished));
            }
        }
        session.talk.end(&mut self.counters, out);
        out.push(Action::Notify(Notice::Ended { failure }));
    }

    /// A session that is connected may have its messages acknowledged; any other ends.
    fn drain(&mut self, out: &mut Out) {
        self.draining = true;
        match self.session.as_ref().map(|session| session.stage) {
            Some(Stage::Open(_)) => self.leave(out),
            _ => self.end(Some(Failure::ShuttingDown), out),
        }
    }
}

/// Whether an error ends the connection and not the session, so that another connection may do better. `open` says that the
/// server had welcomed this side: then it is not busy with somebody else, but holds too much of unfinished messages.
const fn is_of_the_connection(code: ErrorCode, open: bool) -> bool {
    match code {
        ErrorCode::HandshakeTimeout | ErrorCode::IdleTimeout | ErrorCode::Truncated | ErrorCode::Full => true,
        ErrorCode::Busy => open,
        _ => false,
    }
}

impl<R: Rng> Machine for Client<R> {
    type Message = Message;
    type Command = Command;
    type Notice = Notice;

    fn handle(&mut self, now: Time, event: Event<Message, Command>, out: &mut Out) {
        match event {
            Event::Command(Command::Connect) => self.connect(now, out),
            Event::Command(Command::Say { key, body }) => self.say(now, key, body, out),
            Event::Command(Command::Read { session, id }) => self.read(session, id, out),
            Event::Command(Command::Leave) => self.leave(out),
            Event::Command(Command::HangUp) => self.end(None, out),
            Event::Opened(conn, opened) => self.opened(now, conn, opened.dial, out),
            Event::DialFailed(token, error) => self.dial_failed(now, token, error, out),
            Event::Received(conn, message) => self.received(now, conn, message, out),
            Event::Closed(conn, reason) => self.closed(now, conn, reason, out),
            Event::Deadline => self.expire(now, out),
            Event::Drain => self.drain(out),
            Event::PeerFinished(_) => {}
        }
    }

    fn partial_bytes(&self, id: ConnId) -> usize {
        let session = self.session.as_ref().filter(|session| session.conn() == Some(id));
        session.map_or(0, |session| session.talk.partial_bytes())
    }

    fn next_deadline(&self) -> Option<Time> {
        self.session.as_ref()?.due
    }

    fn is_zero(&self) -> bool {
        self.session.is_none()
    }
}
