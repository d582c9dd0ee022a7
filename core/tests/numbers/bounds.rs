use std::time::Duration;

use echosphere_core::numbers::ServerConfig;

use crate::fixture::{Fixture, MAX_BACKLOG, TTL, numbers};

#[test]
fn a_session_over_the_limit_is_refused() {
    let mut fixture = Fixture::with(ServerConfig {
        max_sessions: 2,
        ..ServerConfig::default()
    });
    let uuid = |number: u128| echosphere_core::numbers::Uuid::from_u128(number);
    let (one, _) = fixture.open(&format!("START {} 9\n", uuid(1)));
    fixture.cut(one);
    fixture.open(&format!("START {} 9\n", uuid(2)));
    let (third, said) = fixture.open(&format!("START {} 9\n", uuid(3)));
    assert!(said.starts_with("error too-many-sessions "), "{said}");
    assert_eq!(fixture.endpoint.machine().sessions(), 2);
    fixture.pass(TTL);
    let said = fixture.say(third, &format!("START {} 9\n", uuid(3)));
    assert!(!said.starts_with("error"), "{said}");
}

#[test]
fn numbers_wait_for_a_peer_that_does_not_read() {
    let mut fixture = Fixture::with(ServerConfig {
        period: Duration::from_millis(1),
        ..ServerConfig::default()
    });
    let (conn, first) = fixture.open("START\n");
    fixture.pass(Duration::from_secs(900));
    assert!(fixture.endpoint.machine().counters().held_back > 800_000);
    let mut all = numbers(&first);
    let waited = fixture.read(conn);
    assert!(waited.len() < MAX_BACKLOG + 100, "{}", waited.len());
    all.extend(numbers(&waited));
    fixture.pass(Duration::from_secs(1));
    all.extend(numbers(&fixture.read(conn)));
    assert!(all.windows(2).all(|pair| pair[1] == pair[0].wrapping_mul(3)));
}

#[test]
fn a_period_of_zero_does_not_hang_the_server() {
    let mut fixture = Fixture::with(ServerConfig {
        period: Duration::ZERO,
        ..ServerConfig::default()
    });
    let (conn, _) = fixture.open("START\n");
    fixture.pass(Duration::from_millis(1));
    assert_eq!(fixture.read(conn).lines().count(), 1000);
}
