use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;
use core::mem;

use bytes::Bytes;
use rand_core::Rng;

use super::api::{Command, Notice};
use super::config::ClientConfig;
use super::ids::UserIds;
use super::message::{Message, Reply, Request};
use crate::attempts::{Attempts, Retry};
use crate::counters::counters;
use crate::failure::Failure;
use crate::machine::{Actions, DialError, DialToken, Event, Machine};
use crate::timers::SHORTEST;
use crate::wire::{ErrorClass, ErrorCode, Protocol};
use crate::{Action, CloseReason, ConnId, Time};

counters! {
    /// What a hub's client has done.
    ClientCounters {
        /// Sessions begun.
        sessions,
        /// Attempts to connect.
        attempts,
        /// Requests sent.
        asked,
        /// Requests answered.
        answered,
        /// Requests without an answer.
        unanswered,
        /// Bodies received from other users.
        delivered,
        /// Sessions that ended for another reason than the caller's command.
        failed,
    }
}

/// Users of a hub. Each session has its own connection, and with it its own user id.
#[derive(Debug)]
pub struct Client<R> {
    config: ClientConfig,
    rng: R,
    attempts: Attempts<Session>,
    /// The keys of the sessions in `attempts`.
    keys: BTreeMap<u64, u32>,
    draining: bool,
    counters: ClientCounters,
}

#[derive(Debug)]
struct Session {
    session: u64,
    /// Unanswered requests, oldest first.
    asks: VecDeque<Ask>,
    leaving: bool,
    /// The last error that ends the current connection.
    last_error: Option<(ErrorCode, Bytes)>,
}

#[derive(Debug)]
struct Ask {
    ask: u64,
    request: Request,
    /// When it was sent; `None` while not connected.
    sent: Option<Time>,
}

type Out = Actions<Message, Notice>;

impl<R: Rng> Client<R> {
    /// A client that draws pauses from `rng`.
    pub fn new(config: ClientConfig, rng: R) -> Self {
        let retry = Retry {
            backoff: config.backoff,
            attempt_timeout: config.attempt_timeout,
            give_up_after: Some(config.connect_timeout),
            retry_refused: config.retry_refused,
        };
        Self {
            config,
            rng,
            attempts: Attempts::new(retry),
            keys: BTreeMap::new(),
            draining: false,
            counters: ClientCounters::default(),
        }
    }

    /// What the client has done.
    #[must_use]
    pub const fn counters(&self) -> &ClientCounters {
        &self.counters
    }

    fn connect(&mut self, now: Time, session: u64, out: &mut Out) {
        if self.keys.contains_key(&session) {
            return;
        }
        self.counters.sessions += 1;
        if self.draining {
            self.counters.failed += 1;
            let failure = Some(Failure::ShuttingDown);
            out.push(Action::Notify(Notice::Ended { session, failure }));
            return;
        }
        let new = Session {
            session,
            asks: VecDeque::new(),
            leaving: false,
            last_error: None,
        };
        let key = self.attempts.begin(now, new, out);
        self.keys.insert(session, key);
        self.counters.attempts = self.attempts.total_attempts();
    }

    fn opened(&mut self, now: Time, conn: ConnId, dial: Option<DialToken>, out: &mut Out) {
        let Some(key) = self.attempts.opened(conn, dial, out) else {
            return;
        };
        let Some(entry) = self.attempts.get_mut(key) else {
            return;
        };
        entry.last_error = None;
        let session = entry.session;
        out.push(Action::Notify(Notice::Connected { session }));
        for ask in &mut entry.asks {
            ask.sent = Some(now);
            self.counters.asked += 1;
            let kept = without_body(&ask.request);
            let request = mem::replace(&mut ask.request, kept);
            out.push(Action::Send(conn, Message::Request(request)));
        }
        self.settle(key, out);
    }

    fn ask(&mut self, now: Time, session: u64, ask: u64, request: Request, out: &mut Out) {
        let key = self.keys.get(&session).copied();
        let conn = key.and_then(|key| self.attempts.conn(key));
        let entry = key.and_then(|key| self.attempts.get_mut(key));
        let (Some(key), Some(entry)) = (key, entry.filter(|entry| !entry.leaving)) else {
            self.counters.unanswered += 1;
            out.push(Action::Notify(Notice::Unanswered { session, ask }));
            return;
        };
        // A sent request is kept without its body: its kind is enough to match the answer.
        let kept = if let Some(conn) = conn {
            self.counters.asked += 1;
            let kept = without_body(&request);
            out.push(Action::Send(conn, Message::Request(request)));
            kept
        } else {
            request
        };
        entry.asks.push_back(Ask {
            ask,
            request: kept,
            sent: conn.map(|_| now),
        });
        self.settle(key, out);
    }

