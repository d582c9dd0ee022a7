//! The limit on partial messages.

use std::time::Duration;

use bytes::BytesMut;
use echosphere_core::ConnId;
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::MAX_MESSAGE;

use crate::fixture::{Fixture, frame};

const MIB: usize = 1024 * 1024;

fn bounded(max_partial_bytes: usize) -> Fixture {
    let config = ConnectionConfig {
        max_partial_bytes,
        ..ConnectionConfig::default()
    };
    Fixture::with(config, MAX_MESSAGE)
}

/// A message with an X of 1 MiB: the first `len` bytes of its frame, and the rest.
fn cut(len: usize) -> (Vec<u8>, Vec<u8>) {
    let mut whole = frame(format!("message {}", "x".repeat(MIB)));
    let rest = whole.split_off(len);
    (whole, rest)
}

/// A peer that connects and sends only the first `len` bytes of a long frame.
fn half_sender(fixture: &mut Fixture, len: usize) -> ConnId {
    let id = fixture.accept_length();
    fixture.feed(id, &cut(len).0);
    id
}

fn refused(fixture: &mut Fixture, id: ConnId) -> bool {
    let last = fixture.read(id);
    let text = String::from_utf8_lossy(&last);
    let told = text.contains("error busy ");
    assert_eq!(fixture.read_fin(id), told, "{text:?}");
    told
}

#[test]
fn the_memory_of_half_received_messages_is_bounded() {
    const BOUND: usize = 8 * MIB;
    /// The memory of connections, timers and errors in outboxes.
    const OTHERS: u64 = 1024 * 1024;
    let mut fixture = bounded(BOUND);
    let (half, _) = cut(MIB);
    let used = allocation_counter::measure(|| {
        for _ in 0..300 {
            let id = fixture.accept_length();
            for part in half.chunks(64 * 1024) {
                fixture.feed(id, part);
                assert!(fixture.endpoint.partial_bytes() <= BOUND);
            }
        }
    });
    assert!(used.bytes_current as u64 <= BOUND as u64 + OTHERS, "{used:?}");
    // A growing buffer briefly exists twice.
    assert!(used.bytes_max <= (BOUND + 2 * MIB) as u64 + OTHERS, "{used:?}");
    assert!(fixture.endpoint.counters().refused_partial >= 290);
}

#[test]
fn counted_partial_bytes_are_allocated_bytes() {
    for len in [1, 3, 64, 65, 4096, 4097, 70_000, MIB] {
        let (half, rest) = cut(len);
        let mut fixture = bounded(8 * MIB);
        let id = fixture.accept_length();
        let used = allocation_counter::measure(|| {
            for part in half.chunks(10_000) {
                fixture.feed(id, part);
            }
        });
        let counted = fixture.endpoint.partial_bytes();
        assert!(counted >= len && counted <= 2 * len.max(32), "{len}: {counted}");
        let beside = used.bytes_current - counted as i64;
        assert!((0..1000).contains(&beside), "{len}: {counted} of {used:?}");

        fixture.feed(id, &rest);
        assert_eq!(fixture.endpoint.partial_bytes(), 0, "it has arrived whole");
        assert!(fixture.read(id).len() > MIB);
    }
}

#[test]
fn the_largest_is_refused_and_small_messages_get_through() {
    let mut fixture = bounded(2 * MIB);
    let attackers: Vec<ConnId> = (0..100).map(|_| half_sender(&mut fixture, 200_000)).collect();
    let honest = fixture.accept_length();
    let x = "y".repeat(100_000);
    let message = frame(format!("message {x}"));
    for part in message.chunks(1000) {
        fixture.feed(honest, part);
        let more = half_sender(&mut fixture, 200_000);
        assert_ne!(more, honest);
    }
    assert_eq!(fixture.endpoint.machine().counters().messages, 1);
    assert!(refused(&mut fixture, attackers[0]));
    assert!(!refused(&mut fixture, honest));
}

