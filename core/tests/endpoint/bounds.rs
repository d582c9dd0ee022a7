//! Limits on connections and on the bytes that wait for each.

use std::time::Duration;

use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::MAX_MESSAGE;
use echosphere_core::wire::ErrorCode;

use crate::fixture::{Fixture, frame};

#[test]
fn a_peer_over_the_limit_is_refused_until_another_is_released() {
    let config = ConnectionConfig {
        max_connections: 2,
        ..ConnectionConfig::default()
    };
    let mut fixture = Fixture::with(config, MAX_MESSAGE);
    let (first, _) = (fixture.accept_length(), fixture.accept());
    assert_eq!(fixture.endpoint.accept(fixture.now).unwrap_err().code, ErrorCode::Full);
    assert_eq!(fixture.endpoint.counters().refused, 1);
    assert_eq!(fixture.endpoint.connections(), 2);

    // A closing connection counts.
    fixture.fin(first);
    assert!(fixture.endpoint.accept(fixture.now).is_err());
    assert!(fixture.read_fin(first));
    assert!(fixture.endpoint.accept(fixture.now).is_ok());
    assert_eq!(fixture.endpoint.counters().accepted, 3);
}

#[test]
fn messages_held_by_a_slow_consumer_are_reforwarded() {
    let config = ConnectionConfig {
        max_outbox: 1000,
        ..ConnectionConfig::default()
    };
    let mut fixture = Fixture::with(config, MAX_MESSAGE);
    let (originator, slow) = (fixture.accept_length(), fixture.accept_length());
    for _ in 0..100 {
        if !fixture.endpoint.machine().flights().any(|flight| flight.holder == slow) {
            fixture.feed(originator, &frame("message x"));
            fixture.read(originator);
        }
    }
    // The peer does not read errors, which fill its outbox.
    for _ in 0..100 {
        fixture.feed(slow, &frame("nonsense"));
    }
    assert_eq!(fixture.released(), [slow]);
    assert_eq!(fixture.endpoint.counters().slow_consumers, 1);
    assert_eq!(fixture.read(originator), frame("message x"));
    assert_eq!(fixture.live(), 1);
    fixture.pass(ConnectionConfig::default().linger);
    assert_eq!(fixture.released(), [], "released twice");
}

#[test]
fn reforwarding_may_overfill_the_next_and_still_ends() {
    let config = ConnectionConfig {
        max_outbox: 200,
        ..ConnectionConfig::default()
    };
    let mut fixture = Fixture::with(config, MAX_MESSAGE);
    let mut ids: Vec<_> = (0..10).map(|_| fixture.accept_length()).collect();
    let x = frame(format!("message {}", "x".repeat(150)));
    for &id in ids.iter().cycle().take(100) {
        fixture.feed(id, &x);
    }
    let released = fixture.released();
    assert!(released.len() > 1);
    ids.retain(|id| !released.contains(id));
    assert_eq!(fixture.live(), ids.len());
    assert_eq!(released.len() as u64, fixture.endpoint.counters().slow_consumers);
}

#[test]
fn as_much_as_the_bound_may_wait() {
    let message = frame("message 0123456789");
    let config = ConnectionConfig {
        max_outbox: 3 * message.len(),
        ..ConnectionConfig::default()
    };
    let mut fixture = Fixture::with(config, MAX_MESSAGE);
    let alone = fixture.accept_length();
    for _ in 0..3 {
        fixture.feed(alone, &message);
    }
    assert_eq!(fixture.endpoint.outbox(alone).unwrap().len(), 3 * message.len());
    fixture.feed(alone, &message);
    assert_eq!(fixture.released(), [alone]);
    assert!(fixture.endpoint.is_zero());
}

const BACKLOG: ConnectionConfig = ConnectionConfig {
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
    let mut fixture = Fixture::with(BACKLOG, MAX_MESSAGE);
    let alone = fixture.accept_length();
    for round in 0..10 {
        let burst: Vec<u8> = (0..50).flat_map(|n| frame(format!("message {round} {n}"))).collect();
        fixture.feed(alone, &burst);
        fixture.pass(Duration::from_millis(2999));
        assert_eq!(fixture.read(alone).len(), burst.len(), "round {round}");
    }
    fixture.pass(Duration::from_secs(10));
    assert_eq!(fixture.released(), []);
}

#[test]
fn a_backlog_at_the_limit_may_wait_forever() {
    let mut fixture = Fixture::with(BACKLOG, MAX_MESSAGE);
    let alone = fixture.accept_length();
    let message = frame(format!("message {}", "x".repeat(BACKLOG.max_backlog - 12)));
    assert_eq!(message.len(), BACKLOG.max_backlog);
    fixture.feed(alone, &message);
    fixture.pass(Duration::from_secs(10));
    assert_eq!(fixture.released(), []);
    assert_eq!(fixture.endpoint.counters().messages_out, 1);
}

#[test]
fn a_lasting_backlog_drops_the_connection() {
    let mut fixture = Fixture::with(BACKLOG, MAX_MESSAGE);
    let alone = fixture.accept_length();
    for n in 0..50 {
        fixture.feed(alone, &frame(format!("message {n}")));
    }
    fixture.pass(Duration::from_millis(2999));
    assert_eq!(fixture.released(), []);
    fixture.pass(Duration::from_millis(1));
    assert_eq!(fixture.released(), [alone]);
    assert_eq!(fixture.endpoint.counters().slow_consumers, 1);
    assert!(fixture.endpoint.is_zero());
}
