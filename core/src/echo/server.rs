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
    /// What an echo server has done.
    ServerCounters {
        /// Connections opened.
        opened,
        /// The most connections at the same time.
        peak_connections,
        /// `message X` accepted.
        messages,
        /// `message X` refused: too many waiting, busy, shutting down, or X cannot be sent back to its originator.
        messages_refused,
        /// `message X` forwarded to a connection chosen at random, without re-forwards.
        forwards,
        /// Forwards to the originator itself.
        forwards_to_self,
        /// Re-forwards, because the holder closed without acknowledging.
        reforwards,
        /// `ok X` from a holder.
        oks,
        /// `ok X` forwarded to originators.
        oks_forwarded,
        /// `ok X` from a former holder of an X that no connection waits for any more; ignored.
        oks_late,
        /// `ok X` from a connection that does not hold X; answered by an error.
        oks_unexpected,
        /// Messages whose originator closed before their `ok`.
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
    /// A server that draws its choices from `rng`.
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

    /// What the server has done.
    #[must_use]
    pub const fn counters(&self) -> &ServerCounters {
        &self.counters
    }

    /// The live connections, in a reproducible but unspecified order.
    pub fn connections(&self) -> impl Iterator<Item = ConnId> {
        self.ledger.connections()
    }

    /// The unacknowledged messages, in a reproducible but unspecified order.
    pub fn flights(&self) -> impl Iterator<Item = Flight<'_>> {
        self.ledger.flights()
    }

    /// The number of unacknowledged messages.
    #[must_use]
    pub fn flight_count(&self) -> usize {
        self.ledger.flight_count()
    }

    /// Checks the invariants that hold after every event, above all: each unacknowledged X has a live holder. O(n): for
    /// tests and simulation.
    ///
    /// # Errors
    ///
    /// The invariant that does not hold.
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
            // The originator is live and can be sent its own X, so there is always a choice.
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

    /// While draining, closes those of `freed` that have nothing left to do.
    fn settle(&mut self, mut freed: Vec<ConnId>, out: &mut Out) {
        for id in freed.drain(..) {
            self.close_if_drained(id, out);
        }
        self.freed = freed;
    }

    fn close_if_drained(&mut self, id: ConnId, out: &mut Out) {
        if self.draining && self.ledger.is_idle(id) {
            // An idle connection holds nothing to re-forward.
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
