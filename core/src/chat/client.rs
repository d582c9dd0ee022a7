use bytes::Bytes;
use rand_core::Rng;

use super::api::{Command, Notice, SendError};
use super::config::ClientConfig;
use super::exchange::{ChatCounters, Exchange};
use super::message::Message;
use crate::attempts::{Attempts, Retry};
use crate::failure::Failure;
use crate::machine::{Actions, DialError, DialToken, Event, Machine};
use crate::wire::{ErrorClass, ErrorCode, Protocol};
use crate::{Action, CloseReason, ConnId, Time};

/// The side of a chat that connects.
#[derive(Debug)]
pub struct Client<R> {
    config: ClientConfig,
    rng: R,
    attempts: Attempts<Session>,
    /// The session's key in `attempts`, if there is a session.
    key: Option<u32>,
    draining: bool,
    counters: ChatCounters,
}

#[derive(Debug)]
struct Session {
    /// 0 if the session is not resumed after a loss.
    number: u64,
    /// Whether the server has welcomed the session on any connection.
    welcomed: bool,
    /// Whether the server has welcomed the current connection.
    open: bool,
    leaving: bool,
    /// The last error on the current connection.
    last_error: Option<(ErrorCode, Bytes)>,
    exchange: Exchange,
}

type Out = Actions<Message, Notice>;

impl<R: Rng> Client<R> {
    /// A client that draws session numbers and pauses from `rng`.
    pub fn new(config: ClientConfig, rng: R) -> Self {
        let retry = Retry {
            backoff: config.backoff,
            attempt_timeout: config.welcome_timeout,
            give_up_after: Some(config.connect_timeout),
            retry_refused: config.retry_refused,
        };
        Self {
            config,
            rng,
            attempts: Attempts::new(retry),
            key: None,
            draining: false,
            counters: ChatCounters::default(),
        }
    }

    /// What the client has done.
    #[must_use]
    pub const fn counters(&self) -> &ChatCounters {
        &self.counters
    }

