use alloc::collections::BTreeMap;
use alloc::format;

use bytes::Bytes;

use super::api::{Notice, SendError, ServerCommand};
use super::config::ServerConfig;
use super::exchange::{ChatCounters, Exchange};
use super::message::Message;
use crate::failure::Failure;
use crate::machine::{Actions, Event, Machine};
use crate::timers::{TimerId, Timers};
use crate::wire::{CHAT_IS_BUSY, ErrorCode, WireError};
use crate::{Action, CloseReason, ConnId, Time};

/// The side of a chat that listens. It has one session at a time. Deterministic: it makes no random choices.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    /// Connections that have not begun or resumed a session.
    unintroduced: BTreeMap<ConnId, TimerId>,
    session: Option<Session>,
    /// An ended session with messages that the caller has not read.
    unread: Option<Exchange>,
    timers: Timers<Due>,
    draining: bool,
    counters: ChatCounters,
}

#[derive(Debug)]
struct Session {
    /// 0 if the peer cannot resume it.
    number: u64,
    peer: PeerState,
    /// A peer that speaks lines has sent its end of stream; the rest is still sent to it.
    finished: bool,
    exchange: Exchange,
}

#[derive(Clone, Copy, Debug)]
enum PeerState {
    Connected(ConnId),
    /// The session ends when this timer is due.
    Lost(TimerId),
}

#[derive(Clone, Copy, Debug)]
enum Due {
    /// A connection has not begun or resumed a session in time.
    Unintroduced(ConnId),
    /// A lost session was not resumed in time.
    Session,
}

type Out = Actions<Message, Notice>;

impl Server {
    /// A server without a session.
    #[must_use]
    pub fn new(config: ServerConfig) -> Self {
        Self {
            config,
            unintroduced: BTreeMap::new(),
            session: None,
            unread: None,
            timers: Timers::new(),
            draining: false,
            counters: ChatCounters::default(),
        }
    }

    /// What the server has done.
    #[must_use]
    pub const fn counters(&self) -> &ChatCounters {
        &self.counters
    }

    /// The peer's connection; `None` without a session, or if its connection is lost.
    #[must_use]
    pub fn peer(&self) -> Option<ConnId> {
        match self.session.as_ref()?.peer {
            PeerState::Connected(conn) => Some(conn),
            PeerState::Lost(_) => None,
        }
    }

