//! Draining: what has a connection may still be acknowledged, all else is given up.

use echosphere_core::echo::{ClientConfig, Command, Failure, Notice};
use echosphere_core::{Action, ConnId, DialError, Event, Machine};

use crate::bench::{Bench, CONN, Out, ok};

fn gave_up(id: u64, failure: Failure, attempts: u32) -> Out {
    Action::Notify(Notice::GaveUp { id, failure, attempts })
}

#[test]
fn what_has_a_connection_may_still_be_acknowledged() {
    let mut bench = Bench::connected(ClientConfig::default(), "x");
    assert_eq!(bench.handle(Event::Drain), []);
    let actions = bench.receive(CONN, ok("x"));
    assert!(matches!(actions[1], Action::Notify(Notice::Acknowledged { .. })));
    assert!(bench.client.is_zero());
}

#[test]
fn what_has_no_connection_is_given_up_and_its_dial_abandoned() {
    let mut bench = Bench::new();
    let dialling = bench.send(1, "a");
    let waiting = bench.send(2, "b");
    bench.handle(Event::DialFailed(waiting, DialError::Refused));
    assert_eq!(
        bench.handle(Event::Drain),
        [
            Action::AbandonDial(dialling),
            gave_up(1, Failure::ShuttingDown, 1),
            gave_up(2, Failure::ShuttingDown, 1),
        ]
    );
    assert!(bench.client.is_zero());
    assert_eq!(bench.client.next_deadline(), None);
}

#[test]
fn an_attempt_that_fails_is_the_last() {
    let mut bench = Bench::connected(ClientConfig::default(), "x");
    bench.handle(Event::Drain);
    let lost = Failure::Closed(echosphere_core::CloseReason::Reset);
    assert_eq!(bench.close(CONN), [gave_up(1, lost, 1)]);
    assert!(bench.client.is_zero());
}

#[test]
fn nothing_new_is_taken() {
    let mut bench = Bench::new();
    bench.handle(Event::Drain);
    let command = Command::Send { id: 5, x: "x".into() };
    assert_eq!(
        bench.handle(Event::Command(command)),
        [gave_up(5, Failure::ShuttingDown, 0)]
    );
    assert!(bench.client.is_zero());
}

#[test]
fn zero_is_reached_only_when_every_message_has_ended() {
    let mut bench = Bench::new();
    assert!(bench.client.is_zero());
    let tokens = [bench.send(1, "a"), bench.send(2, "b")];
    let other = ConnId { slot: 1, ..CONN };
    bench.open(CONN, tokens[0]);
    bench.open(other, tokens[1]);
    bench.receive(CONN, ok("a"));
    assert!(!bench.client.is_zero());
    bench.handle(Event::Drain);
    bench.close(other);
    assert!(bench.client.is_zero());
}