    /// Checks the invariants that hold after every event: sums are right and limits are kept. O(n): for tests and
    /// simulation.
    ///
    /// # Errors
    ///
    /// The invariant that does not hold.
    pub fn audit(&self) -> Result<(), &'static str> {
        let session = self.key.and_then(|key| self.attempts.get(key));
        session.map_or(Ok(()), |session| session.exchange.audit())
    }

    fn connect(&mut self, now: Time, out: &mut Out) {
        if self.key.is_some() {
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
        let session = Session {
            number,
            welcomed: false,
            open: false,
            leaving: false,
            last_error: None,
            exchange: Exchange::new(self.config.exchange, self.counters.sessions, false),
        };
        self.key = Some(self.attempts.begin(now, session, out));
    }

    fn session(&mut self) -> Option<&mut Session> {
        self.attempts.get_mut(self.key?)
    }

    /// The connection, if the server has welcomed it.
    fn open_conn(&self) -> Option<ConnId> {
        let key = self.key?;
        let conn = self.attempts.conn(key);
        conn.filter(|_| self.attempts.get(key).is_some_and(|session| session.open))
    }

    fn opened(&mut self, now: Time, conn: ConnId, dial: Option<DialToken>, out: &mut Out) {
        let Some(key) = self.attempts.opened(conn, dial, out) else {
            return;
        };
        self.attempts.restart_timeout(now, key);
        if let Some(entry) = self.attempts.get_mut(key) {
            let session = entry.number;
            let greeting = if entry.welcomed {
                let received = entry.exchange.rejoin();
                Message::Resume { session, received }
            } else {
                Message::Begin { session }
            };
            out.push(Action::Send(conn, greeting));
        }
    }

    fn welcomed(&mut self, now: Time, conn: ConnId, received: u64, out: &mut Out) {
        let Some(key) = self.key else {
            return;
        };
        let Some(session) = self.attempts.get_mut(key) else {
            return;
        };
        if session.exchange.may_resume(received).is_err() {
            self.end(Some(Failure::ProtocolViolation), out);
            return;
        }
        session.exchange.resume(received, &mut self.counters, out);
        let resumed = session.welcomed;
        self.counters.resumed += u64::from(resumed);
        session.welcomed = true;
        session.open = true;
        out.push(Action::Notify(Notice::Connected { resumed }));
        session.exchange.pump(now, conn, out);
        self.attempts.set_deadline(key, None);
        self.attempts.mark_proven(key);
        self.settle(out);
    }

    fn send(&mut self, now: Time, key: u64, body: Bytes, out: &mut Out) {
        let conn = self.open_conn();
        let queued = match self.session() {
            None => Err(SendError::NoPeer),
            Some(session) if session.leaving => Err(SendError::Leaving),
            Some(session) => session.exchange.queue_message(key, body).map(|()| session),
        };
        match queued {
            Ok(session) => {
                if let Some(conn) = conn {
                    session.exchange.pump(now, conn, out);
                }
                self.counters.queued += 1;
            }
            Err(why) => {
                self.counters.refused += 1;
                out.push(Action::Notify(Notice::Refused { key, why }));
            }
        }
    }

    fn read(&mut self, of: u64, id: u64, out: &mut Out) {
        let conn = self.key.and_then(|key| self.attempts.conn(key));
        if let Some(session) = self.session() {
            session.exchange.read(conn, of, id, out);
            self.settle(out);
        }
    }

    fn leave(&mut self, out: &mut Out) {
        if let Some(session) = self.session() {
            session.leaving = true;
            session.exchange.leave();
            self.settle(out);
        }
    }

    /// Ends a session that is leaving once everything is acknowledged, in both directions.
    fn settle(&mut self, out: &mut Out) {
        let session = self.session();
        if session.is_some_and(|session| session.leaving && session.exchange.is_done()) {
            self.end(None, out);
        }
    }

    fn received(&mut self, now: Time, conn: ConnId, message: Message, out: &mut Out) {
        let key = self.attempts.key_of(conn);
        let Some(session) = key.and_then(|key| self.attempts.get_mut(key)) else {
            return;
        };
        let open = session.open;
        let counters = &mut self.counters;
        let result = match message {
            Message::Welcome { received } if !open => {
                self.welcomed(now, conn, received, out);
                return;
            }
            Message::Part { id, body, last } if open => {
                session.exchange.receive_part(conn, id, &body, last, counters, out)
            }
            Message::Taken { id, last } if open => {
                let taken = session.exchange.part_answered(now, id, last, counters, out);
                session.exchange.pump(now, conn, out);
                taken
            }
            Message::Error(code, text) => {
                match Failure::rejected(code, text, Protocol::Chat) {
                    Failure::Rejected(code, text) => session.last_error = Some((code, text)),
                    failure => self.end(Some(failure), out),
                }
                return;
            }
            _ => Err(ErrorCode::UnknownRequest.into()),
        };
        match result {
            Ok(()) => self.settle(out),
            Err(_) => self.end(Some(Failure::ProtocolViolation), out),
        }
    }

    /// Handles a connection that has ended or timed out.
    fn lost(&mut self, now: Time, reason: CloseReason, out: &mut Out) {
        let draining = self.draining;
        let Some(session) = self.session() else {
            return;
        };
        let open = core::mem::take(&mut session.open);
        let (failure, passes) = match (session.last_error.take(), reason) {
            // A server that shuts down keeps no session with a client that it has not welcomed.
            (Some((ErrorCode::ShuttingDown, text)), _) if !session.welcomed => {
                (Failure::Rejected(ErrorCode::ShuttingDown, text), true)
            }
            (Some((code, text)), _) if !keeps_session(code, open) => (Failure::Rejected(code, text), false),
            (_, CloseReason::TimedOut) => (Failure::TimedOut, true),
            (_, reason) => (reason.into(), !matches!(reason, CloseReason::OtherProtocol(_))),
        };
        if session.number == 0 || draining || !passes {
            self.end(Some(failure), out);
            return;
        }
        session.exchange.lost();
        if open {
            self.counters.lost += 1;
            out.push(Action::Notify(Notice::Lost(reason)));
        }
        self.retry(now, failure, reason, out);
    }

    /// Schedules the next attempt, or ends the session if the time limit leaves no room.
    fn retry(&mut self, now: Time, failure: Failure, reason: CloseReason, out: &mut Out) {
        let Some(key) = self.key else {
            return;
        };
        match self.attempts.failed(now, key, reason, &mut self.rng, out) {
            Some(after) => out.push(Action::Notify(Notice::Retrying { failure, after })),
            None => self.end(Some(failure), out),
        }
    }

    fn expire(&mut self, now: Time, out: &mut Out) {
        while let Some(key) = self.attempts.pop_expired(now, out) {
            match self.attempts.conn(key) {
                Some(_) => self.lost(now, CloseReason::TimedOut, out),
                None => self.retry(now, Failure::TimedOut, CloseReason::TimedOut, out),
            }
        }
    }

    /// Removes the session and sends its remaining notices.
    fn end(&mut self, failure: Option<Failure>, out: &mut Out) {
        let Some(key) = self.key.take() else {
            return;
        };
        let unusable = matches!(failure, Some(Failure::ProtocolViolation | Failure::OtherProtocol(_)));
        if let Some(conn) = self.attempts.conn(key).filter(|_| !unusable) {
            out.push(Action::Send(conn, Message::Bye));
        }
        if let Some(mut session) = self.attempts.end(key, CloseReason::Finished, out) {
            session.exchange.end(&mut self.counters, out);
            out.push(Action::Notify(Notice::Ended { failure }));
        }
    }

    /// A connected session ends once its messages are acknowledged; any other ends now.
    fn drain(&mut self, out: &mut Out) {
        self.draining = true;
        match self.open_conn() {
            Some(_) => self.leave(out),
            None => self.end(Some(Failure::ShuttingDown), out),
        }
    }
}

