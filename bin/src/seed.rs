//! Randomness from a seed or from the system.

use anyhow::anyhow;
use rand::TryRng;
use rand::rngs::SysRng;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// A generator from `seed`, or from the system's randomness without one.
pub(crate) fn generator(seed: Option<u64>) -> anyhow::Result<ChaCha8Rng> {
    if let Some(seed) = seed {
        return Ok(ChaCha8Rng::seed_from_u64(seed));
    }
    Ok(ChaCha8Rng::from_seed(bytes()?))
}

/// A random number, short enough to be typed as a seed.
pub(crate) fn draw() -> anyhow::Result<u32> {
    SysRng.try_next_u32().map_err(no_randomness)
}

/// Random bytes from the system.
pub(crate) fn bytes<const LENGTH: usize>() -> anyhow::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    SysRng.try_fill_bytes(&mut bytes).map_err(no_randomness)?;
    Ok(bytes)
}

fn no_randomness(error: impl std::error::Error) -> anyhow::Error {
    anyhow!("the system provides no randomness: {error}; set a seed with --seed")
}

#[cfg(test)]
mod tests {
    use rand::Rng;

    use super::*;

    #[test]
    fn without_a_seed_every_draw_differs() {
        assert_ne!(bytes::<16>().unwrap(), bytes::<16>().unwrap());
        let first = |seed| generator(seed).unwrap().next_u64();
        assert_ne!(first(None), first(None));
        assert_eq!(first(Some(7)), first(Some(7)));
        assert_ne!(first(Some(7)), first(Some(8)));
    }
}