    fn leave(&mut self, session: u64, out: &mut Out) {
        if let Some(&key) = self.keys.get(&session)
            && let Some(entry) = self.attempts.get_mut(key)
        {
            entry.leaving = true;
            self.settle(key, out);
        }
    }

    /// Sets the deadline of the oldest request; ends a session that is leaving and has no requests left.
    fn settle(&mut self, key: u32, out: &mut Out) {
        let Some(entry) = self.attempts.get(key) else {
            return;
        };
        if entry.leaving && entry.asks.is_empty() {
            self.end(key, None, out);
            return;
        }
        if self.attempts.conn(key).is_none() {
            return;
        }
        let limit = self.config.response_timeout.max(SHORTEST);
        let last = self.attempts.gives_up_at(key);
        let in_time = self.config.reconnect && !self.attempts.is_proven(key);
        let due = entry
            .asks
            .front()
            .and_then(|ask| ask.sent)
            .map(|sent| match sent + limit {
                // A request sent later than that has its full time.
                due if in_time && sent < last => due.min(last),
                due => due,
            });
        self.attempts.set_deadline(key, due);
    }

    fn reply(&mut self, now: Time, conn: ConnId, reply: Reply, out: &mut Out) {
        let Some(key) = self.attempts.key_of(conn) else {
            return;
        };
        let Some(entry) = self.attempts.get_mut(key) else {
            return;
        };
        let session = entry.session;
        match reply {
            Reply::Delivery { from, body } => {
                self.attempts.mark_proven(key);
                self.counters.delivered += 1;
                out.push(Action::Notify(Notice::Received { session, from, body }));
                self.settle(key, out);
            }
            Reply::Error(code, text) => match Failure::rejected(code, text, Protocol::Hub) {
                Failure::Rejected(code, text) if code.class() == ErrorClass::Request => {
                    self.answered(now, key, Reply::Error(code, text), out);
                }
                // An error about the connection, which is about to end.
                Failure::Rejected(code, text) => entry.last_error = Some((code, text)),
                failure => self.fail(now, key, failure, out),
            },
            reply => self.answered(now, key, reply, out),
        }
    }

    /// Handles the reply to the oldest request.
    fn answered(&mut self, now: Time, key: u32, reply: Reply, out: &mut Out) {
        let Some(entry) = self.attempts.get_mut(key) else {
            return;
        };
        match entry.asks.pop_front() {
            Some(ask) if is_answer(&reply, &ask.request) => {
                let session = entry.session;
                if !matches!(reply, Reply::Error(..)) {
                    self.attempts.mark_proven(key);
                }
                self.counters.answered += 1;
                out.push(Action::Notify(Notice::Answered {
                    session,
                    ask: ask.ask,
                    reply,
                    round_trip: ask.sent.map(|sent| now.since(sent)).unwrap_or_default(),
                }));
                self.settle(key, out);
            }
            other => {
                entry.asks.extend(other);
                self.fail(now, key, Failure::ProtocolViolation, out);
            }
        }
    }

    fn closed(&mut self, now: Time, conn: ConnId, reason: CloseReason, out: &mut Out) {
        let Some(key) = self.attempts.closed(conn) else {
            return;
        };
        let last_error = self.attempts.get_mut(key).and_then(|entry| entry.last_error.take());
        let failure = match (last_error, reason) {
            (Some((code, text)), reason) if !matches!(reason, CloseReason::OtherProtocol(_)) => {
                Failure::Rejected(code, text)
            }
            (_, reason) => reason.into(),
        };
        self.fail(now, key, failure, out);
    }

    fn dial_failed(&mut self, now: Time, token: DialToken, error: DialError, out: &mut Out) {
        if let Some(key) = self.attempts.dial_failed(token, error) {
            self.fail(now, key, error.into(), out);
        }
    }

    fn expire(&mut self, now: Time, out: &mut Out) {
        while let Some(key) = self.attempts.pop_expired(now, out) {
            self.fail(now, key, Failure::TimedOut, out);
        }
        self.counters.attempts = self.attempts.total_attempts();
    }

