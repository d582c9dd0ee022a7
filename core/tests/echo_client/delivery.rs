//! The way of one message when nothing goes wrong, and what is not mistaken for its ok.

use std::time::Duration;

use echosphere_core::echo::{ClientConfig, Notice};
use echosphere_core::{Action, CloseReason, ConnId, DialToken, Event, Machine, Opened};

use crate::bench::{Bench, CONN, message, ok};

#[test]
fn a_message_is_sent_on_a_connection_of_its_own_that_closes_with_its_ok() {
    let mut bench = Bench::new();
    let token = bench.send(7, "x");
    bench.now = bench.now + Duration::from_millis(30);
    assert_eq!(bench.open(CONN, token), [Action::Send(CONN, message("x"))]);
    bench.now = bench.now + Duration::from_millis(5);
    assert_eq!(
        bench.receive(CONN, ok("x")),
        [
            Action::Close(CONN, CloseReason::Finished),
            Action::Notify(Notice::Acknowledged {
                id: 7,
                round_trip: Duration::from_millis(5),
                total: Duration::from_millis(35),
                retries: 0,
            })
        ]
    );
    assert!(bench.client.is_zero());
    assert_eq!(bench.client.next_deadline(), None);
}

#[test]
fn each_of_many_messages_has_its_own_connection() {
    let mut bench = Bench::new();
    let tokens = [bench.send(1, "a"), bench.send(2, "b"), bench.send(3, "a")];
    assert_eq!(bench.client.under_way(), 3);
    let conns = [0, 1, 2].map(|slot| ConnId { slot, generation: 0 });
    for (conn, token) in conns.into_iter().zip(tokens) {
        bench.open(conn, token);
    }
    // The same X of another message is not acknowledged by it: that one has a connection of its own.
    assert_eq!(acknowledged(&bench.receive(conns[2], ok("a"))), Some(3));
    assert_eq!(acknowledged(&bench.receive(conns[0], ok("a"))), Some(1));
    assert_eq!(acknowledged(&bench.receive(conns[1], ok("b"))), Some(2));
    assert!(bench.client.is_zero());
}

fn acknowledged(actions: &[crate::bench::Out]) -> Option<u64> {
    actions.iter().find_map(|action| match action {
        Action::Notify(Notice::Acknowledged { id, .. }) => Some(*id),
        _ => None,
    })
}

#[test]
fn an_ok_for_something_else_changes_nothing() {
    let mut bench = Bench::connected(ClientConfig::default(), "x");
    for other in ["", "xx", "y"] {
        assert_eq!(bench.receive(CONN, ok(other)), []);
    }
    assert_eq!(bench.counters().oks_unexpected, 3);
    assert_eq!(bench.client.under_way(), 1);
}

#[test]
fn a_connection_that_no_attempt_waits_for_is_closed() {
    let mut bench = Bench::new();
    let unknown = bench.open(CONN, DialToken(99));
    assert_eq!(unknown, [Action::Close(CONN, CloseReason::Finished)]);
    let opened = Opened {
        dial: None,
        text: false,
    };
    let accepted = bench.handle(Event::Opened(CONN, opened));
    assert_eq!(accepted, [Action::Close(CONN, CloseReason::Finished)]);
    assert!(bench.client.is_zero());
}

#[test]
fn stale_connections_are_ignored() {
    let mut bench = Bench::connected(ClientConfig::default(), "x");
    let stale = ConnId { generation: 1, ..CONN };
    for event in [
        Event::Received(stale, ok("x")),
        Event::Received(stale, message("y")),
        Event::Closed(stale, CloseReason::Reset),
    ] {
        assert_eq!(bench.handle(event), []);
    }
    assert_eq!(bench.client.under_way(), 1);
}

#[test]
fn a_spurious_deadline_is_harmless() {
    let mut bench = Bench::connected(ClientConfig::default(), "x");
    assert_eq!(bench.handle(Event::Deadline), []);
    assert_eq!(bench.client.under_way(), 1);
}

#[test]
fn counters_tell_what_was_sent_and_acknowledged() {
    let mut bench = Bench::connected(ClientConfig::default(), "x");
    bench.receive(CONN, message("y"));
    bench.receive(CONN, ok("x"));
    let counters = bench.counters();
    assert_eq!(counters.commands, 1);
    assert_eq!(counters.attempts, 1);
    assert_eq!(counters.sent, 1);
    assert_eq!(counters.received, 1);
    assert_eq!(counters.answered, 1);
    assert_eq!(counters.acknowledged, 1);
    assert_eq!(counters.retries, 0);
}
