//! One connection between its socket and the machine: handshake, decoding, time-outs, the outbox, closing.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::mem;
use core::time::Duration;

use bytes::{Buf, BytesMut};

use crate::partial::{self, Partial};
use crate::timers::TimerId;
use crate::wire::{Codec, Decoded, FIRST_BYTES, Framing, Outbox, Protocol, WireError};
use crate::{CloseReason, Time};

/// Keepalives come no faster than this, or sending the due ones would never end.
const MIN_KEEPALIVE_INTERVAL: Duration = Duration::from_millis(1);

/// Bytes that are appended to a partial message at first: most messages are whole then, and more need not be copied.
const APPENDED_AT_FIRST: usize = 4096;
/// A peer that is to read is given its time again if that was over for this part of it when it was noticed.
const LATE: u32 = 10;

/// Time-outs and bounds of every connection of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionConfig {
    /// A peer that connected must send its first whole frame or line within this time. Default 10 s.
    pub handshake_timeout: Duration,
    /// A peer that speaks length-prefixed frames and is silent for this long is gone. A connection that the machine has
    /// finished is lost if no peer, whatever it speaks, closes within this time. Default 60 s.
    pub idle_timeout: Duration,
    /// The same for a peer that speaks lines: people type slowly. Default 10 min.
    pub idle_timeout_text: Duration,
    /// After so long without sending, and at least 1 ms, an empty frame is sent (never to a peer that speaks lines).
    /// Default 20 s.
    pub keepalive_interval: Duration,
    /// How long a closing connection may take to flush and to see the peer's end of stream. Default 5 s.
    pub linger: Duration,
    /// Bytes that may wait to be written to one connection for longer than [`ConnectionConfig::backlog_timeout`]; a connection
    /// with more is dropped as a slow consumer. Default 16 MiB.
    pub max_backlog: usize,
    /// How long more may wait, so that a burst does not cost a peer that reads its connection. Default 5 s.
    pub backlog_timeout: Duration,
    /// Bytes that may wait to be written to one connection at all; over it, it is dropped at once. Default 128 MiB: as
    /// large bodies are shared between connections, that is not what they take.
    pub max_outbox: usize,
    /// Bytes of memory that partial messages of all connections may hold together: messages of which only a part has
    /// arrived. When there are more, the connection with the largest is told [`ErrorCode::Busy`] and closed; of equals,
    /// the one that began first. A message that arrives in one read is never counted. Should be several times the
    /// longest message, since that counts with up to twice its length. Default 256 MiB.
    ///
    /// [`ErrorCode::Busy`]: crate::wire::ErrorCode::Busy
    pub max_partial_bytes: usize,
    /// Connections held at once, those in handshake and those still closing included. Default 200,000.
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

/// What a driver shall do next for a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketAction {
    /// Write what the outbox holds.
    Write,
    /// Shut down the writing side (send FIN).
    Shutdown,
    /// Nothing, until there is more.
    Nothing,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Accepted; the machine has not heard of it.
    Handshaking,
    /// The machine knows it.
    Open,
    /// The machine knows it and has sent all it has to send: flushing, then waiting for the peer's end of stream.
    Finishing,
    /// The machine has let go of it; flushing, then waiting for the peer's end of stream.
    Closing,
}

/// What a connection's deadline asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// Look again at the connection's next deadline.
    Nothing,
    /// A keepalive was put into the outbox.
    Keepalive,
    /// The connection is to be closed.
    Close(CloseReason),
    /// The peer has not read for too long: drop it.
    SlowConsumer,
    /// The peer has not closed in time after this side has finished: drop it.
    Unanswered,
    /// The time to close in order is over: drop it.
    Release,
}

#[derive(Debug)]
pub(crate) struct Connection<C> {
    codec: C,
    /// Boxed, since most connections have none.
    pub(crate) partial: Option<Box<Partial>>,
    pub(crate) outbox: Outbox,
    state: State,
    peer_finished: bool,
    shut_down: bool,
    /// This side made the connection, and has not understood anything on it yet.
    unmet: bool,
    /// Whether the driver has been told to flush and has not begun to.
    pub(crate) flush_due: bool,
    pub(crate) timer: Option<TimerId>,
    since: Time,
    /// Why it is closing, if it is.
    why: Option<CloseReason>,
    /// Since when more waits to be written than may wait for long.
    backlog_since: Option<Time>,
    last_heard: Time,
    last_sent: Time,
}

impl<C: Codec> Connection<C> {
    pub(crate) fn accepted(codec: C, now: Time) -> Self {
        Self::new(codec, State::Handshaking, now)
    }

    pub(crate) fn dialled(codec: C, now: Time) -> Self {
        Self {
            unmet: true,
            ..Self::new(codec, State::Open, now)
        }
    }

    /// What a dialled connection says first, so that the other side knows its framing.
    pub(crate) fn say_hello(&mut self) {
        self.codec.encode_keepalive(&mut self.outbox);
    }

