use alloc::collections::VecDeque;
use alloc::format;
use core::mem;
use core::time::Duration;

use bytes::{Bytes, BytesMut};

use super::caller::{Notice, Unsaid};
use super::message::{MAX_BODY, Message};
use crate::counters::counters;
use crate::machine::Actions;
use crate::partial::append;
use crate::wire::{ErrorCode, WireError, keep};
use crate::{Action, ConnId, Time};

/// What a message or a part takes beside its bytes, in every count of bytes here: so that empty ones count too.
const OVERHEAD: usize = 32;

counters! {
    /// What one side of a chat did, since it was made.
    ChatCounters {
        /// Sessions begun.
        sessions,
        /// Connections lost whose session was kept.
        lost,
        /// Sessions continued on another connection.
        resumed,
        /// Connections that were told that the server is busy.
        turned_away,
        /// Messages taken from the caller.
        said,
        /// Messages that the peer acknowledged.
        delivered,
        /// Messages whose session ended before they were acknowledged.
        undelivered,
        /// Messages that the caller wanted to say and that were not taken.
        refused,
        /// Messages heard from the peer.
        heard,
    }
}

/// Bounds of what is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TalkConfig {
    /// The longest body, said or heard. Default [`MAX_BODY`].
    pub max_body: usize,
    /// Bytes said and not acknowledged that are kept; what would be more is refused. Default 16 MiB.
    pub max_queued: usize,
    /// Bytes sent and not answered: an acknowledgement for the peer waits behind no more than that. Default 256 KiB.
    pub window: usize,
    /// Longer bodies are sent in parts of so many bytes, each answered for itself. Default 64 KiB.
    pub part: usize,
    /// Bytes heard that the caller has not said to have read. With more, nothing is acknowledged until it reads on, so
    /// that the peer stops; a peer that does not stop is closed at twice as much. Default 4 MiB.
    pub max_unread: usize,
}

impl Default for TalkConfig {
    fn default() -> Self {
        Self {
            max_body: MAX_BODY,
            max_queued: 16 * 1024 * 1024,
            window: 256 * 1024,
            part: 64 * 1024,
            max_unread: 4 * 1024 * 1024,
        }
    }
}

/// One side's books of a session: what it says and what it hears. The same for server and client.
#[derive(Debug)]
pub(super) struct Talk {
    config: TalkConfig,
    /// Whether the peer reads lines, and so no parts.
    text: bool,
    /// Said and not acknowledged, oldest first; ids count up from `acked + 1`.
    queue: VecDeque<Said>,
    queued_bytes: usize,
    acked: u64,
    /// The id of the last message that was sent whole, on any connection.
    sent: u64,
    /// The next to be sent: a place in `queue`, and how much of it was sent.
    next: usize,
    offset: usize,
    /// Parts sent on this connection and not answered, oldest first.
    flight: VecDeque<Flight>,
    flight_bytes: usize,
    /// The id of the last message heard whole.
    received: u64,
    partial: BytesMut,
    /// Answers that wait for the caller to read on.
    unanswered: VecDeque<(u64, bool)>,
    unread: usize,
}

#[derive(Debug)]
struct Said {
    key: u64,
    body: Bytes,
    started: Time,
}

#[derive(Debug)]
struct Flight {
    id: u64,
    last: bool,
    bytes: usize,
}

type Out = Actions<Message, Notice>;

impl Talk {
    pub(super) fn new(config: TalkConfig, text: bool) -> Self {
        Self {
            config,
            text,
            queue: VecDeque::new(),
            queued_bytes: 0,
            acked: 0,
            sent: 0,
            next: 0,
            offset: 0,
            flight: VecDeque::new(),
            flight_bytes: 0,
            received: 0,
            partial: BytesMut::new(),
            unanswered: VecDeque::new(),
            unread: 0,
        }
    }