    /// Handles a failed attempt or connection: schedules the next attempt or ends the session.
    fn fail(&mut self, now: Time, key: u32, failure: Failure, out: &mut Out) {
        let Some(entry) = self.attempts.get(key) else {
            return;
        };
        let reconnects = self.config.reconnect && !entry.leaving;
        let hopeless = match &failure {
            Failure::Dial(_) => false,
            Failure::TimedOut => self.attempts.conn(key).is_some() && !reconnects,
            Failure::Closed(_) => !reconnects,
            Failure::Rejected(code, _) => !reconnects || !code.is_retryable(),
            _ => true,
        };
        let after = if hopeless {
            None
        } else {
            let reason = close_reason(Some(&failure));
            self.attempts.failed(now, key, reason, &mut self.rng, out)
        };
        let Some(after) = after else {
            self.end(key, Some(failure), out);
            return;
        };
        let Some(entry) = self.attempts.get_mut(key) else {
            return;
        };
        let session = entry.session;
        // The hub may have executed the requests that were sent. The others are sent on the next connection.
        let unsent = entry.asks.partition_point(|ask| ask.sent.is_some());
        for Ask { ask, .. } in entry.asks.drain(..unsent) {
            self.counters.unanswered += 1;
            out.push(Action::Notify(Notice::Unanswered { session, ask }));
        }
        out.push(Action::Notify(Notice::Retrying {
            session,
            failure,
            after,
        }));
    }

    /// Removes a session and sends its remaining notices.
    fn end(&mut self, key: u32, failure: Option<Failure>, out: &mut Out) {
        let reason = close_reason(failure.as_ref());
        let Some(Session { session, asks, .. }) = self.attempts.end(key, reason, out) else {
            return;
        };
        self.keys.remove(&session);
        for ask in asks {
            self.counters.unanswered += 1;
            let ask = ask.ask;
            out.push(Action::Notify(Notice::Unanswered { session, ask }));
        }
        self.counters.failed += u64::from(failure.is_some());
        out.push(Action::Notify(Notice::Ended { session, failure }));
    }

    /// Connected sessions end once their requests are answered; all others end now.
    fn drain(&mut self, out: &mut Out) {
        self.draining = true;
        let all: Vec<(u64, u32)> = self.keys.iter().map(|(session, key)| (*session, *key)).collect();
        for (session, key) in all {
            if self.attempts.conn(key).is_some() {
                self.leave(session, out);
            } else {
                self.end(key, Some(Failure::ShuttingDown), out);
            }
        }
    }
}

/// The reason for closing a session's connection.
const fn close_reason(failure: Option<&Failure>) -> CloseReason {
    match failure {
        None => CloseReason::Finished,
        Some(Failure::ShuttingDown) => CloseReason::ShuttingDown,
        Some(Failure::ProtocolViolation | Failure::OtherProtocol(_)) => {
            CloseReason::Malformed(ErrorCode::UnknownRequest)
        }
        Some(_) => CloseReason::TimedOut,
    }
}

/// A request reduced to its kind.
fn without_body(request: &Request) -> Request {
    match request {
        Request::Identity => Request::Identity,
        Request::List => Request::List,
        Request::Echo(_) => Request::Echo(Bytes::new()),
        Request::Relay { .. } => Request::Relay {
            to: UserIds::default(),
            body: Bytes::new(),
        },
    }
}

const fn is_answer(reply: &Reply, request: &Request) -> bool {
    matches!(
        (reply, request),
        (Reply::Identity(_), Request::Identity)
            | (Reply::List(_), Request::List)
            | (Reply::Echo(_), Request::Echo(_))
            | (Reply::Relayed { .. }, Request::Relay { .. })
            | (Reply::Error(..), _)
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
            Event::Received(conn, Message::Reply(reply)) => self.reply(now, conn, reply, out),
            // The codec of a dialled connection decodes no requests.
            Event::Received(_, Message::Request(_)) => {}
            Event::Closed(conn, reason) => self.closed(now, conn, reason, out),
            Event::Deadline => self.expire(now, out),
            Event::Drain => self.drain(out),
            Event::PeerFinished(_) => {}
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        self.attempts.next_deadline()
    }

    fn is_zero(&self) -> bool {
        self.keys.is_empty() && self.attempts.is_empty()
    }
}
