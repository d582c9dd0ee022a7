//! The user's side in length framing: what it sends and decodes.

use bytes::{Bytes, BytesMut};
use echosphere_core::hub::{HubCodec, Message, Reply, Request, Unsent, UserIds};
use echosphere_core::wire::{Codec, Decoded, ErrorCode, Outbox, WireError};

use crate::fixture::{delivery, frame, relay};

fn said(message: Request) -> Vec<u8> {
    let mut outbox = Outbox::new();
    HubCodec::dialled().encode(&Message::Request(message), &mut outbox);
    outbox.chunks().collect::<Vec<_>>().concat()
}

fn read(bytes: &[u8]) -> Result<Option<Decoded<Message>>, WireError> {
    HubCodec::dialled().decode(&mut BytesMut::from(bytes))
}

fn ids<const N: usize>(ids: [u64; N]) -> UserIds {
    ids.into_iter().collect()
}

#[test]
fn every_request_is_encoded_as_the_hub_decodes_it() {
    let body = Bytes::from_static(b"any\0bytes\n");
    let to = ids([2, 300]);
    assert_eq!(said(Request::Identity), frame([1]));
    assert_eq!(said(Request::List), frame([2]));
    assert_eq!(said(Request::Echo(body.clone())), frame(b"\x03any\0bytes\n"));
    assert_eq!(
        said(Request::Relay { to, body }),
        frame(relay(&[2, 300], b"any\0bytes\n"))
    );
}

#[test]
fn every_reply_is_read() {
    let body = Bytes::from_static(b"hi");
    for (payload, reply) in [
        (&[0x81, 0, 0, 0, 0, 0, 0, 1, 2][..], Reply::Identity(258)),
        (&[0x82], Reply::List(ids([]))),
        (&[0x82, 0, 0, 0, 0, 0, 0, 0, 7], Reply::List(ids([7]))),
        (b"\x83hi", Reply::Echo(body.clone())),
        (
            b"\x84\x03\x01\0\0\0\0\0\0\0\x07\x02\0\0\0\0\0\0\0\x08",
            Reply::Relayed {
                sent: 3,
                unsent: vec![(7, Unsent::Unknown), (8, Unsent::TooSlow)],
            },
        ),
        (&delivery(5, b"hi"), Reply::Delivery { from: 5, body }),
        (b"\xfffull try later", Reply::Error(ErrorCode::Full, "try later".into())),
    ] {
        let message = Decoded::Message(Message::Reply(reply));
        assert_eq!(read(&frame(payload)), Ok(Some(message)));
    }
}

#[test]
fn an_invalid_reply_ends_the_stream() {
    for payload in [
        &b"\x01\0\0\0\0\0\0\0\x01"[..],
        b"\x81\0",
        b"\x82\0",
        b"\x84",
        b"\x84\x01\x01",
        b"\x85\0",
        b"\x86",
        b"\xfe",
    ] {
        let error = read(&frame(payload)).unwrap_err();
        assert_eq!(error.code, ErrorCode::UnknownRequest, "{}", payload.escape_ascii());
    }
}

#[test]
fn a_final_error_may_arrive_in_a_line() {
    let reply = Reply::Error(ErrorCode::Full, "try later".into());
    let farewell = read(b"error full try later\n");
    assert_eq!(farewell, Ok(Some(Decoded::Message(Message::Reply(reply)))));
    assert!(read(b"identity 1\n").is_err());
}

#[test]
fn a_keepalive_is_an_empty_frame() {
    let mut outbox = Outbox::new();
    HubCodec::dialled().encode_keepalive(&mut outbox);
    assert_eq!(outbox.chunks().collect::<Vec<_>>().concat(), [0; 4]);
}

#[test]
fn the_hub_answers_in_the_framing_of_the_peer() {
    let mut hub = HubCodec::accepted();
    assert!(!hub.is_text(), "it is not known yet");
    hub.decode(&mut BytesMut::from("list\n")).unwrap();
    assert!(hub.is_text());
    let mut hub = HubCodec::accepted();
    hub.decode(&mut BytesMut::from(&[0; 4][..])).unwrap();
    assert!(!hub.is_text());
    assert!(!HubCodec::dialled().is_text());
}

#[test]
fn ids_are_read_and_written_with_commas() {
    let read: UserIds = "2, 3,18446744073709551615".parse().unwrap();
    assert_eq!(read, ids([2, 3, u64::MAX]));
    assert_eq!(read.len(), 3);
    assert_eq!(read.to_string(), "2,3,18446744073709551615");
    assert_eq!(format!("{read:?}"), "[2,3,18446744073709551615]");
    let most = (1..=255).map(|id| id.to_string()).collect::<Vec<_>>().join(",");
    assert_eq!(most.parse::<UserIds>().unwrap().len(), 255);
    assert_eq!("2,3 x".parse::<UserIds>().unwrap_err().code, ErrorCode::BadReceiver);
    assert_eq!("".parse::<UserIds>().unwrap_err().code, ErrorCode::NoReceivers);
}
