//! What becomes of messages when their holder or originator leaves.

use echosphere_core::echo::ServerConfig;
use echosphere_core::wire::ErrorCode;
use echosphere_core::{ConnId, Event, Machine, Opened};

use crate::bench::{Bench, Out, acknowledge, forward, tell};

#[test]
fn what_a_leaving_holder_held_is_forwarded_at_once_to_another() {
    for seed in 0..50 {
        let mut bench = Bench::with(ServerConfig::default(), seed);
        let ids = [bench.open(0), bench.open(1), bench.open(2)];
        let first = bench.holder_of(ids[0], "x");
        if first == ids[0] {
            continue;
        }
        let again = bench.close(first);
        let second = bench.server.flights().next().unwrap().holder;
        assert_eq!(again, [forward(second, "x")]);
        assert_ne!(second, first);
        assert_eq!(bench.counters().reforwards, 1);
        assert_eq!(bench.ok(second, "x"), [acknowledge(ids[0], "x")]);
    }
}

#[test]
fn it_goes_to_the_originator_when_nobody_else_is_left() {
    let (mut bench, originator, holder) = Bench::held_by_another("x");
    assert_eq!(bench.close(holder), [forward(originator, "x")]);
    assert_eq!(bench.ok(originator, "x"), [acknowledge(originator, "x")]);
}

#[test]
fn it_is_forwarded_once_for_each_time_it_was_held_for_somebody_who_waits() {
    let mut bench = Bench::new();
    let holder = bench.open(0);
    for x in ["a", "a", "b"] {
        bench.message(holder, x);
    }
    let originator = bench.open(1);
    let mut expected: Vec<Out> = Vec::new();
    for x in ["a", "c", "c", "d"] {
        if bench.holder_of(originator, x) == holder {
            expected.push(forward(originator, x));
        }
    }
    // The holder's own a, a and b are waited for by nobody once it has left.
    assert_eq!(bench.close(holder), expected);
    assert!(
        bench
            .server
            .flights()
            .all(|flight| flight.originator == Some(originator))
    );
}

#[test]
fn an_originator_that_leaves_does_not_wait_any_more() {
    let (mut bench, originator, holder) = Bench::held_by_another("x");
    assert_eq!(bench.close(originator), []);
    assert_eq!(bench.server.flight_count(), 0);
    assert_eq!(bench.counters().abandoned, 1);
    assert_eq!(bench.ok(holder, "x"), []);
    assert_eq!(bench.counters().oks_late, 1);
    assert_eq!(bench.counters().oks_unexpected, 0);
}

#[test]
fn each_given_up_message_excuses_one_late_ok_and_no_more() {
    let (mut bench, originator, holder) = Bench::held_by_another("x");
    bench.close(originator);
    bench.ok(holder, "x");
    assert_eq!(bench.ok(holder, "x"), [tell(holder, ErrorCode::NotHeld)]);
}

#[test]
fn the_ok_of_a_given_up_message_still_counts_for_others_who_wait_for_the_same_x() {
    let (mut bench, originator, holder) = Bench::held_by_another("x");
    let other = bench.open(2);
    bench.message(other, "x");
    bench.close(originator);
    assert_eq!(bench.ok(holder, "x"), [acknowledge(other, "x")]);
}

#[test]
fn a_given_up_message_is_not_forwarded_again_when_its_holder_leaves() {
    let (mut bench, originator, holder) = Bench::held_by_another("x");
    let other = bench.open(2);
    let also_holds = bench.holder_of(other, "x");
    bench.close(originator);
    let for_the_other = usize::from(also_holds == holder);
    assert_eq!(bench.close(holder).len(), for_the_other);
    assert_eq!(bench.server.flight_count(), 1);
}

#[test]
fn closing_twice_is_closing_once() {
    let (mut bench, originator, holder) = Bench::held_by_another("x");
    bench.close(holder);
    assert_eq!(bench.close(holder), []);
    assert!(bench.server.connections().eq([originator]));
    assert_eq!(bench.counters().reforwards, 1);
}

#[test]
fn the_next_owner_of_a_slot_is_not_taken_for_the_one_before() {
    let (mut bench, originator, holder) = Bench::held_by_another("x");
    bench.close(holder);
    let next = ConnId {
        slot: holder.slot,
        generation: 1,
    };
    let opened = Opened {
        dial: None,
        text: false,
    };
    bench.handle(Event::Opened(next, opened));
    assert_eq!(bench.ok(next, "x"), [tell(next, ErrorCode::NotHeld)]);
    assert_eq!(bench.ok(holder, "x"), []);
    assert_eq!(bench.close(holder), []);
    assert_eq!(bench.message(holder, "y"), []);
    let mut live: Vec<ConnId> = bench.server.connections().collect();
    live.sort();
    assert_eq!(live, [originator, next]);
}

#[test]
fn an_open_for_a_slot_that_is_taken_changes_nothing() {
    let mut bench = Bench::new();
    let first = bench.open(0);
    let second = ConnId { generation: 1, ..first };
    let opened = Opened { dial: None, text: true };
    assert_eq!(bench.handle(Event::Opened(second, opened)), []);
    assert!(bench.server.connections().eq([first]));
    assert_eq!(bench.counters().opened, 1);
}

#[test]
fn nothing_is_left_once_all_have_left_whatever_was_waiting() {
    for seed in 0..20 {
        let mut bench = Bench::with(ServerConfig::default(), seed);
        let ids: Vec<ConnId> = (0..8).map(|slot| bench.open(slot)).collect();
        for (n, &id) in ids.iter().enumerate() {
            bench.message(id, "same for all");
            bench.message(id, format!("{n}"));
        }
        assert!(!bench.server.is_zero());
        for &id in ids.iter().rev() {
            bench.close(id);
        }
        assert!(bench.server.is_zero());
        assert_eq!(bench.server.flight_count(), 0);
        assert_eq!(bench.server.next_deadline(), None);
    }
}
