//! The receiver is chosen uniformly. Seeds are fixed, so the results are too; a biased choice would exceed the limits
//! by orders of magnitude.

use std::collections::BTreeMap;

use bytes::Bytes;
use echosphere_core::ConnId;
use echosphere_core::echo::ServerConfig;

use crate::fixture::Fixture;

const FORWARDS: u32 = 20_000;

/// The χ² that one fair choice in a thousand exceeds, by degrees of freedom.
const CRITICAL_4: f64 = 18.47;
const CRITICAL_9: f64 = 27.88;

fn chi_square(counts: &BTreeMap<ConnId, u32>, choices: usize) -> f64 {
    let expected = f64::from(counts.values().sum::<u32>()) / choices as f64;
    let never_chosen = (choices - counts.len()) as f64 * expected;
    let chosen = counts
        .values()
        .map(|&count| (f64::from(count) - expected).powi(2) / expected);
    chosen.sum::<f64>() + never_chosen
}

#[test]
fn every_live_connection_is_as_likely_the_sender_included() {
    let mut fixture = Fixture::with(ServerConfig::default(), 42);
    let ids: Vec<ConnId> = (0..14).map(|slot| fixture.open(slot)).collect();
    // Removing from the middle reorders the rest.
    for slot in [0, 5, 12, 13] {
        fixture.close(ids[slot]);
    }
    let mut chosen = BTreeMap::new();
    for _ in 0..FORWARDS {
        let holder = fixture.holder_of(ids[7], "x");
        fixture.ok(holder, "x");
        *chosen.entry(holder).or_default() += 1;
    }
    let statistic = chi_square(&chosen, 10);
    assert!(statistic < CRITICAL_9, "χ² = {statistic}, {chosen:?}");
}

#[test]
fn the_choice_stays_uniform_among_those_that_can_be_sent_x() {
    let mut fixture = Fixture::with(ServerConfig::default(), 42);
    let originator = fixture.open(0);
    for slot in 1..5 {
        fixture.open_text(slot);
        fixture.open(slot + 10);
    }
    let x = Bytes::from_static(b"two\nlines");
    let mut chosen = BTreeMap::new();
    for _ in 0..FORWARDS {
        let holder = fixture.holder_of(originator, x.clone());
        fixture.ok(holder, x.clone());
        *chosen.entry(holder).or_default() += 1;
    }
    let statistic = chi_square(&chosen, 5);
    assert!(statistic < CRITICAL_4, "χ² = {statistic}, {chosen:?}");
}

#[test]
fn a_reforward_chooses_uniformly_among_those_that_are_left() {
    let mut chosen = BTreeMap::new();
    for seed in 0..4000 {
        let mut fixture = Fixture::with(ServerConfig::default(), seed);
        let ids: Vec<ConnId> = (0..6).map(|slot| fixture.open(slot)).collect();
        let first = fixture.holder_of(ids[0], "x");
        if first != ids[3] {
            continue;
        }
        fixture.close(first);
        let second = fixture.server.flights().next().unwrap().holder;
        *chosen.entry(second).or_default() += 1;
    }
    let statistic = chi_square(&chosen, 5);
    assert!(statistic < CRITICAL_4, "χ² = {statistic}, {chosen:?}");
}

#[test]
fn the_same_seed_makes_the_same_choices_and_another_makes_others() {
    let choices = |seed| -> Vec<ConnId> {
        let mut fixture = Fixture::with(ServerConfig::default(), seed);
        let ids: Vec<ConnId> = (0..10).map(|slot| fixture.open(slot)).collect();
        (0..50).map(|n| fixture.holder_of(ids[0], format!("{n}"))).collect()
    };
    assert_eq!(choices(7), choices(7));
    assert_ne!(choices(7), choices(8));
}
