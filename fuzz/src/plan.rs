//! An input as settings and steps.

use std::time::Duration;

use arbitrary::{Arbitrary, Unstructured};
use echosphere_core::echo::{ClientConfig, ServerConfig};
use echosphere_core::link::LinkConfig;
use echosphere_core::random::{Backoff, Delay};

/// Tenths of a second.
#[derive(Arbitrary, Clone, Copy, Debug)]
pub(crate) struct Tenths(u8);

impl From<Tenths> for Duration {
    fn from(tenths: Tenths) -> Self {
        Self::from_millis(100) * u32::from(tenths.0)
    }
}

/// Time-outs and bounds, all of them small enough to be met.
#[derive(Arbitrary, Clone, Debug, Default)]
pub(crate) struct Settings {
    pub(crate) seed: u8,
    times: [u8; 6],
    max_backlog: u16,
    max_outbox: u16,
    max_connections: u8,
    max_waiting: u8,
    max_waiting_bytes: u16,
    max_flights: u8,
    max_bytes: u16,
    client_times: [u8; 5],
    ack_delay: u8,
    max_delayed_acks: u8,
}

impl Settings {
    pub(crate) fn link(&self) -> LinkConfig {
        let [handshake, idle, idle_text, keepalive, linger, backlog] = self.times.map(|time| Tenths(time).into());
        LinkConfig {
            handshake_timeout: handshake,
            idle_timeout: idle,
            idle_timeout_text: idle_text,
            keepalive_interval: keepalive,
            linger,
            max_backlog: self.max_backlog.into(),
            backlog_timeout: backlog,
            max_outbox: usize::from(self.max_outbox) * 16,
            max_connections: (self.max_connections % 16 + 1).into(),
        }
    }

    pub(crate) fn server(&self) -> ServerConfig {
        ServerConfig {
            max_waiting: self.max_waiting.into(),
            max_waiting_bytes: self.max_waiting_bytes.into(),
            max_flights: self.max_flights.into(),
            max_bytes: self.max_bytes.into(),
        }
    }

    pub(crate) fn client(&self) -> ClientConfig {
        let [response_timeout, first, max, give_up, delay] = self.client_times.map(|time| Tenths(time).into());
        ClientConfig {
            response_timeout,
            backoff: Backoff { first, max },
            give_up_after: Some(give_up).filter(|give_up| !give_up.is_zero()),
            ack_delay: match self.ack_delay % 4 {
                0 => Delay::None,
                1 => Delay::Constant(delay),
                2 => Delay::Uniform(Duration::ZERO, delay),
                _ => Delay::Exponential(delay),
            },
            max_delayed_acks: self.max_delayed_acks.into(),
        }
    }
}

/// What a peer sends.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum Bytes {
    Hello,
    Message(u8),
    Ok(u8),
    Large(u16),
    Error(u8),
    EmptyLine,
    LineMessage(u8),
    LineOk(u8),
    /// What it was sent and has not answered, the oldest first.
    Answers(u8),
    Any(Vec<u8>),
}

/// What happens next. A `Which` is for any connection there is, or for one that is gone.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum Step {
    Accept,
    Receive(Which, Bytes),
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

    pub(crate) fn steps(&mut self) -> impl Iterator<Item = Step> {
        std::iter::from_fn(|| {
            if self.0.is_empty() {
                return None;
            }
            Step::arbitrary(&mut self.0).ok()
        })
    }
}