    /// Checks the invariants that hold after every event: sums are right and limits are kept. O(n): for tests and
    /// simulation.
    ///
    /// # Errors
    ///
    /// The invariant that does not hold.
    pub fn audit(&self) -> Result<(), &'static str> {
        let mut exchanges = self.session.iter().map(|session| &session.exchange).chain(&self.unread);
        exchanges.try_for_each(Exchange::audit)
    }

    /// Whether no new session can begin. Counts unread messages of an earlier session too, which limits their memory.
    fn is_busy(&self) -> bool {
        let has_unread = |session: &Session| !session.exchange.is_read();
        self.peer().is_some() || self.unread.is_some() || self.session.as_ref().is_some_and(has_unread)
    }

    fn opened(&mut self, now: Time, conn: ConnId, text: bool, out: &mut Out) {
        if self.draining {
            out.push(Action::Close(conn, CloseReason::ShuttingDown));
        } else if text {
            self.begin(conn, 0, text, out);
        } else {
            let timer = self
                .timers
                .set(now + self.config.begin_timeout, Due::Unintroduced(conn));
            self.unintroduced.insert(conn, timer);
        }
    }

    /// Begins a session on this connection, unless the server is busy.
    fn begin(&mut self, conn: ConnId, number: u64, text: bool, out: &mut Out) {
        if self.is_busy() {
            self.counters.peers_refused += 1;
            out.push(Action::Notify(Notice::PeerRefused));
            let text = format!("{CHAT_IS_BUSY}; connect again later");
            refuse(conn, WireError::new(ErrorCode::Busy, text), out);
            return;
        }
        self.end(Some(Failure::Replaced), out);
        self.counters.sessions += 1;
        self.session = Some(Session {
            number,
            peer: PeerState::Connected(conn),
            finished: false,
            exchange: Exchange::new(self.config.exchange, self.counters.sessions, text),
        });
        out.push(Action::Send(conn, Message::Welcome { received: 0 }));
        out.push(Action::Notify(Notice::Connected { resumed: false }));
    }

    /// Handles the first message of a connection.
    fn first_message(&mut self, now: Time, conn: ConnId, message: &Message, out: &mut Out) {
        if let Some(timer) = self.unintroduced.remove(&conn) {
            self.timers.cancel(timer);
        }
        let known = |number: u64| number != 0 && self.session.as_ref().is_some_and(|session| session.number == number);
        match *message {
            Message::Begin { session } if known(session) => self.resume(now, conn, 0, out),
            Message::Begin { session } => self.begin(conn, session, false, out),
            Message::Resume { session, received } if known(session) => self.resume(now, conn, received, out),
            Message::Resume { .. } => refuse(conn, ErrorCode::UnknownSession.into(), out),
            _ => {
                let text = "not the begin of a session; a chat expects a session to be begun or resumed";
                refuse(conn, WireError::new(ErrorCode::UnknownRequest, text), out);
            }
        }
    }

    /// Resumes the session on this connection. The loss of the connection before may not have been noticed.
    fn resume(&mut self, now: Time, conn: ConnId, received: u64, out: &mut Out) {
        let Some(session) = &mut self.session else {
            return;
        };
        // It was delayed until a newer connection overtook it, or its sender is faulty.
        if let Err(error) = session.exchange.may_resume(received) {
            refuse(conn, error, out);
            return;
        }
        match session.peer {
            PeerState::Connected(before) => out.push(Action::Close(before, CloseReason::TimedOut)),
            PeerState::Lost(timer) => {
                self.timers.cancel(timer);
            }
        }
        session.peer = PeerState::Connected(conn);
        session.exchange.resume(received, &mut self.counters, out);
        self.counters.resumed += 1;
        let received = session.exchange.rejoin();
        out.push(Action::Send(conn, Message::Welcome { received }));
        out.push(Action::Notify(Notice::Connected { resumed: true }));
        session.exchange.pump(now, conn, out);
        self.settle(out);
    }

    fn received(&mut self, now: Time, conn: ConnId, message: Message, out: &mut Out) {
        if self.unintroduced.contains_key(&conn) {
            self.first_message(now, conn, &message, out);
            return;
        }
        if self.peer() != Some(conn) {
            return;
        }
        let Some(Session { exchange, .. }) = &mut self.session else {
            return;
        };
        let counters = &mut self.counters;
        let result = match message {
            Message::Part { id, body, last } => exchange.receive_part(conn, id, &body, last, counters, out),
            Message::Taken { id, last } => {
                let taken = exchange.part_answered(now, id, last, counters, out);
                exchange.pump(now, conn, out);
                match taken {
                    // A person may mistype an id.
                    Err(error) if exchange.is_text() => {
                        out.push(Action::Send(conn, error_message(error)));
                        Ok(())
                    }
                    taken => taken,
                }
            }
            Message::Bye => {
                self.leave(None, CloseReason::Finished, out);
                return;
            }
            // An error is never answered by an error.
            Message::Error(..) => Ok(()),
            Message::Begin { .. } | Message::Resume { .. } | Message::Welcome { .. } => Err(WireError::new(
                ErrorCode::UnknownRequest,
                "the session has begun already",
            )),
        };
        match result {
            Ok(()) => self.settle(out),
            Err(error) => self.protocol_violation(conn, error, out),
        }
    }

    /// The peer broke the protocol: ends the session.
    fn protocol_violation(&mut self, conn: ConnId, error: WireError, out: &mut Out) {
        out.push(Action::Send(conn, error_message(error)));
        self.leave(Some(Failure::ProtocolViolation), CloseReason::Finished, out);
    }

    fn closed(&mut self, now: Time, conn: ConnId, reason: CloseReason, out: &mut Out) {
        if let Some(timer) = self.unintroduced.remove(&conn) {
            self.timers.cancel(timer);
        }
        if self.peer() != Some(conn) {
            return;
        }
        let Some(session) = &mut self.session else {
            return;
        };
        if session.number == 0 || self.draining {
            // People end a session by closing; programs send bye.
            let left = reason == CloseReason::PeerClosed && session.exchange.is_text();
            self.end((!left).then_some(Failure::Closed(reason)), out);
            return;
        }
        self.counters.lost += 1;
        session.exchange.lost();
        session.peer = PeerState::Lost(self.timers.set(now + self.config.session_ttl, Due::Session));
        out.push(Action::Notify(Notice::Lost(reason)));
    }

    fn send(&mut self, now: Time, key: u64, body: Bytes, out: &mut Out) {
        let peer = self.peer();
        let queued = match &mut self.session {
            _ if self.draining => Err(SendError::Leaving),
            None => Err(SendError::NoPeer),
            Some(session) => session
                .exchange
                .queue_message(key, body)
                .map(|()| &mut session.exchange),
        };
        match queued {
            Ok(exchange) => {
                self.counters.queued += 1;
                if let Some(conn) = peer {
                    exchange.pump(now, conn, out);
                }
            }
            Err(why) => {
                self.counters.refused += 1;
                out.push(Action::Notify(Notice::Refused { key, why }));
            }
        }
    }

    fn read(&mut self, of: u64, id: u64, out: &mut Out) {
        if let Some(exchange) = &mut self.unread {
            exchange.read(None, of, id, out);
        }
        self.unread.take_if(|exchange| exchange.is_read());
        let peer = self.peer();
        if let Some(session) = &mut self.session {
            session.exchange.read(peer, of, id, out);
        }
        self.settle(out);
    }

    /// Ends a session whose peer has finished once everything is read; while draining, a session in which everything is
    /// acknowledged.
    fn settle(&mut self, out: &mut Out) {
        let Some(session) = &self.session else {
            return;
        };
        if session.finished && session.exchange.is_read() {
            self.leave(None, CloseReason::Finished, out);
        } else if self.draining && (session.exchange.is_done() || matches!(session.peer, PeerState::Lost(_))) {
            self.leave(Some(Failure::ShuttingDown), CloseReason::ShuttingDown, out);
        }
    }

    /// Handles the end of stream of a peer that speaks lines; see [`Machine::keeps_open_after_fin`].
    fn finished(&mut self, conn: ConnId, out: &mut Out) {
        if self.peer() == Some(conn)
            && let Some(session) = &mut self.session
        {
            session.finished = true;
            self.settle(out);
        }
    }

    /// Closes the peer's connection and ends the session.
    fn leave(&mut self, failure: Option<Failure>, reason: CloseReason, out: &mut Out) {
        if let Some(conn) = self.peer() {
            out.push(Action::Close(conn, reason));
        }
        self.end(failure, out);
    }

    /// Ends the session, whose connection is closed.
    fn end(&mut self, failure: Option<Failure>, out: &mut Out) {
        let Some(mut session) = self.session.take() else {
            return;
        };
        if let PeerState::Lost(timer) = session.peer {
            self.timers.cancel(timer);
        }
        session.exchange.end(&mut self.counters, out);
        self.unread = Some(session.exchange).filter(|exchange| !self.draining && !exchange.is_read());
        out.push(Action::Notify(Notice::Ended { failure }));
    }

    fn expire(&mut self, now: Time, out: &mut Out) {
        while let Some((_, due)) = self.timers.pop_due(now) {
            match due {
                Due::Unintroduced(conn) => {
                    self.unintroduced.remove(&conn);
                    out.push(Action::Close(conn, CloseReason::HandshakeTimeout));
                }
                Due::Session => self.end(Some(Failure::TimedOut), out),
            }
        }
    }

    fn drain(&mut self, out: &mut Out) {
        self.draining = true;
        // No session can begin any more.
        self.unread = None;
        while let Some((conn, timer)) = self.unintroduced.pop_first() {
            self.timers.cancel(timer);
            out.push(Action::Close(conn, CloseReason::ShuttingDown));
        }
        if let Some(session) = &mut self.session {
            session.exchange.leave();
        }
        self.settle(out);
    }
}

