//! Draws, including the extremes of an RNG.

use std::convert::Infallible;
use std::time::Duration;

use echosphere_core::random::{Backoff, Delay, below, unit};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{SeedableRng, TryRng};

const SECOND: Duration = Duration::from_secs(1);

/// Always returns the same bits.
struct Always(u64);

impl TryRng for Always {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok((self.0 >> 32) as u32)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        bytes.fill(self.0 as u8);
        Ok(())
    }
}

fn lowest() -> Always {
    Always(0)
}

fn highest() -> Always {
    Always(u64::MAX)
}

#[test]
fn below_gives_everything_under_its_bound_and_nothing_else() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for n in [1, 2, 3, 7, 10] {
        let mut drawn = [0_u32; 10];
        for _ in 0..n * 1000 {
            drawn[below(&mut rng, n) as usize] += 1;
        }
        let (inside, outside) = drawn.split_at(n as usize);
        assert!(
            inside.iter().all(|count| (850..1150).contains(count)),
            "{n}: {inside:?}"
        );
        assert!(outside.iter().all(|&count| count == 0));
    }
    assert_eq!(below(&mut highest(), u32::MAX), u32::MAX - 1);
}

/// Scaling draws down would return every third of these numbers twice as often.
#[test]
fn below_is_uniform_where_the_bound_does_not_divide_what_the_rng_gives() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut drawn = [0_u32; 3];
    for _ in 0..30_000 {
        drawn[below(&mut rng, 3 << 30) as usize % 3] += 1;
    }
    assert!(drawn.iter().all(|count| (9_500..10_500).contains(count)), "{drawn:?}");
}

#[test]
#[should_panic(expected = "nothing to choose from")]
fn there_is_nothing_below_zero() {
    below(&mut lowest(), 0);
}

#[test]
fn a_unit_draw_is_never_one() {
    assert_eq!(unit(&mut lowest()), 0.0);
    assert!(unit(&mut highest()) < 1.0 && unit(&mut highest()) > 0.999_999);
}

#[test]
fn delays_stay_within_their_bounds() {
    let uniform = Delay::Uniform(SECOND, 3 * SECOND);
    assert_eq!(uniform.draw(&mut lowest()), SECOND);
    assert!(uniform.draw(&mut highest()) <= 3 * SECOND);
    let exponential = Delay::Exponential(SECOND);
    assert_eq!(exponential.draw(&mut lowest()), Duration::ZERO);
    assert_eq!(exponential.draw(&mut highest()), Delay::EXPONENTIAL_CUT * SECOND);
    // In the wrong order, the delay is constant.
    assert_eq!(Delay::Uniform(3 * SECOND, SECOND).draw(&mut highest()), 3 * SECOND);
}

#[test]
fn backoff_stays_within_its_maximum_however_often_it_is_drawn() {
    let backoff = Backoff {
        first: SECOND,
        max: 60 * SECOND,
    };
    for retry in [6, 7, 31, 32, 1000, u32::MAX] {
        assert_eq!(backoff.draw(retry, &mut lowest()), 30 * SECOND);
        assert!(backoff.draw(retry, &mut highest()) <= 60 * SECOND);
    }
}
