//! Input that is invalid, unusual, or divided in unusual places.

use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::MAX_MESSAGE;

use crate::fixture::{Fixture, frame};

#[test]
fn a_length_over_the_limit_is_refused_before_the_frame_arrives() {
    for length in [MAX_MESSAGE + 9, u32::from_be_bytes([0, 0xff, 0xff, 0xff]), u32::MAX] {
        let mut fixture = Fixture::new();
        let client = fixture.accept_length();
        fixture.feed(client, &length.to_be_bytes());
        assert!(fixture.read(client)[4..].starts_with(b"error frame-too-long "));
        assert!(fixture.read_fin(client));
        assert_eq!(fixture.live(), 0);
        assert_eq!(fixture.endpoint.counters().malformed, 1);
    }
}

#[test]
fn a_line_over_the_limit_is_answered_by_an_error_and_closed() {
    let config = ConnectionConfig::default();
    let too_long = format!("message {}", "x".repeat(11));
    for line in [
        format!("{too_long}\n"),
        format!("{too_long}\r\n"),
        format!("{too_long}x"),
    ] {
        let mut fixture = Fixture::with(config, 10);
        let client = fixture.accept();
        fixture.feed(client, line.as_bytes());
        assert!(
            fixture.read_text(client).starts_with("error line-too-long "),
            "{line:?}"
        );
        assert!(fixture.read_fin(client));
        assert_eq!(fixture.endpoint.counters().malformed, 1);
    }
}

