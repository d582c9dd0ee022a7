//! The bound on messages that have not arrived whole.

use std::time::Duration;

use bytes::BytesMut;
use echosphere_core::ConnId;
use echosphere_core::echo::MAX_MESSAGE;
use echosphere_core::link::LinkConfig;

use crate::bench::{Bench, frame};

const MIB: usize = 1024 * 1024;

fn bounded(max_partial_bytes: usize) -> Bench {
    let config = LinkConfig {
        max_partial_bytes,
        ..LinkConfig::default()
    };
    Bench::with(config, MAX_MESSAGE)
}

/// The first `len` bytes of the frame of a message with an X of 1 MiB, and what follows them.
fn cut(len: usize) -> (Vec<u8>, Vec<u8>) {
    let mut whole = frame(format!("message {}", "x".repeat(MIB)));
    let rest = whole.split_off(len);
    (whole, rest)
}

/// A peer that connects and sends the first `len` bytes of a long frame, and nothing more.
fn half_sender(bench: &mut Bench, len: usize) -> ConnId {
    let id = bench.accept_length();
    bench.feed(id, &cut(len).0);
    id
}

fn refused(bench: &mut Bench, id: ConnId) -> bool {
    let last = bench.read(id);
    let text = String::from_utf8_lossy(&last);
    let told = text.contains("error busy ");
    assert_eq!(bench.read_fin(id), told, "{text:?}");
    told
}

#[test]
fn the_memory_of_half_received_messages_is_bounded() {
    const BOUND: usize = 8 * MIB;
    /// What connections, timers and errors to be written take.
    const OTHERS: u64 = 1024 * 1024;
    let mut bench = bounded(BOUND);
    let (half, _) = cut(MIB);
    let used = allocation_counter::measure(|| {
        for _ in 0..300 {
            let id = bench.accept_length();
            for part in half.chunks(64 * 1024) {
                bench.feed(id, part);
                assert!(bench.endpoint.partial_bytes() <= BOUND);
            }
        }
    });
    assert!(used.bytes_current as u64 <= BOUND as u64 + OTHERS, "{used:?}");
    // The one that grows has its old buffer and its new one for a moment.
    assert!(used.bytes_max <= (BOUND + 2 * MIB) as u64 + OTHERS, "{used:?}");
    assert!(bench.endpoint.counters().refused_partial >= 290);
}

#[test]
fn what_is_counted_is_what_is_allocated() {
    for len in [1, 3, 64, 65, 4096, 4097, 70_000, MIB] {
        let (half, rest) = cut(len);
        let mut bench = bounded(8 * MIB);
        let id = bench.accept_length();
        let used = allocation_counter::measure(|| {
            for part in half.chunks(10_000) {
                bench.feed(id, part);
            }
        });
        let counted = bench.endpoint.partial_bytes();
        assert!(counted >= len && counted <= 2 * len.max(32), "{len}: {counted}");
        let beside = used.bytes_current - counted as i64;
        assert!((0..1000).contains(&beside), "{len}: {counted} of {used:?}");

        bench.feed(id, &rest);
        assert_eq!(bench.endpoint.partial_bytes(), 0, "it has arrived whole");
        assert!(bench.read(id).len() > MIB);
    }
}

#[test]
fn the_largest_is_refused_and_small_messages_get_through() {
    let mut bench = bounded(2 * MIB);
    let attackers: Vec<ConnId> = (0..100).map(|_| half_sender(&mut bench, 200_000)).collect();
    let honest = bench.accept_length();
    let x = "y".repeat(100_000);
    let message = frame(format!("message {x}"));
    for part in message.chunks(1000) {
        bench.feed(honest, part);
        let more = half_sender(&mut bench, 200_000);
        assert_ne!(more, honest);
    }
    assert_eq!(bench.endpoint.machine().counters().messages, 1);
    assert!(refused(&mut bench, attackers[0]));
    assert!(!refused(&mut bench, honest));
}

