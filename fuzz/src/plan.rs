//! An input as settings and steps.

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

/// Time-outs and bounds, all of them small enough to be met. What is called after echo's bounds are others in other systems.
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
    pub(crate) fn link(&self) -> ConnectionConfig {
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

    /// One of the machine's five times.
    pub(crate) fn time(&self, which: usize) -> Duration {
        Tenths(self.machine_times[which]).into()
    }

    /// Whether clients try again after a first refusal.
    pub(crate) const fn insists(&self) -> bool {
        self.ack_delay & 16 == 0
    }

    /// Of the machine's second and third time.
    pub(crate) fn backoff(&self) -> Backoff {
        Backoff {
            first: self.time(1),
            max: self.time(2),
        }
    }
}

/// What happens next; `S` is what a peer says. A `Which` is for any connection there is, or for one that is gone.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum Step<S> {
    Accept,
    Receive(Which, S),
    Fin(Which),
    Fail(Which),
    /// The driver does what is wanted, and the socket takes this many bytes.
    Write(Which, u16),
    Pass(Tenths),
    Command(u16),
    Dialled(u8),
    DialFailed(u8, bool),
    Drain,
    CloseAll,
}

/// A body of so many bytes.
pub(crate) fn body(length: impl Into<usize>) -> Bytes {
    vec![b'x'; length.into()].into()
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Which(pub(crate) u8);

/// An input that is still to be read.
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

/// One of the errors that peers are told: some that pass, and some that do not.
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
