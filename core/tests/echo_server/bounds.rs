//! Each bound of the configuration answers with its error and takes nothing.

use echosphere_core::echo::ServerConfig;
use echosphere_core::wire::ErrorCode;
use echosphere_core::{ConnId, Machine};

use crate::bench::{Bench, acknowledge, forward, tell};

/// One connection alone, so that it holds whatever it sends.
fn alone(config: ServerConfig) -> (Bench, ConnId) {
    let mut bench = Bench::with(config, 1);
    let id = bench.open(0);
    (bench, id)
}

/// `refused` is answered with `code` and leaves no trace; once `held` is answered, it is taken.
fn assert_refused_until_answered(mut bench: Bench, from: ConnId, refused: &'static str, code: ErrorCode) {
    let held: Vec<_> = bench.server.flights().map(|flight| flight.x.to_vec()).collect();
    let taken = bench.counters().messages;
    assert_eq!(bench.message(from, refused), [tell(from, code)]);
    assert_eq!(bench.server.flight_count(), held.len());
    assert_eq!(bench.counters().messages, taken);
    assert_eq!(bench.counters().messages_refused, 1);

    let holder = bench.server.flights().next().unwrap().holder;
    let answered = bench.ok(holder, held[0].clone());
    assert!(!answered.is_empty());
    assert!(matches!(bench.message(from, refused)[..], [ref it] if *it == forward(from, refused)));
}

#[test]
fn messages_waiting_for_one_connection() {
    let (mut bench, id) = alone(ServerConfig {
        max_waiting: 2,
        ..ServerConfig::default()
    });
    assert_eq!(bench.message(id, "a"), [forward(id, "a")]);
    assert_eq!(bench.message(id, "b"), [forward(id, "b")]);
    assert_refused_until_answered(bench, id, "c", ErrorCode::TooManyWaiting);
}

#[test]
fn bytes_waiting_for_one_connection() {
    let (mut bench, id) = alone(ServerConfig {
        max_waiting_bytes: 10,
        ..ServerConfig::default()
    });
    assert_eq!(bench.message(id, "aaaaa"), [forward(id, "aaaaa")]);
    assert_eq!(bench.message(id, "bbbbb"), [forward(id, "bbbbb")]);
    assert_refused_until_answered(bench, id, "c", ErrorCode::TooManyWaiting);
}

#[test]
fn messages_of_all_connections() {
    let (mut bench, id) = alone(ServerConfig {
        max_flights: 1,
        ..ServerConfig::default()
    });
    assert_eq!(bench.message(id, "a"), [forward(id, "a")]);
    assert_refused_until_answered(bench, id, "b", ErrorCode::Busy);
}

#[test]
fn bytes_of_all_connections() {
    let (mut bench, id) = alone(ServerConfig {
        max_bytes: 4,
        ..ServerConfig::default()
    });
    assert_eq!(bench.message(id, "aaaa"), [forward(id, "aaaa")]);
    assert_refused_until_answered(bench, id, "b", ErrorCode::Busy);
}

#[test]
fn the_same_bytes_count_as_often_as_they_were_sent() {
    let (mut bench, id) = alone(ServerConfig {
        max_bytes: 7,
        ..ServerConfig::default()
    });
    let other = bench.open(1);
    bench.holder_of(id, "aaa");
    bench.holder_of(other, "aaa");
    assert_eq!(bench.message(other, "bb"), [tell(other, ErrorCode::Busy)]);
    bench.close(id);
    bench.close(other);
    assert!(bench.server.is_zero());
}

#[test]
fn one_connection_at_its_bound_leaves_the_others_free() {
    let mut bench = Bench::with(
        ServerConfig {
            max_waiting: 1,
            ..ServerConfig::default()
        },
        1,
    );
    let (greedy, modest) = (bench.open(0), bench.open(1));
    bench.holder_of(greedy, "a");
    assert_eq!(bench.message(greedy, "b"), [tell(greedy, ErrorCode::TooManyWaiting)]);
    bench.holder_of(modest, "c");
}

#[test]
fn what_a_leaving_originator_waited_for_counts_no_more() {
    let (mut bench, first) = alone(ServerConfig {
        max_flights: 1,
        max_bytes: 1,
        ..ServerConfig::default()
    });
    bench.message(first, "a");
    bench.close(first);
    let second = bench.open(1);
    assert_eq!(bench.message(second, "b"), [forward(second, "b")]);
    assert_eq!(bench.ok(second, "b"), [acknowledge(second, "b")]);
    bench.close(second);
    assert!(bench.server.is_zero());
}
