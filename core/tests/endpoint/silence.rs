//! Time-outs and keepalives.

use std::time::Duration;

use echosphere_core::echo::MAX_MESSAGE;
use echosphere_core::link::LinkConfig;

use crate::bench::{Bench, frame};

const SECOND: Duration = Duration::from_secs(1);
const NANOSECOND: Duration = Duration::from_nanos(1);

#[test]
fn who_sends_no_whole_frame_in_time_is_told_and_closed() {
    for (half, told_in_frame) in [
        (&b""[..], false),
        (b"messa", false),
        (&[0, 0, 0], true),
        (&[0, 0, 0, 9, 9], true),
    ] {
        let mut bench = Bench::new();
        let mute = bench.accept();
        bench.feed(mute, half);
        bench.pass(10 * SECOND - NANOSECOND);
        assert_eq!(bench.read(mute), b"");
        bench.pass(NANOSECOND);
        let told = bench.read(mute);
        if told_in_frame {
            assert_eq!(told, frame(&told[4..]));
            assert!(told[4..].starts_with(b"error handshake-timeout "));
        } else {
            assert!(told.starts_with(b"error handshake-timeout ") && told.ends_with(b"\n"));
        }
        assert!(bench.read_fin(mute));
        assert_eq!(bench.endpoint.counters().handshake_timeouts, 1);
        bench.fin(mute);
        assert!(bench.endpoint.is_zero());
    }
}

#[test]
fn any_whole_frame_or_line_completes_the_handshake() {
    let firsts: [&[u8]; 6] = [b"\0\0\0\0", b"\n", b"\r\n", b"nonsense\n", b"\0\0\0\x01?", b"ok x\n"];
    for first in firsts {
        let mut bench = Bench::new();
        let client = bench.accept();
        bench.feed(client, first);
        bench.pass(15 * SECOND);
        assert_eq!(bench.endpoint.counters().handshake_timeouts, 0, "{first:?}");
        assert_eq!(bench.live(), 1, "{first:?}");
    }
}

#[test]
fn nobody_is_a_receiver_before_its_first_whole_frame() {
    let mut bench = Bench::new();
    let originator = bench.accept_length();
    let mute = bench.accept();
    let half = bench.accept();
    bench.feed(half, b"\0\0\0\x09mess");
    for n in 0..50 {
        bench.feed(originator, &frame(format!("message {n}")));
    }
    assert_eq!(bench.read(mute), b"");
    assert_eq!(bench.read(half), b"");
    assert_eq!(bench.live(), 1);
}

#[test]
fn a_silent_peer_is_told_and_closed_after_the_time_of_its_framing() {
    for (hello, limit) in [(&b"\0\0\0\0"[..], 60 * SECOND), (b"\n", 600 * SECOND)] {
        let mut bench = Bench::new();
        let silent = bench.accept();
        bench.feed(silent, hello);
        bench.pass(limit - NANOSECOND);
        bench.read(silent);
        assert_eq!(bench.live(), 1);
        bench.pass(NANOSECOND);
        assert_eq!(bench.live(), 0);
        let told = bench.read(silent);
        let text = String::from_utf8_lossy(&told);
        assert!(text.contains("error idle-timeout "), "{text}");
        assert!(bench.read_fin(silent));
        assert_eq!(bench.endpoint.counters().idle_timeouts, 1);
        bench.fin(silent);
        assert!(bench.endpoint.is_zero());
    }
}

#[test]
fn any_bytes_count_as_hearing() {
    let mut bench = Bench::new();
    let slow = bench.accept_length();
    bench.feed(slow, &[0, 0, 0, 200]);
    for _ in 0..100 {
        bench.pass(59 * SECOND);
        bench.feed(slow, b"m");
        bench.read(slow);
    }
    assert_eq!(bench.live(), 1);
    assert_eq!(bench.endpoint.counters().idle_timeouts, 0);
}

#[test]
fn what_a_vanished_peer_held_is_forwarded_to_another() {
    let mut bench = Bench::new();
    let vanished = bench.accept_length();
    bench.pass(SECOND);
    let originator = bench.accept_length();
    for n in 0..20 {
        bench.feed(originator, &frame(format!("message {n}")));
    }
    for _ in 0..6 {
        bench.pass(10 * SECOND);
        bench.feed(originator, &frame(""));
    }
    assert!(bench.endpoint.machine().counters().reforwards > 0);
    assert!(
        bench
            .endpoint
            .machine()
            .flights()
            .all(|flight| flight.holder == originator)
    );
    assert!(bench.read(vanished).ends_with(b"stay connected"));
}

#[test]
fn an_empty_frame_is_sent_after_sending_nothing_for_a_while() {
    let mut bench = Bench::new();
    let client = bench.accept_length();
    bench.pass(20 * SECOND - NANOSECOND);
    assert_eq!(bench.read(client), b"");
    bench.pass(NANOSECOND);
    assert_eq!(bench.read(client), frame(""));
    bench.pass(20 * SECOND);
    assert_eq!(bench.read(client), frame(""));
    assert_eq!(bench.endpoint.counters().keepalives, 2);
}

#[test]
fn whatever_was_sent_counts_as_a_sign_of_life() {
    let mut bench = Bench::new();
    let client = bench.accept_length();
    bench.pass(15 * SECOND);
    bench.feed(client, &frame("message x"));
    bench.read(client);
    bench.pass(20 * SECOND - NANOSECOND);
    assert_eq!(bench.read(client), b"");
    bench.pass(NANOSECOND);
    assert_eq!(bench.read(client), frame(""));
}

#[test]
fn a_peer_that_speaks_lines_is_never_sent_an_empty_one() {
    let mut bench = Bench::new();
    let person = bench.accept_lines();
    bench.pass(599 * SECOND);
    assert_eq!(bench.read(person), b"");
    assert_eq!(bench.endpoint.counters().keepalives, 0);
}

#[test]
fn empty_frames_do_not_pile_up_before_a_peer_that_does_not_read() {
    let mut bench = Bench::new();
    let client = bench.accept_length();
    for _ in 0..10 {
        bench.pass(30 * SECOND);
        bench.feed(client, &frame(""));
    }
    assert_eq!(bench.read(client), frame(""));
    assert_eq!(bench.endpoint.counters().keepalives, 1);
}

#[test]
fn times_shorter_than_the_handshake_timeout_hold_from_the_first_frame_on() {
    let config = LinkConfig {
        idle_timeout: 3 * SECOND,
        keepalive_interval: SECOND,
        ..LinkConfig::default()
    };
    let mut bench = Bench::with(config, MAX_MESSAGE);
    let client = bench.accept_length();
    bench.pass(SECOND);
    assert_eq!(bench.read(client), frame(""));
    bench.pass(2 * SECOND);
    assert_eq!(bench.live(), 0);
}
