//! MQTT 3.1.1, quality of service 0.

use anyhow::{Context, bail, ensure};

use super::{Decoded, Incoming, published, put_number};

const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;

pub(super) fn hello(me: u32, output: &mut Vec<u8>) {
    let name = me.to_string();
    output.push(CONNECT);
    put_length(10 + 2 + name.len(), output);
    // Version 4, a clean session, no keepalive.
    output.extend_from_slice(b"\0\x04MQTT\x04\x02\0\0");
    put_text(name.as_bytes(), output);
    output.push(SUBSCRIBE);
    put_length(2 + 2 + name.len() + 1, output);
    output.extend_from_slice(&[0, 1]);
    put_text(name.as_bytes(), output);
    output.push(0);
}

pub(super) fn publish(to: u64, kind: u8, x: &[u8], output: &mut Vec<u8>) {
    let digits = to.checked_ilog10().unwrap_or(0) as usize + 1;
    output.push(PUBLISH);
    put_length(2 + digits + 1 + x.len(), output);
    output.extend_from_slice(&(digits as u16).to_be_bytes());
    put_number(to as usize, output);
    output.push(kind);
    output.extend_from_slice(x);
}

pub(super) fn decode(input: &[u8]) -> Decoded<'_> {
    let Some((&kind, rest)) = input.split_first() else {
        return Ok(None);
    };
    let Some((length, bytes)) = length(rest)? else {
        return Ok(None);
    };
    let Some(packet) = rest[bytes..].get(..length) else {
        return Ok(None);
    };
    let incoming = match kind {
        CONNACK => {
            ensure!(packet.get(1) == Some(&0), "the connection was not taken: {packet:?}");
            Incoming::Nothing
        }
        SUBACK => {
            ensure!(packet.get(2) == Some(&0), "the subscription was not taken: {packet:?}");
            Incoming::Ready
        }
        PUBLISH => {
            let (topic, rest) = packet.split_first_chunk::<2>().context("no topic")?;
            let topic = u16::from_be_bytes(*topic).into();
            published(rest.get(topic..).context("a topic cut short")?)?
        }
        other => bail!("received a packet of kind {other:#x}"),
    };
    Ok(Some((1 + bytes + length, incoming)))
}

fn put_text(text: &[u8], output: &mut Vec<u8>) {
    output.extend_from_slice(&(text.len() as u16).to_be_bytes());
    output.extend_from_slice(text);
}

/// Appends a length: seven bits per byte, lowest first.
fn put_length(length: usize, output: &mut Vec<u8>) {
    let mut left = length;
    while left >= 128 {
        output.push(left as u8 | 128);
        left /= 128;
    }
    output.push(left as u8);
}

/// Decodes a length. Returns it with the number of bytes it takes.
fn length(input: &[u8]) -> anyhow::Result<Option<(usize, usize)>> {
    let mut length = 0;
    for (at, &byte) in input.iter().take(4).enumerate() {
        length |= usize::from(byte & 127) << (7 * at);
        if byte < 128 {
            return Ok(Some((length, at + 1)));
        }
    }
    ensure!(input.len() < 4, "a length of more than four bytes");
    Ok(None)
}