#[test]
fn of_equal_ones_the_oldest_is_refused() {
    let mut fixture = bounded(3 * 1024);
    let first = half_sender(&mut fixture, 1000);
    fixture.pass(Duration::from_millis(1));
    let second = half_sender(&mut fixture, 900);
    fixture.pass(Duration::from_millis(1));
    // The first peer has sent more of the same message.
    fixture.feed(first, &[b'x'; 10]);
    let third = half_sender(&mut fixture, 600);
    assert_eq!(
        fixture.endpoint.partial_bytes(),
        3 * 1024,
        "as much as the bound may be held"
    );
    let fourth = half_sender(&mut fixture, 5);
    assert_eq!(
        [first, second, third, fourth].map(|id| refused(&mut fixture, id)),
        [true, false, false, false]
    );
    assert_eq!(fixture.endpoint.partial_bytes(), 2 * 1024 + 64);
    assert_eq!(fixture.endpoint.counters().refused_partial, 1);
}

#[test]
fn a_sender_that_completes_messages_counts_as_new_with_each() {
    let mut fixture = bounded(2 * 1024);
    let busy = fixture.accept_length();
    let message = frame(format!("message {}", "x".repeat(1000)));
    fixture.feed(busy, &message[..800]);
    fixture.pass(Duration::from_millis(1));
    let stalled = half_sender(&mut fixture, 800);
    fixture.pass(Duration::from_millis(1));
    fixture.feed(busy, &[&message[800..], &message[..800]].concat());
    half_sender(&mut fixture, 5);
    assert!(refused(&mut fixture, stalled));
    assert!(!refused(&mut fixture, busy));
}

#[test]
fn the_room_is_given_back_however_a_connection_ends() {
    let mut fixture = bounded(MIB);
    let ends: [fn(&mut Fixture, ConnId); 4] = [
        |fixture, id| fixture.fin(id),
        |fixture, id| fixture.fail(id),
        |fixture, _| fixture.pass(ConnectionConfig::default().idle_timeout),
        |fixture, _| fixture.endpoint.close_all(fixture.now),
    ];
    for end in ends {
        let id = half_sender(&mut fixture, 1000);
        assert_eq!(fixture.endpoint.partial_bytes(), 1024);
        end(&mut fixture, id);
        assert_eq!(fixture.endpoint.partial_bytes(), 0);
    }
}

#[test]
fn a_connection_in_handshake_counts_partial_bytes_too() {
    let mut fixture = bounded(1024);
    let id = fixture.accept();
    fixture.feed(id, &cut(2000).0);
    assert!(refused(&mut fixture, id));
    assert_eq!(fixture.live(), 0);
}

#[test]
fn the_error_is_sent_in_the_framing_of_the_peer() {
    for (half, expected) in [
        (b"message xx".repeat(200), &b"error busy too many "[..]),
        (cut(2000).0, &b"\0\0\0\x7ferror busy too many "[..]),
    ] {
        let mut fixture = bounded(1024);
        let id = fixture.accept();
        fixture.feed(id, &half);
        let told = fixture.read(id);
        assert!(told.starts_with(expected), "{}", told.escape_ascii());
    }
}

#[test]
fn a_message_in_one_read_does_not_count() {
    let mut fixture = bounded(0);
    let id = fixture.accept_length();
    let message = frame(format!("message {}", "x".repeat(MIB)));
    fixture.feed(id, &[&message[..], &message[..]].concat());
    assert_eq!(fixture.endpoint.machine().counters().messages, 2);
}

#[test]
fn bytes_after_a_long_message_do_not_keep_its_buffer() {
    let (half, rest) = cut(MIB);
    let mut fixture = Fixture::new();
    let id = fixture.accept_length();
    let mut input = BytesMut::with_capacity(2 * MIB);
    input.extend_from_slice(&half);
    fixture.endpoint.receive(fixture.now, id, &mut input);
    input.extend_from_slice(&rest);
    input.extend_from_slice(b"\0\0");
    fixture.endpoint.receive(fixture.now, id, &mut input);
    assert_eq!(fixture.endpoint.partial_bytes(), 64);
}
