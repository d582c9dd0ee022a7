//! The bound on half-received messages, in runs that can exceed it.

use crate::dice::{Dice, Purpose};

/// The memory that a message's bytes count with, as `docs/PROTOCOL.md` has it.
pub(crate) fn rounded(bytes: usize) -> usize {
    match bytes {
        0 => 0,
        bytes => bytes.next_power_of_two().max(64),
    }
}

/// In a sixth of the runs, a bound that is met as soon as there is a little more than what the `longest` message counts with.
pub(super) fn draw(seed: u64, longest: usize) -> Option<usize> {
    /// So that people's lines and requests that come in two halves are not the largest.
    const LEAST: usize = 256;
    let mut dice = Dice::new(seed, Purpose::Partial);
    let least = longest.max(LEAST);
    dice.chance(0.17).then(|| dice.among(least, least + least / 2))
}
