//! Whether random choices are uniform over many runs. A uniform choice among n hits each rank equally
//! often, whatever the ranking.

use std::collections::BTreeMap;

const BINS: usize = 20;
/// The chance of a χ² beyond this is 1 in 10 million, with 19 degrees of freedom.
const CHI_SQUARE_LIMIT: f64 = 70.0;
/// How many standard deviations a count may be from what is expected; the chance of more is 1 in 10 million.
const DEVIATIONS: f64 = 5.4;
/// Of fewer choices nothing is concluded.
const ENOUGH: u64 = 1000;

/// Many choices, added up.
#[derive(Clone, Debug, Default)]
pub struct Fairness {
    ranks: BTreeMap<&'static str, [u64; BINS]>,
    trials: BTreeMap<&'static str, Trials>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Trials {
    made: u64,
    hit: u64,
    mean: f64,
    variance: f64,
}

impl Fairness {
    /// Notes a choice of one among `among`, `rank` of which come before it in the ranking `ranked_by`. `within` is a uniform
    /// draw from `[0, 1)`: a rank among n and a uniform draw within it make a uniform number, whatever n is.
    pub fn ranked(&mut self, ranked_by: &'static str, rank: usize, among: usize, within: f64) {
        let uniform = (rank as f64 + within) / among as f64;
        let bins = self.ranks.entry(ranked_by).or_default();
        bins[((uniform * BINS as f64) as usize).min(BINS - 1)] += 1;
    }

    /// Something had this `chance`, and happened or not.
    pub fn trial(&mut self, what: &'static str, chance: f64, happened: bool) {
        let trials = self.trials.entry(what).or_default();
        trials.made += 1;
        trials.hit += u64::from(happened);
        trials.mean += chance;
        trials.variance += chance * (1.0 - chance);
    }

    /// Adds another run's choices to these.
    pub fn merge(&mut self, other: &Self) {
        for (ranked_by, bins) in &other.ranks {
            let sums = self.ranks.entry(ranked_by).or_default();
            sums.iter_mut().zip(bins).for_each(|(sum, bin)| *sum += bin);
        }
        for (what, other) in &other.trials {
            let trials = self.trials.entry(what).or_default();
            trials.made += other.made;
            trials.hit += other.hit;
            trials.mean += other.mean;
            trials.variance += other.variance;
        }
    }

    /// # Errors
    ///
    /// What is so unlikely that the choices are not fair.
    pub fn check(&self) -> Result<(), String> {
        for (ranked_by, bins) in &self.ranks {
            let made: u64 = bins.iter().sum();
            let expected = made as f64 / BINS as f64;
            let chi_square: f64 = bins.iter().map(|&n| (n as f64 - expected).powi(2) / expected).sum();
            if made >= ENOUGH && chi_square > CHI_SQUARE_LIMIT {
                return Err(format!(
                    "choices are not uniform by {ranked_by}: χ² = {chi_square:.0}, {bins:?}"
                ));
            }
        }
        for (what, trials) in &self.trials {
            let deviations = (trials.hit as f64 - trials.mean) / trials.variance.sqrt();
            if trials.made >= ENOUGH && deviations.abs() > DEVIATIONS {
                return Err(format!(
                    "{what}: {} times of {}, expected {:.0}: {deviations:.1} deviations",
                    trials.hit, trials.made, trials.mean
                ));
            }
        }
        Ok(())
    }
}
