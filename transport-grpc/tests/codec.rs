//! gRPC's messages of numbers, byte for byte.

#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use echosphere_core::numbers::{Message, Uuid};
use echosphere_core::wire::{Codec, Decoded, ErrorCode, Outbox};
use echosphere_transport_grpc::numbers::NumbersGrpcCodec;
use proptest::prelude::*;

fn encoded(mut codec: NumbersGrpcCodec, message: &Message) -> Vec<u8> {
    let mut outbox = Outbox::new();
    codec.encode(message, &mut outbox);
    outbox.chunks().collect::<Vec<_>>().concat()
}

/// Field numbers and types are those of the first server's: an old client reads them.
#[test]
fn the_bytes_are_those_that_the_first_clients_know() {
    let client = NumbersGrpcCodec::dialled;
    let server = NumbersGrpcCodec::accepted;
    assert_eq!(encoded(client(), &Message::Start), b"\0\0\0\0\x07\x0a\x05START");
    assert_eq!(
        encoded(client(), &Message::Continue(42)),
        b"\0\0\0\0\x0d\x0a\x0bCONTINUE 42"
    );
    assert_eq!(
        encoded(server(), &Message::Number(300)),
        b"\0\0\0\0\x05\x0a\x03\x08\xac\x02"
    );
    assert_eq!(encoded(server(), &Message::Number(0)), b"\0\0\0\0\x02\x0a\0");
    let error = Message::Error(ErrorCode::BadNumber, Bytes::from_static(b"why"));
    assert_eq!(
        encoded(server(), &error),
        b"\0\0\0\0\x13\x12\x11\x0a\x03why\x12\x0abad-number"
    );
}

#[test]
fn messages_are_no_text_and_need_no_keepalives() {
    for codec in [NumbersGrpcCodec::accepted(), NumbersGrpcCodec::dialled()] {
        assert_eq!((codec.is_text(), codec.is_kept_alive()), (false, true));
    }
}

#[test]
fn an_error_of_a_server_that_knows_no_codes_is_read() {
    let mut input = BytesMut::from(&b"\0\0\0\0\x07\x12\x05\x0a\x03why"[..]);
    let message = NumbersGrpcCodec::dialled().decode(&mut input).unwrap();
    let expected = Message::Error(ErrorCode::Unknown, Bytes::from_static(b"why"));
    assert_eq!(message, Some(Decoded::Message(expected)));
}

#[test]
fn what_is_no_request_is_answered_and_the_call_goes_on() {
    for bytes in [&b"\0\0\0\0\0"[..], b"\0\0\0\0\x01\xFF", b"\0\0\0\0\x03\x0a\x01x"] {
        let mut input = BytesMut::from(bytes);
        let decoded = NumbersGrpcCodec::accepted().decode(&mut input).unwrap();
        assert!(
            matches!(&decoded, Some(Decoded::Invalid(error)) if error.code == ErrorCode::UnknownRequest),
            "{decoded:?}"
        );
        assert!(input.is_empty());
    }
}

#[test]
fn a_reply_that_says_nothing_ends_the_call() {
    let mut input = BytesMut::from(&b"\0\0\0\0\0"[..]);
    assert!(NumbersGrpcCodec::dialled().decode(&mut input).is_err());
}

fn any_request() -> impl Strategy<Value = Message> {
    let uuid = any::<u128>().prop_map(Uuid::from_u128);
    prop_oneof![
        Just(Message::Start),
        Just(Message::End),
        (1..=u64::MAX).prop_map(Message::Continue),
        (uuid.clone(), 1..=u16::MAX).prop_map(|(uuid, n)| Message::StartSession { uuid, n }),
        (uuid, any::<u64>(), any::<Option<u16>>()).prop_map(|(uuid, last, count)| Message::ContinueSession {
            uuid,
            last,
            count
        }),
    ]
}

fn any_reply() -> impl Strategy<Value = Message> {
    prop_oneof![
        any::<u64>().prop_map(Message::Number),
        any::<String>().prop_map(|text| Message::Error(ErrorCode::UuidTaken, text.into())),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read_however_it_is_cut(
        requests in prop::collection::vec(any_request(), 0..8),
        replies in prop::collection::vec(any_reply(), 0..8),
        step in 1_usize..40,
    ) {
        for (messages, from, to) in [
            (requests, NumbersGrpcCodec::dialled(), NumbersGrpcCodec::accepted()),
            (replies, NumbersGrpcCodec::accepted(), NumbersGrpcCodec::dialled()),
        ] {
            let bytes: Vec<u8> = messages.iter().flat_map(|message| encoded(from.clone(), message)).collect();
            let (mut to, mut input, mut read) = (to, BytesMut::new(), Vec::new());
            for piece in bytes.chunks(step) {
                input.extend_from_slice(piece);
                while let Some(decoded) = to.decode(&mut input).unwrap() {
                    read.push(decoded);
                }
            }
            prop_assert_eq!(read, messages.into_iter().map(Decoded::Message).collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200), accepted: bool) {
        let mut codec = if accepted { NumbersGrpcCodec::accepted() } else { NumbersGrpcCodec::dialled() };
        let mut input = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = codec.decode(&mut input) {}
    }
}
