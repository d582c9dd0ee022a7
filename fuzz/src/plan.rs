//! Decodes an input into settings and steps.

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::random::Backoff;
use echosphere_core::wire::ErrorCode;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// Tenths of a second.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Tenths(u8);

impl From<Tenths> for Duration {
    fn from(tenths: Tenths) -> Self {
        Self::from_millis(100) * u32::from(tenths.0)
    }
}

/// Time-outs and limits, small enough to be reached. Fields named after limits of echo serve as other limits in other systems.
#[derive(Arbitrary, Clone, Debug, Default)]
pub(crate) struct Settings {
    seed: u8,
    times: [u8; 6],
    max_backlog: u16,
    max_outbox: u16,
    max_connections: u8,
    max_partial_bytes: u16,
    pub(crate) max_waiting: u8,
    pub(crate) max_waiting_bytes: u16,
    pub(crate) max_flights: u8,
    pub(crate) max_bytes: u16,
    machine_times: [u8; 5],
    pub(crate) ack_delay: u8,
    pub(crate) max_delayed_acks: u8,
}

impl Settings {
    pub(crate) fn connection(&self) -> ConnectionConfig {
        let [handshake, idle, idle_text, keepalive, linger, backlog] = self.times.map(|time| Tenths(time).into());
        ConnectionConfig {
            handshake_timeout: handshake,
            idle_timeout: idle,
            idle_timeout_text: idle_text,
            keepalive_interval: keepalive,
            linger,
            max_backlog: self.max_backlog.into(),
            backlog_timeout: backlog,
            max_outbox: usize::from(self.max_outbox) * 16,
            max_partial_bytes: self.max_partial_bytes.into(),
            max_connections: (self.max_connections % 16 + 1).into(),
        }
    }

    pub(crate) fn rng(&self) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.seed.into())
    }

    /// One of five times for the machine.
    pub(crate) fn time(&self, which: usize) -> Duration {
        Tenths(self.machine_times[which]).into()
    }

    /// Whether clients retry after a first refusal.
    pub(crate) const fn retry_refused(&self) -> bool {
        self.ack_delay & 16 == 0
    }

    /// Pauses from the second and third of the machine's times.
    pub(crate) fn backoff(&self) -> Backoff {
        Backoff {
            first: self.time(1),
            max: self.time(2),
        }
    }
}

/// A step. `I` is what a peer sends. A `Which` picks an open or a released connection.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum Step<I> {
    Accept,
    Receive(Which, I),
    Fin(Which),
    Fail(Which),
    /// The driver performs the socket action; the socket takes at most this many bytes.
    Write(Which, u16),
    Pass(Tenths),
    Command(u16),
    Dialled(u8),
    DialFailed(u8, bool),
    Drain,
    CloseAll,
}

/// A body of this many bytes.
pub(crate) fn body(length: impl Into<usize>) -> Bytes {
    vec![b'x'; length.into()].into()
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Which(pub(crate) u8);

/// The rest of an input.
pub(crate) struct Plan<'a>(Unstructured<'a>);

impl<'a> Plan<'a> {
    pub(crate) fn new(data: &'a [u8]) -> Self {
        Self(Unstructured::new(data))
    }

    pub(crate) fn settings(&mut self) -> Settings {
        Settings::arbitrary(&mut self.0).unwrap_or_default()
    }

    pub(crate) fn steps<S: Arbitrary<'a>>(&mut self) -> impl Iterator<Item = Step<S>> {
        std::iter::from_fn(|| {
            if self.0.is_empty() {
                return None;
            }
            Step::arbitrary(&mut self.0).ok()
        })
    }
}

/// An error that a peer sends; some are retryable.
pub(crate) fn error(which: u8) -> ErrorCode {
    const CODES: [ErrorCode; 8] = [
        ErrorCode::Busy,
        ErrorCode::ShuttingDown,
        ErrorCode::Full,
        ErrorCode::UnknownRequest,
        ErrorCode::UnknownSession,
        ErrorCode::IdleTimeout,
        ErrorCode::BadReceiver,
        ErrorCode::Unknown,
    ];
    CODES[usize::from(which) % CODES.len()]
}
