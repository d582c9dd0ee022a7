//! Runs in which connections stay open for more than an hour while no machine sends anything.

use std::time::Duration;

use crate::dice::{Dice, Purpose};

/// How long a connection must be silent for the mark.
pub(crate) const HOUR: Duration = Duration::from_secs(3600);
/// How long nothing is sent in such a run: an hour by the slowest clock.
pub(super) const SILENCE: Duration = Duration::from_secs(70 * 60);
/// The longest body that is sent before the silence: longer than one read, so that it is received in halves.
pub(super) const LONGEST: usize = 20_000;
/// One run in this many: such a run takes a few hundred times as long as another.
const ONE_IN: usize = 250;

/// Whether the run of `seed` is one of them.
pub(crate) fn draw(seed: u64) -> bool {
    Dice::new(seed, Purpose::Silence).below(ONE_IN) == 0
}
