//! The limit on partial messages, for bodies in parts.

use bytes::Bytes;
use echosphere_core::chat::{ExchangeConfig, Failure, Message, Notice};
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::wire::ErrorCode;
use echosphere_core::{CloseReason, ConnId, Event};

use crate::fixture::{Fixture, frame, heard};
use crate::line::{Line, delivered};

const KIB: usize = 1024;

fn bounded(max_partial_bytes: usize) -> Fixture {
    Fixture::with(ConnectionConfig {
        max_partial_bytes,
        ..ConnectionConfig::default()
    })
}

/// A part of message 1 with this many bytes; more parts follow.
fn part(bytes: usize) -> Vec<u8> {
    frame([&[4, 1], &vec![b'x'; bytes][..]].concat())
}

#[test]
fn parts_count_until_the_last_one() {
    let mut fixture = bounded(64 * KIB);
    let peer = fixture.begin(7);
    fixture.feed(peer, &part(3000));
    assert_eq!(fixture.endpoint.partial_bytes(), 4 * KIB);
    let more = part(3000);
    fixture.feed(peer, &more[..1000]);
    assert_eq!(
        fixture.endpoint.partial_bytes(),
        5 * KIB,
        "half a part counts beside them"
    );
    fixture.feed(peer, &more[1000..]);
    assert_eq!(fixture.endpoint.partial_bytes(), 8 * KIB);
    fixture.feed(peer, &frame(b"\x05\x01end"));
    assert_eq!(fixture.endpoint.partial_bytes(), 0);
    assert_eq!(fixture.endpoint.counters().refused_partial, 0);
}

#[test]
fn a_refused_peer_resumes_its_session() {
    let mut fixture = bounded(4 * KIB);
    let peer = fixture.begin(7);
    fixture.feed(peer, &part(3000));
    fixture.read(peer);
    let told = fixture.exchange(peer, &part(3000));
    assert!(told.ends_with(b"send it again"), "{}", told.escape_ascii());
    assert_eq!(fixture.endpoint.partial_bytes(), 0);
    let lost = Notice::Lost(CloseReason::PartialLimit);
    assert!(fixture.notices().contains(&lost));

    // On another connection, in one part.
    let again = fixture.accept();
    fixture.feed(again, &frame([&[2], &7_u64.to_be_bytes()[..], &[0]].concat()));
    fixture.feed(again, &frame(b"\x05\x01hi"));
    assert!(fixture.notices().contains(&heard(1, b"hi")));
}

#[test]
fn the_room_is_given_back_when_the_connection_ends() {
    let mut fixture = bounded(64 * KIB);
    let ends: [fn(&mut Fixture, ConnId); 3] = [
        |fixture, conn| fixture.fin(conn),
        |fixture, conn| fixture.endpoint.failed(fixture.now, conn),
        // A violation of the protocol.
        |fixture, conn| fixture.feed(conn, &frame(b"\x05\x09x")),
    ];
    for end in ends {
        let peer = fixture.begin(0);
        fixture.feed(peer, &part(3000));
        assert_eq!(fixture.endpoint.partial_bytes(), 4 * KIB);
        end(&mut fixture, peer);
        assert_eq!(fixture.endpoint.partial_bytes(), 0);
    }
}

#[test]
fn busy_after_the_welcome_ends_the_connection_and_not_the_session() {
    let mut line = Line::connected(true, ExchangeConfig::default());
    line.client_says(1, "hi");
    let busy = Message::Error(ErrorCode::Busy, Bytes::new());
    let conn = ConnId { slot: 0, generation: 0 };
    line.to_server.clear();
    line.client(Event::Received(conn, busy));
    line.cut(true, true);
    line.recover();
    assert_eq!(delivered(&line.client_told), [1]);
}

#[test]
fn busy_instead_of_a_welcome_ends_the_session() {
    let mut line = Line::new(true, ExchangeConfig::default());
    line.connect();
    let busy = Message::Error(ErrorCode::Busy, Bytes::new());
    let conn = ConnId { slot: 0, generation: 0 };
    line.client(Event::Received(conn, busy));
    line.cut(true, false);
    let failure = Some(Failure::Rejected(ErrorCode::Busy, Bytes::new()));
    assert_eq!(line.client_told.last(), Some(&Notice::Ended { failure }));
}
