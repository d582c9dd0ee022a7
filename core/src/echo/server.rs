use alloc::string::String;
use alloc::vec::Vec;
use core::convert::Infallible;
use core::mem;

use bytes::Bytes;
use rand_core::Rng;

use super::codec::Message;
use super::config::ServerConfig;
use super::ledger::Flight;
use super::ledger::{Answer, Ledger};
use crate::counters::counters;
use crate::machine::{Actions, Event, Machine};
use crate::wire::ErrorCode;
use crate::{Action, CloseReason, ConnId, Time};

counters! {
    /// What an echo server did, since it was made.
    ServerCounters {
        /// Connections that became live.
        opened,
        /// Connections that were live at once, at most.
        peak_connections,
        /// `message X` taken.
        messages,
        /// `message X` refused: too many waiting, busy, shutting down, or not to be sent back to where it came from.
        messages_refused,
        /// Forwards of `message X` to a receiver chosen at random, re-forwards not included.
        forwards,
        /// Forwards that went back to their originator.
        forwards_to_self,
        /// Forwards anew because the receiver left without answering.
        reforwards,
        /// `ok X` that counted.
        oks,
        /// `ok X` sent on to originators.
        oks_forwarded,
        /// `ok X` from a receiver when nobody waited for X any more; ignored.
        oks_late,
        /// `ok X` from a connection that X was not forwarded to; ignored, and the peer told.
        oks_unexpected,
        /// Messages whose originator left before their ok.
        abandoned,
        /// `error` from clients; ignored.
        errors_received,
    }
}

/// The echo server: forwards each `message X` to one live connection chosen uniformly at random, and each `ok X` to
/// every connection that waits for X.
#[derive(Debug)]
pub struct Server<R> {
    config: ServerConfig,
    rng: R,
    ledger: Ledger,
    draining: bool,
    counters: ServerCounters,
    freed: Vec<ConnId>,
}

type Out = Actions<Message, Infallible>;

impl<R: Rng> Server<R> {
    /// A server that makes its choices with `rng`.
    pub fn new(config: ServerConfig, mut rng: R) -> Self {
        let ledger = Ledger::new((rng.next_u64(), rng.next_u64()));
        Self {
            config,
            rng,
            ledger,
            draining: false,
            counters: ServerCounters::default(),
            freed: Vec::new(),
        }
    }

    /// What it did so far.
    #[must_use]
    pub const fn counters(&self) -> &ServerCounters {
        &self.counters
    }

    /// The live connections, in no particular but a reproducible order.
    pub fn connections(&self) -> impl Iterator<Item = ConnId> {
        self.ledger.connections()
    }

