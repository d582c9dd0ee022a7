//! The chat's length framing, byte for byte, and its server.

use std::time::Duration;

use echosphere_core::chat::{Failure, Notice, SendError, ServerConfig};
use echosphere_core::wire::ErrorCode;
use echosphere_core::{CloseReason, Time};

use crate::fixture::{Fixture, frame, heard};

#[test]
fn a_conversation_byte_for_byte() {
    let mut fixture = Fixture::new();
    let peer = fixture.accept();
    assert_eq!(
        fixture.exchange(peer, b"\0\0\0\x09\x01\0\0\0\0\0\0\0\x07"),
        b"\0\0\0\x02\x03\0"
    );
    assert_eq!(
        fixture.exchange(peer, b"\0\0\0\x04\x05\x01hi"),
        b"\0\0\0\x02\x07\x01",
        "hi is acknowledged"
    );
    fixture.now = Time::from_nanos(1_000);
    fixture.say(40, b"yo");
    assert_eq!(fixture.read(peer), b"\0\0\0\x04\x05\x01yo");
    fixture.now = Time::from_nanos(251_000);
    assert_eq!(fixture.exchange(peer, b"\0\0\0\x02\x07\x01"), b"");
    fixture.feed(peer, b"\0\0\0\x01\x08");
    let round_trip = Some(Duration::from_micros(250));
    assert_eq!(
        fixture.notices(),
        [
            Notice::Connected { resumed: false },
            heard(1, b"hi"),
            Notice::Acknowledged {
                key: 40,
                id: 1,
                round_trip
            },
            Notice::Ended { failure: None },
        ]
    );
    fixture.fin(peer);
    fixture.endpoint.shut_down(fixture.now, peer);
    assert!(fixture.endpoint.is_zero());
}

#[test]
fn a_body_in_parts_is_received_once_it_is_complete() {
    let mut fixture = Fixture::new();
    let peer = fixture.begin(0);
    fixture.read(peer);
    fixture.notices();
    assert_eq!(fixture.exchange(peer, &frame(b"\x04\x01one ")), frame(b"\x06\x01"));
    assert_eq!(fixture.exchange(peer, &frame(b"\x04\x01two ")), frame(b"\x06\x01"));
    assert_eq!(fixture.notices(), []);
    assert_eq!(fixture.exchange(peer, &frame(b"\x05\x01three")), frame(b"\x07\x01"));
    assert_eq!(fixture.notices(), [heard(1, b"one two three")]);
}

#[test]
fn ids_grow_by_seven_bits_a_byte() {
    let mut fixture = Fixture::new();
    let peer = fixture.begin(0);
    fixture.read(peer);
    for id in 1_u8..=127 {
        assert_eq!(fixture.exchange(peer, &frame([5, id])), frame([7, id]));
    }
    assert_eq!(fixture.exchange(peer, &frame([5, 0x80, 1])), frame([7, 0x80, 1]));
    assert_eq!(fixture.exchange(peer, &frame([5, 0x81, 1])), frame([7, 0x81, 1]));
}

#[test]
fn one_peer_at_a_time() {
    let mut fixture = Fixture::new();
    let first = fixture.begin(1);
    fixture.read(first);
    let second = fixture.begin(2);
    assert!(fixture.read(second)[4..].starts_with(b"\xffbusy "));
    fixture.fin(second);
    let typist = fixture.accept();
    assert!(fixture.exchange(typist, b"hello\n").starts_with(b"error busy "));
    assert_eq!(
        fixture.notices(),
        [
            Notice::Connected { resumed: false },
            Notice::PeerRefused,
            Notice::PeerRefused
        ]
    );
    assert_eq!(fixture.endpoint.machine().counters().peers_refused, 2);
    // The first session continues. When it has ended, the next may begin.
    assert_eq!(fixture.exchange(first, &frame(b"\x05\x01x")), frame(b"\x07\x01"));
    fixture.feed(first, &frame([8]));
    let third = fixture.begin(3);
    assert_eq!(fixture.read(third), frame([3, 0]));
}

#[test]
fn a_connection_that_begins_no_session_is_closed() {
    let mut fixture = Fixture::new();
    let mute = fixture.accept();
    fixture.feed(mute, &[0; 4]);
    fixture.expire();
    assert_eq!(fixture.now, Time::ZERO + ServerConfig::default().begin_timeout);
    assert!(fixture.read(mute)[4..].starts_with(b"\xffhandshake-timeout "));
}

