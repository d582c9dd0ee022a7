use crate::dice::{Dice, Purpose};
use crate::fairness::Fairness;

/// How a server chose, many times over. A fair choice among n is as likely to hit any rank of them, however they are
/// ranked.
#[derive(Clone, Debug, Default)]
pub struct Choices {
    /// Each choice made.
    pub made: Vec<Choice>,
}

/// One choice.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// How many could have been chosen.
    pub among: usize,
    /// How many of those stand before the chosen one where the server lists them.
    pub by_place: usize,
    /// How many of those have a smaller id than the chosen one.
    pub by_id: usize,
    /// How many of those are older.
    pub by_age: usize,
    /// Whether a message was forwarded back to its originator; `None` for a forward anew.
    pub to_self: Option<bool>,
}

impl Choices {
    /// Adds them to those of other runs.
    pub(super) fn add_to(&self, seed: u64, fairness: &mut Fairness) {
        let mut dice = Dice::new(seed, Purpose::Statistics);
        for choice in &self.made {
            for (ranked_by, rank) in [("place", choice.by_place), ("id", choice.by_id), ("age", choice.by_age)] {
                fairness.ranked(ranked_by, rank, choice.among, dice.unit());
            }
            if let Some(to_self) = choice.to_self {
                fairness.trial("forwarded to the sender", 1.0 / choice.among as f64, to_self);
            }
        }
    }
}
