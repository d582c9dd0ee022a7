//! Decoding and encoding, with streams divided anywhere.

use bytes::{Bytes, BytesMut};
use echosphere_core::echo::{EchoCodec, Message};
use echosphere_core::wire::{Codec, Decoded, ErrorCode, Outbox, WireError};
use proptest::collection::vec;
use proptest::prelude::*;

const LIMIT: u32 = 12;

/// Bytes with many frames, line ends and near misses.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let length = (0..24_u32, vec(any::<u8>(), 0..24)).prop_map(|(length, payload)| {
        // Usually the right length.
        let length = if length < 3 { length } else { payload.len() as u32 };
        [&length.to_be_bytes()[..], &payload].concat()
    });
    let payload = vec(proptest::sample::select(&b"message ok error xyz\r"[..]), 0..24);
    let line = (payload, any::<bool>()).prop_map(|(mut line, crlf)| {
        line.extend_from_slice(if crlf { b"\r\n" } else { b"\n" });
        line
    });
    let request = (any::<bool>(), vec(any::<u8>(), 0..6)).prop_map(|(ok, x)| {
        let payload = [if ok { &b"ok "[..] } else { b"message " }, &x].concat();
        [&(payload.len() as u32).to_be_bytes()[..], &payload].concat()
    });
    prop_oneof![
        vec(prop_oneof![1 => length, 3 => request], 0..12).prop_map(|parts| parts.concat()),
        vec(line, 0..12).prop_map(|parts| parts.concat()),
        vec(any::<u8>(), 0..60),
    ]
}

/// The messages of a stream in pieces, and its rest.
fn decode(pieces: &[&[u8]]) -> (Vec<Decoded<Message>>, Result<BytesMut, WireError>) {
    let mut codec = EchoCodec::accepted(LIMIT);
    let mut input = BytesMut::new();
    let mut decoded = Vec::new();
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            match codec.decode(&mut input) {
                Ok(Some(message)) => decoded.push(message),
                Ok(None) => break,
                Err(error) => return (decoded, Err(error)),
            }
        }
    }
    (decoded, Ok(input))
}

fn cut<'a>(stream: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut left = stream;
    let mut pieces = Vec::new();
    for &cut in cuts {
        let (piece, rest) = left.split_at(cut.min(left.len()));
        pieces.push(piece);
        left = rest;
    }
    pieces.push(left);
    pieces
}

fn message() -> impl Strategy<Value = Message> {
    let x = || prop_oneof![9 => vec(any::<u8>(), 0..20), 1 => vec(any::<u8>(), 3000)].prop_map(Bytes::from);
    let codes = [
        ErrorCode::Busy,
        ErrorCode::NotHeld,
        ErrorCode::UnknownRequest,
        ErrorCode::Unknown,
    ];
    let error = (proptest::sample::select(codes.to_vec()), "[a-z ]{0,20}");
    prop_oneof![
        x().prop_map(Message::Message),
        x().prop_map(Message::Ok),
        error.prop_map(|(code, text)| Message::Error(code, text.into())),
    ]
}

fn fits_in_a_line(message: &Message) -> bool {
    let (Message::Message(x) | Message::Ok(x) | Message::Error(_, x)) = message;
    !x.contains(&b'\n') && !x.ends_with(b"\r")
}

/// A codec whose peer has sent `hello`.
fn codec_after(hello: &[u8]) -> EchoCodec {
    let mut codec = EchoCodec::accepted(4000);
    let hello = codec.decode(&mut BytesMut::from(hello));
    assert_eq!(hello, Ok(Some(Decoded::Keepalive)));
    codec
}

fn round_trip(hello: &[u8], messages: &[Message]) -> Vec<Decoded<Message>> {
    let (mut sender, mut receiver) = (codec_after(hello), codec_after(hello));
    let mut outbox = Outbox::new();
    for message in messages {
        sender.encode(message, &mut outbox);
        sender.encode_keepalive(&mut outbox);
    }
    let mut input = BytesMut::from(&outbox.chunks().collect::<Vec<_>>().concat()[..]);
    let mut decoded = Vec::new();
    while let Some(message) = receiver.decode(&mut input).unwrap() {
        decoded.push(message);
    }
    assert!(input.is_empty());
    decoded
}

fn with_keepalives(messages: Vec<Message>) -> Vec<Decoded<Message>> {
    let each = messages.into_iter();
    each.flat_map(|message| [Decoded::Message(message), Decoded::Keepalive])
        .collect()
}

proptest! {
    #[test]
    fn however_a_stream_is_cut_the_same_comes_out(stream in stream(), cuts in vec(0..8_usize, 0..40)) {
        prop_assert_eq!(decode(&cut(&stream, &cuts)), decode(&[&stream]));
    }
}

proptest! {
    #[test]
    fn what_is_sent_by_length_is_what_arrives(messages in vec(message(), 0..20)) {
        prop_assert_eq!(round_trip(b"\0\0\0\0", &messages), with_keepalives(messages));
    }

    #[test]
    fn what_is_sent_by_lines_is_what_arrives(mut messages in vec(message(), 0..20)) {
        messages.retain(fits_in_a_line);
        prop_assert_eq!(round_trip(b"\n", &messages), with_keepalives(messages));
    }
}
