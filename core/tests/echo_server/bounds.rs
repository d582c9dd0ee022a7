//! At each limit of the configuration, the server answers with its error and accepts nothing.

use echosphere_core::echo::ServerConfig;
use echosphere_core::wire::ErrorCode;
use echosphere_core::{ConnId, Machine};

use crate::fixture::{Fixture, acknowledge, forward, tell};

/// A single connection, which holds whatever it sends.
fn alone(config: ServerConfig) -> (Fixture, ConnId) {
    let mut fixture = Fixture::with(config, 1);
    let id = fixture.open(0);
    (fixture, id)
}

/// Checks that `refused` is answered with `code` and changes nothing, and is accepted once `held` is acknowledged.
fn assert_refused_until_answered(mut fixture: Fixture, from: ConnId, refused: &'static str, code: ErrorCode) {
    let held: Vec<_> = fixture.server.flights().map(|flight| flight.x.to_vec()).collect();
    let taken = fixture.counters().messages;
    assert_eq!(fixture.message(from, refused), [tell(from, code)]);
    assert_eq!(fixture.server.flight_count(), held.len());
    assert_eq!(fixture.counters().messages, taken);
    assert_eq!(fixture.counters().messages_refused, 1);

    let holder = fixture.server.flights().next().unwrap().holder;
    let answered = fixture.ok(holder, held[0].clone());
    assert!(!answered.is_empty());
    assert!(matches!(fixture.message(from, refused)[..], [ref it] if *it == forward(from, refused)));
}

#[test]
fn messages_waiting_for_one_connection() {
    let (mut fixture, id) = alone(ServerConfig {
        max_waiting: 2,
        ..ServerConfig::default()
    });
    assert_eq!(fixture.message(id, "a"), [forward(id, "a")]);
    assert_eq!(fixture.message(id, "b"), [forward(id, "b")]);
    assert_refused_until_answered(fixture, id, "c", ErrorCode::TooManyWaiting);
}

#[test]
fn bytes_waiting_for_one_connection() {
    let (mut fixture, id) = alone(ServerConfig {
        max_waiting_bytes: 10,
        ..ServerConfig::default()
    });
    assert_eq!(fixture.message(id, "aaaaa"), [forward(id, "aaaaa")]);
    assert_eq!(fixture.message(id, "bbbbb"), [forward(id, "bbbbb")]);
    assert_refused_until_answered(fixture, id, "c", ErrorCode::TooManyWaiting);
}

#[test]
fn messages_of_all_connections() {
    let (mut fixture, id) = alone(ServerConfig {
        max_flights: 1,
        ..ServerConfig::default()
    });
    assert_eq!(fixture.message(id, "a"), [forward(id, "a")]);
    assert_refused_until_answered(fixture, id, "b", ErrorCode::Busy);
}

#[test]
fn bytes_of_all_connections() {
    let (mut fixture, id) = alone(ServerConfig {
        max_bytes: 4,
        ..ServerConfig::default()
    });
    assert_eq!(fixture.message(id, "aaaa"), [forward(id, "aaaa")]);
    assert_refused_until_answered(fixture, id, "b", ErrorCode::Busy);
}

#[test]
fn the_same_bytes_count_as_often_as_they_were_sent() {
    let (mut fixture, id) = alone(ServerConfig {
        max_bytes: 7,
        ..ServerConfig::default()
    });
    let other = fixture.open(1);
    fixture.holder_of(id, "aaa");
    fixture.holder_of(other, "aaa");
    assert_eq!(fixture.message(other, "bb"), [tell(other, ErrorCode::Busy)]);
    fixture.close(id);
    fixture.close(other);
    assert!(fixture.server.is_zero());
}

#[test]
fn one_connection_at_its_bound_leaves_the_others_free() {
    let mut fixture = Fixture::with(
        ServerConfig {
            max_waiting: 1,
            ..ServerConfig::default()
        },
        1,
    );
    let (greedy, modest) = (fixture.open(0), fixture.open(1));
    fixture.holder_of(greedy, "a");
    assert_eq!(fixture.message(greedy, "b"), [tell(greedy, ErrorCode::TooManyWaiting)]);
    fixture.holder_of(modest, "c");
}

#[test]
fn messages_of_a_closed_originator_are_abandoned() {
    let (mut fixture, first) = alone(ServerConfig {
        max_flights: 1,
        max_bytes: 1,
        ..ServerConfig::default()
    });
    fixture.message(first, "a");
    fixture.close(first);
    let second = fixture.open(1);
    assert_eq!(fixture.message(second, "b"), [forward(second, "b")]);
    assert_eq!(fixture.ok(second, "b"), [acknowledge(second, "b")]);
    fixture.close(second);
    assert!(fixture.server.is_zero());
}