/// The first bytes alone: a client of TLS waits for an answer, and sends no line end.
#[test]
fn a_tls_handshake_is_answered_by_an_error_and_closed() {
    let mut fixture = Fixture::new();
    let client = fixture.accept();
    fixture.feed(client, b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03");
    let text = "error tls-unsupported this port does not speak TLS; connect without --tls\n";
    assert_eq!(fixture.read_text(client), text);
    assert!(fixture.read_fin(client));
    assert_eq!(fixture.endpoint.counters().malformed, 1);
}

#[test]
fn bytes_like_a_tls_handshake_are_data_later() {
    let mut fixture = Fixture::new();
    for start in [&b"message x"[..], b"\n"] {
        let client = fixture.accept();
        fixture.feed(client, start);
        fixture.feed(client, b"\x16\x03\n");
        assert!(!fixture.read_text(client).contains("tls"));
        assert!(!fixture.read_fin(client));
    }
}

#[test]
fn an_x_as_long_as_the_limit_is_taken_in_both_framings() {
    let x = "x".repeat(10);
    let by_length = frame(format!("message {x}"));
    let by_lines = format!("message {x}\n").into_bytes();
    for message in [by_length, by_lines] {
        let mut fixture = Fixture::with(ConnectionConfig::default(), 10);
        let client = fixture.accept();
        fixture.feed(client, &message);
        assert_eq!(fixture.read(client), message);
    }
    let mut fixture = Fixture::with(ConnectionConfig::default(), 10);
    let client = fixture.accept();
    fixture.feed(client, format!("message {x}\r").as_bytes());
    fixture.feed(client, b"\n");
    assert_eq!(fixture.read_text(client), format!("message {x}\n"));
}

#[test]
fn a_megabyte_arrives_whole_in_small_pieces() {
    let mut fixture = Fixture::new();
    let client = fixture.accept();
    let x: Vec<u8> = (0..MAX_MESSAGE).map(|n| (n % 251) as u8).collect();
    let message = frame([b"message ", &x[..]].concat());
    for piece in message.chunks(10_007) {
        fixture.feed(client, piece);
    }
    assert!(fixture.read(client) == message, "not what was sent");
}

#[test]
fn an_invalid_request_gets_an_error_and_the_connection_stays() {
    for mistake in [
        "messagehello",
        "message",
        "ok",
        "hello",
        " message x",
        "Message x",
        "error",
    ] {
        let mut fixture = Fixture::new();
        let (person, program) = (fixture.accept_lines(), fixture.accept_length());
        fixture.feed(person, format!("{mistake}\n").as_bytes());
        fixture.feed(program, &frame(mistake));
        assert!(fixture.read_text(person).starts_with("error unknown-request "));
        assert!(fixture.read(program)[4..].starts_with(b"error unknown-request "));
        assert_eq!(fixture.live(), 2);
        assert_eq!(fixture.endpoint.counters().invalid, 2);
    }
}

#[test]
fn any_first_byte_but_zero_means_lines() {
    for first in (1..=255).filter(|&first| first != b'\n') {
        let mut fixture = Fixture::new();
        let client = fixture.accept();
        fixture.feed(client, &[first, b'?', b'\n']);
        let told = fixture.read_text(client);
        assert!(
            told.starts_with("error unknown-request ") && told.ends_with('\n'),
            "{first}: {told}"
        );
    }
}

#[test]
fn an_ok_for_what_was_never_forwarded_is_answered_by_an_error() {
    let mut fixture = Fixture::new();
    let person = fixture.accept_lines();
    fixture.feed(person, b"ok never\n");
    assert!(fixture.read_text(person).starts_with("error not-held "));
    fixture.feed(person, b"message x\n");
    assert_eq!(fixture.read_text(person), "message x\n");
}

#[test]
fn errors_from_a_peer_are_not_answered() {
    let mut fixture = Fixture::new();
    let client = fixture.accept();
    fixture.feed(client, b"error unknown-request you make no sense\nerror \nerror what\n");
    assert_eq!(fixture.read(client), b"");
    assert_eq!(fixture.endpoint.machine().counters().errors_received, 3);
}

#[test]
fn x_need_not_be_text() {
    let x = [0xff, 0xfe, 0xc3, 0x28, 0x80, b' ', 0];
    let payload = [b"message ", &x[..]].concat();
    let by_lines = [&payload[..], b"\n"].concat();
    for message in [frame(&payload), by_lines] {
        let mut fixture = Fixture::new();
        let client = fixture.accept();
        fixture.feed(client, &message);
        assert_eq!(fixture.read(client), message);
    }
}

#[test]
fn all_that_follows_the_one_space_is_x() {
    let mut fixture = Fixture::new();
    let person = fixture.accept();
    fixture.feed(person, b"message  two  spaces \nmessage \n");
    assert_eq!(fixture.read_text(person), "message  two  spaces \nmessage \n");
    fixture.feed(person, b"ok \nok  two  spaces \n");
    assert_eq!(fixture.read_text(person), "ok \nok  two  spaces \n");
}

#[test]
fn a_cr_inside_a_line_belongs_to_x() {
    let mut fixture = Fixture::new();
    let person = fixture.accept();
    fixture.feed(person, b"message \ra\rb\r\n");
    assert_eq!(fixture.read_text(person), "message \ra\rb\n");
}

#[test]
fn a_line_that_ends_in_two_crs_is_refused_and_the_connection_stays() {
    let mut fixture = Fixture::new();
    let (person, _) = (fixture.accept(), fixture.accept_length());
    fixture.feed(person, b"message a\r\r\n");
    assert!(fixture.read_text(person).starts_with("error unknown-request "));
    assert_eq!(fixture.live(), 2);
}

#[test]
fn each_connection_is_answered_in_its_own_framing() {
    let mut fixture = Fixture::new();
    let (program, person) = (fixture.accept_length(), fixture.accept_lines());
    for _ in 0..20 {
        fixture.feed(program, &frame("message x"));
    }
    let (to_program, to_person) = (fixture.read(program), fixture.read_text(person));
    assert_eq!(to_program, frame("message x").repeat(to_program.len() / 13));
    assert_eq!(to_person, "message x\n".repeat(to_person.len() / 10));
    assert_eq!(to_program.len() / 13 + to_person.len() / 10, 20);
    fixture.feed(person, b"ok x\n");
    assert_eq!(fixture.read(program), frame("ok x").repeat(20));
}

#[test]
fn ten_thousand_frames_may_arrive_in_one_piece() {
    let mut fixture = Fixture::new();
    let client = fixture.accept();
    let messages: Vec<u8> = (0..10_000).flat_map(|n| frame(format!("message {n}"))).collect();
    fixture.feed(client, &messages);
    assert!(fixture.read(client) == messages, "not what was sent");
    let oks: Vec<u8> = (0..10_000).flat_map(|n| frame(format!("ok {n}"))).collect();
    fixture.feed(client, &oks);
    assert!(fixture.read(client) == oks, "not what was answered");
    assert_eq!(fixture.endpoint.counters().messages_in, 20_000);
}

#[test]
fn bytes_may_arrive_one_at_a_time() {
    for conversation in [
        [frame("message x"), frame(""), frame("ok x")].concat(),
        b"message x\r\n\r\n\nok x\r\n".to_vec(),
    ] {
        let mut fixture = Fixture::new();
        let client = fixture.accept();
        let mut heard = Vec::new();
        for byte in &conversation {
            fixture.feed(client, &[*byte]);
            heard.extend(fixture.read(client));
        }
        let expected = if conversation[0] == 0 {
            [frame("message x"), frame("ok x")].concat()
        } else {
            b"message x\nok x\n".to_vec()
        };
        assert_eq!(heard, expected);
        assert_eq!(fixture.endpoint.counters().bytes_in, conversation.len() as u64);
        assert_eq!(fixture.endpoint.counters().bytes_out, expected.len() as u64);
    }
}

#[test]
fn one_peers_bad_input_does_not_disturb_another() {
    let mut fixture = Fixture::new();
    let good = fixture.accept_length();
    fixture.feed(good, &frame("message x"));
    let inputs: [&[u8]; 4] = [b"\x01\x02\xff\n", b"\0\xff\xff\xff", b"\0\0\0\x03abc", b"ok x\n"];
    for input in inputs {
        let bad = fixture.accept();
        fixture.feed(bad, input);
        fixture.fail(bad);
    }
    fixture.feed(good, &frame("ok x"));
    assert_eq!(fixture.read(good), [frame("message x"), frame("ok x")].concat());
    assert_eq!(fixture.live(), 1);
}
