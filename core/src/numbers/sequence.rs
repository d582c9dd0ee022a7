use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use uuid::Uuid;

/// The modulus of checksums.
pub const CHECKSUM_MODULUS: u32 = 123_456;

/// Numbers generated at a time in a search.
const CHUNK: u16 = 64;

/// The numbers of a session, determined by its uuid: the words of a ChaCha20 key stream (counter and nonce start at 0)
/// whose key is the first 8 bytes of the uuid and 24 zero bytes. Access to any position costs the same.
#[derive(Clone, Debug)]
pub struct Sequence {
    generator: ChaCha20Rng,
}

impl Sequence {
    /// The numbers of `uuid`.
    #[must_use]
    pub fn new(uuid: Uuid) -> Self {
        let mut key = [0; 32];
        // Read as a big-endian u64, these bytes are the seed of the sequence.
        key[..8].copy_from_slice(&uuid.as_bytes()[..8]);
        Self {
            generator: ChaCha20Rng::from_seed(key),
        }
    }

    /// The numbers after the first `count`. The iterator is endless.
    pub fn after(&mut self, count: u16) -> impl Iterator<Item = u32> + '_ {
        self.generator.set_word_pos(u128::from(count));
        core::iter::repeat_with(|| self.generator.next_u32())
    }

    /// The position (counted from 1) of the last occurrence of `number` among the first `within`; `None` if there is
    /// none. Costs O(distance from `within`).
    pub fn count_to_latest(&mut self, number: u64, within: u16) -> Option<u16> {
        let number = u32::try_from(number).ok()?;
        let mut end = within;
        while end > 0 {
            let start = end.saturating_sub(CHUNK);
            let places = (start..end).zip(self.after(start));
            if let Some((place, _)) = places.filter(|(_, other)| *other == number).last() {
                return Some(place + 1);
            }
            end = start;
        }
        None
    }
}

/// The sum of numbers modulo [`CHECKSUM_MODULUS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Checksum(pub(super) u32);

impl Checksum {
    /// The value on the wire.
    #[must_use]
    pub const fn value(self) -> u32 {
        self.0
    }

    /// Reads a value from the wire; `None` if it is not a checksum.
    #[must_use]
    pub fn from_value(value: u64) -> Option<Self> {
        let value = u32::try_from(value).ok()?;
        (value < CHECKSUM_MODULUS).then_some(Self(value))
    }

    /// The checksum with one more number.
    #[must_use]
    pub const fn plus(self, number: u32) -> Self {
        Self((self.0 + number % CHECKSUM_MODULUS) % CHECKSUM_MODULUS)
    }

    /// The checksum without one of its numbers.
    #[must_use]
    pub const fn minus(self, number: u32) -> Self {
        Self((self.0 + CHECKSUM_MODULUS - number % CHECKSUM_MODULUS) % CHECKSUM_MODULUS)
    }
}
