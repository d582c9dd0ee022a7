//! The numbers and checksums of a session, computed one after the other from the start.

use std::collections::BTreeMap;

use echosphere_core::numbers::Uuid;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const MODULUS: u64 = 123_456;

/// The numbers of all uuids, as far as they were needed.
#[derive(Debug, Default)]
pub(super) struct Sequences(BTreeMap<Uuid, (ChaCha20Rng, Vec<u64>)>);

impl Sequences {
    /// The first `count` numbers of `uuid`.
    pub(super) fn first(&mut self, uuid: Uuid, count: u16) -> &[u64] {
        let (rng, numbers) = self.0.entry(uuid).or_insert_with(|| {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&uuid.as_u64_pair().0.to_be_bytes());
            (ChaCha20Rng::from_seed(key), Vec::new())
        });
        while numbers.len() < usize::from(count) {
            numbers.push(u64::from(rng.next_u32()));
        }
        &numbers[..usize::from(count)]
    }

    /// The number at this place; 0 if that is 0.
    pub(super) fn at(&mut self, uuid: Uuid, place: u16) -> u64 {
        self.first(uuid, place).last().copied().unwrap_or(0)
    }

    /// The checksum of the first `count` numbers.
    pub(super) fn checksum(&mut self, uuid: Uuid, count: u16) -> u64 {
        checksum(self.first(uuid, count))
    }
}

pub(super) fn checksum(numbers: &[u64]) -> u64 {
    numbers.iter().map(|number| number % MODULUS).sum::<u64>() % MODULUS
}
