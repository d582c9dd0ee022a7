//! Every random decision of the modelled network and of the faults, drawn once and recorded.

use crate::dice::{Dice, Purpose};

/// Draws decisions from a seed, or takes them from a record; keeps a record of them if asked to.
#[derive(Debug)]
pub struct Decisions {
    recorded: std::vec::IntoIter<u64>,
    dice: Dice,
    record: Option<Vec<u64>>,
}

impl Decisions {
    /// Decisions of `seed`, the first of them as `recorded`; remembered if `record`.
    #[must_use]
    pub fn new(seed: u64, recorded: Vec<u64>, record: bool) -> Self {
        Self {
            recorded: recorded.into_iter(),
            dice: Dice::new(seed, Purpose::Network),
            record: record.then(Vec::new),
        }
    }

    /// All decisions so far, if they were to be remembered.
    #[must_use]
    pub fn into_record(self) -> Vec<u64> {
        self.record.unwrap_or_default()
    }

    /// A number below `n`.
    pub(super) fn below(&mut self, n: u64) -> u64 {
        if n <= 1 {
            return 0;
        }
        let number = self.recorded.next().unwrap_or_else(|| self.dice.number());
        let number = number % n;
        if let Some(record) = &mut self.record {
            record.push(number);
        }
        number
    }

    /// `true` with this probability. What cannot be or must be is not a decision.
    pub(super) fn chance(&mut self, probability: f64) -> bool {
        const ALL: u64 = 1 << 32;
        probability > 0.0 && (probability >= 1.0 || self.below(ALL) < (probability * ALL as f64) as u64)
    }
}
