use alloc::collections::BTreeMap;
use alloc::collections::btree_map::Entry;
use alloc::format;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::time::Duration;

use bytes::Bytes;
use rand_core::Rng;
use uuid::Uuid;

use super::config::{Mode, ServerConfig};
use super::message::Message;
use super::sequence::{Checksum, Sequence};
use super::session::{Receiver, Session};
use crate::conn_set::ConnSet;
use crate::counters::counters;
use crate::machine::{Actions, Event, Machine};
use crate::random::below;
use crate::timers::{TimerId, Timers};
use crate::wire::{ErrorCode, WireError};
use crate::{Action, CloseReason, ConnId, Time};

/// The largest first number of a stateless stream.
const LARGEST_FIRST: u32 = 0xFF;
/// The factor between two numbers of a stateless stream.
const FACTOR: u64 = 3;
/// Shorter periods are raised to this: with a period of zero, sending would never catch up.
const SHORTEST_PERIOD: Duration = Duration::from_micros(1);

counters! {
    /// What a numbers server has done.
    ServerCounters {
        /// Stateless streams begun or continued.
        streams,
        /// Sessions begun.
        sessions,
        /// Sessions resumed.
        resumed,
        /// Connections closed because their session was resumed on another.
        taken_over,
        /// Sessions whose numbers and checksum were all sent.
        finished,
        /// Sessions discarded because they were not resumed in time.
        expired,
        /// Numbers and final checksums sent.
        numbers,
        /// Numbers delayed by a period because the client did not read.
        held_back,
        /// Requests answered with an error.
        refused,
    }
}

/// The side that sends numbers.
#[derive(Debug)]
pub struct Server<R> {
    config: ServerConfig,
    rng: R,
    conns: ConnSet<Stream>,
    sessions: BTreeMap<Uuid, Session>,
    timers: Timers<Due>,
    draining: bool,
    counters: ServerCounters,
}

/// The stream of a connection.
#[derive(Clone, Copy, Debug)]
enum Stream {
    Nothing,
    /// A stateless stream and its next number.
    Stateless {
        next: u64,
        timer: TimerId,
    },
    Session {
        uuid: Uuid,
        timer: TimerId,
    },
    /// The session's end was sent; the client has not closed yet.
    Ended {
        uuid: Uuid,
    },
}

#[derive(Clone, Copy, Debug)]
enum Due {
    /// The next number of a connection is due.
    Number(ConnId),
    /// A session was not resumed in time.
    Session(Uuid),
}

type Out = Actions<Message, Infallible>;

impl<R: Rng> Server<R> {
    /// A server that draws the first numbers of stateless streams from `rng`.
    pub fn new(config: ServerConfig, rng: R) -> Self {
        Self {
            config,
            rng,
            conns: ConnSet::new(),
            sessions: BTreeMap::new(),
            timers: Timers::new(),
            draining: false,
            counters: ServerCounters::default(),
        }
    }

    /// What the server has done.
    #[must_use]
    pub const fn counters(&self) -> &ServerCounters {
        &self.counters
    }

