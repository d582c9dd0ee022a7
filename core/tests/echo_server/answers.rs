//! `ok X` counts only from a holder, and reaches every originator that waits.

use echosphere_core::Machine;
use echosphere_core::wire::ErrorCode;

use crate::fixture::{Fixture, acknowledge, forward, tell};

#[test]
fn one_ok_reaches_every_connection_that_waits_for_the_same_x() {
    let mut fixture = Fixture::new();
    let originators = [fixture.open(0), fixture.open(1), fixture.open(2)];
    let holders = originators.map(|originator| fixture.holder_of(originator, "x"));
    let mut answered = fixture.ok(holders[1], "x");
    answered.sort_by_key(|action| format!("{action:?}"));
    assert_eq!(answered, originators.map(|originator| acknowledge(originator, "x")));
    assert_eq!(fixture.server.flight_count(), 0);
}

#[test]
fn an_originator_of_two_equal_messages_gets_two_oks() {
    let mut fixture = Fixture::new();
    let alone = fixture.open(0);
    assert_eq!(fixture.message(alone, "x"), [forward(alone, "x")]);
    assert_eq!(fixture.message(alone, "x"), [forward(alone, "x")]);
    assert_eq!(
        fixture.ok(alone, "x"),
        [acknowledge(alone, "x"), acknowledge(alone, "x")]
    );
}

#[test]
fn the_second_ok_of_a_holder_of_two_flights_is_late() {
    let mut fixture = Fixture::new();
    let alone = fixture.open(0);
    fixture.message(alone, "x");
    fixture.message(alone, "x");
    fixture.ok(alone, "x");
    assert_eq!(fixture.ok(alone, "x"), []);
    assert_eq!(fixture.counters().oks_late, 1);
    assert_eq!(fixture.ok(alone, "x"), [tell(alone, ErrorCode::NotHeld)]);
}

#[test]
fn an_ok_for_one_x_leaves_all_others_waiting() {
    let mut fixture = Fixture::new();
    let alone = fixture.open(0);
    for x in ["", "x", "xx"] {
        fixture.message(alone, x);
    }
    assert_eq!(fixture.ok(alone, "x"), [acknowledge(alone, "x")]);
    let mut waiting: Vec<_> = fixture.server.flights().map(|flight| flight.x).collect();
    waiting.sort();
    assert_eq!(waiting, [&b""[..], b"xx"]);
}

#[test]
fn an_ok_does_not_count_from_one_that_was_not_sent_x() {
    let (mut fixture, originator, holder) = Fixture::held_by_another("x");
    let stranger = fixture.open(2);
    for other in [stranger, originator] {
        assert_eq!(fixture.ok(other, "x"), [tell(other, ErrorCode::NotHeld)]);
    }
    assert_eq!(fixture.counters().oks_unexpected, 2);
    assert_eq!(fixture.ok(holder, "x"), [acknowledge(originator, "x")]);
}

#[test]
fn an_ok_for_an_x_that_was_never_sent_is_not_held() {
    let mut fixture = Fixture::new();
    let client = fixture.open(0);
    assert_eq!(fixture.ok(client, "x"), [tell(client, ErrorCode::NotHeld)]);
    assert_eq!(fixture.counters().oks_unexpected, 1);
}

#[test]
fn a_second_ok_is_not_held() {
    let (mut fixture, _, holder) = Fixture::held_by_another("x");
    fixture.ok(holder, "x");
    assert_eq!(fixture.ok(holder, "x"), [tell(holder, ErrorCode::NotHeld)]);
}

#[test]
fn an_ok_after_another_holders_is_late_and_ignored() {
    let mut fixture = Fixture::new();
    let originator = fixture.open(0);
    fixture.open(1);
    let quick = fixture.holder_of(originator, "x");
    let mut holders = (0..100).map(|_| fixture.holder_of(originator, "x"));
    let slow = holders.find(|&holder| holder != quick).unwrap();
    fixture.ok(quick, "x");
    assert_eq!(fixture.ok(slow, "x"), []);
    assert_eq!(fixture.counters().oks_late, 1);
    assert_eq!(fixture.counters().oks_unexpected, 0);
}

#[test]
fn x_sent_again_after_its_ok_waits_for_an_ok_of_its_own() {
    let mut fixture = Fixture::new();
    let alone = fixture.open(0);
    for _ in 0..3 {
        assert_eq!(fixture.message(alone, "x"), [forward(alone, "x")]);
        assert_eq!(fixture.ok(alone, "x"), [acknowledge(alone, "x")]);
    }
    fixture.close(alone);
    assert!(fixture.server.is_zero());
}
