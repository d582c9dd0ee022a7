//! How long a session is kept after its loss was noticed or its end acknowledged.

use std::time::Duration;

use echosphere_core::numbers::ServerConfig;

use crate::fixture::{Fixture, IDLE_TIMEOUT, PERIOD, TTL, UUID, checksum, numbers, whole};

/// The idle time-out in length framing; also how long the server waits for the client to close.
const WAIT: Duration = Duration::from_secs(60);
const JUST_BEFORE: Duration = Duration::from_nanos(1);

/// A session of 2 numbers whose end was sent, and its connection.
fn ended() -> (Fixture, echosphere_core::ConnId) {
    let mut fixture = Fixture::new();
    let (conn, _) = fixture.open(&format!("START {UUID} 2\n"));
    fixture.periods(conn, 2);
    assert!(fixture.is_closed(conn));
    (fixture, conn)
}

#[test]
fn the_session_of_an_unacknowledged_end_is_kept_from_the_noticed_loss_on() {
    let (mut fixture, _) = ended();
    fixture.pass(WAIT - JUST_BEFORE);
    assert_eq!(fixture.endpoint.connections(), 1, "the client may still close");
    fixture.pass(JUST_BEFORE);
    assert_eq!(fixture.endpoint.connections(), 0, "the connection counts as lost");
    fixture.pass(TTL - JUST_BEFORE);
    assert_eq!(fixture.endpoint.machine().sessions(), 1);
    fixture.pass(JUST_BEFORE);
    assert!(fixture.endpoint.is_zero());
}

#[test]
fn the_wait_for_the_clients_end_is_limited_whatever_it_sends() {
    let (mut fixture, conn) = ended();
    for _ in 0..59 {
        fixture.pass(PERIOD);
        assert_eq!(fixture.say(conn, "\nSTART\n1 is no request\n"), "");
    }
    fixture.pass(PERIOD);
    assert_eq!(fixture.endpoint.connections(), 0);
}

#[test]
fn closing_after_the_end_acknowledges_it() {
    let (mut fixture, conn) = ended();
    fixture.pass(WAIT / 2);
    fixture.fin(conn);
    assert_eq!(fixture.endpoint.connections(), 0);
    fixture.pass(TTL - JUST_BEFORE);
    assert_eq!(fixture.endpoint.machine().sessions(), 1);
    fixture.pass(JUST_BEFORE);
    assert!(fixture.endpoint.is_zero());
}

#[test]
fn a_connection_that_breaks_after_the_end_is_a_loss() {
    let (mut fixture, conn) = ended();
    fixture.pass(WAIT / 2);
    fixture.cut(conn);
    fixture.pass(TTL - JUST_BEFORE);
    assert_eq!(fixture.endpoint.machine().sessions(), 1);
    fixture.pass(JUST_BEFORE);
    assert!(fixture.endpoint.is_zero());
}

#[test]
fn an_end_request_after_the_end_discards_the_session() {
    let (mut fixture, conn) = ended();
    fixture.say(conn, "END\n");
    assert_eq!(fixture.endpoint.machine().sessions(), 0);
    fixture.fin(conn);
    assert!(fixture.endpoint.is_zero());
}

#[test]
fn an_unacknowledged_end_is_taken_over_without_an_error() {
    let (mut fixture, one) = ended();
    let all = whole(UUID, 2);
    let (other, said) = fixture.open(&format!("CONTINUE {UUID} {} 1\n", all[0]));
    assert_eq!(numbers(&said), [1, checksum(&all[..1]), all[1]]);
    assert_eq!(fixture.read(one), "");
    fixture.fin(one);
    assert_eq!(fixture.periods(other, 1), all[2..]);
    fixture.fin(other);
    assert_eq!(fixture.endpoint.connections(), 0);
}

#[test]
fn a_session_of_a_client_that_had_finished_sending_is_kept_longer() {
    let mut fixture = Fixture::new();
    let more = ServerConfig::default().unacknowledged_ttl;
    let (conn, _) = fixture.open(&format!("START {UUID} 2\n"));
    fixture.fin(conn);
    fixture.periods(conn, 2);
    assert_eq!(fixture.endpoint.connections(), 0, "both have finished");
    fixture.pass(TTL + more - JUST_BEFORE);
    assert_eq!(fixture.endpoint.machine().sessions(), 1);
    fixture.pass(JUST_BEFORE);
    assert!(fixture.endpoint.is_zero());
}

#[test]
fn the_session_of_a_silent_client_is_kept_from_the_noticed_loss_on() {
    let mut fixture = Fixture::new();
    let all = whole(UUID, 2000);
    let (conn, _) = fixture.open(&format!("START {UUID} 2000\n"));
    fixture.periods(conn, IDLE_TIMEOUT.as_secs() as u32 - 1);
    fixture.pass(PERIOD);
    assert!(fixture.read(conn).contains("error idle-timeout "));
    assert_eq!(fixture.endpoint.machine().sessions(), 1);
    fixture.pass(TTL - JUST_BEFORE);
    let (_, said) = fixture.open(&format!("CONTINUE {UUID} {} 1\n", all[0]));
    assert_eq!(numbers(&said)[2], all[1]);
}

#[test]
fn a_draining_server_does_not_wait_for_the_acknowledgement_of_an_end() {
    let (mut fixture, conn) = ended();
    fixture.endpoint.drain(fixture.now);
    assert_eq!(fixture.endpoint.machine().sessions(), 0);
    fixture.fin(conn);
    assert!(fixture.endpoint.is_zero());
}