    fn new(codec: C, state: State, now: Time) -> Self {
        Self {
            codec,
            partial: None,
            outbox: Outbox::new(),
            state,
            peer_finished: false,
            shut_down: false,
            unmet: false,
            flush_due: false,
            timer: None,
            since: now,
            why: None,
            backlog_since: None,
            last_heard: now,
            last_sent: now,
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.state == State::Open
    }

    pub(crate) fn is_finishing(&self) -> bool {
        self.state == State::Finishing
    }

    /// Whether the machine has heard of it, and has not let go of it.
    pub(crate) fn is_known(&self) -> bool {
        self.is_open() || self.is_finishing()
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.state == State::Closing
    }

    pub(crate) fn is_text(&self) -> bool {
        self.codec.framing() == Some(Framing::Lines)
    }

    /// Notes that the first whole frame has come. `false` if it was not the first.
    pub(crate) fn complete_handshake(&mut self) -> bool {
        let first = self.state == State::Handshaking;
        if first {
            self.state = State::Open;
        }
        first
    }

    /// Notes that bytes have come.
    pub(crate) fn heard(&mut self, now: Time) {
        self.last_heard = self.last_heard.max(now);
    }

    /// Takes the next message off what was left of earlier reads followed by `input`. Once it returns `Ok(None)`,
    /// `input` is empty.
    pub(crate) fn next(&mut self, input: &mut BytesMut) -> Result<Option<Decoded<C::Message>>, WireError> {
        if let Some(decoded) = self.go_on(input)? {
            return Ok(Some(decoded));
        }
        if input.is_empty() {
            return Ok(None);
        }
        let decoded = self.codec.decode(input)?;
        if decoded.is_none() && !input.is_empty() {
            // Copied out, so that the caller's read buffer is not pinned by half a frame.
            partial::append(&mut self.partial.get_or_insert_default().bytes, input);
            input.clear();
        }
        Ok(decoded)
    }

    /// Appends to the partial message until the codec takes something, or `input` is empty. What the codec leaves goes
    /// back into `input`, so that the buffer does not live longer than its message.
    fn go_on(&mut self, input: &mut BytesMut) -> Result<Option<Decoded<C::Message>>, WireError> {
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

    /// Bytes of memory that the partial message holds.
    pub(crate) fn partial_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.bytes.capacity())
    }

    /// Whether this side made the connection, and has not understood anything on it yet.
    pub(crate) const fn is_unmet(&self) -> bool {
        self.unmet
    }

    /// What the peer's first bytes, of which `input` are the last, tell of what it speaks.
    pub(crate) fn peer_speaks(&self, input: &[u8]) -> Option<Protocol> {
        match &self.partial {
            None => Protocol::from_first_bytes(&input[..input.len().min(FIRST_BYTES)]),
            Some(partial) => {
                let first = partial.bytes.iter().chain(input).copied().take(FIRST_BYTES);
                Protocol::from_first_bytes(&first.collect::<Vec<u8>>())
            }
        }
    }

    /// Notes that a message was understood.
    pub(crate) const fn meet(&mut self) {
        self.unmet = false;
    }

    /// The stream has ended: what the codec makes of what is left of it.
    pub(crate) fn finish(&mut self) -> Option<Decoded<C::Message>> {
        match &mut self.partial {
            Some(partial) => {
                let decoded = self.codec.finish(&mut partial.bytes);
                if partial.bytes.is_empty() {
                    // Its room goes as well.
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

    pub(crate) fn send_error(&mut self, now: Time, error: &WireError) {
        self.codec.encode_error(error.code, &error.text, &mut self.outbox);
        self.last_sent = now;
    }

    /// Notes how much waits to be written. `true` if that has just become more than may wait for long.
    pub(crate) fn note_backlog(&mut self, now: Time, config: &ConnectionConfig) -> bool {
        let began = self.outbox.len() > config.max_backlog && self.backlog_since.is_none();
        if began {
            self.backlog_since = Some(now);
        }
        began
    }

    /// `true` if no more waits to be written now than may wait for long, and more did before.
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

    pub(crate) const fn start_closing(&mut self, now: Time, why: CloseReason) {
        self.state = State::Closing;
        self.why = Some(why);
        self.since = now;
    }

    /// Why it is closing, if it is.
    pub(crate) const fn why(&self) -> Option<CloseReason> {
        self.why
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

    /// Whether both ends of stream have passed.
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
            // However much the peer goes on to say.
            State::Finishing => self.since + config.idle_timeout,
            State::Closing => self.since + config.linger,
        }
    }

    /// When the peer has been silent for too long. One that has finished sending has a right to be.
    fn idle_deadline(&self, config: &ConnectionConfig) -> Time {
        if self.peer_finished || self.codec.is_kept_alive() {
            Time::FAR
        } else if self.is_text() {
            self.last_heard + config.idle_timeout_text
        } else {
            self.last_heard + config.idle_timeout
        }
    }

    /// Whether too much has waited to be written for too long.
    fn is_slow(&self, now: Time, config: &ConnectionConfig) -> bool {
        self.backlog_since
            .is_some_and(|since| since + config.backlog_timeout <= now)
    }

    /// Whether the connection is to be ended at `now`, unless what has arrived by then says otherwise.
    pub(crate) fn is_judged(&self, now: Time, config: &ConnectionConfig) -> bool {
        let due = now >= self.deadline(config);
        due && (self.state != State::Open || self.is_slow(now, config) || now >= self.idle_deadline(config))
    }

    /// Begins a time anew within which the peer is to read, if it was over for long when that was noticed: nothing could
    /// be written while nothing ran here.
    fn excuse_slowness(&mut self, now: Time, config: &ConnectionConfig) {
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
        self.excuse_slowness(now, config);
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
                // A peer that has not read the last ones yet learns nothing from one more.
                if !self.outbox.is_empty() {
                    return Expiry::Nothing;
                }
                self.codec.encode_keepalive(&mut self.outbox);
                Expiry::Keepalive
            }
            State::Finishing => Expiry::Unanswered,
            State::Closing => Expiry::Release,
        }
    }
}
