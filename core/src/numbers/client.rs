use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::Bytes;
use rand_core::Rng;

use super::api::{Command, Notice, StreamSpec, Total};
use super::config::ClientConfig;
use super::message::Message;
use super::progress::{Progress, Step};
use crate::attempts::{Attempts, Retry};
use crate::counters::counters;
use crate::failure::Failure;
use crate::machine::{Actions, DialToken, Event, Machine};
use crate::wire::{ErrorCode, Protocol};
use crate::{Action, CloseReason, ConnId, Time};

counters! {
    /// What a numbers client has done.
    ClientCounters {
        /// Streams requested.
        asked,
        /// Attempts to connect.
        attempts,
        /// Streams resumed after a loss.
        resumed,
        /// Numbers received.
        numbers,
        /// Streams completed.
        done,
        /// Streams failed.
        failed,
    }
}

/// The side that receives numbers. Each stream has its own connection.
#[derive(Debug)]
pub struct Client<R> {
    rng: R,
    attempts: Attempts<Request>,
    /// The keys of the streams in `attempts`, by the caller's keys.
    keys: BTreeMap<u64, u32>,
    draining: bool,
    counters: ClientCounters,
}

/// One stream.
#[derive(Debug)]
struct Request {
    key: u64,
    progress: Progress,
}

type Out = Actions<Message, Notice>;

impl<R: Rng> Client<R> {
    /// A client that draws pauses from `rng`.
    pub fn new(config: ClientConfig, rng: R) -> Self {
        let retry = Retry {
            backoff: config.backoff,
            attempt_timeout: config.response_timeout,
            give_up_after: Some(config.give_up_after),
            retry_refused: config.retry_refused,
        };
        Self {
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

    fn get(&mut self, now: Time, key: u64, spec: StreamSpec, out: &mut Out) {
        if self.keys.contains_key(&key) {
            return;
        }
        self.counters.asked += 1;
        if self.draining {
            self.counters.failed += 1;
            let failure = Failure::ShuttingDown;
            out.push(Action::Notify(Notice::Failed { key, failure }));
            return;
        }
        let progress = Progress::new(spec);
        let at = self.attempts.begin(now, Request { key, progress }, out);
        self.keys.insert(key, at);
        self.counters.attempts = self.attempts.total_attempts();
    }

    fn opened(&mut self, now: Time, conn: ConnId, dial: Option<DialToken>, out: &mut Out) {
        if let Some(at) = self.attempts.opened(conn, dial, out)
            && let Some(get) = self.attempts.get_mut(at)
        {
            let request = get.progress.request();
            self.ask(now, at, conn, request, out);
        }
    }

    fn ask(&mut self, now: Time, at: u32, conn: ConnId, request: Message, out: &mut Out) {
        out.push(Action::Send(conn, request));
        self.attempts.restart_timeout(now, at);
    }

    fn reply(&mut self, conn: ConnId, value: u64, out: &mut Out) {
        let Some(at) = self.attempts.key_of(conn) else {
            return;
        };
        self.attempts.set_deadline(at, None);
        self.attempts.mark_proven(at);
        let Some(Request { key, progress }) = self.attempts.get_mut(at) else {
            return;
        };
        let key = *key;
        if let Some(count) = progress.resumed() {
            self.counters.resumed += 1;
            let count = count.into();
            out.push(Action::Notify(Notice::Resumed { key, count }));
        }
        match progress.take(value) {
            Step::Continue => {}
            Step::Number { place, number } => {
                self.counters.numbers += 1;
                let place = place.into();
                out.push(Action::Notify(Notice::Number { key, place, number }));
                if let Some(total) = progress.total() {
                    out.push(Action::Send(conn, Message::End));
                    self.end(at, Ok(total), out);
                }
            }
            Step::Done(total) => self.end(at, Ok(total), out),
            Step::Violation => self.end(at, Err(Failure::ProtocolViolation), out),
        }
    }

    fn refused(&mut self, now: Time, conn: ConnId, code: ErrorCode, text: Bytes, out: &mut Out) {
        let Some(at) = self.attempts.key_of(conn) else {
            return;
        };
        let Some(get) = self.attempts.get_mut(at) else {
            return;
        };
        if code == ErrorCode::UnknownSession
            && let Some(request) = get.progress.begin_instead()
        {
            self.ask(now, at, conn, request, out);
            return;
        }
        let failure = Failure::rejected(code, text, Protocol::Numbers);
        self.retry(now, at, failure, CloseReason::Finished, out);
    }

    /// Schedules the next attempt, or ends the stream if retrying cannot help or the time limit leaves no room.
    fn retry(&mut self, now: Time, at: u32, failure: Failure, reason: CloseReason, out: &mut Out) {
        let after = match failure {
            Failure::OtherProtocol(_) => None,
            Failure::Rejected(code, _) if !code.is_retryable() => None,
            _ => self.attempts.failed(now, at, reason, &mut self.rng, out),
        };
        match (after, self.attempts.get(at)) {
            (Some(after), Some(get)) => {
                let key = get.key;
                out.push(Action::Notify(Notice::Retrying { key, failure, after }));
            }
            _ => self.end(at, Err(failure), out),
        }
    }

    fn expire(&mut self, now: Time, out: &mut Out) {
        while let Some(at) = self.attempts.pop_expired(now, out) {
            self.retry(now, at, Failure::TimedOut, CloseReason::TimedOut, out);
        }
        self.counters.attempts = self.attempts.total_attempts();
    }

    /// Removes a stream and notifies the caller of its outcome.
    fn end(&mut self, at: u32, outcome: Result<Total, Failure>, out: &mut Out) {
        let Some(Request { key, .. }) = self.attempts.end(at, CloseReason::Finished, out) else {
            return;
        };
        self.keys.remove(&key);
        let notice = match outcome {
            Ok(total) => {
                self.counters.done += 1;
                Notice::Done { key, total }
            }
            Err(failure) => {
                self.counters.failed += 1;
                Notice::Failed { key, failure }
            }
        };
        out.push(Action::Notify(notice));
    }

    /// Streams can be endless and can be resumed: all end now.
    fn drain(&mut self, out: &mut Out) {
        self.draining = true;
        let all: Vec<u32> = self.keys.values().copied().collect();
        for at in all {
            self.end(at, Err(Failure::ShuttingDown), out);
        }
    }
}

impl<R: Rng> Machine for Client<R> {
    type Message = Message;
    type Command = Command;
    type Notice = Notice;

    fn handle(&mut self, now: Time, event: Event<Message, Command>, out: &mut Out) {
        match event {
            Event::Command(Command::Get { key, stream }) => self.get(now, key, stream, out),
            Event::Opened(conn, opened) => self.opened(now, conn, opened.dial, out),
            Event::DialFailed(token, error) => {
                if let Some(at) = self.attempts.dial_failed(token, error) {
                    self.retry(now, at, error.into(), CloseReason::Finished, out);
                }
            }
            Event::Received(conn, Message::Number(value)) => self.reply(conn, value, out),
            Event::Received(conn, Message::Error(code, text)) => self.refused(now, conn, code, text, out),
            // The codec of a dialled connection decodes no requests.
            Event::Received(..) => {}
            Event::Closed(conn, reason) => {
                if let Some(at) = self.attempts.closed(conn) {
                    self.retry(now, at, reason.into(), reason, out);
                }
            }
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
