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

/// Added to the bytes of each message and part wherever bytes are limited, so that empty ones count too.
const OVERHEAD: usize = 32;

counters! {
    /// What one side of a chat has done.
    ChatCounters {
        /// Sessions begun.
        sessions,
        /// Connections lost, of sessions that were kept.
        lost,
        /// Sessions resumed.
        resumed,
        /// Connections answered `busy`.
        peers_refused,
        /// Messages accepted from the caller.
        queued,
        /// Messages acknowledged by the peer.
        acknowledged,
        /// Messages whose session ended before they were acknowledged.
        unacknowledged,
        /// Messages not accepted from the caller.
        refused,
        /// Messages received from the peer.
        received,
    }
}

/// One side's state of a session: messages to the peer and from it. The same for server and client.
#[derive(Debug)]
pub(super) struct Exchange {
    config: ExchangeConfig,
    /// Counts this side's sessions; the first is 1.
    session: u64,
    /// Whether the peer speaks lines: messages to it are sent whole.
    text: bool,
    /// Unacknowledged messages to the peer, oldest first. The first has the id `acked + 1`.
    queue: VecDeque<QueuedMessage>,
    queued_bytes: usize,
    acked: u64,
    /// The id of the last message that was sent completely, on any connection.
    sent: u64,
    /// The next message to send: its index in `queue`, and how many of its bytes were sent.
    next: usize,
    offset: usize,
    /// Unanswered parts on this connection, oldest first.
    in_flight: VecDeque<SentPart>,
    in_flight_bytes: usize,
    /// The id of the last complete message from the peer, on any connection.
    received_id: u64,
    /// The id of the last message that the caller has read.
    read: u64,
    /// The id of the next message on this connection. After a loss, the peer sends unread messages again.
    expected_id: u64,
    partial: BytesMut,
    /// Parts received on this connection and not answered, oldest first: the message's id, and whether it is its last
    /// part.
    unanswered: VecDeque<(u64, bool)>,
    /// The bytes of each received and unread message, oldest first.
    unread: VecDeque<usize>,
    unread_bytes: usize,
    /// Messages up to this id must be read before the session ends.
    must_read: u64,
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
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            received_id: 0,
            read: 0,
            expected_id: 1,
            partial: BytesMut::new(),
            unanswered: VecDeque::new(),
            unread: VecDeque::new(),
            unread_bytes: 0,
            must_read: 0,
        }
    }

    /// The session is about to end: everything received so far must be read first.
    pub(super) const fn leave(&mut self) {
        self.must_read = self.received_id;
    }

    /// Whether every sent message is acknowledged, and every message received before [`Exchange::leave`] is read.
    pub(super) fn is_done(&self) -> bool {
        self.queue.is_empty() && self.read >= self.must_read
    }

    /// Whether every received message is read.
    pub(super) const fn is_read(&self) -> bool {
        self.read == self.received_id
    }

    /// Whether the peer speaks lines.
    pub(super) const fn is_text(&self) -> bool {
        self.text
    }

    /// Starts receiving on another connection. Returns the id of the last message read; the peer sends all later ones
    /// again.
    pub(super) const fn rejoin(&mut self) -> u64 {
        self.expected_id = self.read + 1;
        self.read
    }

    /// Bytes of memory of an unfinished message from the peer.
    pub(super) fn partial_bytes(&self) -> usize {
        self.partial.capacity()
    }

    /// Checks the sums and the limits.
    pub(super) fn audit(&self) -> Result<(), &'static str> {
        let queued: usize = self.queue.iter().map(|message| message.body.len() + OVERHEAD).sum();
        let flight: usize = self.in_flight.iter().map(|flight| flight.bytes).sum();
        let unread: usize = self.unread.iter().sum();
        if (queued, flight, unread) != (self.queued_bytes, self.in_flight_bytes, self.unread_bytes) {
            return Err("a sum of bytes is wrong");
        }
        if self.read + self.unread.len() as u64 != self.received_id {
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

    /// Queues a message for [`Exchange::pump`].
    pub(super) fn queue_message(&mut self, key: u64, body: Bytes) -> Result<(), SendError> {
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

    /// Sends as much as the window allows.
    pub(super) fn pump(&mut self, now: Time, conn: ConnId, out: &mut Out) {
        let part = if self.text { usize::MAX } else { self.config.part.max(1) };
        while self.in_flight.is_empty() || self.in_flight_bytes < self.config.window {
            let Some(message) = self.queue.get_mut(self.next) else {
                return;
            };
            if self.offset == 0 {
                message.started = now;
            }
            let id = self.acked + 1 + self.next as u64;
            let size = part.min(message.body.len() - self.offset);
            let body = message.body.slice(self.offset..self.offset + size);
            self.offset += size;
            let last = self.offset == message.body.len();
            if last {
                self.next += 1;
                self.offset = 0;
                self.sent = self.sent.max(id);
            }
            let bytes = size + OVERHEAD;
            self.in_flight_bytes += bytes;
            self.in_flight.push_back(SentPart { id, last, bytes });
            out.push(Action::Send(conn, Message::Part { id, body, last }));
        }
    }

    /// The peer has answered a part.
    pub(super) fn part_answered(
        &mut self,
        now: Time,
        id: u64,
        last: bool,
        counters: &mut ChatCounters,
        out: &mut Out,
    ) -> Result<(), WireError> {
        match self.in_flight.front() {
            Some(flight) if flight.id == id && flight.last == last => {
                self.in_flight_bytes -= flight.bytes;
                self.in_flight.pop_front();
            }
            Some(SentPart { id: oldest, .. }) => {
                let text = format!("message {id} is acknowledged, but {oldest} must be acknowledged first");
                return Err(WireError::new(ErrorCode::NotHeld, text));
            }
            None => return Err(WireError::new(ErrorCode::NotHeld, "no message waits for an answer")),
        }
        if last {
            let round_trip = self.queue.front().map(|message| now.since(message.started));
            self.acknowledged(round_trip, counters, out);
        }
        Ok(())
    }

    fn acknowledged(&mut self, round_trip: Option<Duration>, counters: &mut ChatCounters, out: &mut Out) {
        let Some(message) = self.queue.pop_front() else {
            return;
        };
        self.queued_bytes -= message.body.len() + OVERHEAD;
        self.acked += 1;
        self.next = self.next.saturating_sub(1);
        counters.acknowledged += 1;
        out.push(Action::Notify(Notice::Acknowledged {
            key: message.key,
            id: self.acked,
            round_trip,
        }));
    }

    /// The peer has sent a part.
    pub(super) fn receive_part(
        &mut self,
        conn: ConnId,
        id: u64,
        body: &Bytes,
        last: bool,
        counters: &mut ChatCounters,
        out: &mut Out,
    ) -> Result<(), WireError> {
        let expected = self.expected_id;
        if id != expected {
            let text = format!("message {id}; expected message {expected}");
            return Err(WireError::new(ErrorCode::UnknownRequest, text));
        }
        let new = id > self.received_id;
        let bytes = if new { self.partial.len() + body.len() } else { 0 };
        if bytes > self.config.max_body {
            return Err(ErrorCode::BodyTooLong.into());
        }
        let whole = if last { bytes } else { 0 };
        if self.unread_bytes + whole + (self.unanswered.len() + 1) * OVERHEAD > self.config.max_unread {
            let text = "too many bytes were sent and not answered";
            return Err(WireError::new(ErrorCode::TooManyWaiting, text));
        }
        self.expected_id += u64::from(last);
        self.unanswered.push_back((id, last));
        if new && last {
            self.complete(id, body, counters, out);
        } else if new {
            append(&mut self.partial, body);
        }
        self.answer(conn, out);
        Ok(())
    }

    /// Completes a message with its last part.
    fn complete(&mut self, id: u64, body: &Bytes, counters: &mut ChatCounters, out: &mut Out) {
        let body = if self.partial.is_empty() {
            detach(body)
        } else {
            append(&mut self.partial, body);
            mem::take(&mut self.partial).freeze()
        };
        self.received_id = id;
        counters.received += 1;
        if self.config.acknowledge_on_receipt {
            self.read = id;
        } else {
            self.unread.push_back(body.len());
            self.unread_bytes += body.len();
        }
        let session = self.session;
        out.push(Action::Notify(Notice::Received { session, id, body }));
    }

    /// The caller has read the messages of this session up to `id`: acknowledges them.
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

    /// Answers parts in the order received; the last part of a message only once the message is read.
    fn answer(&mut self, conn: ConnId, out: &mut Out) {
        while let Some(&(id, last)) = self.unanswered.front() {
            if last && id > self.read {
                return;
            }
            self.unanswered.pop_front();
            out.push(Action::Send(conn, Message::Taken { id, last }));
        }
    }

    /// The connection is lost: unacknowledged messages are sent again on the next one.
    pub(super) fn lost(&mut self) {
        self.next = 0;
        self.offset = 0;
        self.in_flight.clear();
        self.in_flight_bytes = 0;
        self.partial = BytesMut::new();
        self.unanswered.clear();
    }

    /// Whether the peer can have received the messages up to `received`, and no more.
    pub(super) fn may_resume(&self, received: u64) -> Result<(), WireError> {
        if received < self.acked {
            let acked = self.acked;
            let text = format!("message {received} cannot be the last received: {acked} was acknowledged");
            return Err(WireError::new(ErrorCode::UnknownRequest, text));
        }
        // It belongs to another session with the same number, which has ended.
        if received > self.sent {
            return Err(ErrorCode::UnknownSession.into());
        }
        Ok(())
    }

    /// The peer has reconnected; it has the messages up to `received`.
    pub(super) fn resume(&mut self, received: u64, counters: &mut ChatCounters, out: &mut Out) {
        self.lost();
        while self.acked < received && !self.queue.is_empty() {
            self.acknowledged(None, counters, out);
        }
    }

    /// Ends the session: reports unacknowledged messages, and keeps only what the caller has not read.
    pub(super) fn end(&mut self, counters: &mut ChatCounters, out: &mut Out) {
        self.lost();
        self.queued_bytes = 0;
        for (at, message) in mem::take(&mut self.queue).into_iter().enumerate() {
            counters.unacknowledged += 1;
            let sent = self.acked + 1 + at as u64 <= self.sent;
            out.push(Action::Notify(Notice::Unacknowledged { key: message.key, sent }));
        }
    }
}
