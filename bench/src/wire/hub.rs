//! The hub in length framing. Users send to each other by id.

use anyhow::{Context, bail};

use super::{Decoded, Incoming, published};

const IDENTITY: u8 = 0x01;
const RELAY: u8 = 0x04;
const OWN_ID: u8 = 0x81;
const RECEIPT: u8 = 0x84;
const DELIVERY: u8 = 0x85;

/// Requests the connection's user id.
pub(super) fn hello(output: &mut Vec<u8>) {
    output.extend_from_slice(&1_u32.to_be_bytes());
    output.push(IDENTITY);
}

pub(super) fn publish(to: u64, kind: u8, x: &[u8], output: &mut Vec<u8>) {
    let length = 1 + 1 + 8 + 1 + x.len();
    output.extend_from_slice(&(length as u32).to_be_bytes());
    output.extend_from_slice(&[RELAY, 1]);
    output.extend_from_slice(&to.to_be_bytes());
    output.push(kind);
    output.extend_from_slice(x);
}

pub(super) fn decode(input: &[u8]) -> Decoded<'_> {
    let Some((length, rest)) = input.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let Some(payload) = rest.get(..u32::from_be_bytes(*length) as usize) else {
        return Ok(None);
    };
    let id = |bytes: &[u8]| bytes.first_chunk().map(|id| u64::from_be_bytes(*id)).context("no id");
    let incoming = match payload {
        [] => Incoming::Nothing,
        [OWN_ID, bytes @ ..] => Incoming::Named(id(bytes)?),
        // A receipt for one receiver has two bytes if the body was sent on.
        [RECEIPT, 1] => Incoming::Nothing,
        [DELIVERY, bytes @ ..] => published(bytes.get(8..).context("no sender")?)?,
        other => bail!("received: {}", other.escape_ascii()),
    };
    Ok(Some((4 + payload.len(), incoming)))
}
