//! One connection between its socket and the machine: handshake, decoding, time-outs, outbox, closing.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;

use bytes::{Buf, BytesMut};

use crate::partial::{self, Partial};
use crate::timers::TimerId;
use crate::wire::{Codec, Decoded, FIRST_BYTES, Outbox, Protocol, WireError};
use crate::{CloseReason, Time};

/// The shortest keepalive interval: with an interval of zero, sending would never catch up.
const MIN_KEEPALIVE_INTERVAL: Duration = Duration::from_millis(1);

/// The first step of copying into a partial message. Most messages are complete then, and the rest need not be copied.
const APPENDED_AT_FIRST: usize = 4096;
/// A time-out for reading that is noticed late, by more than this fraction of it, starts over.
const LATE: u32 = 10;

/// Time-outs and limits of every connection of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionConfig {
    /// From accepting a connection to its first complete frame or line; then it is closed. Default 10 s.
    pub handshake_timeout: Duration,
    /// How long a peer that speaks length-prefixed frames may send nothing; then the connection is closed. Also how
    /// long a peer in either framing may take to close after [`Action::Finish`](crate::Action::Finish). Default 60 s.
    pub idle_timeout: Duration,
    /// As `idle_timeout`, for a peer that speaks lines: people type slowly. Default 10 min.
    pub idle_timeout_text: Duration,
    /// After this time without sending, at least 1 ms, an empty frame is sent; never to a peer that speaks lines.
    /// Default 20 s.
    pub keepalive_interval: Duration,
    /// How long a closing connection may take to flush and to receive the peer's end of stream. Default 5 s.
    pub linger: Duration,
    /// Bytes that may wait to be written to one connection for longer than [`ConnectionConfig::backlog_timeout`]. A
    /// connection with more is dropped as a slow consumer. Default 16 MiB.
    pub max_backlog: usize,
    /// How long more than [`ConnectionConfig::max_backlog`] may wait, so that a burst does not disconnect a peer that
    /// keeps reading. Default 5 s.
    pub backlog_timeout: Duration,
    /// The most bytes that may wait to be written to one connection; with more it is dropped at once. Connections share
    /// the memory of large bodies. Default 128 MiB.
    pub max_outbox: usize,
    /// Bytes of memory for partial messages (received in part) of all connections. With more, the connection with the
    /// largest is sent [`ErrorCode::Busy`] and closed; of equal ones, the oldest. A message that arrives in one read is
    /// not counted. Should be several times the longest message, because a message counts up to twice its length.
    /// Default 256 MiB.
    ///
    /// [`ErrorCode::Busy`]: crate::wire::ErrorCode::Busy
    pub max_partial_bytes: usize,
    /// The most connections, including those in handshake and those that are closing. Default 200,000.
    pub max_connections: usize,
}

impl Default for ConnectionConfig {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(60),
            idle_timeout_text: Duration::from_secs(600),
            keepalive_interval: Duration::from_secs(20),
            linger: Duration::from_secs(5),
            max_backlog: 16 * 1024 * 1024,
            backlog_timeout: Duration::from_secs(5),
            max_outbox: 128 * 1024 * 1024,
            max_partial_bytes: 256 * 1024 * 1024,
            max_connections: 200_000,
        }
    }
}

/// What a driver does next with a connection's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketAction {
    /// Write the outbox.
    Write,
    /// Shut down the writing side (send FIN).
    Shutdown,
    /// Nothing, until [`Effect::Flush`](crate::endpoint::Effect::Flush) comes again.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Accepted; the machine has not been sent `Opened`.
    Handshaking,
    /// The machine uses it.
    Open,
    /// After `Finish`: flushing, then waiting for the peer's end of stream.
    Finishing,
    /// After `Close`: flushing, then waiting for the peer's end of stream.
    Closing,
}

/// What to do when a connection's deadline is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// Set the timer to the next deadline.
    Nothing,
    /// Send a keepalive.
    Keepalive,
    /// Close the connection.
    Close(CloseReason),
    /// The peer has not read for too long: drop the connection.
    SlowConsumer,
    /// The peer has not closed in time after `Finish`: drop the connection.
    Unanswered,
    /// The time to close cleanly is over: drop the connection.
    Release,
}

