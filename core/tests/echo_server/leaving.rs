//! What happens to messages when their holder or originator closes.

use echosphere_core::echo::ServerConfig;
use echosphere_core::wire::ErrorCode;
use echosphere_core::{ConnId, Event, Machine, Opened};

use crate::fixture::{Fixture, Out, acknowledge, forward, tell};

#[test]
fn messages_of_a_closed_holder_are_reforwarded_at_once() {
    for seed in 0..50 {
        let mut fixture = Fixture::with(ServerConfig::default(), seed);
        let ids = [fixture.open(0), fixture.open(1), fixture.open(2)];
        let first = fixture.holder_of(ids[0], "x");
        if first == ids[0] {
            continue;
        }
        let again = fixture.close(first);
        let second = fixture.server.flights().next().unwrap().holder;
        assert_eq!(again, [forward(second, "x")]);
        assert_ne!(second, first);
        assert_eq!(fixture.counters().reforwards, 1);
        assert_eq!(fixture.ok(second, "x"), [acknowledge(ids[0], "x")]);
    }
}

#[test]
fn a_message_is_reforwarded_to_its_originator_if_no_other_is_left() {
    let (mut fixture, originator, holder) = Fixture::held_by_another("x");
    assert_eq!(fixture.close(holder), [forward(originator, "x")]);
    assert_eq!(fixture.ok(originator, "x"), [acknowledge(originator, "x")]);
}

#[test]
fn each_held_flight_with_an_originator_is_reforwarded_once() {
    let mut fixture = Fixture::new();
    let holder = fixture.open(0);
    for x in ["a", "a", "b"] {
        fixture.message(holder, x);
    }
    let originator = fixture.open(1);
    let mut expected: Vec<Out> = Vec::new();
    for x in ["a", "c", "c", "d"] {
        if fixture.holder_of(originator, x) == holder {
            expected.push(forward(originator, x));
        }
    }
    // The holder's own a, a and b have no originator left.
    assert_eq!(fixture.close(holder), expected);
    assert!(
        fixture
            .server
            .flights()
            .all(|flight| flight.originator == Some(originator))
    );
}

#[test]
fn an_originator_that_leaves_does_not_wait_any_more() {
    let (mut fixture, originator, holder) = Fixture::held_by_another("x");
    assert_eq!(fixture.close(originator), []);
    assert_eq!(fixture.server.flight_count(), 0);
    assert_eq!(fixture.counters().abandoned, 1);
    assert_eq!(fixture.ok(holder, "x"), []);
    assert_eq!(fixture.counters().oks_late, 1);
    assert_eq!(fixture.counters().oks_unexpected, 0);
}

#[test]
fn each_abandoned_message_allows_one_late_ok() {
    let (mut fixture, originator, holder) = Fixture::held_by_another("x");
    fixture.close(originator);
    fixture.ok(holder, "x");
    assert_eq!(fixture.ok(holder, "x"), [tell(holder, ErrorCode::NotHeld)]);
}

#[test]
fn an_ok_of_an_abandoned_message_still_counts_for_others_with_the_same_x() {
    let (mut fixture, originator, holder) = Fixture::held_by_another("x");
    let other = fixture.open(2);
    fixture.message(other, "x");
    fixture.close(originator);
    assert_eq!(fixture.ok(holder, "x"), [acknowledge(other, "x")]);
}

#[test]
fn a_given_up_message_is_not_forwarded_again_when_its_holder_leaves() {
    let (mut fixture, originator, holder) = Fixture::held_by_another("x");
    let other = fixture.open(2);
    let also_holds = fixture.holder_of(other, "x");
    fixture.close(originator);
    let for_the_other = usize::from(also_holds == holder);
    assert_eq!(fixture.close(holder).len(), for_the_other);
    assert_eq!(fixture.server.flight_count(), 1);
}

#[test]
fn closing_twice_is_closing_once() {
    let (mut fixture, originator, holder) = Fixture::held_by_another("x");
    fixture.close(holder);
    assert_eq!(fixture.close(holder), []);
    assert!(fixture.server.connections().eq([originator]));
    assert_eq!(fixture.counters().reforwards, 1);
}

#[test]
fn the_next_owner_of_a_slot_is_not_taken_for_the_one_before() {
    let (mut fixture, originator, holder) = Fixture::held_by_another("x");
    fixture.close(holder);
    let next = ConnId {
        slot: holder.slot,
        generation: 1,
    };
    let opened = Opened {
        dial: None,
        text: false,
        principal: None,
    };
    fixture.handle(Event::Opened(next, opened));
    assert_eq!(fixture.ok(next, "x"), [tell(next, ErrorCode::NotHeld)]);
    assert_eq!(fixture.ok(holder, "x"), []);
    assert_eq!(fixture.close(holder), []);
    assert_eq!(fixture.message(holder, "y"), []);
    let mut live: Vec<ConnId> = fixture.server.connections().collect();
    live.sort();
    assert_eq!(live, [originator, next]);
}

#[test]
fn an_open_for_a_slot_that_is_taken_changes_nothing() {
    let mut fixture = Fixture::new();
    let first = fixture.open(0);
    let second = ConnId { generation: 1, ..first };
    let opened = Opened {
        dial: None,
        text: true,
        principal: None,
    };
    assert_eq!(fixture.handle(Event::Opened(second, opened)), []);
    assert!(fixture.server.connections().eq([first]));
    assert_eq!(fixture.counters().opened, 1);
}

#[test]
fn nothing_is_left_once_all_have_left_whatever_was_waiting() {
    for seed in 0..20 {
        let mut fixture = Fixture::with(ServerConfig::default(), seed);
        let ids: Vec<ConnId> = (0..8).map(|slot| fixture.open(slot)).collect();
        for (n, &id) in ids.iter().enumerate() {
            fixture.message(id, "same for all");
            fixture.message(id, format!("{n}"));
        }
        assert!(!fixture.server.is_zero());
        for &id in ids.iter().rev() {
            fixture.close(id);
        }
        assert!(fixture.server.is_zero());
        assert_eq!(fixture.server.flight_count(), 0);
        assert_eq!(fixture.server.next_deadline(), None);
    }
}
