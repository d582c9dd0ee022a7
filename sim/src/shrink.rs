//! Shrinks a failing run: fewer messages and faults, shorter bodies, fewer disturbances, as long as it
//! fails in the same way.

use crate::direct::{Case, Options, Rates, run_direct};
use crate::oracle::Workload;
use crate::run::Failure;

/// A run that breaks a rule.
#[derive(Clone, Debug)]
pub struct Failing<W> {
    /// Its plan.
    pub case: Case,
    /// Its messages.
    pub workload: W,
    /// The rule.
    pub failure: Failure,
    /// Runs that it took to find.
    pub runs: u64,
}

/// What is left of a body that is made shorter: enough to tell bodies apart.
const SHORT: usize = 16;

/// The smallest run that it finds, within `budget` runs, that fails as `failing` does: the same kind of failure of the
/// same rule, numbers aside. `progress` receives the number of runs so far.
pub fn shrink<W: Workload>(failing: Failing<W>, budget: u64, mut progress: impl FnMut(u64)) -> Failing<W> {
    let mut best = failing;
    let wanted = best.failure.shape();
    let mut runs = 0;
    let mut try_one = |best: &mut Failing<W>, case: Case, workload: W| {
        if runs >= budget {
            return false;
        }
        runs += 1;
        progress(runs);
        match run_direct(&case, &workload, Options::default()).result {
            Err(failure) if failure.shape() == wanted => {
                *best = Failing {
                    case,
                    workload,
                    failure,
                    runs,
                };
                true
            }
            _ => false,
        }
    };
    loop {
        let mut smaller = false;
        // What happens after the failure has no part in it.
        for (case, workload) in sound_variants(&best) {
            smaller |= try_one(&mut best, case, workload);
        }
        smaller |= drop_chunks(
            &mut best,
            |best| best.case.faults.len(),
            |best, keep| {
                let mut case = best.case.clone();
                case.faults = kept(&case.faults, keep);
                (case, best.workload.clone())
            },
            &mut try_one,
        );
        smaller |= drop_chunks(
            &mut best,
            |best| best.workload.len(),
            |best, keep| (best.case.clone(), best.workload.keep(keep)),
            &mut try_one,
        );
        smaller |= cut_bodies(&mut best, &mut try_one);
        if !smaller {
            best.runs = runs;
            return best;
        }
    }
}

/// The run with one of the things that go wrong left out.
fn sound_variants<W: Workload>(best: &Failing<W>) -> Vec<(Case, W)> {
    let case = &best.case;
    let sound = Rates::SOUND;
    let rates = case.rates;
    let mut variants = Vec::new();
    let mut variant = |changed: bool, case: Case| {
        if changed {
            variants.push((case, best.workload.clone()));
        }
    };
    let with = |rates: Rates| Case { rates, ..case.clone() };
    variant(rates != sound, with(sound));
    for rates in [
        Rates { refuse: 0.0, ..rates },
        Rates {
            blackhole: 0.0,
            ..rates
        },
        Rates { split: 0.0, ..rates },
        Rates { join: 0.0, ..rates },
        Rates { stall: 0.0, ..rates },
        Rates { lost_fin: 0.0, ..rates },
        Rates {
            slow_reader: 0.0,
            ..rates
        },
        Rates {
            window: sound.window,
            ..rates
        },
        Rates {
            negotiation: 0.0,
            ..rates
        },
        Rates {
            failed_negotiation: 0.0,
            ..rates
        },
    ] {
        variant(rates != case.rates, with(rates));
    }
    variant(
        case.impatient,
        Case {
            impatient: false,
            ..case.clone()
        },
    );
    let right = vec![1.0; case.clocks.len()];
    variant(
        case.clocks != right,
        Case {
            clocks: right,
            ..case.clone()
        },
    );
    let constant = (case.latency.0, case.latency.0);
    variant(
        case.latency != constant,
        Case {
            latency: constant,
            ..case.clone()
        },
    );
    variants
}

type Variant<'a, W> = &'a mut dyn FnMut(&mut Failing<W>, Case, W) -> bool;

/// Leaves out halves, quarters, … and at last single ones (delta debugging, Zeller 1999).
fn drop_chunks<W: Workload>(
    best: &mut Failing<W>,
    len: impl Fn(&Failing<W>) -> usize,
    without: impl Fn(&Failing<W>, &dyn Fn(usize) -> bool) -> (Case, W),
    try_one: Variant<'_, W>,
) -> bool {
    let mut any = false;
    let mut chunk = len(best).div_ceil(2);
    while chunk > 0 {
        let mut start = 0;
        while start < len(best) {
            let dropped = start..start + chunk;
            let (case, workload) = without(best, &|at| !dropped.contains(&at));
            if try_one(best, case, workload) {
                any = true;
            } else {
                start += chunk;
            }
        }
        chunk /= 2;
    }
    any
}

/// Cuts all long bodies, or as many of them as can be.
fn cut_bodies<W: Workload>(best: &mut Failing<W>, try_one: Variant<'_, W>) -> bool {
    let count = best.workload.bodies().len();
    let mut cut = |cut: &dyn Fn(usize) -> bool| {
        let mut workload = best.workload.clone();
        let mut any = false;
        for (at, body) in workload.bodies().into_iter().enumerate() {
            if cut(at) && body.len() > SHORT {
                body.truncate(SHORT);
                any = true;
            }
        }
        any && {
            let case = best.case.clone();
            try_one(best, case, workload)
        }
    };
    if cut(&|_| true) {
        return true;
    }
    let mut any = false;
    for at in 0..count {
        any |= cut(&|body| body == at);
    }
    any
}

fn kept<T: Clone>(all: &[T], keep: &dyn Fn(usize) -> bool) -> Vec<T> {
    let kept = all.iter().enumerate().filter(|(at, _)| keep(*at));
    kept.map(|(_, one)| one.clone()).collect()
}
