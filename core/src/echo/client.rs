use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::time::Duration;

use bytes::Bytes;
use rand_core::Rng;
use slab::Slab;

use super::Message;
use crate::conn_set::ConnSet;
use crate::counters::counters;
use crate::machine::{Actions, DialError, DialToken, Event, Machine};
use crate::random::{Backoff, Delay};
use crate::timers::{SHORTEST, TimerId, Timers};
use crate::wire::{ErrorCode, keep};
use crate::{Action, CloseReason, ConnId, Time};

/// How an echo client behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// From the start of an attempt to connect to the `ok X`; after it the client disconnects and tries again.
    /// Default 30 s.
    pub response_timeout: Duration,
    /// The wait before trying again.
    pub backoff: Backoff,
    /// From [`Command::Send`] on; after it the client gives up. `None`: never. Default 5 min.
    pub give_up_after: Option<Duration>,
    /// Between receiving `message Y` and answering `ok Y`. Default none.
    pub ack_delay: Delay,
    /// Answers of one connection that may be delayed at once; over it, answers are sent at once. Default 65,536.
    pub max_delayed_acks: usize,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            response_timeout: Duration::from_secs(30),
            backoff: Backoff::default(),
            give_up_after: Some(Duration::from_secs(300)),
            ack_delay: Delay::None,
            max_delayed_acks: 64 * 1024,
        }
    }
}

/// What a caller can ask of an echo client.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Command {
    /// Connect, send `message X`, and stay until its `ok X`, however often that takes.
    Send {
        /// The caller's name for this message, echoed in notices.
        id: u64,
        /// X.
        x: Bytes,
    },
}

/// What the caller of an echo client is told.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Notice {
    /// The `ok X` has come and the connection closes: the natural end. Nothing follows for this id.
    Acknowledged {
        /// The caller's name for the message.
        id: u64,
        /// From the `message X` on the connection that got the ok.
        round_trip: Duration,
        /// From the command.
        total: Duration,
        /// Attempts that failed before.
        retries: u32,
    },
    /// An attempt has failed; another follows.
    Retrying {
        /// The caller's name for the message.
        id: u64,
        /// What was wrong with this one.
        failure: Failure,
        /// How long until the next.
        after: Duration,
    },
    /// The message was not acknowledged, and the client does not try again. Nothing follows for this id.
    GaveUp {
        /// The caller's name for the message.
        id: u64,
        /// What was wrong with the last attempt.
        failure: Failure,
        /// Attempts made.
        attempts: u32,
    },
}

/// Why an attempt to have a message acknowledged failed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// No connection.
    Dial(DialError),
    /// The connection ended before the ok.
    Closed(CloseReason),
    /// The server said no: its code and its words.
    Rejected(ErrorCode, Bytes),
    /// No ok in time.
    TimedOut,
    /// This side is shutting down.
    ShuttingDown,
}

counters! {
    /// What an echo client did, since it was made.
    ClientCounters {
        /// Messages the caller asked to have acknowledged.
        commands,
        /// Attempts to connect.
        attempts,
        /// `message X` sent.
        sent,
        /// Messages acknowledged.
        acknowledged,
        /// Attempts that failed and were followed by another.
        retries,
        /// Messages given up.
        gave_up,
        /// Attempts that ended because no ok came in time.
        timeouts,
        /// `message Y` received.
        received,
        /// `ok Y` sent.
        answered,
        /// `ok` for something else than the connection's own X; ignored.
        oks_unexpected,
        /// `error` received.
        errors_received,
    }
}

/// Echo clients: each message has a connection of its own, so one value of this type is as many clients of the kata as
/// there are messages under way.
#[derive(Debug)]
pub struct Client<R> {
    config: ClientConfig,
    rng: R,
    deliveries: Slab<Delivery>,
    conns: ConnSet<Conn>,
    timers: Timers<Due>,
    sequence: u32,
    draining: bool,
    counters: ClientCounters,
}

#[derive(Debug)]
struct Delivery {
    id: u64,
    x: Bytes,
    since: Time,
    retries: u32,
    stage: Stage,
}

/// Each with the timer that ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// For the next attempt.
    Waiting(TimerId),
    Dialling(DialToken, TimerId),
    /// Connected, and the message sent at that time.
    Open(ConnId, TimerId, Time),
}

#[derive(Debug)]
struct Conn {
    delivery: u32,
    acks: BTreeSet<TimerId>,
}

#[derive(Debug)]
enum Due {
    Retry(u32),
    Response(u32),
    Ack(ConnId, Bytes),
}

type Out = Actions<Message, Notice>;

impl<R: Rng> Client<R> {
    /// Clients that draw delays from `rng`.
    pub fn new(config: ClientConfig, rng: R) -> Self {
        Self {
            config,
            rng,
            deliveries: Slab::new(),
            conns: ConnSet::new(),
            timers: Timers::new(),
            sequence: 0,
            draining: false,
            counters: ClientCounters::default(),
        }
    }