    /// The number of sessions, including those that are being sent.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Checks the invariants that hold after every event: connections and sessions refer to each other, each has its
    /// one timer, and checksums are right. O(n): for tests and simulation.
    ///
    /// # Errors
    ///
    /// The invariant that does not hold.
    pub fn audit(&self) -> Result<(), &'static str> {
        let mut timers = 0;
        for (uuid, session) in &self.sessions {
            let attached = match session.receiver {
                Receiver::Conn(conn) => {
                    let stream = self.conns.get(conn);
                    matches!(stream, Some(Stream::Session { uuid: other, .. } | Stream::Ended { uuid: other }) if other == uuid)
                }
                Receiver::None(_) => {
                    timers += 1;
                    true
                }
            };
            if !attached {
                return Err("a session is attached to a connection that does not send it");
            }
            if session.place > session.reached || session.reached > session.n {
                return Err("a session's places are out of order");
            }
            let numbers = Sequence::new(*uuid)
                .after(0)
                .take(session.place.into())
                .fold(Checksum::default(), Checksum::plus);
            if numbers != session.checksum {
                return Err("a session's checksum is wrong");
            }
        }
        for (conn, stream) in self.conns.iter() {
            match stream {
                Stream::Nothing => continue,
                Stream::Stateless { .. } => {}
                Stream::Session { uuid, .. } | Stream::Ended { uuid } => {
                    let receiver = self.sessions.get(uuid).map(|session| session.receiver);
                    if !matches!(receiver, Some(Receiver::Conn(receiver)) if receiver == conn) {
                        return Err("a connection sends a session that is not attached to it");
                    }
                }
            }
            timers += usize::from(!matches!(stream, Stream::Ended { .. }));
        }
        if timers != self.timers.len() {
            return Err("not every stream and every session without a connection has one timer");
        }
        Ok(())
    }

    fn received(&mut self, now: Time, conn: ConnId, message: &Message, out: &mut Out) {
        let Some(stream) = self.conns.get(conn) else {
            return;
        };
        let idle = matches!(stream, Stream::Nothing);
        let ended = matches!(stream, Stream::Ended { .. });
        let done = match *message {
            Message::End => {
                self.end(conn, out);
                Ok(())
            }
            // This side has finished sending.
            _ if ended => Ok(()),
            Message::Start | Message::Continue(_) | Message::StartSession { .. } | Message::ContinueSession { .. }
                if !idle =>
            {
                Err(ErrorCode::AlreadyRunning.into())
            }
            Message::Start => self.start(now, conn, None, out),
            Message::Continue(last) => self.start(now, conn, Some(last), out),
            Message::StartSession { uuid, n } => self.start_session(now, conn, uuid, n, out),
            Message::ContinueSession { uuid, last, count } => self.continue_session(now, conn, uuid, last, count, out),
            // The codec of an accepted connection decodes none of these.
            Message::Number(_) | Message::Error(..) => Ok(()),
        };
        if let Err(error) = done {
            self.counters.refused += 1;
            out.push(Action::Send(conn, error_message(error)));
        }
    }

    fn start(&mut self, now: Time, conn: ConnId, after: Option<u64>, out: &mut Out) -> Result<(), WireError> {
        if self.config.mode == Mode::Stateful {
            let text = "this server is stateful; expected START <uuid> <n>, or CONTINUE <uuid> <number>";
            return Err(WireError::new(ErrorCode::WrongMode, text));
        }
        let next = after.map_or_else(
            || u64::from(1 + below(&mut self.rng, LARGEST_FIRST)),
            |last| last.wrapping_mul(FACTOR),
        );
        self.counters.streams += 1;
        let timer = self.timers.set(now, Due::Number(conn));
        self.set(conn, Stream::Stateless { next, timer });
        self.send_next(now, conn, out);
        Ok(())
    }

    fn start_session(&mut self, now: Time, conn: ConnId, uuid: Uuid, n: u16, out: &mut Out) -> Result<(), WireError> {
        self.check_stateful()?;
        let full = self.sessions.len() >= self.config.max_sessions;
        let session = Session::new(n, conn);
        match self.sessions.entry(uuid) {
            Entry::Vacant(_) if full => return Err(ErrorCode::TooManySessions.into()),
            Entry::Vacant(entry) => {
                self.counters.sessions += 1;
                entry.insert(session);
            }
            Entry::Occupied(mut entry) => {
                // A client that lost its connection before the first number cannot resume the session, only begin it
                // again.
                match entry.get() {
                    Session {
                        n: same,
                        receiver: Receiver::None(timer),
                        underway: false,
                        ..
                    } if *same == n => {
                        self.timers.cancel(*timer);
                        entry.insert(session);
                    }
                    _ => return Err(ErrorCode::UuidTaken.into()),
                }
            }
        }
        self.attach(now, conn, uuid, out);
        Ok(())
    }

    fn continue_session(
        &mut self,
        now: Time,
        conn: ConnId,
        uuid: Uuid,
        last: u64,
        count: Option<u16>,
        out: &mut Out,
    ) -> Result<(), WireError> {
        self.check_stateful()?;
        let Some(session) = self.sessions.get_mut(&uuid) else {
            return Err(self.unknown_session());
        };
        let mut sequence = Sequence::new(uuid);
        let place = session.proven(&mut sequence, last, count)?;
        session.move_to(&mut sequence, place);
        session.underway = true;
        let checksum = session.checksum;
        match core::mem::replace(&mut session.receiver, Receiver::Conn(conn)) {
            Receiver::None(timer) => {
                self.timers.cancel(timer);
            }
            // Usually an older connection of the same client, whose loss was not noticed.
            Receiver::Conn(before) => {
                self.counters.taken_over += 1;
                if let Some(Stream::Session { .. }) = self.forget(before) {
                    out.push(Action::Send(before, error_message(ErrorCode::TakenOver.into())));
                }
                out.push(Action::Close(before, CloseReason::Finished));
            }
        }
        self.counters.resumed += 1;
        out.push(Action::Send(conn, Message::Number(place.into())));
        out.push(Action::Send(conn, Message::Number(checksum.value().into())));
        self.attach(now, conn, uuid, out);
        Ok(())
    }

    fn unknown_session(&self) -> WireError {
        let text = format!(
            "no such session: it was not begun, or it was not resumed within {} s and was discarded; START it again",
            self.config.session_ttl.as_secs_f64()
        );
        WireError::new(ErrorCode::UnknownSession, text)
    }

    fn check_stateful(&self) -> Result<(), WireError> {
        if self.config.mode == Mode::Stateless {
            let text = "this server is stateless; expected START, or CONTINUE <number>";
            return Err(WireError::new(ErrorCode::WrongMode, text));
        }
        Ok(())
    }

    /// Attaches the session to the connection and starts sending.
    fn attach(&mut self, now: Time, conn: ConnId, uuid: Uuid, out: &mut Out) {
        let timer = self.timers.set(now, Due::Number(conn));
        self.set(conn, Stream::Session { uuid, timer });
        self.send_next(now, conn, out);
    }

    fn set(&mut self, conn: ConnId, stream: Stream) {
        if let Some(entry) = self.conns.get_mut(conn) {
            *entry = stream;
        }
    }

    /// Sends the due number, unless the connection is backlogged, and schedules the next one.
    fn send_next(&mut self, now: Time, conn: ConnId, out: &mut Out) {
        let Some(stream) = self.conns.get_mut(conn) else {
            return;
        };
        let (Stream::Stateless { timer, .. } | Stream::Session { timer, .. }) = stream else {
            return;
        };
        let period = self.config.period.max(SHORTEST_PERIOD);
        let mut next_due = timer.at() + period;
        if next_due <= now {
            next_due = now + period;
        }
        self.timers.cancel(*timer);
        *timer = self.timers.set(next_due, Due::Number(conn));
        if out.is_backlogged(conn) {
            self.counters.held_back += 1;
            return;
        }
        self.counters.numbers += 1;
        match stream {
            Stream::Nothing | Stream::Ended { .. } => {}
            Stream::Stateless { next, .. } => {
                out.push(Action::Send(conn, Message::Number(*next)));
                *next = next.wrapping_mul(FACTOR);
            }
            Stream::Session { uuid, .. } => {
                let uuid = *uuid;
                let Some(session) = self.sessions.get_mut(&uuid) else {
                    return;
                };
                if let Some(number) = session.next(uuid) {
                    out.push(Action::Send(conn, Message::Number(number.into())));
                } else {
                    let checksum = session.checksum.value();
                    out.push(Action::Send(conn, Message::Number(checksum.into())));
                    session.underway = true;
                    self.counters.finished += 1;
                    self.finish(conn, uuid, out);
                }
            }
        }
    }

    /// The end of the session was sent. It may get lost, so the session is kept until the client has closed or longer.
    fn finish(&mut self, conn: ConnId, uuid: Uuid, out: &mut Out) {
        self.forget(conn);
        if self.draining {
            self.sessions.remove(&uuid);
            out.push(Action::Close(conn, CloseReason::Finished));
        } else {
            self.conns.insert(conn, Stream::Ended { uuid });
            out.push(Action::Finish(conn));
        }
    }

    /// The client ends its stream.
    fn end(&mut self, conn: ConnId, out: &mut Out) {
        if let Some(Stream::Session { uuid, .. } | Stream::Ended { uuid }) = self.forget(conn) {
            self.sessions.remove(&uuid);
        }
        out.push(Action::Close(conn, CloseReason::Finished));
    }

    /// Removes a connection and its timer. The caller updates the session that it held.
    fn forget(&mut self, conn: ConnId) -> Option<Stream> {
        let stream = self.conns.remove(conn)?;
        if let Stream::Stateless { timer, .. } | Stream::Session { timer, .. } = stream {
            self.timers.cancel(timer);
        }
        Some(stream)
    }

    /// A connection has ended: keeps its session for a limited time.
    fn leave(&mut self, now: Time, conn: ConnId, reason: CloseReason) {
        let Some(Stream::Session { uuid, .. } | Stream::Ended { uuid }) = self.forget(conn) else {
            return;
        };
        if self.draining {
            self.sessions.remove(&uuid);
        } else if let Some(session) = self.sessions.get_mut(&uuid) {
            let mut kept = self.config.session_ttl;
            if reason == CloseReason::Finished {
                kept += self.config.unacknowledged_ttl;
            }
            let timer = self.timers.set(now + kept, Due::Session(uuid));
            session.receiver = Receiver::None(timer);
        }
    }

    fn expire(&mut self, now: Time, out: &mut Out) {
        while let Some((_, due)) = self.timers.pop_due(now) {
            match due {
                Due::Number(conn) => self.send_next(now, conn, out),
                Due::Session(uuid) => self.discard(uuid),
            }
        }
    }

    fn discard(&mut self, uuid: Uuid) {
        self.counters.expired += 1;
        self.sessions.remove(&uuid);
    }

    /// Sessions end by themselves; everything else ends now.
    fn drain(&mut self, out: &mut Out) {
        self.draining = true;
        let endless: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, stream)| !matches!(stream, Stream::Session { .. }))
            .map(|(conn, _)| conn)
            .collect();
        for conn in endless {
            if let Some(Stream::Ended { uuid }) = self.forget(conn) {
                self.sessions.remove(&uuid);
            }
            out.push(Action::Close(conn, CloseReason::ShuttingDown));
        }
        let timers = &mut self.timers;
        self.sessions.retain(|_, session| match session.receiver {
            Receiver::Conn(_) => true,
            Receiver::None(timer) => {
                timers.cancel(timer);
                false
            }
        });
    }
}

