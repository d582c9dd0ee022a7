use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use bytes::Bytes;
use rand_core::Rng;

use super::caller::{ClientConfig, Command, Failure, Notice, Total, Want};
use super::message::Message;
use super::progress::{Progress, Step};
use crate::conn_set::ConnSet;
use crate::counters::counters;
use crate::machine::{Actions, DialToken, Event, Machine};
use crate::timers::{SHORTEST, TimerId, Timers};
use crate::wire::ErrorCode;
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
    config: ClientConfig,
    rng: R,
    gets: BTreeMap<u64, Get>,
    conns: ConnSet<u64>,
    dials: BTreeMap<DialToken, u64>,
    timers: Timers<u64>,
    last_dial: u64,
    draining: bool,
    counters: ClientCounters,
}

/// One stream.
#[derive(Debug)]
struct Get {
    progress: Progress,
    stage: Stage,
    /// Ends a pause, or the wait for a connection or its first reply. None if numbers are under way.
    timer: Option<TimerId>,
    /// The loss of the last connection on which something came, or the begin.
    since: Time,
    retries: u32,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    /// For the next attempt.
    Waiting,
    Dialling(DialToken),
    Open(ConnId),
}

type Out = Actions<Message, Notice>;

impl<R: Rng> Client<R> {
    /// A client that draws pauses from `rng`.
    pub fn new(config: ClientConfig, rng: R) -> Self {
        Self {
            config,
            rng,
            gets: BTreeMap::new(),
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

    fn get(&mut self, now: Time, key: u64, want: Want, out: &mut Out) {
        if self.gets.contains_key(&key) {
            return;
        }
        self.counters.asked += 1;
        let new = Get {
            progress: Progress::new(want),
            stage: Stage::Waiting,
            timer: None,
            since: now,
            retries: 0,
        };
        self.gets.insert(key, new);
        if self.draining {
            self.end(key, Err(Failure::ShuttingDown), out);
        } else {
            self.dial(now, key, out);
        }
    }

    fn dial(&mut self, now: Time, key: u64, out: &mut Out) {
        let Some(get) = self.gets.get_mut(&key) else {
            return;
        };
        self.last_dial += 1;
        let token = DialToken(self.last_dial);
        self.counters.attempts += 1;
        get.stage = Stage::Dialling(token);
        let last = get.since + self.config.give_up.max(SHORTEST);
        let due = now + self.config.response_timeout.max(SHORTEST);
        self.set_timer(key, Some(due.min(last)));
        self.dials.insert(token, key);
        out.push(Action::Dial(token));
    }

    fn set_timer(&mut self, key: u64, due: Option<Time>) {
        let Some(get) = self.gets.get_mut(&key) else {
            return;
        };
        if let Some(timer) = get.timer.take() {
            self.timers.cancel(timer);
        }
        get.timer = due.map(|due| self.timers.set(due, key));
    }

    /// The connection is of no use any more. While numbers came, however slowly, there was nothing to wait for: the time
    /// after which it gives up begins now.
    fn lost(&mut self, now: Time, key: u64, why: Failure, out: &mut Out) {
        if let Some(get) = self.gets.get_mut(&key).filter(|get| get.timer.is_none()) {
            get.since = now;
        }
        self.retry(now, key, why, out);
    }

    /// Tries again after a pause, if there is time for it.
    fn retry(&mut self, now: Time, key: u64, why: Failure, out: &mut Out) {
        let Some(get) = self.gets.get_mut(&key) else {
            return;
        };
        get.stage = Stage::Waiting;
        let after = self.config.backoff.draw(get.retries, &mut self.rng).max(SHORTEST);
        if now.since(get.since) + after > self.config.give_up {
            self.end(key, Err(why), out);
            return;
        }
        get.retries += 1;
        self.set_timer(key, Some(now + after));
        out.push(Action::Notify(Notice::Retrying { key, why, after }));
    }

    fn opened(&mut self, now: Time, conn: ConnId, dial: Option<DialToken>, out: &mut Out) {
        let key = dial.and_then(|token| self.dials.remove(&token));
        let Some((key, get)) = key.and_then(|key| Some((key, self.gets.get_mut(&key)?))) else {
            out.push(Action::Close(conn, CloseReason::Finished));
            return;
        };
        get.stage = Stage::Open(conn);
        let request = get.progress.request();
        self.conns.insert(conn, key);
        self.ask(now, key, conn, request, out);
    }

    fn ask(&mut self, now: Time, key: u64, conn: ConnId, request: Message, out: &mut Out) {
        out.push(Action::Send(conn, request));
        self.set_timer(key, Some(now + self.config.response_timeout.max(SHORTEST)));
    }

    fn heard(&mut self, conn: ConnId, value: u64, out: &mut Out) {
        let Some(&key) = self.conns.get(conn) else {
            return;
        };
        self.set_timer(key, None);
        let Some(get) = self.gets.get_mut(&key) else {
            return;
        };
        get.retries = 0;
        if let Some(count) = get.progress.resumed() {
            self.counters.resumed += 1;
            let count = count.into();
            out.push(Action::Notify(Notice::Resumed { key, count }));
        }
        match get.progress.take(value) {
            Step::On => {}
            Step::Number { place, number } => {
                self.counters.numbers += 1;
                let place = place.into();
                out.push(Action::Notify(Notice::Number { key, place, number }));
                if let Some(total) = get.progress.total() {
                    out.push(Action::Send(conn, Message::End));
                    self.end(key, Ok(total), out);
                }
            }
            Step::Done(total) => self.end(key, Ok(total), out),
            Step::Confused => self.end(key, Err(Failure::Confused), out),
        }
    }

    fn refused(&mut self, now: Time, conn: ConnId, code: ErrorCode, text: Bytes, out: &mut Out) {
        let Some(&key) = self.conns.get(conn) else {
            return;
        };
        let Some(get) = self.gets.get_mut(&key) else {
            return;
        };
        if code == ErrorCode::UnknownSession
            && let Some(request) = get.progress.begin_instead()
        {
            self.ask(now, key, conn, request, out);
            return;
        }
        let why = Failure::Rejected(code, text);
        if code.is_temporary() {
            self.conns.remove(conn);
            out.push(Action::Close(conn, CloseReason::Finished));
            self.lost(now, key, why, out);
        } else {
            self.end(key, Err(why), out);
        }
    }

    fn expire(&mut self, now: Time, out: &mut Out) {
        while let Some((_, key)) = self.timers.pop_due(now) {
            let Some(get) = self.gets.get_mut(&key) else {
                continue;
            };
            get.timer = None;
            match get.stage {
                Stage::Waiting => self.dial(now, key, out),
                Stage::Dialling(token) => {
                    self.dials.remove(&token);
                    out.push(Action::AbandonDial(token));
                    self.retry(now, key, Failure::TimedOut, out);
                }
                Stage::Open(conn) => {
                    self.conns.remove(conn);
                    out.push(Action::Close(conn, CloseReason::TimedOut));
                    self.retry(now, key, Failure::TimedOut, out);
                }
            }
        }
    }

    /// Forgets the stream, and tells the caller how it ended.
    fn end(&mut self, key: u64, outcome: Result<Total, Failure>, out: &mut Out) {
        let Some(get) = self.gets.remove(&key) else {
            return;
        };
        if let Some(timer) = get.timer {
            self.timers.cancel(timer);
        }
        match get.stage {
            Stage::Waiting => {}
            Stage::Dialling(token) => {
                if self.dials.remove(&token).is_some() {
                    out.push(Action::AbandonDial(token));
                }
            }
            Stage::Open(conn) => {
                if self.conns.remove(conn).is_some() {
                    out.push(Action::Close(conn, CloseReason::Finished));
                }
            }
        }
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
        let all: Vec<u64> = self.gets.keys().copied().collect();
        for key in all {
            self.end(key, Err(Failure::ShuttingDown), out);
        }
    }
}

impl<R: Rng> Machine for Client<R> {
    type Message = Message;
    type Command = Command;
    type Notice = Notice;

    fn handle(&mut self, now: Time, event: Event<Message, Command>, out: &mut Out) {
        match event {
            Event::Command(Command::Get { key, want }) => self.get(now, key, want, out),
            Event::Opened(conn, opened) => self.opened(now, conn, opened.dial, out),
            Event::DialFailed(token, error) => {
                if let Some(key) = self.dials.remove(&token) {
                    self.retry(now, key, Failure::Dial(error), out);
                }
            }
            Event::Received(conn, Message::Number(value)) => self.heard(conn, value, out),
            Event::Received(conn, Message::Error(code, text)) => self.refused(now, conn, code, text, out),
            // The codec of a dialled connection makes no requests.
            Event::Received(..) => {}
            Event::Closed(conn, reason) => {
                if let Some(key) = self.conns.remove(conn) {
                    self.lost(now, key, Failure::Closed(reason), out);
                }
            }
            Event::Deadline => self.expire(now, out),
            Event::Drain => self.drain(out),
            Event::PeerFinished(_) => {}
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    fn is_zero(&self) -> bool {
        self.gets.is_empty() && self.conns.is_empty() && self.dials.is_empty() && self.timers.is_empty()
    }
}
