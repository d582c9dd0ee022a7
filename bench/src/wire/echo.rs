//! Echo in length framing.

use anyhow::bail;

use super::{Decoded, Incoming};

pub(super) fn hello(output: &mut Vec<u8>) {
    output.extend_from_slice(&[0; 4]);
}

pub(crate) fn message(x: &[u8], output: &mut Vec<u8>) {
    frame(b"message ", x, output);
}

pub(crate) fn ok(x: &[u8], output: &mut Vec<u8>) {
    frame(b"ok ", x, output);
}

fn frame(word: &[u8], x: &[u8], output: &mut Vec<u8>) {
    output.extend_from_slice(&((word.len() + x.len()) as u32).to_be_bytes());
    output.extend_from_slice(word);
    output.extend_from_slice(x);
}

pub(crate) fn decode(input: &[u8]) -> Decoded<'_> {
    let Some((length, rest)) = input.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let Some(payload) = rest.get(..u32::from_be_bytes(*length) as usize) else {
        return Ok(None);
    };
    let incoming = if let Some(x) = payload.strip_prefix(b"message ") {
        Incoming::Message(x)
    } else if let Some(x) = payload.strip_prefix(b"ok ") {
        Incoming::Ok(x)
    } else if payload.is_empty() {
        Incoming::Nothing
    } else {
        bail!("received: {}", String::from_utf8_lossy(payload));
    };
    Ok(Some((4 + payload.len(), incoming)))
}