    /// Whether everything said is acknowledged.
    pub(super) fn is_done(&self) -> bool {
        self.queue.is_empty()
    }

    /// Whether the peer is somebody who types.
    pub(super) const fn is_text(&self) -> bool {
        self.text
    }

    /// The id of the last message heard whole.
    pub(super) const fn received(&self) -> u64 {
        self.received
    }

    /// Bytes of memory that the parts of a message hold whose last part has not come.
    pub(super) fn partial_bytes(&self) -> usize {
        self.partial.capacity()
    }

    /// Whether the sums are those of what they sum up, and no more is kept than may be.
    pub(super) fn audit(&self) -> Result<(), &'static str> {
        let queued: usize = self.queue.iter().map(|said| said.body.len() + OVERHEAD).sum();
        let flight: usize = self.flight.iter().map(|flight| flight.bytes).sum();
        if (queued, flight) != (self.queued_bytes, self.flight_bytes) {
            return Err("a sum of bytes is wrong");
        }
        if self.next > self.queue.len() || (self.offset > 0 && self.next == self.queue.len()) {
            return Err("the next to be sent is beyond the end");
        }
        let TalkConfig {
            max_body,
            max_queued,
            max_unread,
            ..
        } = self.config;
        if self.queued_bytes > max_queued || self.partial.len() > max_body || self.unread > max_unread.saturating_mul(2)
        {
            return Err("more is kept than may be");
        }
        Ok(())
    }

    /// Takes a message to be sent by [`Talk::pump`].
    pub(super) fn say(&mut self, key: u64, body: Bytes) -> Result<(), Unsaid> {
        if body.len() > self.config.max_body {
            return Err(Unsaid::TooLong);
        }
        let bytes = body.len() + OVERHEAD;
        if self.queued_bytes + bytes > self.config.max_queued {
            return Err(Unsaid::QueueFull);
        }
        self.queued_bytes += bytes;
        let started = Time::ZERO;
        self.queue.push_back(Said { key, body, started });
        Ok(())
    }

    /// Sends as much as may be under way.
    pub(super) fn pump(&mut self, now: Time, conn: ConnId, out: &mut Out) {
        let part = if self.text { usize::MAX } else { self.config.part.max(1) };
        while self.flight.is_empty() || self.flight_bytes < self.config.window {
            let Some(said) = self.queue.get_mut(self.next) else {
                return;
            };
            if self.offset == 0 {
                said.started = now;
            }
            let id = self.acked + 1 + self.next as u64;
            let size = part.min(said.body.len() - self.offset);
            let body = said.body.slice(self.offset..self.offset + size);
            self.offset += size;
            let last = self.offset == said.body.len();
            if last {
                self.next += 1;
                self.offset = 0;
                self.sent = self.sent.max(id);
            }
            let bytes = size + OVERHEAD;
            self.flight_bytes += bytes;
            self.flight.push_back(Flight { id, last, bytes });
            out.push(Action::Send(conn, Message::Part { id, body, last }));
        }
    }

    /// The peer has answered a part.
    pub(super) fn taken(
        &mut self,
        now: Time,
        id: u64,
        last: bool,
        counters: &mut ChatCounters,
        out: &mut Out,
    ) -> Result<(), WireError> {
        match self.flight.front() {
            Some(flight) if flight.id == id && flight.last == last => {
                self.flight_bytes -= flight.bytes;
                self.flight.pop_front();
            }
            Some(Flight { id: oldest, .. }) => {
                let text = format!("message {id} is answered, and {oldest} waits for its answer first");
                return Err(WireError::new(ErrorCode::NotHeld, text));
            }
            None => return Err(WireError::new(ErrorCode::NotHeld, "nothing waits for an answer")),
        }
        if last {
            let round_trip = self.queue.front().map(|said| now.since(said.started));
            self.delivered(round_trip, counters, out);
        }
        Ok(())
    }

    fn delivered(&mut self, round_trip: Option<Duration>, counters: &mut ChatCounters, out: &mut Out) {
        let Some(said) = self.queue.pop_front() else {
            return;
        };
        self.queued_bytes -= said.body.len() + OVERHEAD;
        self.acked += 1;
        self.next = self.next.saturating_sub(1);
        counters.delivered += 1;
        out.push(Action::Notify(Notice::Delivered {
            key: said.key,
            id: self.acked,
            round_trip,
        }));
    }

    /// The peer has sent a part.
    pub(super) fn hear(
        &mut self,
        conn: ConnId,
        id: u64,
        body: &Bytes,
        last: bool,
        counters: &mut ChatCounters,
        out: &mut Out,
    ) -> Result<(), WireError> {
        let expected = self.received + 1;
        if id != expected {
            let text = format!("message {id}, where {expected} comes next");
            return Err(WireError::new(ErrorCode::UnknownRequest, text));
        }
        if self.partial.len() + body.len() > self.config.max_body {
            return Err(ErrorCode::BodyTooLong.into());
        }
        if last {
            let body = if self.partial.is_empty() {
                keep(body)
            } else {
                append(&mut self.partial, body);
                mem::take(&mut self.partial).freeze()
            };
            self.unread += body.len() + OVERHEAD;
            self.received = id;
            counters.heard += 1;
            out.push(Action::Notify(Notice::Heard { id, body }));
        } else {
            append(&mut self.partial, body);
        }
        self.unanswered.push_back((id, last));
        if self.unread + self.unanswered.len() * OVERHEAD > self.config.max_unread.saturating_mul(2) {
            let text = "more than may be sent without an answer";
            return Err(WireError::new(ErrorCode::TooManyWaiting, text));
        }
        self.answer(conn, out);
        Ok(())
    }

    /// The caller is done with a message it heard, of so many bytes.
    pub(super) fn read(&mut self, conn: Option<ConnId>, bytes: usize, out: &mut Out) {
        self.unread = self.unread.saturating_sub(bytes + OVERHEAD);
        if let Some(conn) = conn {
            self.answer(conn, out);
        }
    }

    fn answer(&mut self, conn: ConnId, out: &mut Out) {
        if self.unread > self.config.max_unread {
            return;
        }
        for (id, last) in self.unanswered.drain(..) {
            out.push(Action::Send(conn, Message::Taken { id, last }));
        }
    }

    /// The connection is gone: what is not acknowledged is to be sent again on the next.
    pub(super) fn lost(&mut self) {
        self.next = 0;
        self.offset = 0;
        self.flight.clear();
        self.flight_bytes = 0;
        self.partial = BytesMut::new();
        self.unanswered.clear();
    }

    /// Whether the peer can have heard all up to this message, and no more.
    pub(super) fn may_resume(&self, received: u64) -> Result<(), WireError> {
        if received < self.acked {
            let acked = self.acked;
            let text = format!("message {received} was the last received? {acked} was acknowledged");
            return Err(WireError::new(ErrorCode::UnknownRequest, text));
        }
        // Of that number there was another session, which has ended.
        if received > self.sent {
            return Err(ErrorCode::UnknownSession.into());
        }
        Ok(())
    }

    /// The peer is back, and has heard all up to this message.
    pub(super) fn resume(&mut self, received: u64, counters: &mut ChatCounters, out: &mut Out) {
        self.lost();
        while self.acked < received && !self.queue.is_empty() {
            self.delivered(None, counters, out);
        }
    }

    /// The session has ended: says what was not acknowledged.
    pub(super) fn end(self, counters: &mut ChatCounters, out: &mut Out) {
        for (at, said) in self.queue.into_iter().enumerate() {
            counters.undelivered += 1;
            let sent = self.acked + 1 + at as u64 <= self.sent;
            out.push(Action::Notify(Notice::Undelivered { key: said.key, sent }));
        }
    }
}
