//! Fuzzes the codecs of the hub, the chat and numbers, on both sides, with bytes divided anywhere.

use std::fmt::Debug;

use arbitrary::{Arbitrary, Unstructured};
use bytes::BytesMut;
use echosphere_core::chat::ChatCodec;
use echosphere_core::hub::{self, HubCodec};
use echosphere_core::numbers::{MAX_LINE, NumbersCodec};
use echosphere_core::wire::{Codec, Decoded, Outbox, WireError};

/// The bytes of a message in addition to its longest body: header, receivers, line ends.
const OVERHEAD: usize = 4096;

#[derive(Arbitrary)]
struct Head {
    system: u8,
    /// The sizes of the pieces of the stream, repeated.
    sizes: [u8; 8],
}

/// The messages of a stream, and its rest or error.
#[derive(Debug, PartialEq)]
struct Read<M> {
    decoded: Vec<Decoded<M>>,
    end: Result<BytesMut, WireError>,
}

/// Decodes a stream whole and in pieces, and compares. Checks that at most a longest message stays undecoded, and that
/// each message is the same after encoding and decoding it on the other side. The first bytes choose the system and the
/// pieces.
pub fn codecs(data: &[u8]) {
    let mut data = Unstructured::new(data);
    let Ok(head) = Head::arbitrary(&mut data) else {
        return;
    };
    let stream = data.take_rest();
    match head.system % 3 {
        0 => both(
            &HubCodec::accepted(),
            &HubCodec::dialled(),
            // A relay in lines is kept with its line ends until it is complete, and the next line can be as long as its
            // body.
            3 * hub::MAX_BODY,
            &head,
            stream,
        ),
        1 => both(
            &ChatCodec::accepted(),
            &ChatCodec::dialled(),
            echosphere_core::chat::MAX_FRAME_BODY,
            &head,
            stream,
        ),
        _ => both(
            &NumbersCodec::accepted(),
            &NumbersCodec::dialled(),
            MAX_LINE as usize,
            &head,
            stream,
        ),
    }
}

fn both<C>(accepted: &C, dialled: &C, longest: usize, head: &Head, stream: &[u8])
where
    C: Codec + Clone,
    C::Message: Debug + PartialEq,
{
    for (codec, other) in [(accepted, dialled), (dialled, accepted)] {
        let whole = read(codec.clone(), stream, longest, [usize::MAX].into_iter());
        let sizes = head.sizes.iter().cycle().map(|&size| usize::from(size) + 1);
        assert_eq!(
            whole,
            read(codec.clone(), stream, longest, sizes),
            "whole, and in pieces"
        );
        for decoded in &whole.decoded {
            if let Decoded::Message(message) = decoded {
                round_trips(codec.clone(), other.clone(), message);
            }
        }
    }
}

fn read<C: Codec>(mut codec: C, stream: &[u8], longest: usize, sizes: impl Iterator<Item = usize>) -> Read<C::Message>
where
    C::Message: Debug,
{
    let mut input = BytesMut::new();
    let mut decoded = Vec::new();
    let mut left = stream;
    for size in sizes {
        let (piece, rest) = left.split_at(size.min(left.len()));
        left = rest;
        input.extend_from_slice(piece);
        loop {
            let before = input.len();
            match codec.decode(&mut input) {
                Ok(Some(message)) => {
                    assert!(input.len() < before, "{message:?} came from nothing");
                    decoded.push(message);
                }
                Ok(None) => break,
                Err(error) => {
                    let end = Err(error);
                    return Read { decoded, end };
                }
            }
        }
        assert!(input.len() <= longest + OVERHEAD, "{} bytes wait for more", input.len());
        if left.is_empty() {
            break;
        }
    }
    let end = match codec.finish(&mut input) {
        Some(last) => {
            decoded.push(last);
            Ok(BytesMut::new())
        }
        None => Ok(input),
    };
    Read { decoded, end }
}

/// Encodes a decoded message on the other side in length framing, decodes it and compares.
fn round_trips<C: Codec>(mut codec: C, mut other: C, message: &C::Message)
where
    C::Message: Debug + PartialEq,
{
    // An accepting side uses the framing that it receives.
    let _ = other.decode(&mut BytesMut::from(&[0; 4][..]));
    let mut outbox = Outbox::new();
    other.encode(message, &mut outbox);
    let mut encoded = BytesMut::from(&outbox.chunks().collect::<Vec<_>>().concat()[..]);
    assert_eq!(encoded.len(), outbox.len());
    match codec.decode(&mut encoded) {
        Ok(Some(Decoded::Message(again))) => assert_eq!(again, *message),
        again => panic!("{message:?} round-trips to {again:?}"),
    }
    assert!(encoded.is_empty(), "{message:?} is followed by {encoded:?}");
}
