//! How long a session is kept: from when its loss is noticed, or its end acknowledged.

use std::time::Duration;

use echosphere_core::numbers::ServerConfig;

use crate::bench::{Bench, IDLE_TIMEOUT, PERIOD, TTL, UUID, checksum, numbers, whole};

/// The idle time-out in length framing, which is also how long the client's end is waited for.
const WAIT: Duration = Duration::from_secs(60);
const JUST_BEFORE: Duration = Duration::from_nanos(1);

/// A bench with a session of 2 whose end was sent, and its connection.
fn ended() -> (Bench, echosphere_core::ConnId) {
    let mut bench = Bench::new();
    let (conn, _) = bench.open(&format!("START {UUID} 2\n"));
    bench.periods(conn, 2);
    assert!(bench.is_closed(conn));
    (bench, conn)
}

#[test]
fn an_end_that_nobody_acknowledges_keeps_the_session_for_its_time_from_when_the_loss_is_noticed() {
    let (mut bench, _) = ended();
    bench.pass(WAIT - JUST_BEFORE);
    assert_eq!(bench.endpoint.connections(), 1, "the client may still close");
    bench.pass(JUST_BEFORE);
    assert_eq!(bench.endpoint.connections(), 0, "the connection counts as lost");
    bench.pass(TTL - JUST_BEFORE);
    assert_eq!(bench.endpoint.machine().sessions(), 1);
    bench.pass(JUST_BEFORE);
    assert!(bench.endpoint.is_zero());
}

#[test]
fn however_much_a_client_says_its_end_is_not_waited_for_any_longer() {
    let (mut bench, conn) = ended();
    for _ in 0..59 {
        bench.pass(PERIOD);
        assert_eq!(bench.say(conn, "\nSTART\n1 is no request\n"), "");
    }
    bench.pass(PERIOD);
    assert_eq!(bench.endpoint.connections(), 0);
}

#[test]
fn a_client_that_closes_after_the_end_has_acknowledged_it() {
    let (mut bench, conn) = ended();
    bench.pass(WAIT / 2);
    bench.fin(conn);
    assert_eq!(bench.endpoint.connections(), 0);
    bench.pass(TTL - JUST_BEFORE);
    assert_eq!(bench.endpoint.machine().sessions(), 1);
    bench.pass(JUST_BEFORE);
    assert!(bench.endpoint.is_zero());
}

#[test]
fn a_connection_that_breaks_after_the_end_is_a_loss() {
    let (mut bench, conn) = ended();
    bench.pass(WAIT / 2);
    bench.cut(conn);
    bench.pass(TTL - JUST_BEFORE);
    assert_eq!(bench.endpoint.machine().sessions(), 1);
    bench.pass(JUST_BEFORE);
    assert!(bench.endpoint.is_zero());
}

#[test]
fn a_client_that_ends_after_the_end_discards_the_session() {
    let (mut bench, conn) = ended();
    bench.say(conn, "END\n");
    assert_eq!(bench.endpoint.machine().sessions(), 0);
    bench.fin(conn);
    assert!(bench.endpoint.is_zero());
}

#[test]
fn an_end_that_is_not_acknowledged_yet_is_taken_over_without_a_word() {
    let (mut bench, one) = ended();
    let all = whole(UUID, 2);
    let (other, said) = bench.open(&format!("CONTINUE {UUID} {} 1\n", all[0]));
    assert_eq!(numbers(&said), [1, checksum(&all[..1]), all[1]]);
    assert_eq!(bench.read(one), "");
    bench.fin(one);
    assert_eq!(bench.periods(other, 1), all[2..]);
    bench.fin(other);
    assert_eq!(bench.endpoint.connections(), 0);
}

#[test]
fn a_client_that_had_finished_sending_is_given_more_time_for_it_cannot_acknowledge() {
    let mut bench = Bench::new();
    let more = ServerConfig::default().unacknowledged_ttl;
    let (conn, _) = bench.open(&format!("START {UUID} 2\n"));
    bench.fin(conn);
    bench.periods(conn, 2);
    assert_eq!(bench.endpoint.connections(), 0, "both have finished");
    bench.pass(TTL + more - JUST_BEFORE);
    assert_eq!(bench.endpoint.machine().sessions(), 1);
    bench.pass(JUST_BEFORE);
    assert!(bench.endpoint.is_zero());
}

#[test]
fn a_client_that_falls_silent_while_numbers_are_written_loses_its_session_after_that_is_noticed() {
    let mut bench = Bench::new();
    let all = whole(UUID, 2000);
    let (conn, _) = bench.open(&format!("START {UUID} 2000\n"));
    bench.periods(conn, IDLE_TIMEOUT.as_secs() as u32 - 1);
    bench.pass(PERIOD);
    assert!(bench.read(conn).contains("error idle-timeout "));
    assert_eq!(bench.endpoint.machine().sessions(), 1);
    bench.pass(TTL - JUST_BEFORE);
    let (_, said) = bench.open(&format!("CONTINUE {UUID} {} 1\n", all[0]));
    assert_eq!(numbers(&said)[2], all[1]);
}

#[test]
fn a_server_that_drains_waits_for_no_end_to_be_acknowledged() {
    let (mut bench, conn) = ended();
    bench.endpoint.drain(bench.now, &mut bench.effects);
    assert_eq!(bench.endpoint.machine().sessions(), 0);
    bench.fin(conn);
    assert!(bench.endpoint.is_zero());
}
