//! How many connections, and how much waits for each.

use std::time::Duration;

use echosphere_core::echo::MAX_MESSAGE;
use echosphere_core::link::LinkConfig;
use echosphere_core::wire::ErrorCode;

use crate::bench::{Bench, frame};

#[test]
fn a_peer_too_many_is_refused_until_another_is_released() {
    let config = LinkConfig {
        max_connections: 2,
        ..LinkConfig::default()
    };
    let mut bench = Bench::with(config, MAX_MESSAGE);
    let (first, _) = (bench.accept_length(), bench.accept());
    assert_eq!(bench.endpoint.accept(bench.now).unwrap_err().code, ErrorCode::Full);
    assert_eq!(bench.endpoint.counters().refused, 1);
    assert_eq!(bench.endpoint.connections(), 2);

    // One that is still closing holds its place.
    bench.fin(first);
    assert!(bench.endpoint.accept(bench.now).is_err());
    assert!(bench.read_fin(first));
    assert!(bench.endpoint.accept(bench.now).is_ok());
    assert_eq!(bench.endpoint.counters().accepted, 3);
}

#[test]
fn a_peer_that_does_not_read_is_dropped_and_what_it_held_goes_to_another() {
    let config = LinkConfig {
        max_outbox: 1000,
        ..LinkConfig::default()
    };
    let mut bench = Bench::with(config, MAX_MESSAGE);
    let (originator, slow) = (bench.accept_length(), bench.accept_length());
    for _ in 0..100 {
        if !bench.endpoint.machine().flights().any(|flight| flight.holder == slow) {
            bench.feed(originator, &frame("message x"));
            bench.read(originator);
        }
    }
    // Errors that it does not read fill its outbox.
    for _ in 0..100 {
        bench.feed(slow, &frame("nonsense"));
    }
    assert_eq!(bench.released(), [slow]);
    assert_eq!(bench.endpoint.counters().slow_consumers, 1);
    assert_eq!(bench.read(originator), frame("message x"));
    assert_eq!(bench.live(), 1);
    bench.pass(LinkConfig::default().linger);
    assert_eq!(bench.released(), [], "released twice");
}

#[test]
fn reforwarding_may_overfill_the_next_and_still_ends() {
    let config = LinkConfig {
        max_outbox: 200,
        ..LinkConfig::default()
    };
    let mut bench = Bench::with(config, MAX_MESSAGE);
    let mut ids: Vec<_> = (0..10).map(|_| bench.accept_length()).collect();
    let x = frame(format!("message {}", "x".repeat(150)));
    for &id in ids.iter().cycle().take(100) {
        bench.feed(id, &x);
    }
    let released = bench.released();
    assert!(released.len() > 1);
    ids.retain(|id| !released.contains(id));
    assert_eq!(bench.live(), ids.len());
    assert_eq!(released.len() as u64, bench.endpoint.counters().slow_consumers);
}

#[test]
fn as_much_as_the_bound_may_wait() {
    let message = frame("message 0123456789");
    let config = LinkConfig {
        max_outbox: 3 * message.len(),
        ..LinkConfig::default()
    };
    let mut bench = Bench::with(config, MAX_MESSAGE);
    let alone = bench.accept_length();
    for _ in 0..3 {
        bench.feed(alone, &message);
    }
    assert_eq!(bench.endpoint.outbox(alone).unwrap().len(), 3 * message.len());
    bench.feed(alone, &message);
    assert_eq!(bench.released(), [alone]);
    assert!(bench.endpoint.is_zero());
}

const BACKLOG: LinkConfig = LinkConfig {
    handshake_timeout: Duration::from_secs(10),
    idle_timeout: Duration::from_secs(60),
    idle_timeout_text: Duration::from_secs(60),
    keepalive_interval: Duration::from_secs(60),
    linger: Duration::from_secs(5),
    max_backlog: 100,
    backlog_timeout: Duration::from_secs(3),
    max_outbox: 1_000_000,
    max_partial_bytes: 1_000_000,
    max_connections: 10,
};

#[test]
fn a_burst_over_the_backlog_is_delivered_to_a_peer_that_reads() {
    let mut bench = Bench::with(BACKLOG, MAX_MESSAGE);
    let alone = bench.accept_length();
    for round in 0..10 {
        let burst: Vec<u8> = (0..50).flat_map(|n| frame(format!("message {round} {n}"))).collect();
        bench.feed(alone, &burst);
        bench.pass(Duration::from_millis(2999));
        assert_eq!(bench.read(alone).len(), burst.len(), "round {round}");
    }
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.released(), []);
}

#[test]
fn as_much_as_the_backlog_may_be_waits_for_as_long_as_it_takes() {
    let mut bench = Bench::with(BACKLOG, MAX_MESSAGE);
    let alone = bench.accept_length();
    let message = frame(format!("message {}", "x".repeat(BACKLOG.max_backlog - 12)));
    assert_eq!(message.len(), BACKLOG.max_backlog);
    bench.feed(alone, &message);
    bench.pass(Duration::from_secs(10));
    assert_eq!(bench.released(), []);
    assert_eq!(bench.endpoint.counters().messages_out, 1);
}

#[test]
fn a_backlog_that_lasts_costs_the_connection() {
    let mut bench = Bench::with(BACKLOG, MAX_MESSAGE);
    let alone = bench.accept_length();
    for n in 0..50 {
        bench.feed(alone, &frame(format!("message {n}")));
    }
    bench.pass(Duration::from_millis(2999));
    assert_eq!(bench.released(), []);
    bench.pass(Duration::from_millis(1));
    assert_eq!(bench.released(), [alone]);
    assert_eq!(bench.endpoint.counters().slow_consumers, 1);
    assert!(bench.endpoint.is_zero());
}
