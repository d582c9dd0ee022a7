//! The normal course of one message, and what does not count as its ok.

use std::time::Duration;

use echosphere_core::echo::{ClientConfig, Notice};
use echosphere_core::{Action, CloseReason, ConnId, DialToken, Event, Machine, Opened};

use crate::fixture::{CONN, Fixture, message, ok};

#[test]
fn a_message_is_sent_on_a_connection_of_its_own_that_closes_with_its_ok() {
    let mut fixture = Fixture::new();
    let token = fixture.send(7, "x");
    fixture.now = fixture.now + Duration::from_millis(30);
    assert_eq!(fixture.open(CONN, token), [Action::Send(CONN, message("x"))]);
    fixture.now = fixture.now + Duration::from_millis(5);
    assert_eq!(
        fixture.receive(CONN, ok("x")),
        [
            Action::Close(CONN, CloseReason::Finished),
            Action::Notify(Notice::Acknowledged {
                key: 7,
                round_trip: Duration::from_millis(5),
                total: Duration::from_millis(35),
                retries: 0,
            })
        ]
    );
    assert!(fixture.client.is_zero());
    assert_eq!(fixture.client.next_deadline(), None);
}

#[test]
fn each_of_many_messages_has_its_own_connection() {
    let mut fixture = Fixture::new();
    let tokens = [fixture.send(1, "a"), fixture.send(2, "b"), fixture.send(3, "a")];
    assert_eq!(fixture.client.under_way(), 3);
    let conns = [0, 1, 2].map(|slot| ConnId { slot, generation: 0 });
    for (conn, token) in conns.into_iter().zip(tokens) {
        fixture.open(conn, token);
    }
    // Another message with the same X has its own connection and is not acknowledged.
    assert_eq!(acknowledged(&fixture.receive(conns[2], ok("a"))), Some(3));
    assert_eq!(acknowledged(&fixture.receive(conns[0], ok("a"))), Some(1));
    assert_eq!(acknowledged(&fixture.receive(conns[1], ok("b"))), Some(2));
    assert!(fixture.client.is_zero());
}

fn acknowledged(actions: &[crate::fixture::Out]) -> Option<u64> {
    actions.iter().find_map(|action| match action {
        Action::Notify(Notice::Acknowledged { key: id, .. }) => Some(*id),
        _ => None,
    })
}

#[test]
fn an_ok_for_something_else_changes_nothing() {
    let mut fixture = Fixture::connected(ClientConfig::default(), "x");
    for other in ["", "xx", "y"] {
        assert_eq!(fixture.receive(CONN, ok(other)), []);
    }
    assert_eq!(fixture.counters().oks_unexpected, 3);
    assert_eq!(fixture.client.under_way(), 1);
}

#[test]
fn a_connection_without_an_attempt_is_closed() {
    let mut fixture = Fixture::new();
    let unknown = fixture.open(CONN, DialToken(99));
    assert_eq!(unknown, [Action::Close(CONN, CloseReason::Finished)]);
    let opened = Opened {
        dial: None,
        text: false,
        principal: None,
    };
    let accepted = fixture.handle(Event::Opened(CONN, opened));
    assert_eq!(accepted, [Action::Close(CONN, CloseReason::Finished)]);
    assert!(fixture.client.is_zero());
}

#[test]
fn stale_connections_are_ignored() {
    let mut fixture = Fixture::connected(ClientConfig::default(), "x");
    let stale = ConnId { generation: 1, ..CONN };
    for event in [
        Event::Received(stale, ok("x")),
        Event::Received(stale, message("y")),
        Event::Closed(stale, CloseReason::Reset),
    ] {
        assert_eq!(fixture.handle(event), []);
    }
    assert_eq!(fixture.client.under_way(), 1);
}

#[test]
fn a_spurious_deadline_is_harmless() {
    let mut fixture = Fixture::connected(ClientConfig::default(), "x");
    assert_eq!(fixture.handle(Event::Deadline), []);
    assert_eq!(fixture.client.under_way(), 1);
}

#[test]
fn counters_count_sent_and_acknowledged_messages() {
    let mut fixture = Fixture::connected(ClientConfig::default(), "x");
    fixture.receive(CONN, message("y"));
    fixture.receive(CONN, ok("x"));
    let counters = fixture.counters();
    assert_eq!(counters.commands, 1);
    assert_eq!(counters.attempts, 1);
    assert_eq!(counters.sent, 1);
    assert_eq!(counters.received, 1);
    assert_eq!(counters.answered, 1);
    assert_eq!(counters.acknowledged, 1);
    assert_eq!(counters.retries, 0);
}
