//! Time-outs and keepalives.

use std::time::Duration;

use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::MAX_MESSAGE;

use crate::fixture::{Fixture, frame};

const SECOND: Duration = Duration::from_secs(1);
const NANOSECOND: Duration = Duration::from_nanos(1);

#[test]
fn a_connection_without_a_whole_frame_in_time_is_closed() {
    for (half, told_in_frame) in [
        (&b""[..], false),
        (b"messa", false),
        (&[0, 0, 0], true),
        (&[0, 0, 0, 9, 9], true),
    ] {
        let mut fixture = Fixture::new();
        let mute = fixture.accept();
        fixture.feed(mute, half);
        fixture.pass(10 * SECOND - NANOSECOND);
        assert_eq!(fixture.read(mute), b"");
        fixture.pass(NANOSECOND);
        let told = fixture.read(mute);
        if told_in_frame {
            assert_eq!(told, frame(&told[4..]));
            assert!(told[4..].starts_with(b"error handshake-timeout "));
        } else {
            assert!(told.starts_with(b"error handshake-timeout ") && told.ends_with(b"\n"));
        }
        assert!(fixture.read_fin(mute));
        assert_eq!(fixture.endpoint.counters().handshake_timeouts, 1);
        fixture.fin(mute);
        assert!(fixture.endpoint.is_zero());
    }
}

#[test]
fn any_whole_frame_or_line_completes_the_handshake() {
    let firsts: [&[u8]; 6] = [b"\0\0\0\0", b"\n", b"\r\n", b"nonsense\n", b"\0\0\0\x01?", b"ok x\n"];
    for first in firsts {
        let mut fixture = Fixture::new();
        let client = fixture.accept();
        fixture.feed(client, first);
        fixture.pass(15 * SECOND);
        assert_eq!(fixture.endpoint.counters().handshake_timeouts, 0, "{first:?}");
        assert_eq!(fixture.live(), 1, "{first:?}");
    }
}

#[test]
fn no_connection_is_a_receiver_before_its_first_whole_frame() {
    let mut fixture = Fixture::new();
    let originator = fixture.accept_length();
    let mute = fixture.accept();
    let half = fixture.accept();
    fixture.feed(half, b"\0\0\0\x09mess");
    for n in 0..50 {
        fixture.feed(originator, &frame(format!("message {n}")));
    }
    assert_eq!(fixture.read(mute), b"");
    assert_eq!(fixture.read(half), b"");
    assert_eq!(fixture.live(), 1);
}

#[test]
fn a_silent_peer_is_closed_after_the_idle_timeout_of_its_framing() {
    for (hello, limit) in [(&b"\0\0\0\0"[..], 60 * SECOND), (b"\n", 600 * SECOND)] {
        let mut fixture = Fixture::new();
        let silent = fixture.accept();
        fixture.feed(silent, hello);
        fixture.pass(limit - NANOSECOND);
        fixture.read(silent);
        assert_eq!(fixture.live(), 1);
        fixture.pass(NANOSECOND);
        assert_eq!(fixture.live(), 0);
        let told = fixture.read(silent);
        let text = String::from_utf8_lossy(&told);
        assert!(text.contains("error idle-timeout "), "{text}");
        assert!(fixture.read_fin(silent));
        assert_eq!(fixture.endpoint.counters().idle_timeouts, 1);
        fixture.fin(silent);
        assert!(fixture.endpoint.is_zero());
    }
}

#[test]
fn any_bytes_restart_the_idle_timeout() {
    let mut fixture = Fixture::new();
    let slow = fixture.accept_length();
    fixture.feed(slow, &[0, 0, 0, 200]);
    for _ in 0..100 {
        fixture.pass(59 * SECOND);
        fixture.feed(slow, b"m");
        fixture.read(slow);
    }
    assert_eq!(fixture.live(), 1);
    assert_eq!(fixture.endpoint.counters().idle_timeouts, 0);
}

#[test]
fn messages_of_a_silent_holder_are_reforwarded() {
    let mut fixture = Fixture::new();
    let vanished = fixture.accept_length();
    fixture.pass(SECOND);
    let originator = fixture.accept_length();
    for n in 0..20 {
        fixture.feed(originator, &frame(format!("message {n}")));
    }
    for _ in 0..6 {
        fixture.pass(10 * SECOND);
        fixture.feed(originator, &frame(""));
    }
    assert!(fixture.endpoint.machine().counters().reforwards > 0);
    assert!(
        fixture
            .endpoint
            .machine()
            .flights()
            .all(|flight| flight.holder == originator)
    );
    assert!(fixture.read(vanished).ends_with(b"stay connected"));
}

#[test]
fn an_empty_frame_is_sent_after_sending_nothing_for_a_while() {
    let mut fixture = Fixture::new();
    let client = fixture.accept_length();
    fixture.pass(20 * SECOND - NANOSECOND);
    assert_eq!(fixture.read(client), b"");
    fixture.pass(NANOSECOND);
    assert_eq!(fixture.read(client), frame(""));
    fixture.pass(20 * SECOND);
    assert_eq!(fixture.read(client), frame(""));
    assert_eq!(fixture.endpoint.counters().keepalives, 2);
}

#[test]
fn sending_anything_delays_keepalives() {
    let mut fixture = Fixture::new();
    let client = fixture.accept_length();
    fixture.pass(15 * SECOND);
    fixture.feed(client, &frame("message x"));
    fixture.read(client);
    fixture.pass(20 * SECOND - NANOSECOND);
    assert_eq!(fixture.read(client), b"");
    fixture.pass(NANOSECOND);
    assert_eq!(fixture.read(client), frame(""));
}

#[test]
fn a_peer_that_speaks_lines_gets_no_keepalives() {
    let mut fixture = Fixture::new();
    let person = fixture.accept_lines();
    fixture.pass(599 * SECOND);
    assert_eq!(fixture.read(person), b"");
    assert_eq!(fixture.endpoint.counters().keepalives, 0);
}

#[test]
fn keepalives_do_not_accumulate_for_a_peer_that_does_not_read() {
    let mut fixture = Fixture::new();
    let client = fixture.accept_length();
    for _ in 0..10 {
        fixture.pass(30 * SECOND);
        fixture.feed(client, &frame(""));
    }
    assert_eq!(fixture.read(client), frame(""));
    assert_eq!(fixture.endpoint.counters().keepalives, 1);
}

#[test]
fn a_keepalive_over_the_limits_of_the_outbox_drops_no_connection() {
    for (max_backlog, max_outbox) in [(3, 100), (100, 3)] {
        let config = ConnectionConfig {
            max_backlog,
            max_outbox,
            ..ConnectionConfig::default()
        };
        let mut fixture = Fixture::with(config, MAX_MESSAGE);
        let client = fixture.accept_length();
        fixture.pass(30 * SECOND);
        fixture.feed(client, &frame(""));
        assert_eq!(fixture.released(), [], "{max_backlog} {max_outbox}");
        assert_eq!(fixture.endpoint.counters().slow_consumers, 0);
        assert_eq!(fixture.read(client), frame(""));
    }
}

#[test]
fn times_shorter_than_the_handshake_timeout_hold_from_the_first_frame_on() {
    let config = ConnectionConfig {
        idle_timeout: 3 * SECOND,
        keepalive_interval: SECOND,
        ..ConnectionConfig::default()
    };
    let mut fixture = Fixture::with(config, MAX_MESSAGE);
    let client = fixture.accept_length();
    fixture.pass(SECOND);
    assert_eq!(fixture.read(client), frame(""));
    fixture.pass(2 * SECOND);
    assert_eq!(fixture.live(), 0);
}