/// Whether the session outlives an error that ends its connection. `open`: the server has welcomed this connection, so
/// `busy` is about unfinished messages and not about another client's session.
fn keeps_session(code: ErrorCode, open: bool) -> bool {
    code.class() == ErrorClass::Connection || (open && code == ErrorCode::Busy)
}

impl<R: Rng> Machine for Client<R> {
    type Message = Message;
    type Command = Command;
    type Notice = Notice;

    fn handle(&mut self, now: Time, event: Event<Message, Command>, out: &mut Out) {
        match event {
            Event::Command(Command::Connect) => self.connect(now, out),
            Event::Command(Command::Send { key, body }) => self.send(now, key, body, out),
            Event::Command(Command::Read { session, id }) => self.read(session, id, out),
            Event::Command(Command::Leave) => self.leave(out),
            Event::Command(Command::HangUp) => self.end(None, out),
            Event::Opened(conn, opened) => self.opened(now, conn, opened.dial, out),
            Event::DialFailed(token, error) => {
                if self.attempts.dial_failed(token, error).is_some() {
                    match error {
                        DialError::OtherProtocol(protocol) => self.end(Some(Failure::OtherProtocol(protocol)), out),
                        error => self.retry(now, Failure::Dial(error), CloseReason::Finished, out),
                    }
                }
            }
            Event::Received(conn, message) => self.received(now, conn, message, out),
            Event::Closed(conn, reason) => {
                if self.attempts.closed(conn).is_some() {
                    self.lost(now, reason, out);
                }
            }
            Event::Deadline => self.expire(now, out),
            Event::Drain => self.drain(out),
            Event::PeerFinished(_) => {}
        }
    }

    fn partial_bytes(&self, id: ConnId) -> usize {
        let key = self.key.filter(|key| self.attempts.conn(*key) == Some(id));
        let session = key.and_then(|key| self.attempts.get(key));
        session.map_or(0, |session| session.exchange.partial_bytes())
    }

    fn next_deadline(&self) -> Option<Time> {
        self.attempts.next_deadline()
    }

    fn is_zero(&self) -> bool {
        self.key.is_none() && self.attempts.is_empty()
    }
}
