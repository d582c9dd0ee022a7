use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use bytes::Bytes;
use rand_core::Rng;

use super::api::{Command, Notice};
use super::codec::Message;
use super::config::ClientConfig;
use crate::attempts::{Attempts, Retry};
use crate::counters::counters;
use crate::failure::Failure;
use crate::machine::{Actions, DialToken, Event, Machine};
use crate::timers::{TimerId, Timers};
use crate::wire::{ErrorCode, Protocol, detach};
use crate::{Action, CloseReason, ConnId, Time};

counters! {
    /// What an echo client has done.
    ClientCounters {
        /// Commands received.
        commands,
        /// Attempts to connect.
        attempts,
        /// `message X` sent.
        sent,
        /// Messages acknowledged.
        acknowledged,
        /// Failed attempts that were followed by another.
        retries,
        /// Messages given up.
        gave_up,
        /// Attempts that timed out.
        timeouts,
        /// `message Y` received.
        received,
        /// `ok Y` sent.
        answered,
        /// `ok` for another X than the connection's own; ignored.
        oks_unexpected,
        /// `error` received.
        errors_received,
    }
}

/// Echo clients. Each message has its own connection, so one value acts as one client of the protocol for each message
/// in progress.
#[derive(Debug)]
pub struct Client<R> {
    config: ClientConfig,
    rng: R,
    deliveries: Attempts<Delivery>,
    /// Delayed acknowledgements: the key of the message whose connection owes it, and X.
    acks: Timers<(u32, Bytes)>,
    draining: bool,
    counters: ClientCounters,
}

#[derive(Debug)]
struct Delivery {
    id: u64,
    x: Bytes,
    since: Time,
    /// When the message was sent on the current connection.
    sent: Time,
    /// The delayed acknowledgements of the current connection.
    acks: BTreeSet<TimerId>,
}

type Out = Actions<Message, Notice>;

impl<R: Rng> Client<R> {
    /// A client that draws delays from `rng`.
    pub fn new(config: ClientConfig, rng: R) -> Self {
        let retry = Retry {
            backoff: config.backoff,
            attempt_timeout: config.response_timeout,
            give_up_after: config.give_up_after,
            retry_refused: config.retry_refused,
        };
        Self {
            config,
            rng,
            deliveries: Attempts::new(retry),
            acks: Timers::new(),
            draining: false,
            counters: ClientCounters::default(),
        }
    }