    /// What it did so far.
    #[must_use]
    pub const fn counters(&self) -> &ClientCounters {
        &self.counters
    }

    /// How many messages are neither acknowledged nor given up.
    #[must_use]
    pub fn under_way(&self) -> usize {
        self.deliveries.len()
    }

    fn send(&mut self, now: Time, id: u64, x: Bytes, out: &mut Out) {
        self.counters.commands += 1;
        if self.draining {
            self.counters.gave_up += 1;
            out.push(Action::Notify(Notice::GaveUp {
                id,
                failure: Failure::ShuttingDown,
                attempts: 0,
            }));
            return;
        }
        let key = self.deliveries.vacant_key() as u32;
        let stage = self.dial(now, key, now, out);
        self.deliveries.insert(Delivery {
            id,
            x,
            since: now,
            retries: 0,
            stage,
        });
    }

    /// Starts an attempt for a delivery that waits for one.
    fn attempt(&mut self, now: Time, key: u32, out: &mut Out) {
        let Some(delivery) = self.deliveries.get_mut(key as usize) else {
            return;
        };
        if let Stage::Waiting(timer) = delivery.stage {
            self.timers.cancel(timer);
        }
        let since = delivery.since;
        let stage = self.dial(now, key, since, out);
        if let Some(delivery) = self.deliveries.get_mut(key as usize) {
            delivery.stage = stage;
        }
    }

    /// Asks for a connection for a delivery that the caller has asked for at `since`.
    fn dial(&mut self, now: Time, key: u32, since: Time, out: &mut Out) -> Stage {
        self.counters.attempts += 1;
        // The sequence number tells this attempt from an earlier one of a delivery with the same key.
        let token = DialToken(u64::from(self.sequence) << 32 | u64::from(key));
        self.sequence = self.sequence.wrapping_add(1);
        let mut until = now + self.config.response_timeout.max(SHORTEST);
        if let Some(after) = self.config.give_up_after {
            until = until.min(since + after).max(now + SHORTEST);
        }
        out.push(Action::Dial(token));
        Stage::Dialling(token, self.timers.set(until, Due::Response(key)))
    }

    fn opened(&mut self, now: Time, conn: ConnId, dial: Option<DialToken>, out: &mut Out) {
        let Some((key, delivery, timer)) = dial.and_then(|token| self.dialling(token)) else {
            out.push(Action::Close(conn, CloseReason::Finished));
            return;
        };
        delivery.stage = Stage::Open(conn, timer, now);
        out.push(Action::Send(conn, Message::Message(delivery.x.clone())));
        self.counters.sent += 1;
        self.conns.insert(
            conn,
            Conn {
                delivery: key,
                acks: BTreeSet::new(),
            },
        );
    }

    fn dial_failed(&mut self, now: Time, token: DialToken, error: DialError, out: &mut Out) {
        if let Some((key, ..)) = self.dialling(token) {
            self.fail(now, key, Failure::Dial(error), out);
        }
    }

    fn dialling(&mut self, token: DialToken) -> Option<(u32, &mut Delivery, TimerId)> {
        let key = token.0 as u32;
        let delivery = self.deliveries.get_mut(key as usize)?;
        match delivery.stage {
            Stage::Dialling(current, timer) if current == token => Some((key, delivery, timer)),
            _ => None,
        }
    }

    fn received(&mut self, now: Time, conn: ConnId, message: Message, out: &mut Out) {
        let Some(key) = self.conns.get(conn).map(|conn| conn.delivery) else {
            return;
        };
        match message {
            Message::Message(y) => self.answer(now, conn, y, out),
            Message::Ok(x) if self.deliveries[key as usize].x == x => self.acknowledged(now, key, out),
            Message::Ok(_) => self.counters.oks_unexpected += 1,
            Message::Error(code, text) => {
                self.counters.errors_received += 1;
                if code != ErrorCode::NotHeld {
                    self.fail(now, key, Failure::Rejected(code, text), out);
                }
            }
        }
    }

    fn answer(&mut self, now: Time, id: ConnId, y: Bytes, out: &mut Out) {
        self.counters.received += 1;
        let delay = self.config.ack_delay.draw(&mut self.rng);
        match self.conns.get_mut(id) {
            Some(conn) if !delay.is_zero() && conn.acks.len() < self.config.max_delayed_acks => {
                conn.acks.insert(self.timers.set(now + delay, Due::Ack(id, keep(&y))));
            }
            _ => {
                self.counters.answered += 1;
                out.push(Action::Send(id, Message::Ok(y)));
            }
        }
    }

