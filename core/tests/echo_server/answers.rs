//! `ok X` counts from a holder only, and reaches everybody who waits.

use echosphere_core::Machine;
use echosphere_core::wire::ErrorCode;

use crate::bench::{Bench, acknowledge, forward, tell};

#[test]
fn one_ok_reaches_every_connection_that_waits_for_the_same_x() {
    let mut bench = Bench::new();
    let originators = [bench.open(0), bench.open(1), bench.open(2)];
    let holders = originators.map(|originator| bench.holder_of(originator, "x"));
    let mut answered = bench.ok(holders[1], "x");
    answered.sort_by_key(|action| format!("{action:?}"));
    assert_eq!(answered, originators.map(|originator| acknowledge(originator, "x")));
    assert_eq!(bench.server.flight_count(), 0);
}

#[test]
fn who_sent_the_same_x_twice_gets_two_oks() {
    let mut bench = Bench::new();
    let alone = bench.open(0);
    assert_eq!(bench.message(alone, "x"), [forward(alone, "x")]);
    assert_eq!(bench.message(alone, "x"), [forward(alone, "x")]);
    assert_eq!(bench.ok(alone, "x"), [acknowledge(alone, "x"), acknowledge(alone, "x")]);
}

#[test]
fn the_other_answer_of_one_who_held_x_twice_is_late() {
    let mut bench = Bench::new();
    let alone = bench.open(0);
    bench.message(alone, "x");
    bench.message(alone, "x");
    bench.ok(alone, "x");
    assert_eq!(bench.ok(alone, "x"), []);
    assert_eq!(bench.counters().oks_late, 1);
    assert_eq!(bench.ok(alone, "x"), [tell(alone, ErrorCode::NotHeld)]);
}

#[test]
fn an_ok_for_one_x_leaves_all_others_waiting() {
    let mut bench = Bench::new();
    let alone = bench.open(0);
    for x in ["", "x", "xx"] {
        bench.message(alone, x);
    }
    assert_eq!(bench.ok(alone, "x"), [acknowledge(alone, "x")]);
    let mut waiting: Vec<_> = bench.server.flights().map(|flight| flight.x).collect();
    waiting.sort();
    assert_eq!(waiting, [&b""[..], b"xx"]);
}

#[test]
fn an_ok_does_not_count_from_one_that_was_not_sent_x() {
    let (mut bench, originator, holder) = Bench::held_by_another("x");
    let stranger = bench.open(2);
    for other in [stranger, originator] {
        assert_eq!(bench.ok(other, "x"), [tell(other, ErrorCode::NotHeld)]);
    }
    assert_eq!(bench.counters().oks_unexpected, 2);
    assert_eq!(bench.ok(holder, "x"), [acknowledge(originator, "x")]);
}

#[test]
fn an_ok_for_something_nobody_ever_sent_is_told_not_held() {
    let mut bench = Bench::new();
    let client = bench.open(0);
    assert_eq!(bench.ok(client, "x"), [tell(client, ErrorCode::NotHeld)]);
    assert_eq!(bench.counters().oks_unexpected, 1);
}

#[test]
fn a_second_ok_is_told_not_held() {
    let (mut bench, _, holder) = Bench::held_by_another("x");
    bench.ok(holder, "x");
    assert_eq!(bench.ok(holder, "x"), [tell(holder, ErrorCode::NotHeld)]);
}

#[test]
fn an_ok_that_somebody_else_was_quicker_with_is_late_and_silent() {
    let mut bench = Bench::new();
    let originator = bench.open(0);
    bench.open(1);
    let quick = bench.holder_of(originator, "x");
    let mut holders = (0..100).map(|_| bench.holder_of(originator, "x"));
    let slow = holders.find(|&holder| holder != quick).unwrap();
    bench.ok(quick, "x");
    assert_eq!(bench.ok(slow, "x"), []);
    assert_eq!(bench.counters().oks_late, 1);
    assert_eq!(bench.counters().oks_unexpected, 0);
}

#[test]
fn x_sent_again_after_its_ok_waits_for_an_ok_of_its_own() {
    let mut bench = Bench::new();
    let alone = bench.open(0);
    for _ in 0..3 {
        assert_eq!(bench.message(alone, "x"), [forward(alone, "x")]);
        assert_eq!(bench.ok(alone, "x"), [acknowledge(alone, "x")]);
    }
    bench.close(alone);
    assert!(bench.server.is_zero());
}