fn error_message(error: WireError) -> Message {
    Message::Error(error.code, Bytes::from(error.text.into_owned()))
}

fn refuse(conn: ConnId, error: WireError, out: &mut Out) {
    out.push(Action::Send(conn, error_message(error)));
    out.push(Action::Close(conn, CloseReason::Finished));
}

impl Machine for Server {
    type Message = Message;
    type Command = ServerCommand;
    type Notice = Notice;

    fn handle(&mut self, now: Time, event: Event<Message, ServerCommand>, out: &mut Out) {
        match event {
            Event::Opened(conn, opened) => self.opened(now, conn, opened.text, out),
            Event::Received(conn, message) => self.received(now, conn, message, out),
            Event::Closed(conn, reason) => self.closed(now, conn, reason, out),
            Event::PeerFinished(conn) => self.finished(conn, out),
            Event::Command(ServerCommand::Send { key, body }) => self.send(now, key, body, out),
            Event::Command(ServerCommand::Read { session, id }) => self.read(session, id, out),
            Event::Deadline => self.expire(now, out),
            Event::Drain => self.drain(out),
            // A server makes no connections.
            Event::DialFailed(..) => {}
        }
    }

    fn partial_bytes(&self, id: ConnId) -> usize {
        let session = self.session.as_ref().filter(|_| self.peer() == Some(id));
        session.map_or(0, |session| session.exchange.partial_bytes())
    }

    /// A peer that speaks lines gets the acknowledgements of its unread messages.
    fn keeps_open_after_fin(&self, id: ConnId) -> bool {
        let has_unread = |session: &Session| session.exchange.is_text() && !session.exchange.is_read();
        self.peer() == Some(id) && self.session.as_ref().is_some_and(has_unread)
    }

    fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    fn is_zero(&self) -> bool {
        self.unintroduced.is_empty() && self.session.is_none() && self.unread.is_none() && self.timers.is_empty()
    }
}
