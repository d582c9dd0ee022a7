//! Draining: nothing new is accepted, and each connection is closed once it has nothing left to do.

use echosphere_core::wire::ErrorCode;
use echosphere_core::{ConnId, Event, Machine, Opened};

use crate::fixture::{Fixture, acknowledge, forward, say_goodbye, tell};

#[test]
fn idle_connections_are_closed_at_once_and_the_others_stay() {
    let (mut fixture, originator, holder) = Fixture::held_by_another("x");
    let idle = fixture.open(2);
    assert_eq!(fixture.drain(), [say_goodbye(idle)]);
    let mut live: Vec<ConnId> = fixture.server.connections().collect();
    live.sort();
    assert_eq!(live, [originator, holder]);
}

#[test]
fn originator_and_holder_are_closed_after_the_ok() {
    let (mut fixture, originator, holder) = Fixture::held_by_another("x");
    fixture.drain();
    let actions = fixture.ok(holder, "x");
    assert_eq!(actions[0], acknowledge(originator, "x"));
    assert_eq!(actions.len(), 3);
    assert!(actions.contains(&say_goodbye(originator)));
    assert!(actions.contains(&say_goodbye(holder)));
    assert!(fixture.server.is_zero());
}

#[test]
fn a_holder_is_closed_when_the_originator_has_left() {
    let (mut fixture, originator, holder) = Fixture::held_by_another("x");
    fixture.drain();
    assert_eq!(fixture.close(originator), [say_goodbye(holder)]);
    assert!(fixture.server.is_zero());
}

#[test]
fn a_holder_that_leaves_is_still_replaced() {
    let (mut fixture, originator, holder) = Fixture::held_by_another("x");
    fixture.drain();
    assert_eq!(fixture.close(holder), [forward(originator, "x")]);
    assert_eq!(
        fixture.ok(originator, "x"),
        [acknowledge(originator, "x"), say_goodbye(originator)]
    );
    assert!(fixture.server.is_zero());
}

#[test]
fn a_new_message_is_refused_and_waiting_ones_complete() {
    let (mut fixture, originator, holder) = Fixture::held_by_another("x");
    fixture.drain();
    assert_eq!(
        fixture.message(originator, "y"),
        [tell(originator, ErrorCode::ShuttingDown)]
    );
    assert_eq!(fixture.counters().messages_refused, 1);
    assert!(fixture.ok(holder, "x").contains(&acknowledge(originator, "x")));
}

#[test]
fn one_that_still_waits_for_something_else_stays() {
    let mut fixture = Fixture::new();
    let alone = fixture.open(0);
    fixture.message(alone, "x");
    fixture.message(alone, "y");
    fixture.drain();
    assert_eq!(fixture.ok(alone, "x"), [acknowledge(alone, "x")]);
    assert_eq!(fixture.ok(alone, "y"), [acknowledge(alone, "y"), say_goodbye(alone)]);
}

#[test]
fn a_connection_that_opens_during_the_drain_is_closed() {
    let mut fixture = Fixture::new();
    fixture.drain();
    let late = ConnId { slot: 0, generation: 0 };
    let opened = Opened {
        dial: None,
        text: false,
        principal: None,
    };
    assert_eq!(fixture.handle(Event::Opened(late, opened)), [say_goodbye(late)]);
    assert!(fixture.server.is_zero());
}

#[test]
fn draining_twice_is_draining_once() {
    let (mut fixture, ..) = Fixture::held_by_another("x");
    assert_eq!(fixture.drain(), []);
    assert_eq!(fixture.drain(), []);
    assert_eq!(fixture.server.flight_count(), 1);
}