    fn acknowledged(&mut self, now: Time, key: u32, out: &mut Out) {
        let delivery = self.deliveries.remove(key as usize);
        if let Stage::Open(conn, timer, sent) = delivery.stage {
            self.timers.cancel(timer);
            self.forget(conn);
            self.counters.acknowledged += 1;
            out.push(Action::Close(conn, CloseReason::Finished));
            out.push(Action::Notify(Notice::Acknowledged {
                id: delivery.id,
                round_trip: now.since(sent),
                total: now.since(delivery.since),
                retries: delivery.retries,
            }));
        }
    }

    fn closed(&mut self, now: Time, conn: ConnId, reason: CloseReason, out: &mut Out) {
        if let Some(key) = self.forget(conn) {
            self.fail(now, key, Failure::Closed(reason), out);
        }
    }

    /// Takes a connection out, with the answers that it still owed.
    fn forget(&mut self, conn: ConnId) -> Option<u32> {
        let conn = self.conns.remove(conn)?;
        for ack in conn.acks {
            self.timers.cancel(ack);
        }
        Some(conn.delivery)
    }

    /// Ends a delivery's attempt, and either waits for the next or gives up.
    fn fail(&mut self, now: Time, key: u32, failure: Failure, out: &mut Out) {
        let delivery = &mut self.deliveries[key as usize];
        let (id, stage) = (delivery.id, delivery.stage);
        let after = self.config.backoff.draw(delivery.retries, &mut self.rng);
        // Given up while waiting for the next attempt: the failure of the last one is counted.
        delivery.retries += u32::from(!matches!(stage, Stage::Waiting(_)));
        let attempts = delivery.retries;
        let late = self
            .config
            .give_up_after
            .is_some_and(|limit| now + after >= delivery.since + limit);
        let hopeless = matches!(failure, Failure::Rejected(code, _) if !code.is_temporary());

        match stage {
            Stage::Waiting(timer) => {
                self.timers.cancel(timer);
            }
            Stage::Dialling(token, timer) => {
                self.timers.cancel(timer);
                if !matches!(failure, Failure::Dial(_)) {
                    out.push(Action::AbandonDial(token));
                }
            }
            Stage::Open(conn, timer, _) => {
                self.timers.cancel(timer);
                if self.forget(conn).is_some() {
                    let reason = match failure {
                        Failure::Rejected(code, _) => CloseReason::Rejected(code),
                        _ => CloseReason::TimedOut,
                    };
                    out.push(Action::Close(conn, reason));
                }
            }
        }

        if late || hopeless || self.draining {
            self.counters.gave_up += 1;
            self.deliveries.remove(key as usize);
            out.push(Action::Notify(Notice::GaveUp { id, failure, attempts }));
        } else {
            self.counters.retries += 1;
            let timer = self.timers.set(now + after.max(SHORTEST), Due::Retry(key));
            self.deliveries[key as usize].stage = Stage::Waiting(timer);
            out.push(Action::Notify(Notice::Retrying { id, failure, after }));
        }
    }

    fn expire(&mut self, now: Time, out: &mut Out) {
        while let Some((timer, due)) = self.timers.pop_due(now) {
            match due {
                Due::Retry(key) => self.attempt(now, key, out),
                Due::Response(key) => {
                    self.counters.timeouts += 1;
                    self.fail(now, key, Failure::TimedOut, out);
                }
                Due::Ack(id, y) => {
                    if let Some(conn) = self.conns.get_mut(id) {
                        conn.acks.remove(&timer);
                        self.counters.answered += 1;
                        out.push(Action::Send(id, Message::Ok(y)));
                    }
                }
            }
        }
    }

    /// What has no connection is given up; what has one may still be acknowledged.
    fn drain(&mut self, now: Time, out: &mut Out) {
        self.draining = true;
        let unconnected = |(key, delivery): (usize, &Delivery)| {
            let open = matches!(delivery.stage, Stage::Open(..));
            (!open).then_some(key as u32)
        };
        let keys: Vec<u32> = self.deliveries.iter().filter_map(unconnected).collect();
        for key in keys {
            self.fail(now, key, Failure::ShuttingDown, out);
        }
    }
}

impl<R: Rng> Machine for Client<R> {
    type Message = Message;
    type Command = Command;
    type Notice = Notice;

    fn handle(&mut self, now: Time, event: Event<Message, Command>, out: &mut Out) {
        match event {
            Event::Command(Command::Send { id, x }) => self.send(now, id, x, out),
            Event::Opened(conn, opened) => self.opened(now, conn, opened.dial, out),
            Event::DialFailed(token, error) => self.dial_failed(now, token, error, out),
            Event::Received(conn, message) => self.received(now, conn, message, out),
            Event::Closed(conn, reason) => self.closed(now, conn, reason, out),
            Event::Deadline => self.expire(now, out),
            Event::Drain => self.drain(now, out),
            Event::PeerFinished(_) => {}
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    fn is_zero(&self) -> bool {
        self.deliveries.is_empty() && self.conns.is_empty() && self.timers.is_empty()
    }
}
