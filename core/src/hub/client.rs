use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::mem;

use bytes::Bytes;
use rand_core::Rng;

use super::caller::{ClientConfig, Command, Failure, Notice};
use super::message::{Ids, Message, Reply, Request};
use crate::conn_set::ConnSet;
use crate::counters::counters;
use crate::machine::{Actions, DialError, DialToken, Event, Machine};
use crate::timers::{SHORTEST, TimerId, Timers};
use crate::wire::ErrorCode;
use crate::{Action, CloseReason, ConnId, Time};

counters! {
    /// What a hub's users did, since they were made.
    ClientCounters {
        /// Sessions begun.
        sessions,
        /// Attempts to connect.
        attempts,
        /// Requests sent.
        asked,
        /// Requests answered.
        answered,
        /// Requests that were not answered.
        unanswered,
        /// Bodies received from other users.
        delivered,
        /// Sessions that ended otherwise than by the caller's wish.
        failed,
    }
}

/// Users of a hub: each session has a connection, and with it a user id, of its own.
#[derive(Debug)]
pub struct Client<R> {
    config: ClientConfig,
    rng: R,
    sessions: BTreeMap<u64, Session>,
    conns: ConnSet<u64>,
    dials: BTreeMap<DialToken, u64>,
    timers: Timers<u64>,
    last_dial: u64,
    draining: bool,
    counters: ClientCounters,
}

#[derive(Debug)]
struct Session {
    stage: Stage,
    /// Requests that are not answered, oldest first.
    asks: VecDeque<Ask>,
    /// Ends the session, or a pause between attempts to connect. None if nothing is awaited.
    timer: Option<TimerId>,
    since: Time,
    retries: u32,
    leaving: bool,
    /// The hub's last words.
    told: Option<(ErrorCode, Bytes)>,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// For the next attempt.
    Waiting,
    Dialling(DialToken),
    Open(ConnId),
}

#[derive(Debug)]
struct Ask {
    ask: u64,
    request: Request,
    sent: Time,
}

type Out = Actions<Message, Notice>;

impl<R: Rng> Client<R> {
    /// Users that draw pauses from `rng`.
    pub fn new(config: ClientConfig, rng: R) -> Self {
        Self {
            config,
            rng,
            sessions: BTreeMap::new(),
            conns: ConnSet::new(),
            dials: BTreeMap::new(),
            timers: Timers::new(),
            last_dial: 0,
            draining: false,
            counters: ClientCounters::default(),
        }
    }

    /// What it did so far.
    #[must_use]
    pub const fn counters(&self) -> &ClientCounters {
        &self.counters
    }

    fn connect(&mut self, now: Time, session: u64, out: &mut Out) {
        if self.sessions.contains_key(&session) {
            return;
        }
        self.counters.sessions += 1;
        let new = Session {
            stage: Stage::Waiting,
            asks: VecDeque::new(),
            timer: None,
            since: now,
            retries: 0,
            leaving: false,
            told: None,
        };
        self.sessions.insert(session, new);
        if self.draining {
            self.end(session, Some(Failure::ShuttingDown), out);
        } else {
            self.dial(session, out);
        }
    }

    fn dial(&mut self, session: u64, out: &mut Out) {
        self.last_dial += 1;
        let token = DialToken(self.last_dial);
        let limit = self.config.connect_timeout.max(SHORTEST);
        let Some(entry) = self.sessions.get_mut(&session) else {
            return;
        };
        self.counters.attempts += 1;
        entry.stage = Stage::Dialling(token);
        let timer = self.timers.set(entry.since + limit, session);
        entry.timer = Some(timer);
        self.dials.insert(token, session);
        out.push(Action::Dial(token));
    }

    fn dial_failed(&mut self, now: Time, token: DialToken, error: DialError, out: &mut Out) {
        let Some(session) = self.dials.remove(&token) else {
            return;
        };
        let Some(entry) = self.sessions.get_mut(&session) else {
            return;
        };
        let after = self.config.backoff.draw(entry.retries, &mut self.rng).max(SHORTEST);
        if now.since(entry.since) + after > self.config.connect_timeout {
            self.end(session, Some(Failure::Dial(error)), out);
            return;
        }
        entry.retries += 1;
        entry.stage = Stage::Waiting;
        if let Some(timer) = entry.timer.replace(self.timers.set(now + after, session)) {
            self.timers.cancel(timer);
        }
        out.push(Action::Notify(Notice::Retrying { session, error, after }));
    }