    /// The messages forwarded and not answered, in no particular but a reproducible order.
    pub fn flights(&self) -> impl Iterator<Item = Flight<'_>> {
        self.ledger.flights()
    }

    /// How many messages are forwarded and not answered.
    #[must_use]
    pub fn flight_count(&self) -> usize {
        self.ledger.flight_count()
    }

    /// Checks what must hold after every step, above all that every waiting X is held by a live connection. O(n): for
    /// tests and simulation.
    ///
    /// # Errors
    ///
    /// What does not hold.
    pub fn audit(&self) -> Result<(), String> {
        self.ledger.audit()
    }

    fn opened(&mut self, id: ConnId, text: bool, out: &mut Out) {
        if !self.ledger.open(id, text) {
            return;
        }
        self.counters.opened += 1;
        let live = self.ledger.connection_count() as u64;
        self.counters.peak_connections = self.counters.peak_connections.max(live);
        self.close_if_drained(id, out);
    }

    fn message(&mut self, originator: ConnId, x: Bytes, out: &mut Out) {
        if !self.ledger.contains(originator) {
            return;
        }
        if let Some((code, text)) = self.refusal(originator, &x) {
            self.counters.messages_refused += 1;
            let text = Bytes::from_static(text.as_bytes());
            out.push(Action::Send(originator, Message::Error(code, text)));
            return;
        }
        self.counters.messages += 1;
        let Some(holder) = self.ledger.pick(&x, &mut self.rng) else {
            return;
        };
        self.counters.forwards += 1;
        self.counters.forwards_to_self += u64::from(holder == originator);
        let x = self.ledger.add(x, originator, holder);
        out.push(Action::Send(holder, Message::Message(x)));
    }

    fn refusal(&self, originator: ConnId, x: &[u8]) -> Option<(ErrorCode, &'static str)> {
        let (count, bytes) = self.ledger.waiting(originator);
        if !self.ledger.can_be_sent(originator, x) {
            // A line that ended in CR CR LF.
            return Some((ErrorCode::UnknownRequest, "in lines, X cannot end in a carriage return"));
        }
        let code = if self.draining {
            ErrorCode::ShuttingDown
        } else if count >= self.config.max_waiting || bytes + x.len() > self.config.max_waiting_bytes {
            ErrorCode::TooManyWaiting
        } else if self.ledger.flight_count() >= self.config.max_flights
            || self.ledger.bytes() + x.len() > self.config.max_bytes
        {
            ErrorCode::Busy
        } else {
            return None;
        };
        Some((code, code.describe()))
    }

    fn ok(&mut self, holder: ConnId, x: &Bytes, out: &mut Out) {
        if !self.ledger.contains(holder) {
            return;
        }
        let mut freed = mem::take(&mut self.freed);
        let forwarded = &mut self.counters.oks_forwarded;
        let each = |originator, x| {
            *forwarded += 1;
            out.push(Action::Send(originator, Message::Ok(x)));
        };
        match self.ledger.answer(x, holder, each, &mut freed) {
            Answer::Counted => self.counters.oks += 1,
            Answer::Late => self.counters.oks_late += 1,
            Answer::Unexpected => {
                self.counters.oks_unexpected += 1;
                let text = Bytes::from_static(ErrorCode::NotHeld.describe().as_bytes());
                out.push(Action::Send(holder, Message::Error(ErrorCode::NotHeld, text)));
            }
        }
        self.settle(freed, out);
    }

    fn closed(&mut self, id: ConnId, out: &mut Out) {
        let mut freed = mem::take(&mut self.freed);
        self.counters.abandoned += self.ledger.waiting(id).0 as u64;
        for flight in self.ledger.close(id, &mut freed).unwrap_or_default() {
            // The originator is live and can be sent its own X, so there is always somebody to pick.
            let Some(holder) = self.ledger.pick(self.ledger.x(flight), &mut self.rng) else {
                continue;
            };
            self.counters.reforwards += 1;
            self.ledger.hand_over(flight, holder);
            let x = self.ledger.x(flight).to_send_again();
            out.push(Action::Send(holder, Message::Message(x)));
        }
        self.settle(freed, out);
    }

    fn drain(&mut self, out: &mut Out) {
        self.draining = true;
        let all: Vec<ConnId> = self.ledger.connections().collect();
        for id in all {
            self.close_if_drained(id, out);
        }
    }

    /// While draining, closes those of the connections just freed of something that have nothing left to do.
    fn settle(&mut self, mut freed: Vec<ConnId>, out: &mut Out) {
        for id in freed.drain(..) {
            self.close_if_drained(id, out);
        }
        self.freed = freed;
    }

    fn close_if_drained(&mut self, id: ConnId, out: &mut Out) {
        if self.draining && self.ledger.is_idle(id) {
            // Idle: nothing of it is left to forward.
            self.ledger.close(id, &mut Vec::new());
            out.push(Action::Close(id, CloseReason::ShuttingDown));
        }
    }
}

impl<R: Rng> Machine for Server<R> {
    type Message = Message;
    type Command = Infallible;
    type Notice = Infallible;

    fn handle(&mut self, _now: Time, event: Event<Message, Infallible>, out: &mut Out) {
        match event {
            Event::Opened(id, opened) => self.opened(id, opened.text, out),
            Event::Received(id, Message::Message(x)) => self.message(id, x, out),
            Event::Received(id, Message::Ok(x)) => self.ok(id, &x, out),
            Event::Received(_, Message::Error(..)) => self.counters.errors_received += 1,
            Event::Closed(id, _) => self.closed(id, out),
            Event::Drain => self.drain(out),
            Event::DialFailed(..) | Event::Command(_) | Event::Deadline | Event::PeerFinished(_) => {}
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        None
    }

    fn is_zero(&self) -> bool {
        self.ledger.is_empty()
    }
}
