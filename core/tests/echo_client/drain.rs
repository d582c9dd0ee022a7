//! Draining: a message with a connection may still be acknowledged; all others are given up.

use echosphere_core::echo::{ClientConfig, Command, Failure, Notice};
use echosphere_core::{Action, ConnId, DialError, Event, Machine};

use crate::fixture::{CONN, Fixture, Out, ok};

fn gave_up(id: u64, failure: Failure, attempts: u32) -> Out {
    Action::Notify(Notice::GaveUp {
        key: id,
        failure,
        attempts,
    })
}

#[test]
fn a_message_with_a_connection_may_still_be_acknowledged() {
    let mut fixture = Fixture::connected(ClientConfig::default(), "x");
    assert_eq!(fixture.handle(Event::Drain), []);
    let actions = fixture.receive(CONN, ok("x"));
    assert!(matches!(actions[1], Action::Notify(Notice::Acknowledged { .. })));
    assert!(fixture.client.is_zero());
}

#[test]
fn a_message_without_a_connection_is_given_up() {
    let mut fixture = Fixture::new();
    let dialling = fixture.send(1, "a");
    let waiting = fixture.send(2, "b");
    fixture.handle(Event::DialFailed(waiting, DialError::Refused));
    assert_eq!(
        fixture.handle(Event::Drain),
        [
            Action::AbandonDial(dialling),
            gave_up(1, Failure::ShuttingDown, 1),
            gave_up(2, Failure::ShuttingDown, 1),
        ]
    );
    assert!(fixture.client.is_zero());
    assert_eq!(fixture.client.next_deadline(), None);
}

#[test]
fn an_attempt_that_fails_is_the_last() {
    let mut fixture = Fixture::connected(ClientConfig::default(), "x");
    fixture.handle(Event::Drain);
    let lost = Failure::Closed(echosphere_core::CloseReason::Reset);
    assert_eq!(fixture.close(CONN), [gave_up(1, lost, 1)]);
    assert!(fixture.client.is_zero());
}

#[test]
fn nothing_new_is_taken() {
    let mut fixture = Fixture::new();
    fixture.handle(Event::Drain);
    let command = Command::Send { key: 5, x: "x".into() };
    assert_eq!(
        fixture.handle(Event::Command(command)),
        [gave_up(5, Failure::ShuttingDown, 0)]
    );
    assert!(fixture.client.is_zero());
}

#[test]
fn zero_is_reached_only_when_every_message_has_ended() {
    let mut fixture = Fixture::new();
    assert!(fixture.client.is_zero());
    let tokens = [fixture.send(1, "a"), fixture.send(2, "b")];
    let other = ConnId { slot: 1, ..CONN };
    fixture.open(CONN, tokens[0]);
    fixture.open(other, tokens[1]);
    fixture.receive(CONN, ok("a"));
    assert!(!fixture.client.is_zero());
    fixture.handle(Event::Drain);
    fixture.close(other);
    assert!(fixture.client.is_zero());
}
