//! Random draws from an RNG that is passed in. The arithmetic is our own, so that seeds stay valid over upgrades of
//! `rand`.

use core::time::Duration;

use rand_core::Rng;

/// A uniform draw from `0..n`. Exactly uniform: Lemire's multiplication with rejection (arXiv:1805.10941).
///
/// # Panics
///
/// If `n` is 0.
pub fn below(rng: &mut impl Rng, n: u32) -> u32 {
    assert!(n > 0, "below(0): nothing to choose from");
    let threshold = n.wrapping_neg() % n;
    loop {
        let product = u64::from(rng.next_u32()) * u64::from(n);
        if product as u32 >= threshold {
            return (product >> 32) as u32;
        }
    }
}

/// A uniform draw from `[0, 1)` in steps of 2⁻⁵³.
pub fn unit(rng: &mut impl Rng) -> f64 {
    const STEPS: f64 = (1_u64 << 53) as f64;
    (rng.next_u64() >> 11) as f64 / STEPS
}

/// A distribution of delays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Delay {
    /// No delay. Draws nothing from the RNG.
    #[default]
    None,
    /// A fixed delay.
    Constant(Duration),
    /// A uniform draw between two delays.
    Uniform(Duration, Duration),
    /// An exponential distribution with this mean, cut off at [`Delay::EXPONENTIAL_CUT`] times the mean.
    Exponential(Duration),
}

impl Delay {
    /// The longest exponential delay, in multiples of the mean. One draw in 480 million would be longer.
    pub const EXPONENTIAL_CUT: u32 = 20;

    /// One draw.
    pub fn draw(self, rng: &mut impl Rng) -> Duration {
        match self {
            Self::None => Duration::ZERO,
            Self::Constant(delay) => delay,
            Self::Uniform(from, to) => from + to.saturating_sub(from).mul_f64(unit(rng)),
            Self::Exponential(mean) => {
                let means = -libm::log(1.0 - unit(rng));
                mean.mul_f64(means.min(f64::from(Self::EXPONENTIAL_CUT)))
            }
        }
    }
}

/// The pauses before retries: exponential backoff with jitter ("Exponential Backoff And Jitter", AWS Architecture Blog,
/// 2015). Each is a uniform draw between half a step and the step; steps double up to a maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The first step.
    pub first: Duration,
    /// The longest step.
    pub max: Duration,
}

impl Backoff {
    /// The pause before retry number `retry`; 0 is the first.
    pub fn draw(self, retry: u32, rng: &mut impl Rng) -> Duration {
        let doubled = self.first.saturating_mul(2_u32.saturating_pow(retry.min(31)));
        let step = doubled.min(self.max);
        Delay::Uniform(step / 2, step).draw(rng)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(100),
            max: Duration::from_secs(5),
        }
    }
}
