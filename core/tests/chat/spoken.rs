//! What each side sends in length framing, and how the other decodes it.

use bytes::BytesMut;
use echosphere_core::chat::{ChatCodec, MAX_FRAME_BODY, Message};
use echosphere_core::wire::{Codec, Decoded, ErrorCode, Outbox};

use crate::fixture::frame;

fn said(message: &Message) -> Vec<u8> {
    let mut outbox = Outbox::new();
    ChatCodec::dialled().encode(message, &mut outbox);
    outbox.chunks().collect::<Vec<_>>().concat()
}

#[test]
fn every_message_is_encoded_and_decoded() {
    let longest = [&[0xff; 9][..], &[1]].concat();
    for (message, payload) in [
        (Message::Begin { session: 258 }, b"\x01\0\0\0\0\0\0\x01\x02".to_vec()),
        (
            Message::Resume {
                session: 258,
                received: 128,
            },
            b"\x02\0\0\0\0\0\0\x01\x02\x80\x01".to_vec(),
        ),
        (Message::Welcome { received: 127 }, b"\x03\x7f".to_vec()),
        (
            Message::Part {
                id: 1,
                body: "hi".into(),
                last: false,
            },
            b"\x04\x01hi".to_vec(),
        ),
        (
            Message::Part {
                id: u64::MAX,
                body: "hi".into(),
                last: true,
            },
            [&[5][..], &longest, b"hi"].concat(),
        ),
        (Message::Taken { id: 1, last: false }, b"\x06\x01".to_vec()),
        (
            Message::Taken {
                id: u64::MAX,
                last: true,
            },
            [&[7][..], &longest].concat(),
        ),
        (Message::Bye, b"\x08".to_vec()),
        (
            Message::Error(ErrorCode::Busy, "try later".into()),
            b"\xffbusy try later".to_vec(),
        ),
    ] {
        assert_eq!(said(&message), frame(&payload));
        for mut codec in [ChatCodec::accepted(), ChatCodec::dialled()] {
            let read = codec.decode(&mut BytesMut::from(&frame(&payload)[..]));
            assert_eq!(read, Ok(Some(Decoded::Message(message.clone()))));
        }
    }
}

#[test]
fn a_number_over_64_bits_is_none() {
    let payload = [&[5][..], &[0xff; 9], &[2]].concat();
    let read = ChatCodec::accepted().decode(&mut BytesMut::from(&frame(payload)[..]));
    assert_eq!(read.unwrap_err().code, ErrorCode::UnknownRequest);
}

#[test]
fn a_frame_is_as_long_as_its_longest_part_and_no_longer() {
    let longest = (1 + 10 + MAX_FRAME_BODY) as u32;
    for codec in [ChatCodec::accepted(), ChatCodec::dialled()] {
        let header = |length: u32| codec.clone().decode(&mut BytesMut::from(&length.to_be_bytes()[..]));
        assert_eq!(header(longest), Ok(None));
        assert_eq!(header(longest + 1).unwrap_err().code, ErrorCode::FrameTooLong);
    }
}

#[test]
fn a_keepalive_is_an_empty_frame() {
    let mut outbox = Outbox::new();
    ChatCodec::dialled().encode_keepalive(&mut outbox);
    assert_eq!(outbox.chunks().collect::<Vec<_>>().concat(), [0; 4]);
}