#[test]
fn of_equals_the_one_that_began_first_is_refused() {
    let mut bench = bounded(3 * 1024);
    let first = half_sender(&mut bench, 1000);
    bench.pass(Duration::from_millis(1));
    let second = half_sender(&mut bench, 900);
    bench.pass(Duration::from_millis(1));
    // The first has sent more since, and began no other message.
    bench.feed(first, &[b'x'; 10]);
    let third = half_sender(&mut bench, 600);
    assert_eq!(
        bench.endpoint.partial_bytes(),
        3 * 1024,
        "as much as the bound may be held"
    );
    let fourth = half_sender(&mut bench, 5);
    assert_eq!(
        [first, second, third, fourth].map(|id| refused(&mut bench, id)),
        [true, false, false, false]
    );
    assert_eq!(bench.endpoint.partial_bytes(), 2 * 1024 + 64);
    assert_eq!(bench.endpoint.counters().refused_partial, 1);
}

#[test]
fn a_sender_that_completes_messages_counts_as_new_with_each() {
    let mut bench = bounded(2 * 1024);
    let busy = bench.accept_length();
    let message = frame(format!("message {}", "x".repeat(1000)));
    bench.feed(busy, &message[..800]);
    bench.pass(Duration::from_millis(1));
    let stalled = half_sender(&mut bench, 800);
    bench.pass(Duration::from_millis(1));
    bench.feed(busy, &[&message[800..], &message[..800]].concat());
    half_sender(&mut bench, 5);
    assert!(refused(&mut bench, stalled));
    assert!(!refused(&mut bench, busy));
}

#[test]
fn the_room_is_given_back_however_a_connection_ends() {
    let mut bench = bounded(MIB);
    let ends: [fn(&mut Bench, ConnId); 4] = [
        |bench, id| bench.fin(id),
        |bench, id| bench.fail(id),
        |bench, _| bench.pass(LinkConfig::default().idle_timeout),
        |bench, _| bench.endpoint.close_all(bench.now, &mut bench.effects),
    ];
    for end in ends {
        let id = half_sender(&mut bench, 1000);
        assert_eq!(bench.endpoint.partial_bytes(), 1024);
        end(&mut bench, id);
        assert_eq!(bench.endpoint.partial_bytes(), 0);
    }
}

#[test]
fn who_has_not_finished_the_first_frame_is_refused_too() {
    let mut bench = bounded(1024);
    let id = bench.accept();
    bench.feed(id, &cut(2000).0);
    assert!(refused(&mut bench, id));
    assert_eq!(bench.live(), 0);
}

#[test]
fn the_error_comes_in_the_framing_of_the_peer() {
    for (half, expected) in [
        (b"message xx".repeat(200), &b"error busy too many "[..]),
        (cut(2000).0, &b"\0\0\0\x7ferror busy too many "[..]),
    ] {
        let mut bench = bounded(1024);
        let id = bench.accept();
        bench.feed(id, &half);
        let told = bench.read(id);
        assert!(told.starts_with(expected), "{}", told.escape_ascii());
    }
}

#[test]
fn what_arrives_in_one_read_does_not_count() {
    let mut bench = bounded(0);
    let id = bench.accept_length();
    let message = frame(format!("message {}", "x".repeat(MIB)));
    bench.feed(id, &[&message[..], &message[..]].concat());
    assert_eq!(bench.endpoint.machine().counters().messages, 2);
}

#[test]
fn what_follows_a_long_message_does_not_hold_its_memory() {
    let (half, rest) = cut(MIB);
    let mut bench = Bench::new();
    let id = bench.accept_length();
    let mut input = BytesMut::with_capacity(2 * MIB);
    input.extend_from_slice(&half);
    bench.endpoint.receive(bench.now, id, &mut input, &mut bench.effects);
    input.extend_from_slice(&rest);
    input.extend_from_slice(b"\0\0");
    bench.endpoint.receive(bench.now, id, &mut input, &mut bench.effects);
    assert_eq!(bench.endpoint.partial_bytes(), 64);
}