#[derive(Debug)]
pub(crate) struct Connection<C> {
    codec: C,
    /// Boxed, because most connections have none.
    pub(crate) partial: Option<Box<Partial>>,
    pub(crate) outbox: Outbox,
    state: State,
    peer_finished: bool,
    shut_down: bool,
    /// Whether this side made the connection and has decoded no message on it yet.
    undecoded: bool,
    /// Whether a flush of the connection is among the effects that are not polled yet.
    pub(crate) flush_scheduled: bool,
    pub(crate) timer: Option<TimerId>,
    since: Time,
    /// Why it is closing, if it is.
    closing_reason: Option<CloseReason>,
    /// When the outbox exceeded `max_backlog`, if it still does.
    backlog_since: Option<Time>,
    last_received: Time,
    last_sent: Time,
}

impl<C: Codec> Connection<C> {
    pub(crate) fn accepted(codec: C, now: Time) -> Self {
        Self::new(codec, State::Handshaking, now)
    }

    pub(crate) fn dialled(codec: C, now: Time) -> Self {
        Self {
            undecoded: true,
            ..Self::new(codec, State::Open, now)
        }
    }

    fn new(codec: C, state: State, now: Time) -> Self {
        Self {
            codec,
            partial: None,
            outbox: Outbox::new(),
            state,
            peer_finished: false,
            shut_down: false,
            undecoded: false,
            flush_scheduled: false,
            timer: None,
            since: now,
            closing_reason: None,
            backlog_since: None,
            last_received: now,
            last_sent: now,
        }
    }

