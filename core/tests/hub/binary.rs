//! The hub's length framing, byte for byte.

use echosphere_core::ConnId;

use crate::fixture::{Fixture, delivery, frame, relay};

fn two() -> (Fixture, [ConnId; 2]) {
    let mut fixture = Fixture::new();
    let conns = [fixture.user(), fixture.user()];
    (fixture, conns)
}

#[test]
fn every_request_and_its_answer() {
    let (mut fixture, [one, two]) = two();
    assert_eq!(fixture.ask(one, &[1]), frame([0x81, 0, 0, 0, 0, 0, 0, 0, 1]));
    assert_eq!(fixture.ask(one, &[2]), frame([0x82, 0, 0, 0, 0, 0, 0, 0, 2]));
    assert_eq!(fixture.ask(one, b"\x03any\0bytes\n"), frame(b"\x83any\0bytes\n"));
    assert_eq!(
        fixture.ask(one, &relay(&[2, 7], b"hi")),
        frame([0x84, 1, 1, 0, 0, 0, 0, 0, 0, 0, 7])
    );
    assert_eq!(fixture.read(two), frame(delivery(1, b"hi")));
}

#[test]
fn requests_in_one_piece_are_answered_in_order() {
    let (mut fixture, [one, _]) = two();
    fixture.feed(one, &[frame([1]), frame(b"\x03x"), frame([2])].concat());
    let expected = [
        frame([0x81, 0, 0, 0, 0, 0, 0, 0, 1]),
        frame(b"\x83x"),
        frame([0x82, 0, 0, 0, 0, 0, 0, 0, 2]),
    ];
    assert_eq!(fixture.read(one), expected.concat());
}

#[test]
fn an_invalid_request_is_answered_by_an_error_and_the_connection_stays() {
    let (mut fixture, [one, two]) = two();
    let too_long = vec![b'x'; 1024 * 1024 + 1];
    let echo = [&[3], &too_long[..]].concat();
    for (payload, code) in [
        (&[0][..], "unknown-request"),
        (&[5], "unknown-request"),
        (&[0x81, 0, 0, 0, 0, 0, 0, 0, 1], "unknown-request"),
        (&[1, 1], "unknown-request"),
        (&[2, 1], "unknown-request"),
        (&[4], "unknown-request"),
        (&[4, 0, b'x'], "no-receivers"),
        (&[4, 2, 0, 0, 0, 0, 0, 0, 0, 1], "unknown-request"),
        (&relay(&[2], &too_long), "body-too-long"),
        (&echo, "body-too-long"),
    ] {
        let told = fixture.ask(one, payload);
        let expected = [&[0xff], code.as_bytes(), b" "].concat();
        let shown = &payload[..payload.len().min(16)];
        assert!(told[4..].starts_with(&expected), "{shown:?}: {:?}", told.escape_ascii());
        assert_eq!(fixture.ask(one, &[1])[4], 0x81, "after {shown:?}");
    }
    assert_eq!(fixture.read(two), b"");
}

#[test]
fn a_relay_cut_by_a_close_is_not_delivered() {
    let (mut fixture, [one, two]) = two();
    let whole = frame(relay(&[2], b"body"));
    for cut in 1..whole.len() {
        let user = fixture.user();
        fixture.feed(user, &whole[..cut]);
        fixture.fin(user);
        assert!(fixture.read(user)[4..].starts_with(b"\xfftruncated "), "cut at {cut}");
        assert_eq!(fixture.read(two), b"", "cut at {cut}");
    }
    assert_eq!(fixture.ask(one, &[2]), frame([0x82, 0, 0, 0, 0, 0, 0, 0, 2]));
}

#[test]
fn a_frame_longer_than_any_request_is_answered_by_an_error_and_closed() {
    let (mut fixture, [one, _]) = two();
    fixture.feed(one, &(2 + 255 * 8 + 1024 * 1024 + 1_u32).to_be_bytes());
    assert!(fixture.read(one)[4..].starts_with(b"\xffframe-too-long "));
    assert_eq!(fixture.endpoint.machine().user_count(), 1);
}

#[test]
fn the_longest_relay_to_the_most_receivers_is_taken() {
    let mut fixture = Fixture::new();
    let users: Vec<ConnId> = (0..256).map(|_| fixture.user()).collect();
    let body = vec![7; 1024 * 1024];
    let to: Vec<u64> = (2..=256).collect();
    assert_eq!(fixture.ask(users[0], &relay(&to, &body)), frame([0x84, 255]));
    for user in &users[1..] {
        let outbox = fixture.endpoint.outbox(*user).unwrap();
        assert_eq!(outbox.len(), 4 + 9 + body.len());
        // All receivers share the memory of the body.
        let last = |conn: &ConnId| {
            fixture
                .endpoint
                .outbox(*conn)
                .unwrap()
                .chunks()
                .last()
                .unwrap()
                .as_ptr()
        };
        assert_eq!(last(user), last(&users[1]));
    }
}

#[test]
fn the_longest_echo_and_the_shortest_relay_are_taken() {
    let (mut fixture, [one, two]) = two();
    let longest = [&[3], &vec![b'x'; 1024 * 1024][..]].concat();
    assert_eq!(fixture.ask(one, &longest).len(), 4 + longest.len());
    assert_eq!(fixture.ask(one, &relay(&[2], b"")), frame([0x84, 1]));
    assert_eq!(fixture.read(two), frame(delivery(1, b"")));
}

#[test]
fn the_example_of_the_protocols_description() {
    let (mut fixture, [one, two]) = two();
    let identity = [0, 0, 0, 1, 1];
    fixture.feed(one, &identity);
    assert_eq!(fixture.read(one), [0, 0, 0, 9, 0x81, 0, 0, 0, 0, 0, 0, 0, 1]);
    let relay = b"\x00\x00\x00\x14\x04\x02\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x09hi";
    fixture.feed(one, relay);
    assert_eq!(fixture.read(one), b"\0\0\0\x0b\x84\x01\x01\0\0\0\0\0\0\0\x09");
    assert_eq!(fixture.read(two), b"\0\0\0\x0b\x85\0\0\0\0\0\0\0\x01hi");
}
