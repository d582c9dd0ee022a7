use alloc::collections::VecDeque;
use alloc::format;
use core::mem;
use core::time::Duration;

use bytes::{Bytes, BytesMut};

use super::api::{Notice, SendError};
use super::config::ExchangeConfig;
use super::message::Message;
use crate::counters::counters;
use crate::machine::Actions;
use crate::partial::append;
use crate::wire::{ErrorCode, WireError, detach};
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

/// One side's books of a session: what it says and what it hears. The same for server and client.
#[derive(Debug)]
pub(super) struct Exchange {
    config: ExchangeConfig,
    /// Which session of this side it is, the first being 1.
    session: u64,
    /// Whether the peer reads lines, and so no parts.
    text: bool,
    /// QueuedMessage and not acknowledged, oldest first; ids count up from `acked + 1`.
    queue: VecDeque<QueuedMessage>,
    queued_bytes: usize,
    acked: u64,
    /// The id of the last message that was sent whole, on any connection.
    sent: u64,
    /// The next to be sent: a place in `queue`, and how much of it was sent.
    next: usize,
    offset: usize,
    /// Parts sent on this connection and not answered, oldest first.
    flight: VecDeque<SentPart>,
    unanswered_sent_bytes: usize,
    /// The id of the last message heard whole, on any connection.
    heard: u64,
    /// The id of the last message that the caller has read.
    read: u64,
    /// The id of the message that comes next on this connection. After a loss the peer sends again what was heard and not
    /// read.
    coming: u64,
    partial: BytesMut,
    /// Parts that came on this connection and are not answered, oldest first.
    unanswered: VecDeque<(u64, bool)>,
    /// The bytes of each message heard and not read, oldest first.
    unread: VecDeque<usize>,
    unread_bytes: usize,
    /// What was heard up to this message is to be read before the session ends.
    to_read: u64,
}

#[derive(Debug)]
struct QueuedMessage {
    key: u64,
    body: Bytes,
    started: Time,
}

#[derive(Debug)]
struct SentPart {
    id: u64,
    last: bool,
    bytes: usize,
}

type Out = Actions<Message, Notice>;

impl Exchange {
    pub(super) fn new(config: ExchangeConfig, session: u64, text: bool) -> Self {
        Self {
            config,
            session,
            text,
            queue: VecDeque::new(),
            queued_bytes: 0,
            acked: 0,
            sent: 0,
            next: 0,
            offset: 0,
            flight: VecDeque::new(),
            unanswered_sent_bytes: 0,
            heard: 0,
            read: 0,
            coming: 1,
            partial: BytesMut::new(),
            unanswered: VecDeque::new(),
            unread: VecDeque::new(),
            unread_bytes: 0,
            to_read: 0,
        }
    }

    /// The session is to end: what was heard up to now is to be acknowledged before.
    pub(super) const fn leave(&mut self) {
        self.to_read = self.heard;
    }

    /// Whether everything said is acknowledged, and everything heard before [`Exchange::leave`] is.
    pub(super) fn is_done(&self) -> bool {
        self.queue.is_empty() && self.read >= self.to_read
    }

    /// Whether everything heard is read.
    pub(super) const fn is_read(&self) -> bool {
        self.read == self.heard
    }

    /// Whether the peer is somebody who types.
    pub(super) const fn is_text(&self) -> bool {
        self.text
    }

    /// Starts on another connection: returns the id of the last message read, which the peer is told. It sends the rest.
    pub(super) const fn rejoin(&mut self) -> u64 {
        self.coming = self.read + 1;
        self.read
    }

    /// Bytes of memory that the parts of a message hold whose last part has not come.
    pub(super) fn partial_bytes(&self) -> usize {
        self.partial.capacity()
    }

