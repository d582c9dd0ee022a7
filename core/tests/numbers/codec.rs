use bytes::BytesMut;
use echosphere_core::numbers::{Message, NumbersCodec, Uuid, parse_request, write_request};
use echosphere_core::wire::{Codec, Decoded, ErrorCode, Outbox};

use crate::fixture::{Fixture, UUID};

fn parsed(text: &str) -> Result<Message, ErrorCode> {
    parse_request(text.as_bytes()).map_err(|error| error.code)
}

#[test]
fn requests_are_read_as_the_first_clients_write_them() {
    let uuid = Uuid::try_parse(UUID).unwrap();
    let start = Message::StartSession { uuid, n: 65_535 };
    let go_on = |count| Message::ContinueSession { uuid, last: 7, count };
    for (text, message) in [
        ("START".to_owned(), Message::Start),
        (" START ".to_owned(), Message::Start),
        ("CONTINUE 18446744073709551615".to_owned(), Message::Continue(u64::MAX)),
        ("END".to_owned(), Message::End),
        (format!("START {UUID} 65535"), start.clone()),
        (format!("START \"{UUID}\" 65535"), start),
        (format!("CONTINUE {UUID} 7"), go_on(None)),
        (format!("CONTINUE \"{UUID}\" 7 3"), go_on(Some(3))),
    ] {
        assert_eq!(parsed(&text), Ok(message), "{text}");
    }
}

#[test]
fn each_mistake_has_its_error() {
    for (text, code) in [
        ("start".to_owned(), ErrorCode::UnknownRequest),
        ("START now".to_owned(), ErrorCode::UnknownRequest),
        (format!("START {UUID} 5 6"), ErrorCode::UnknownRequest),
        ("START x 5".to_owned(), ErrorCode::InvalidUuid),
        (format!("START \"{UUID} 5"), ErrorCode::InvalidUuid),
        (format!("START {UUID} 0"), ErrorCode::InvalidCount),
        (format!("START {UUID} 65536"), ErrorCode::InvalidCount),
        (format!("START {UUID} -1"), ErrorCode::InvalidCount),
        ("CONTINUE".to_owned(), ErrorCode::UnknownRequest),
        ("CONTINUE 0".to_owned(), ErrorCode::BadNumber),
        ("CONTINUE 18446744073709551616".to_owned(), ErrorCode::BadNumber),
        ("CONTINUE x 5".to_owned(), ErrorCode::InvalidUuid),
        (format!("CONTINUE {UUID} x"), ErrorCode::BadNumber),
        (format!("CONTINUE {UUID} 5 65536"), ErrorCode::BadNumber),
        (format!("CONTINUE {UUID} 5 6 7"), ErrorCode::UnknownRequest),
        ("END it".to_owned(), ErrorCode::UnknownRequest),
        ("42".to_owned(), ErrorCode::UnknownRequest),
        ("\u{fffd}".to_owned(), ErrorCode::UnknownRequest),
    ] {
        assert_eq!(parsed(&text), Err(code), "{text}");
    }
    assert!(parse_request(b"START \xFF").is_err());
}

#[test]
fn errors_contain_the_words_of_the_seed_project() {
    let mut fixture = Fixture::new();
    let (conn, said) = fixture.open("START x 5\n");
    assert!(said.starts_with("error invalid-uuid invalid uuid"), "{said}");
    let said = fixture.say(conn, &format!("START {UUID} 0\n"));
    assert!(said.starts_with("error invalid-n invalid n value"), "{said}");
    let said = fixture.say(conn, "CONTINUE 3\n");
    assert_eq!(said, "9\n", "the connection is still good");
}

#[test]
fn frames_carry_the_same_text() {
    let mut fixture = Fixture::new();
    let (_, said) = fixture.open("\0\0\0\0\0\0\0\x0aCONTINUE 5");
    assert_eq!(said, "\0\0\0\x0215");
}

#[test]
fn a_line_without_end_is_refused() {
    let mut fixture = Fixture::new();
    let (conn, said) = fixture.open(&"x".repeat(600));
    assert!(said.starts_with("error line-too-long "), "{said}");
    assert!(fixture.is_closed(conn));
}

#[test]
fn requests_are_written_as_they_are_read() {
    let uuid = Uuid::try_parse(UUID).unwrap();
    let go_on = |count| Message::ContinueSession { uuid, last: 7, count };
    for request in [
        Message::Start,
        Message::Continue(3),
        Message::StartSession { uuid, n: 5 },
        go_on(None),
        go_on(Some(3)),
        Message::End,
    ] {
        assert_eq!(parsed(&write_request(&request)), Ok(request));
    }
}

#[test]
fn replies_are_read() {
    let error = Message::Error(ErrorCode::Full, "try later".into());
    for (line, reply) in [("18\n", Message::Number(18)), ("error full try later\n", error)] {
        let read = NumbersCodec::dialled().decode(&mut BytesMut::from(line));
        assert_eq!(read, Ok(Some(Decoded::Message(reply))));
    }
    assert!(NumbersCodec::dialled().decode(&mut BytesMut::from("START\n")).is_err());
}

#[test]
fn a_keepalive_is_an_empty_frame() {
    let mut outbox = Outbox::new();
    NumbersCodec::dialled().encode_keepalive(&mut outbox);
    assert_eq!(outbox.chunks().collect::<Vec<_>>().concat(), [0; 4]);
}
