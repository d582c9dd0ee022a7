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
    /// What a numbers client did, since it was made.
    ClientCounters {
        /// Streams asked for.
        asked,
        /// Attempts to connect.
        attempts,
        /// Streams gone on with after a loss.
        resumed,
        /// Numbers got.
        numbers,
        /// Streams of which all has come.
        done,
        /// Streams that broke off.
        failed,
    }
}

/// The side that gets numbers: each stream has a connection of its own.
#[derive(Debug)]
pub struct Client<R> {
    rng: R,
    attempts: Attempts<Get>,
    /// The streams' keys among the attempts, by those that the caller gave them.
    keys: BTreeMap<u64, u32>,
    draining: bool,
    counters: ClientCounters,
}

/// One stream.
#[derive(Debug)]
struct Get {
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

    /// What it did so far.
    #[must_use]
    pub const fn counters(&self) -> &ClientCounters {
        &self.counters
    }

    fn get(&mut self, now: Time, key: u64, want: StreamSpec, out: &mut Out) {
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
        let progress = Progress::new(want);
        let at = self.attempts.begin(now, Get { key, progress }, out);
        self.keys.insert(key, at);
        self.counters.attempts = self.attempts.made();
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
        self.attempts.await_answer(now, at);
    }

    fn heard(&mut self, conn: ConnId, value: u64, out: &mut Out) {
        let Some(at) = self.attempts.on(conn) else {
            return;
        };
        self.attempts.wait_until(at, None);
        self.attempts.proven(at);
        let Some(Get { key, progress }) = self.attempts.get_mut(at) else {
            return;
        };
        let key = *key;
        if let Some(count) = progress.resumed() {
            self.counters.resumed += 1;
            let count = count.into();
            out.push(Action::Notify(Notice::Resumed { key, count }));
        }
        match progress.take(value) {
            Step::On => {}
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
            Step::Confused => self.end(at, Err(Failure::ProtocolViolation), out),
        }
    }

    fn refused(&mut self, now: Time, conn: ConnId, code: ErrorCode, text: Bytes, out: &mut Out) {
        let Some(at) = self.attempts.on(conn) else {
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

    /// The attempt, or the connection, is of no use any more: tries again after a pause, if there is time for it.
    fn retry(&mut self, now: Time, at: u32, why: Failure, reason: CloseReason, out: &mut Out) {
        let after = match why {
            Failure::OtherProtocol(_) => None,
            Failure::Rejected(code, _) if !code.is_retryable() => None,
            _ => self.attempts.failed(now, at, reason, &mut self.rng, out),
        };
        match (after, self.attempts.get(at)) {
            (Some(after), Some(get)) => {
                let key = get.key;
                out.push(Action::Notify(Notice::Retrying { key, why, after }));
            }
            _ => self.end(at, Err(why), out),
        }
    }

    fn expire(&mut self, now: Time, out: &mut Out) {
        while let Some(at) = self.attempts.expired(now, out) {
            self.retry(now, at, Failure::TimedOut, CloseReason::TimedOut, out);
        }
        self.counters.attempts = self.attempts.made();
    }

    /// Forgets the stream, and tells the caller how it ended.
    fn end(&mut self, at: u32, outcome: Result<Total, Failure>, out: &mut Out) {
        let Some(Get { key, .. }) = self.attempts.end(at, CloseReason::Finished, out) else {
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

    /// Streams may be endless, and can be gone on with: they end at once.
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
            Event::Command(Command::Get { key, stream: want }) => self.get(now, key, want, out),
            Event::Opened(conn, opened) => self.opened(now, conn, opened.dial, out),
            Event::DialFailed(token, error) => {
                if let Some(at) = self.attempts.dial_failed(token, error) {
                    self.retry(now, at, error.into(), CloseReason::Finished, out);
                }
            }
            Event::Received(conn, Message::Number(value)) => self.heard(conn, value, out),
            Event::Received(conn, Message::Error(code, text)) => self.refused(now, conn, code, text, out),
            // The codec of a dialled connection makes no requests.
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
