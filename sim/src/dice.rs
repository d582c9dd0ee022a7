//! Draws from seeded ChaCha. Every random decision of a run comes from its seed. Each purpose has a
//! stream of its own, so that one more draw for one purpose does not shift the others.

use std::time::Duration;

use echosphere_core::random::{below, unit};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream of random numbers is for.
#[derive(Clone, Copy, Debug)]
pub enum Purpose {
    /// Which faults, when.
    Scenario,
    /// Who sends what, when.
    Workload,
    /// turmoil's own RNG.
    Network,
    /// The machine of a host in its so-and-so-many-th life.
    Machine(usize, u32),
    /// How that host's streams are chopped.
    Chop(usize, u32),
    /// Splitting ties in statistics.
    Statistics,
    /// Which bounds are tight.
    Limits,
    /// How much half-received messages may hold.
    Partial,
    /// How many connections the server accepts.
    Connections,
    /// Whether connections are silent for an hour.
    Silence,
}

/// The stream of `seed` for `purpose`.
#[must_use]
pub fn rng(seed: u64, purpose: Purpose) -> ChaCha8Rng {
    let stream = match purpose {
        Purpose::Scenario => 0,
        Purpose::Workload => 1,
        Purpose::Network => 2,
        Purpose::Statistics => 3,
        Purpose::Limits => 4,
        Purpose::Partial => 5,
        Purpose::Connections => 6,
        Purpose::Silence => 7,
        Purpose::Machine(host, life) => 1 << 62 | (host as u64) << 32 | u64::from(life),
        Purpose::Chop(host, life) => 1 << 63 | (host as u64) << 32 | u64::from(life),
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    rng.set_stream(stream);
    rng
}

/// Draws of the kinds that scenarios need.
#[derive(Debug)]
pub struct Dice(ChaCha8Rng);

impl Dice {
    /// Draws from the stream of `seed` for `purpose`.
    #[must_use]
    pub fn new(seed: u64, purpose: Purpose) -> Self {
        Self(rng(seed, purpose))
    }

    /// `true` with this probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        unit(&mut self.0) < probability
    }

    /// Uniform in `0..n`.
    pub fn below(&mut self, n: usize) -> usize {
        below(&mut self.0, n as u32) as usize
    }

    /// Uniform in `from..=to`.
    pub fn among(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from + 1)
    }

    /// Uniform in `from..=to`, in whole milliseconds.
    pub fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.among(from as usize, to as usize) as u64)
    }

    /// Between `from` and `to`, each order of magnitude as likely as any other.
    pub fn scaled(&mut self, from: f64, to: f64) -> f64 {
        // The standard library's power may differ between platforms.
        from * libm::pow(to / from, unit(&mut self.0))
    }

    /// Uniform in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        unit(&mut self.0)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Any bytes.
    pub fn bytes(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}