    /// Whether the sums are those of what they sum up, and no more is kept than may be.
    pub(super) fn audit(&self) -> Result<(), &'static str> {
        let queued: usize = self.queue.iter().map(|said| said.body.len() + OVERHEAD).sum();
        let flight: usize = self.flight.iter().map(|flight| flight.bytes).sum();
        let unread: usize = self.unread.iter().sum();
        if (queued, flight, unread) != (self.queued_bytes, self.unanswered_sent_bytes, self.unread_bytes) {
            return Err("a sum of bytes is wrong");
        }
        if self.read + self.unread.len() as u64 != self.heard {
            return Err("a message is neither read nor unread");
        }
        if self.next > self.queue.len() || (self.offset > 0 && self.next == self.queue.len()) {
            return Err("the next to be sent is beyond the end");
        }
        let ExchangeConfig {
            max_body,
            max_queued,
            max_unread,
            ..
        } = self.config;
        if self.queued_bytes > max_queued || self.partial.len() > max_body || self.unread_bytes > max_unread {
            return Err("more is kept than may be");
        }
        Ok(())
    }

    /// Takes a message to be sent by [`Exchange::pump`].
    pub(super) fn say(&mut self, key: u64, body: Bytes) -> Result<(), SendError> {
        if body.len() > self.config.max_body {
            return Err(SendError::TooLong);
        }
        let bytes = body.len() + OVERHEAD;
        if self.queued_bytes + bytes > self.config.max_queued {
            return Err(SendError::QueueFull);
        }
        self.queued_bytes += bytes;
        let started = Time::ZERO;
        self.queue.push_back(QueuedMessage { key, body, started });
        Ok(())
    }

    /// Sends as much as may be under way.
    pub(super) fn pump(&mut self, now: Time, conn: ConnId, out: &mut Out) {
        let part = if self.text { usize::MAX } else { self.config.part.max(1) };
        while self.flight.is_empty() || self.unanswered_sent_bytes < self.config.window {
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
            self.unanswered_sent_bytes += bytes;
            self.flight.push_back(SentPart { id, last, bytes });
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
                self.unanswered_sent_bytes -= flight.bytes;
                self.flight.pop_front();
            }
            Some(SentPart { id: oldest, .. }) => {
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
        out.push(Action::Notify(Notice::Acknowledged {
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
        let expected = self.coming;
        if id != expected {
            let text = format!("message {id}, where {expected} comes next");
            return Err(WireError::new(ErrorCode::UnknownRequest, text));
        }
        let new = id > self.heard;
        let bytes = if new { self.partial.len() + body.len() } else { 0 };
        if bytes > self.config.max_body {
            return Err(ErrorCode::BodyTooLong.into());
        }
        let whole = if last { bytes } else { 0 };
        if self.unread_bytes + whole + (self.unanswered.len() + 1) * OVERHEAD > self.config.max_unread {
            let text = "more than may be sent without an answer";
            return Err(WireError::new(ErrorCode::TooManyWaiting, text));
        }
        self.coming += u64::from(last);
        self.unanswered.push_back((id, last));
        if new && last {
            self.take(id, body, counters, out);
        } else if new {
            append(&mut self.partial, body);
        }
        self.answer(conn, out);
        Ok(())
    }

    /// The last part of a message that was not heard before.
    fn take(&mut self, id: u64, body: &Bytes, counters: &mut ChatCounters, out: &mut Out) {
        let body = if self.partial.is_empty() {
            detach(body)
        } else {
            append(&mut self.partial, body);
            mem::take(&mut self.partial).freeze()
        };
        self.heard = id;
        counters.heard += 1;
        if self.config.acknowledge_on_receipt {
            self.read = id;
        } else {
            self.unread.push_back(body.len());
            self.unread_bytes += body.len();
        }
        let session = self.session;
        out.push(Action::Notify(Notice::Received { session, id, body }));
    }

    /// The caller has read the messages of this session up to this one: they are acknowledged.
    pub(super) fn read(&mut self, conn: Option<ConnId>, session: u64, id: u64, out: &mut Out) {
        if session != self.session {
            return;
        }
        while self.read < id
            && let Some(bytes) = self.unread.pop_front()
        {
            self.unread_bytes -= bytes;
            self.read += 1;
        }
        if let Some(conn) = conn {
            self.answer(conn, out);
        }
    }

    /// Answers parts in the order in which they came; the last part of a message once the message is read.
    fn answer(&mut self, conn: ConnId, out: &mut Out) {
        while let Some(&(id, last)) = self.unanswered.front() {
            if last && id > self.read {
                return;
            }
            self.unanswered.pop_front();
            out.push(Action::Send(conn, Message::Taken { id, last }));
        }
    }

    /// The connection is gone: what is not acknowledged is to be sent again on the next.
    pub(super) fn lost(&mut self) {
        self.next = 0;
        self.offset = 0;
        self.flight.clear();
        self.unanswered_sent_bytes = 0;
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

    /// The session has ended: says what was not acknowledged, and keeps no more than what is not read.
    pub(super) fn end(&mut self, counters: &mut ChatCounters, out: &mut Out) {
        self.lost();
        self.queued_bytes = 0;
        for (at, said) in mem::take(&mut self.queue).into_iter().enumerate() {
            counters.undelivered += 1;
            let sent = self.acked + 1 + at as u64 <= self.sent;
            out.push(Action::Notify(Notice::Unacknowledged { key: said.key, sent }));
        }
    }
}