    fn opened(&mut self, now: Time, conn: ConnId, dial: Option<DialToken>, out: &mut Out) {
        let session = dial.and_then(|token| self.dials.remove(&token));
        let Some((session, entry)) = session.and_then(|session| Some((session, self.sessions.get_mut(&session)?)))
        else {
            out.push(Action::Close(conn, CloseReason::Finished));
            return;
        };
        if let Some(timer) = entry.timer.take() {
            self.timers.cancel(timer);
        }
        entry.stage = Stage::Open(conn);
        self.conns.insert(conn, session);
        out.push(Action::Notify(Notice::Connected { session }));
        for ask in &mut entry.asks {
            ask.sent = now;
            self.counters.asked += 1;
            let kept = kind_of(&ask.request);
            let request = mem::replace(&mut ask.request, kept);
            out.push(Action::Send(conn, Message::Request(request)));
        }
        self.settle(session, out);
    }

    fn ask(&mut self, now: Time, session: u64, ask: u64, request: Request, out: &mut Out) {
        let Some(entry) = self.sessions.get_mut(&session).filter(|entry| !entry.leaving) else {
            self.counters.unanswered += 1;
            out.push(Action::Notify(Notice::Unanswered { session, ask }));
            return;
        };
        // Kept without its body once it is sent: only its kind is needed to know the answer.
        let kept = if let Stage::Open(conn) = entry.stage {
            self.counters.asked += 1;
            let kept = kind_of(&request);
            out.push(Action::Send(conn, Message::Request(request)));
            kept
        } else {
            request
        };
        entry.asks.push_back(Ask {
            ask,
            request: kept,
            sent: now,
        });
        self.settle(session, out);
    }

    fn leave(&mut self, session: u64, out: &mut Out) {
        if let Some(entry) = self.sessions.get_mut(&session) {
            entry.leaving = true;
            self.settle(session, out);
        }
    }

    /// Has the oldest request timed, and ends a session that is to end and has none.
    fn settle(&mut self, session: u64, out: &mut Out) {
        let Some(entry) = self.sessions.get_mut(&session) else {
            return;
        };
        if entry.leaving && entry.asks.is_empty() {
            self.end(session, None, out);
            return;
        }
        let Stage::Open(_) = entry.stage else {
            return;
        };
        let limit = self.config.response_timeout.max(SHORTEST);
        let due = entry.asks.front().map(|ask| ask.sent + limit);
        if entry.timer.map(TimerId::at) != due {
            if let Some(timer) = entry.timer.take() {
                self.timers.cancel(timer);
            }
            entry.timer = due.map(|due| self.timers.set(due, session));
        }
    }

    fn heard(&mut self, now: Time, conn: ConnId, reply: Reply, out: &mut Out) {
        let Some(&session) = self.conns.get(conn) else {
            return;
        };
        let Some(entry) = self.sessions.get_mut(&session) else {
            return;
        };
        match reply {
            Reply::Delivery { from, body } => {
                self.counters.delivered += 1;
                out.push(Action::Notify(Notice::Delivered { session, from, body }));
            }
            // About the connection, which is about to end.
            Reply::Error(code, text) if !is_answer(code) => entry.told = Some((code, text)),
            reply => match entry.asks.pop_front() {
                Some(ask) if answers(&reply, &ask.request) => {
                    self.counters.answered += 1;
                    out.push(Action::Notify(Notice::Answered {
                        session,
                        ask: ask.ask,
                        reply,
                        round_trip: now.since(ask.sent),
                    }));
                    self.settle(session, out);
                }
                other => {
                    entry.asks.extend(other);
                    self.end(session, Some(Failure::Confused), out);
                }
            },
        }
    }

    fn closed(&mut self, conn: ConnId, reason: CloseReason, out: &mut Out) {
        let Some(session) = self.conns.remove(conn) else {
            return;
        };
        let Some(entry) = self.sessions.get_mut(&session) else {
            return;
        };
        let failure = match entry.told.take() {
            Some((code, text)) => Failure::Rejected(code, text),
            None => Failure::Closed(reason),
        };
        self.end(session, Some(failure), out);
    }

