//! Fuzzes echo's codec on accepted and dialled connections, with bytes divided anywhere.

use arbitrary::{Arbitrary, Unstructured};
use bytes::{Bytes, BytesMut};
use echosphere_core::echo::{EchoCodec, Message};
use echosphere_core::wire::{Codec, Decoded, MAX_FRAME, Outbox, WireError};

/// The bytes of a frame in addition to X, with header or line end; no more may stay undecoded.
const OVERHEAD: usize = 4 + b"message ".len();

#[derive(Arbitrary)]
struct Head {
    max_message: u16,
    /// The sizes of the pieces of the stream, repeated.
    sizes: [u8; 8],
}

/// The messages of a stream, each with its bytes, and the rest or error.
#[derive(Debug, PartialEq)]
struct Read<'a> {
    decoded: Vec<(Decoded<Message>, &'a [u8])>,
    end: Result<BytesMut, WireError>,
}

/// Decodes a stream whole and in pieces, and compares. Checks that nothing over the limit stays undecoded, and that
/// each message encodes to its bytes. The first bytes are the limit and the sizes of pieces; the rest is the stream.
pub fn wire(data: &[u8]) {
    let mut data = Unstructured::new(data);
    let Ok(head) = Head::arbitrary(&mut data) else {
        return;
    };
    let stream = data.take_rest();
    let limit = u32::from(head.max_message);
    for codec in [EchoCodec::accepted(limit), EchoCodec::dialled(limit)] {
        let bound = limit as usize + OVERHEAD;
        let whole = read(codec.clone(), stream, bound, [usize::MAX].into_iter());
        let sizes = head.sizes.iter().cycle().map(|&size| usize::from(size) + 1);
        assert_eq!(whole, read(codec, stream, bound, sizes), "whole, and in pieces");
        for (decoded, source) in &whole.decoded {
            encodes_to(decoded, source, stream[0] == 0);
        }
    }
}

fn read(mut codec: EchoCodec, stream: &[u8], bound: usize, sizes: impl Iterator<Item = usize>) -> Read<'_> {
    let mut input = BytesMut::new();
    let mut decoded = Vec::new();
    let mut taken = 0;
    let mut left = stream;
    for size in sizes {
        let (piece, rest) = left.split_at(size.min(left.len()));
        left = rest;
        input.extend_from_slice(piece);
        loop {
            let before = input.len();
            match codec.decode(&mut input) {
                Ok(Some(message)) => {
                    let source = &stream[taken..taken + before - input.len()];
                    assert!(!source.is_empty(), "{message:?} came from nothing");
                    taken += source.len();
                    decoded.push((message, source));
                }
                Ok(None) => break,
                Err(error) => {
                    let end = Err(error);
                    return Read { decoded, end };
                }
            }
        }
        assert!(input.len() <= bound, "{} bytes wait for more", input.len());
        if left.is_empty() {
            break;
        }
    }
    Read {
        decoded,
        end: Ok(input),
    }
}

/// Encodes what was decoded and compares it to its source, except for line ends and the texts of errors; then decodes
/// it again.
fn encodes_to(decoded: &Decoded<Message>, source: &[u8], by_length: bool) {
    let hello: &[u8] = if by_length { &[0; 4] } else { b"\n" };
    let mut codec = EchoCodec::accepted(MAX_FRAME);
    let greeted = codec.decode(&mut BytesMut::from(hello));
    assert_eq!(greeted, Ok(Some(Decoded::Keepalive)));

    let mut outbox = Outbox::new();
    match decoded {
        Decoded::Invalid(_) => return,
        Decoded::Keepalive => codec.encode_keepalive(&mut outbox),
        Decoded::Message(message) => codec.encode(message, &mut outbox),
    }
    let encoded: Vec<u8> = outbox.chunks().collect::<Vec<_>>().concat();
    assert_eq!(encoded.len(), outbox.len());
    if !matches!(decoded, Decoded::Message(Message::Error(..))) {
        let source = match source.strip_suffix(b"\r\n") {
            Some(line) if !by_length => [line, b"\n"].concat(),
            _ => source.to_vec(),
        };
        assert_eq!(Bytes::from(encoded.clone()), Bytes::from(source), "{decoded:?}");
    }
    let cut_by_lines = !by_length && encoded.ends_with(b"\r\n");
    if !cut_by_lines {
        let again = codec.decode(&mut BytesMut::from(&encoded[..]));
        assert_eq!(again.as_ref(), Ok(&Some(decoded.clone())));
    }
}
