//! Runs without faults: nothing fails, and every choice is uniform.

use std::ops::Range;
use std::time::Duration;

use echosphere_core::random::Delay;
use sim::dice::{Dice, Purpose};
use sim::net::Chop;
use sim::oracle::echo::{Echo, Limits, Planned};
use sim::scenario::LINK;
use sim::{Scenario, run};

/// `clients` on each of 3 hosts, arriving over `window`, each with an X of its own.
fn crowd(seed: u64, clients: usize, window: Duration) -> Vec<Planned> {
    let mut dice = Dice::new(seed, Purpose::Workload);
    let planned = (0..3 * clients).map(|number| Planned {
        host: number % 3,
        at: window.mul_f64(dice.unit()),
        x: format!("hello {number}").into(),
    });
    planned.collect()
}

#[test]
fn nobody_tries_twice_without_faults() {
    for (seed, ack_delay) in (0..).zip([
        Delay::None,
        Delay::Constant(Duration::from_millis(40)),
        Delay::Uniform(Duration::ZERO, Duration::from_millis(100)),
        Delay::Exponential(Duration::from_millis(10)),
    ]) {
        let window = Duration::from_secs(4);
        let zero_at = all_is_well(&Scenario::calm(seed, 3), Echo::new(ack_delay, crowd(seed, 200, window)));
        // No time-out may be needed to get there, not even the shortest, the linger time.
        let longest = window + LINK.linger;
        assert!(zero_at < longest, "at zero after {zero_at:?} with {ack_delay:?}");
    }
}

#[test]
fn keepalives_bridge_an_answer_that_takes_longer_than_the_idle_timeout() {
    let mut echo = Echo::new(
        Delay::Constant(2 * LINK.idle_timeout),
        crowd(4, 5, Duration::from_millis(100)),
    );
    echo.client.response_timeout = Duration::from_secs(60);
    let scenario = Scenario {
        liveness: Duration::from_secs(60),
        ..Scenario::calm(4, 3)
    };
    all_is_well(&scenario, echo);
}

#[test]
fn awkward_sockets_cost_no_retry() {
    for seed in 0..12 {
        let scenario = Scenario {
            tcp_capacity: 128,
            chop: Chop {
                partial_write: 0.3,
                short_read: 0.3,
                pending: 0.3,
                stall: 0.1,
                segment: 1460,
                vectored: seed % 2 == 0,
                ..Chop::default()
            },
            safety: Duration::from_secs(5),
            liveness: Duration::from_secs(60),
            ..Scenario::calm(seed, 3)
        };
        let mut echo = Echo::of(&scenario);
        echo.client.response_timeout = Duration::from_secs(50);
        echo.limits = Limits::default();
        all_is_well(&scenario, echo);
    }
}

/// Runs without faults, and checks that nothing went wrong. Returns when all was at zero.
fn all_is_well(scenario: &Scenario, echo: Echo) -> Duration {
    let count = echo.messages.len() as u64;
    let report = match run(scenario, echo) {
        Ok(report) => report,
        Err(failure) => panic!("{failure}"),
    };
    assert_eq!(report.oracle.acknowledged() as u64, count);
    assert_eq!(report.oracle.natural_closes(), count);
    assert_eq!(report.oracle.retries(), 0);
    let server = report.links["server"];
    assert_eq!((server.accepted, server.closed_by_peer), (count, count));
    assert_eq!((server.resets, server.idle_timeouts, server.lingered), (0, 0, 0));
    assert_eq!((server.malformed, server.invalid), (0, 0));
    assert_eq!(report.oracle.lost_on_the_way_to_the_server(), 0);
    report.zero_at
}

/// The chance of a χ² beyond this is 1 in 10,000, with 19 degrees of freedom.
const CHI_SQUARE_LIMIT: f64 = 50.795;
const BINS: usize = 20;

#[test]
fn receivers_are_chosen_uniformly_among_few() {
    choices_are_uniform(8001, crowd(8001, 1000, Duration::from_secs(24)), 3..20);
}

#[test]
fn receivers_are_chosen_uniformly_among_many() {
    choices_are_uniform(8002, crowd(8002, 2000, Duration::from_secs(8)), 50..100);
}

/// `among` is how many are to choose from on average.
fn choices_are_uniform(seed: u64, messages: Vec<Planned>, among: Range<usize>) {
    let count = messages.len();
    let delay = Delay::Uniform(Duration::ZERO, Duration::from_millis(100));
    let scenario = Scenario {
        liveness: Duration::from_secs(60),
        ..Scenario::calm(seed, 3)
    };
    let report = match run(&scenario, Echo::new(delay, messages)) {
        Ok(report) => report,
        Err(failure) => panic!("{failure}"),
    };
    let choices = &report.oracle.choices().made;
    let mean = choices.iter().map(|choice| choice.among).sum::<usize>() / choices.len();
    assert!(
        choices.len() >= count && among.contains(&mean),
        "{} among {mean}",
        choices.len()
    );

    // A rank among n and a uniform draw within it make a uniform number, whatever n is.
    let mut dice = Dice::new(seed, Purpose::Statistics);
    let mut ranked = [[0_u32; BINS]; 3];
    for choice in choices {
        for (bins, rank) in ranked.iter_mut().zip([choice.by_place, choice.by_id, choice.by_age]) {
            let uniform = (rank as f64 + dice.unit()) / choice.among as f64;
            bins[(uniform * BINS as f64) as usize] += 1;
        }
    }
    for (ranked_by, bins) in ["place", "id", "age"].into_iter().zip(ranked) {
        let expected = choices.len() as f64 / BINS as f64;
        let chi_square: f64 = bins.iter().map(|&n| (f64::from(n) - expected).powi(2) / expected).sum();
        assert!(
            chi_square < CHI_SQUARE_LIMIT,
            "by {ranked_by}: χ² = {chi_square}, {bins:?}"
        );
    }

    // The sender is as likely as any other: a sum of independent trials, which is to be within four deviations.
    let (mut to_self, mut mean, mut variance) = (0.0, 0.0, 0.0);
    for choice in choices {
        let Some(this_to_self) = choice.to_self else {
            continue;
        };
        let chance = 1.0 / choice.among as f64;
        to_self += f64::from(u8::from(this_to_self));
        mean += chance;
        variance += chance * (1.0 - chance);
    }
    let deviations = (to_self - mean) / f64::sqrt(variance);
    assert!(
        deviations.abs() < 4.0,
        "{to_self} forwards to self, expected {mean}: {deviations} deviations"
    );
}
