//! The bound on a server's connections, in runs where clients can exceed it.

use crate::dice::{Dice, Purpose};

/// In one run of eight, fewer connections than the clients may need at once.
pub(super) fn draw(seed: u64, clients: Option<usize>) -> Option<usize> {
    let mut dice = Dice::new(seed, Purpose::Connections);
    (clients.is_none() && dice.chance(0.125)).then(|| dice.among(1, 4))
}