    /// What the client has done.
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
                key: id,
                failure: Failure::ShuttingDown,
                attempts: 0,
            }));
            return;
        }
        let delivery = Delivery {
            id,
            x,
            since: now,
            sent: now,
            acks: BTreeSet::new(),
        };
        self.deliveries.begin(now, delivery, out);
        self.counters.attempts = self.deliveries.total_attempts();
    }

    fn opened(&mut self, now: Time, conn: ConnId, dial: Option<DialToken>, out: &mut Out) {
        let key = self.deliveries.opened(conn, dial, out);
        if let Some(delivery) = key.and_then(|key| self.deliveries.get_mut(key)) {
            delivery.sent = now;
            out.push(Action::Send(conn, Message::Message(delivery.x.clone())));
            self.counters.sent += 1;
        }
    }

    fn received(&mut self, now: Time, conn: ConnId, message: Message, out: &mut Out) {
        let Some(key) = self.deliveries.key_of(conn) else {
            return;
        };
        match message {
            Message::Message(y) => self.answer(now, conn, key, y, out),
            Message::Ok(x) if self.deliveries.get(key).is_some_and(|delivery| delivery.x == x) => {
                self.acknowledged(now, key, out);
            }
            Message::Ok(_) => self.counters.oks_unexpected += 1,
            Message::Error(code, text) => {
                self.counters.errors_received += 1;
                if code != ErrorCode::NotHeld {
                    self.fail(now, key, Failure::rejected(code, text, Protocol::Echo), out);
                }
            }
        }
    }

    fn answer(&mut self, now: Time, conn: ConnId, key: u32, y: Bytes, out: &mut Out) {
        self.counters.received += 1;
        let delay = self.config.ack_delay.draw(&mut self.rng);
        match self.deliveries.get_mut(key) {
            Some(delivery) if !delay.is_zero() && delivery.acks.len() < self.config.max_delayed_acks => {
                delivery.acks.insert(self.acks.set(now + delay, (key, detach(&y))));
            }
            _ => {
                self.counters.answered += 1;
                out.push(Action::Send(conn, Message::Ok(y)));
            }
        }
    }

    fn acknowledged(&mut self, now: Time, key: u32, out: &mut Out) {
        let retries = self.deliveries.attempts(key) - 1;
        self.forget_acks(key);
        if let Some(delivery) = self.deliveries.end(key, CloseReason::Finished, out) {
            self.counters.acknowledged += 1;
            out.push(Action::Notify(Notice::Acknowledged {
                key: delivery.id,
                round_trip: now.since(delivery.sent),
                total: now.since(delivery.since),
                retries,
            }));
        }
    }

    /// Cancels the delayed acknowledgements of a connection that has ended.
    fn forget_acks(&mut self, key: u32) {
        if let Some(delivery) = self.deliveries.get_mut(key) {
            for ack in core::mem::take(&mut delivery.acks) {
                self.acks.cancel(ack);
            }
        }
    }

    /// Ends an attempt, then schedules the next or gives up.
    fn fail(&mut self, now: Time, key: u32, failure: Failure, out: &mut Out) {
        self.forget_acks(key);
        let reason = match failure {
            Failure::Rejected(code, _) => CloseReason::Rejected(code),
            _ => CloseReason::TimedOut,
        };
        let hopeless = match failure {
            Failure::Rejected(code, _) => !code.is_retryable(),
            Failure::Dial(_) | Failure::Closed(_) | Failure::TimedOut => false,
            _ => true,
        };
        let after = if hopeless || self.draining {
            None
        } else {
            self.deliveries.failed(now, key, reason, &mut self.rng, out)
        };
        let attempts = self.deliveries.attempts(key);
        if let Some(after) = after {
            let id = self.deliveries.get(key).map_or(0, |delivery| delivery.id);
            self.counters.retries += 1;
            out.push(Action::Notify(Notice::Retrying {
                key: id,
                failure,
                after,
            }));
        } else if let Some(Delivery { id, .. }) = self.deliveries.end(key, reason, out) {
            self.counters.gave_up += 1;
            out.push(Action::Notify(Notice::GaveUp {
                key: id,
                failure,
                attempts,
            }));
        }
    }

    fn expire(&mut self, now: Time, out: &mut Out) {
        while let Some((timer, (key, y))) = self.acks.pop_due(now) {
            let conn = self.deliveries.conn(key);
            if let (Some(conn), Some(delivery)) = (conn, self.deliveries.get_mut(key)) {
                delivery.acks.remove(&timer);
                self.counters.answered += 1;
                out.push(Action::Send(conn, Message::Ok(y)));
            }
        }
        while let Some(key) = self.deliveries.pop_expired(now, out) {
            self.counters.timeouts += 1;
            self.fail(now, key, Failure::TimedOut, out);
        }
        self.counters.attempts = self.deliveries.total_attempts();
    }

    /// Gives up messages without a connection. Those with one may still be acknowledged.
    fn drain(&mut self, now: Time, out: &mut Out) {
        self.draining = true;
        let all = self.deliveries.iter().map(|(key, _)| key);
        let unconnected: Vec<u32> = all.filter(|key| self.deliveries.conn(*key).is_none()).collect();
        for key in unconnected {
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
            Event::Command(Command::Send { key: id, x }) => self.send(now, id, x, out),
            Event::Opened(conn, opened) => self.opened(now, conn, opened.dial, out),
            Event::DialFailed(token, error) => {
                if let Some(key) = self.deliveries.dial_failed(token, error) {
                    self.fail(now, key, error.into(), out);
                }
            }
            Event::Received(conn, message) => self.received(now, conn, message, out),
            Event::Closed(conn, reason) => {
                if let Some(key) = self.deliveries.closed(conn) {
                    self.fail(now, key, reason.into(), out);
                }
            }
            Event::Deadline => self.expire(now, out),
            Event::Drain => self.drain(now, out),
            Event::PeerFinished(_) => {}
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        let both = [self.acks.next(), self.deliveries.next_deadline()];
        both.into_iter().flatten().min()
    }

    fn is_zero(&self) -> bool {
        self.deliveries.is_empty() && self.acks.is_empty()
    }
}
