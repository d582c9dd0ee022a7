//! A codec that is one of two behaves as that one.

#![allow(clippy::unwrap_used)]

use bytes::{Buf, BytesMut};
use echosphere_core::wire::{Codec, Decoded, EitherCodec, ErrorCode, Outbox, WireError};

/// Each byte is a message.
struct Bytewise {
    text: bool,
    kept_alive: bool,
}

impl Codec for Bytewise {
    type Message = u8;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Decoded<u8>>, WireError> {
        Ok(input.try_get_u8().ok().map(Decoded::Message))
    }

    fn finish(&mut self, _: &mut BytesMut) -> Option<Decoded<u8>> {
        Some(Decoded::Keepalive)
    }

    fn encode(&mut self, message: &u8, output: &mut Outbox) {
        output.put(&[*message]);
    }

    fn encode_keepalive(&mut self, output: &mut Outbox) {
        output.put(b"k");
    }

    fn encode_error(&mut self, _: ErrorCode, text: &str, output: &mut Outbox) {
        output.put(text.as_bytes());
    }

    fn is_text(&self) -> bool {
        self.text
    }

    fn is_kept_alive(&self) -> bool {
        self.kept_alive
    }
}

#[test]
fn each_call_reaches_the_contained_codec() {
    let bytewise = |text| Bytewise {
        text,
        kept_alive: !text,
    };
    for (mut codec, text) in [
        (EitherCodec::Left(bytewise(true)), true),
        (EitherCodec::Right(bytewise(false)), false),
    ] {
        let mut input = BytesMut::from("x");
        assert_eq!(codec.decode(&mut input), Ok(Some(Decoded::Message(b'x'))));
        assert_eq!(codec.finish(&mut input), Some(Decoded::Keepalive));
        let mut outbox = Outbox::new();
        codec.encode(&b'm', &mut outbox);
        codec.encode_keepalive(&mut outbox);
        codec.encode_error(ErrorCode::Full, "e", &mut outbox);
        assert_eq!(outbox.chunks().collect::<Vec<_>>().concat(), b"mke");
        assert_eq!((codec.is_text(), codec.is_kept_alive()), (text, !text));
    }
}