    /// Whether the machine has not been sent `Opened`.
    pub(crate) fn is_handshaking(&self) -> bool {
        self.state == State::Handshaking
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    pub(crate) fn is_finishing(&self) -> bool {
        self.state == State::Finishing
    }

    /// Whether the machine was sent `Opened` and has not closed it.
    pub(crate) fn is_in_use(&self) -> bool {
        self.is_open() || self.is_finishing()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.state == State::Closing
    }

    /// Whether input is decoded: until the peer's end of stream, or `Close`.
    pub(crate) fn is_reading(&self) -> bool {
        !self.peer_finished && !self.is_closing()
    }

    pub(crate) fn is_text(&self) -> bool {
        self.codec.is_text()
    }

    /// Completes the handshake. `false` if it was complete.
    pub(crate) fn complete_handshake(&mut self) -> bool {
        let first = self.state == State::Handshaking;
        if first {
            self.state = State::Open;
        }
        first
    }

    /// Notes that bytes were received at `now`.
    pub(crate) fn note_received(&mut self, now: Time) {
        self.last_received = self.last_received.max(now);
    }

    /// Takes the next message from the partial message followed by `input`. After `Ok(None)`, `input` is empty.
    pub(crate) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Decoded<C::Message>>, WireError> {
        if let Some(decoded) = self.continue_partial(input)? {
            return Ok(Some(decoded));
        }
        if input.is_empty() {
            return Ok(None);
        }
        let decoded = self.codec.decode(input)?;
        if decoded.is_none() && !input.is_empty() {
            // Copied, so that a partial message does not keep the caller's read buffer in memory.
            partial::append(&mut self.partial.get_or_insert_default().bytes, input);
            input.clear();
        }
        Ok(decoded)
    }

    /// Appends to the partial message until the codec decodes something or `input` is empty. Then moves the rest back
    /// into `input`, so that the buffer is freed with its message.
    fn continue_partial(&mut self, input: &mut BytesMut) -> Result<Option<Decoded<C::Message>>, WireError> {
        let Some(partial) = self.partial.as_mut().filter(|partial| !partial.bytes.is_empty()) else {
            return Ok(None);
        };
        while !input.is_empty() {
            let before = partial.bytes.len();
            let more = input.len().min(before.max(APPENDED_AT_FIRST));
            partial::append(&mut partial.bytes, &input[..more]);
            let decoded = self.codec.decode(&mut partial.bytes)?;
            let taken = before + more - partial.bytes.len();
            if taken == 0 {
                input.advance(more);
                continue;
            }
            let left = mem::take(&mut partial.bytes);
            if taken >= before {
                input.advance(taken - before);
            } else {
                input.advance(more);
                *input = [&left[..], &input[..]].concat()[..].into();
            }
            return Ok(decoded);
        }
        Ok(None)
    }

    /// Bytes of memory of the partial message.
    pub(crate) fn partial_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.bytes.capacity())
    }

    /// Whether this side made the connection and has decoded no message on it yet.
    pub(crate) const fn is_undecoded(&self) -> bool {
        self.undecoded
    }

    /// The peer's protocol as its first bytes show it. `input` is the last of them.
    pub(crate) fn peer_protocol(&self, input: &[u8]) -> Option<Protocol> {
        match &self.partial {
            None => Protocol::from_first_bytes(&input[..input.len().min(FIRST_BYTES)]),
            Some(partial) => {
                let first = partial.bytes.iter().chain(input).copied().take(FIRST_BYTES);
                Protocol::from_first_bytes(&first.collect::<Vec<u8>>())
            }
        }
    }

    /// Whether the first bytes of an accepted connection begin a TLS handshake (RFC 8446, section 5.1). No request does.
    pub(crate) fn begins_tls(&self, input: &[u8]) -> bool {
        self.is_handshaking() && self.partial.is_none() && input.starts_with(b"\x16\x03")
    }

    /// Notes that a message was decoded.
    pub(crate) const fn note_decoded(&mut self) {
        self.undecoded = false;
    }

    /// Ends the stream: lets the codec decode the rest of it.
    pub(crate) fn finish(&mut self) -> Option<Decoded<C::Message>> {
        match &mut self.partial {
            Some(partial) => {
                let decoded = self.codec.finish(&mut partial.bytes);
                if partial.bytes.is_empty() {
                    // Frees the buffer.
                    partial.bytes = BytesMut::new();
                }
                decoded
            }
            None => self.codec.finish(&mut BytesMut::new()),
        }
    }

    /// Whether the stream ended inside a frame.
    pub(crate) fn is_mid_frame(&self) -> bool {
        self.partial.as_ref().is_some_and(|partial| !partial.bytes.is_empty())
    }

    pub(crate) fn send(&mut self, now: Time, message: &C::Message) {
        self.codec.encode(message, &mut self.outbox);
        self.last_sent = now;
    }

    /// Sends an empty frame. As the first frame of a dialled connection, it shows the peer the framing.
    pub(crate) fn send_keepalive(&mut self) {
        self.codec.encode_keepalive(&mut self.outbox);
    }

    pub(crate) fn send_error(&mut self, now: Time, error: &WireError) {
        self.codec.encode_error(error.code, &error.text, &mut self.outbox);
        self.last_sent = now;
    }

    /// Notes the size of the outbox. `true` if it has just exceeded `max_backlog`.
    pub(crate) fn note_backlog(&mut self, now: Time, config: &ConnectionConfig) -> bool {
        let began = self.outbox.len() > config.max_backlog && self.backlog_since.is_none();
        if began {
            self.backlog_since = Some(now);
        }
        began
    }

    /// `true` if the outbox has just fallen to `max_backlog` or less.
    pub(crate) fn wrote(&mut self, written: usize, config: &ConnectionConfig) -> bool {
        self.outbox.advance(written);
        self.outbox.len() <= config.max_backlog && self.backlog_since.take().is_some()
    }

    /// Notes the peer's end of stream. `false` if it was noted before.
    pub(crate) const fn finish_reading(&mut self) -> bool {
        !mem::replace(&mut self.peer_finished, true)
    }

    pub(crate) const fn start_finishing(&mut self, now: Time) {
        self.state = State::Finishing;
        self.since = now;
    }

    pub(crate) const fn start_closing(&mut self, now: Time, reason: CloseReason) {
        self.state = State::Closing;
        self.closing_reason = Some(reason);
        self.since = now;
    }

    /// Why it is closing, if it is.
    pub(crate) const fn closing_reason(&self) -> Option<CloseReason> {
        self.closing_reason
    }

    pub(crate) fn socket_action(&self) -> SocketAction {
        if !self.outbox.is_empty() {
            SocketAction::Write
        } else if matches!(self.state, State::Finishing | State::Closing) && !self.shut_down {
            SocketAction::Shutdown
        } else {
            SocketAction::Nothing
        }
    }

    pub(crate) const fn note_shut_down(&mut self) {
        self.shut_down = true;
    }

    /// Whether both sides have sent their end of stream.
    pub(crate) const fn is_over(&self) -> bool {
        self.peer_finished && self.shut_down
    }

    pub(crate) fn deadline(&self, config: &ConnectionConfig) -> Time {
        let regular = self.regular_deadline(config);
        match self.backlog_since {
            Some(since) if self.state == State::Open => regular.min(since + config.backlog_timeout),
            _ => regular,
        }
    }

    fn regular_deadline(&self, config: &ConnectionConfig) -> Time {
        match self.state {
            State::Handshaking => self.since + config.handshake_timeout,
            State::Open if self.is_text() || self.codec.is_kept_alive() => self.idle_deadline(config),
            State::Open => self
                .idle_deadline(config)
                .min(self.last_sent + config.keepalive_interval.max(MIN_KEEPALIVE_INTERVAL)),
            // Whatever the peer still sends.
            State::Finishing => self.since + config.idle_timeout,
            State::Closing => self.since + config.linger,
        }
    }

    /// The idle deadline. None for a peer that has finished sending.
    fn idle_deadline(&self, config: &ConnectionConfig) -> Time {
        if self.peer_finished || self.codec.is_kept_alive() {
            Time::FAR
        } else if self.is_text() {
            self.last_received + config.idle_timeout_text
        } else {
            self.last_received + config.idle_timeout
        }
    }

    /// Whether the outbox has exceeded `max_backlog` for too long.
    fn is_slow(&self, now: Time, config: &ConnectionConfig) -> bool {
        self.backlog_since
            .is_some_and(|since| since + config.backlog_timeout <= now)
    }

    /// Whether the connection must be ended at `now`, unless data that has arrived by then changes that.
    pub(crate) fn must_end(&self, now: Time, config: &ConnectionConfig) -> bool {
        let due = now >= self.deadline(config);
        due && (self.state != State::Open || self.is_slow(now, config) || now >= self.idle_deadline(config))
    }

    /// Restarts a time-out for reading that was noticed late: this process was stopped and could not write.
    fn restart_late_timeouts(&mut self, now: Time, config: &ConnectionConfig) {
        let late = |since: Time, timeout| now.since(since + timeout) > timeout / LATE;
        if self.state == State::Closing && late(self.since, config.linger) {
            self.since = now;
        }
        let slow = self.backlog_since;
        if self.state == State::Open && slow.is_some_and(|since| late(since, config.backlog_timeout)) {
            self.backlog_since = Some(now);
        }
    }

    pub(crate) fn expire(&mut self, now: Time, config: &ConnectionConfig) -> Expiry {
        self.restart_late_timeouts(now, config);
        if now < self.deadline(config) {
            return Expiry::Nothing;
        }
        let backlog = self.is_slow(now, config);
        match self.state {
            State::Handshaking => Expiry::Close(CloseReason::HandshakeTimeout),
            State::Open if backlog => Expiry::SlowConsumer,
            State::Open if now >= self.idle_deadline(config) => Expiry::Close(CloseReason::IdleTimeout),
            State::Open => {
                self.last_sent = now;
                // A peer that has not read earlier bytes does not need another keepalive.
                if !self.outbox.is_empty() {
                    return Expiry::Nothing;
                }
                Expiry::Keepalive
            }
            State::Finishing => Expiry::Unanswered,
            State::Closing => Expiry::Release,
        }
    }
}