fn error_message(error: WireError) -> Message {
    Message::Error(error.code, Bytes::from(error.text.into_owned()))
}

impl<R: Rng> Machine for Server<R> {
    type Message = Message;
    type Command = Infallible;
    type Notice = Infallible;

    fn handle(&mut self, now: Time, event: Event<Message, Infallible>, out: &mut Out) {
        match event {
            Event::Opened(conn, _) if self.draining => out.push(Action::Close(conn, CloseReason::ShuttingDown)),
            Event::Opened(conn, _) => {
                self.conns.insert(conn, Stream::Nothing);
            }
            Event::Received(conn, message) => self.received(now, conn, &message, out),
            Event::Closed(conn, reason) => self.leave(now, conn, reason),
            Event::Deadline => self.expire(now, out),
            Event::Drain => self.drain(out),
            Event::Command(never) => match never {},
            // A server makes no connections, and a stream ends by itself.
            Event::DialFailed(..) | Event::PeerFinished(_) => {}
        }
    }

    fn keeps_open_after_fin(&self, id: ConnId) -> bool {
        matches!(
            self.conns.get(id),
            Some(Stream::Stateless { .. } | Stream::Session { .. })
        )
    }

    fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    fn is_zero(&self) -> bool {
        self.conns.is_empty() && self.sessions.is_empty() && self.timers.is_empty()
    }
}
