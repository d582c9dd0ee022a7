use bytes::BytesMut;

use super::{Codec, Decoded, ErrorCode, Framer, Outbox, WireError};

/// One of two codecs, for a machine that is reached over two transports.
#[derive(Clone, Debug)]
pub enum EitherCodec<A, B> {
    /// The codec of connections of the first transport.
    Left(A),
    /// The codec of connections of the second transport.
    Right(B),
}

macro_rules! either {
    ($codec:expr, $inner:ident => $call:expr) => {
        match $codec {
            Self::Left($inner) => $call,
            Self::Right($inner) => $call,
        }
    };
}

impl<A: Codec, B: Codec<Message = A::Message>> Codec for EitherCodec<A, B> {
    type Message = A::Message;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Decoded<A::Message>>, WireError> {
        either!(self, codec => codec.decode(input))
    }

    fn finish(&mut self, input: &mut BytesMut) -> Option<Decoded<A::Message>> {
        either!(self, codec => codec.finish(input))
    }

    fn encode(&mut self, message: &A::Message, output: &mut Outbox) {
        either!(self, codec => codec.encode(message, output));
    }

    fn framer(&self) -> Option<&Framer> {
        either!(self, codec => codec.framer())
    }

    fn encode_keepalive(&mut self, output: &mut Outbox) {
        either!(self, codec => codec.encode_keepalive(output));
    }

    fn encode_error(&mut self, code: ErrorCode, text: &str, output: &mut Outbox) {
        either!(self, codec => codec.encode_error(code, text, output));
    }

    fn is_text(&self) -> bool {
        either!(self, codec => codec.is_text())
    }

    fn is_kept_alive(&self) -> bool {
        either!(self, codec => codec.is_kept_alive())
    }
}