#[test]
fn nonsense_ends_the_session() {
    for (payload, code) in [
        (&b"\x05\x02x"[..], "unknown-request"), // a gap in the ids
        (b"\x05\x00x", "unknown-request"),
        (b"\x07\x01", "not-held"),
        (b"\x06\x01", "not-held"),
        (b"\x01\0\0\0\0\0\0\0\0", "unknown-request"), // begins again
        (b"\x03\0", "unknown-request"),
        (b"\x09", "unknown-request"),
        (b"\x08x", "unknown-request"),
        (b"\x05", "unknown-request"),
        (b"\x07\x80", "unknown-request"),
        (b"\x05\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "unknown-request"),
    ] {
        let mut fixture = Fixture::new();
        let peer = fixture.begin(0);
        fixture.read(peer);
        let told = fixture.exchange(peer, &frame(payload));
        let expected = [&[0xff], code.as_bytes(), b" "].concat();
        assert!(told[4..].starts_with(&expected), "{payload:?}: {}", told.escape_ascii());
        assert!(matches!(
            fixture.notices().last(),
            Some(Notice::Ended { failure: Some(_) })
        ));
        assert_eq!(fixture.endpoint.machine().peer(), None);
    }
}

#[test]
fn a_body_over_the_limit_is_not_received() {
    let mut fixture = Fixture::new();
    let peer = fixture.begin(0);
    fixture.read(peer);
    let half = [&[4, 1], &vec![0; 512 * 1024][..]].concat();
    fixture.feed(peer, &frame(&half));
    fixture.feed(peer, &frame(&half));
    fixture.read(peer);
    let told = fixture.exchange(peer, &frame(b"\x05\x01x"));
    assert!(told[4..].starts_with(b"\xffbody-too-long "), "{}", told.escape_ascii());
    let ended = Notice::Ended {
        failure: Some(Failure::ProtocolViolation),
    };
    assert_eq!(fixture.notices(), [Notice::Connected { resumed: false }, ended]);
}

#[test]
fn without_a_session_sending_is_refused() {
    let mut fixture = Fixture::new();
    fixture.say(1, b"hello?");
    let why = SendError::NoPeer;
    assert_eq!(fixture.notices(), [Notice::Refused { key: 1, why }]);
}

#[test]
fn an_end_of_stream_without_bye_is_a_loss() {
    for (number, kept) in [(0, false), (7, true)] {
        let mut fixture = Fixture::new();
        let peer = fixture.begin(number);
        fixture.exchange(peer, &frame(b"\x05\x01the first half"));
        fixture.notices();
        fixture.fin(peer);
        let lost = if kept {
            Notice::Lost(CloseReason::PeerClosed)
        } else {
            let failure = Some(Failure::Closed(CloseReason::PeerClosed));
            Notice::Ended { failure }
        };
        assert_eq!(fixture.notices(), [lost]);
    }
}

#[test]
fn a_session_that_cannot_be_resumed_ends_with_its_connection() {
    let mut fixture = Fixture::new();
    let peer = fixture.begin(0);
    fixture.say(5, b"are you there?");
    fixture.notices();
    fixture.endpoint.failed(fixture.now, peer);
    let failure = Some(Failure::Closed(CloseReason::Reset));
    assert_eq!(
        fixture.notices(),
        [Notice::Unacknowledged { key: 5, sent: true }, Notice::Ended { failure }]
    );
    assert!(fixture.endpoint.is_zero());
}

#[test]
fn a_draining_server_waits_for_its_acknowledgements() {
    let mut fixture = Fixture::new();
    let peer = fixture.begin(0);
    fixture.say(1, b"last words");
    fixture.read(peer);
    fixture.endpoint.drain(fixture.now);
    assert_eq!(fixture.read(peer), b"");
    let farewell = fixture.exchange(peer, &frame(b"\x07\x01"));
    assert!(farewell[4..].starts_with(b"\xffshutting-down "));
    assert_eq!(fixture.endpoint.machine().peer(), None);
}

#[test]
fn a_draining_server_sends_no_new_messages() {
    let mut fixture = Fixture::new();
    let peer = fixture.begin(0);
    fixture.say(1, b"last words");
    fixture.endpoint.drain(fixture.now);
    fixture.say(2, b"one more thing");
    let why = SendError::Leaving;
    assert_eq!(fixture.notices().last(), Some(&Notice::Refused { key: 2, why }));
    fixture.fin(peer);
}

#[test]
fn a_message_cut_by_the_end_of_its_stream_is_not_received() {
    let mut fixture = Fixture::new();
    let peer = fixture.begin(0);
    fixture.read(peer);
    fixture.feed(peer, &frame(b"\x05\x01hi")[..6]);
    fixture.fin(peer);
    assert!(fixture.read(peer)[4..].starts_with(b"\xfftruncated "));
    let failure = Some(Failure::Closed(CloseReason::Malformed(ErrorCode::Truncated)));
    let notices = fixture.notices();
    assert_eq!(
        notices,
        [Notice::Connected { resumed: false }, Notice::Ended { failure }]
    );
}
