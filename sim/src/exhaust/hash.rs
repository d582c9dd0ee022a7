//! The hash by which states are compared.

/// Mixes one word into a state: multiply and fold. Not safe against chosen input.
pub(super) const fn stir(state: u128, word: u64) -> u128 {
    let product = (state ^ word as u128 ^ 0x5851_F42D).wrapping_mul(0x2360_ED05_1FC6_5DA4_4385_DF64_9FCC_F645);
    product ^ product >> 61
}