    fn expire(&mut self, now: Time, out: &mut Out) {
        while let Some((_, session)) = self.timers.pop_due(now) {
            let Some(entry) = self.sessions.get_mut(&session) else {
                continue;
            };
            entry.timer = None;
            match entry.stage {
                Stage::Waiting => self.dial(session, out),
                Stage::Dialling(_) | Stage::Open(_) => self.end(session, Some(Failure::TimedOut), out),
            }
        }
    }

    /// Tells the caller of everything that is left, and forgets the session.
    fn end(&mut self, session: u64, failure: Option<Failure>, out: &mut Out) {
        let Some(entry) = self.sessions.remove(&session) else {
            return;
        };
        if let Some(timer) = entry.timer {
            self.timers.cancel(timer);
        }
        match entry.stage {
            Stage::Waiting => {}
            Stage::Dialling(token) => {
                if self.dials.remove(&token).is_some() {
                    out.push(Action::AbandonDial(token));
                }
            }
            Stage::Open(conn) => {
                if self.conns.remove(conn).is_some() {
                    let reason = match &failure {
                        None => CloseReason::Finished,
                        Some(Failure::ShuttingDown) => CloseReason::ShuttingDown,
                        Some(Failure::Confused) => CloseReason::Malformed(ErrorCode::UnknownRequest),
                        Some(_) => CloseReason::TimedOut,
                    };
                    out.push(Action::Close(conn, reason));
                }
            }
        }
        for ask in entry.asks {
            self.counters.unanswered += 1;
            let ask = ask.ask;
            out.push(Action::Notify(Notice::Unanswered { session, ask }));
        }
        self.counters.failed += u64::from(failure.is_some());
        out.push(Action::Notify(Notice::Ended { session, failure }));
    }

    /// Sessions that are connected may have their requests answered; all others end.
    fn drain(&mut self, out: &mut Out) {
        self.draining = true;
        let all: Vec<u64> = self.sessions.keys().copied().collect();
        for session in all {
            match self.sessions.get(&session).map(|entry| entry.stage) {
                Some(Stage::Open(_)) => self.leave(session, out),
                _ => self.end(session, Some(Failure::ShuttingDown), out),
            }
        }
    }
}

/// Enough of a request to know its answer by.
fn kind_of(request: &Request) -> Request {
    match request {
        Request::Identity => Request::Identity,
        Request::List => Request::List,
        Request::Echo(_) => Request::Echo(Bytes::new()),
        Request::Relay { .. } => Request::Relay {
            to: Ids::default(),
            body: Bytes::new(),
        },
    }
}

const fn answers(reply: &Reply, request: &Request) -> bool {
    matches!(
        (reply, request),
        (Reply::Identity(_), Request::Identity)
            | (Reply::List(_), Request::List)
            | (Reply::Echo(_), Request::Echo(_))
            | (Reply::Relayed { .. }, Request::Relay { .. })
            | (Reply::Error(..), _)
    )
}

/// Whether an error answers a request, and does not end the connection.
const fn is_answer(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::UnknownRequest
            | ErrorCode::NoReceivers
            | ErrorCode::TooManyReceivers
            | ErrorCode::BadReceiver
            | ErrorCode::BodyTooLong
            | ErrorCode::Unknown
    )
}

impl<R: Rng> Machine for Client<R> {
    type Message = Message;
    type Command = Command;
    type Notice = Notice;

    fn handle(&mut self, now: Time, event: Event<Message, Command>, out: &mut Out) {
        match event {
            Event::Command(Command::Connect { session }) => self.connect(now, session, out),
            Event::Command(Command::Ask { session, ask, request }) => self.ask(now, session, ask, request, out),
            Event::Command(Command::Leave { session }) => self.leave(session, out),
            Event::Opened(conn, opened) => self.opened(now, conn, opened.dial, out),
            Event::DialFailed(token, error) => self.dial_failed(now, token, error, out),
            Event::Received(conn, Message::Reply(reply)) => self.heard(now, conn, reply, out),
            // The codec of a dialled connection makes no requests.
            Event::Received(_, Message::Request(_)) => {}
            Event::Closed(conn, reason) => self.closed(conn, reason, out),
            Event::Deadline => self.expire(now, out),
            Event::Drain => self.drain(out),
            Event::PeerFinished(_) => {}
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    fn is_zero(&self) -> bool {
        self.sessions.is_empty() && self.conns.is_empty() && self.dials.is_empty() && self.timers.is_empty()
    }
}
