//! NATS' client protocol.

use anyhow::{Context, bail};

use super::{Decoded, Incoming, line, number, published, put_number};

pub(super) fn hello(me: u32, output: &mut Vec<u8>) {
    let subscribe = format!("SUB {me} 1\r\nPING\r\n");
    output.extend_from_slice(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n");
    output.extend_from_slice(subscribe.as_bytes());
}

pub(super) fn publish(to: u64, kind: u8, x: &[u8], output: &mut Vec<u8>) {
    output.extend_from_slice(b"PUB ");
    put_number(to as usize, output);
    output.push(b' ');
    put_number(1 + x.len(), output);
    output.extend_from_slice(b"\r\n");
    output.push(kind);
    output.extend_from_slice(x);
    output.extend_from_slice(b"\r\n");
}

pub(super) fn decode(input: &[u8]) -> Decoded<'_> {
    let Some(line) = line(input) else {
        return Ok(None);
    };
    let used = line.len() + 2;
    let incoming = match line {
        [b'M', b'S', b'G', b' ', ..] => {
            let length = line.rsplit(|&byte| byte == b' ').next().context("no length")?;
            let length = number(length)?;
            if input.len() < used + length + 2 {
                return Ok(None);
            }
            let payload = &input[used..used + length];
            return Ok(Some((used + length + 2, published(payload)?)));
        }
        b"PONG" => Incoming::Ready,
        b"PING" | b"+OK" => Incoming::Nothing,
        [b'I', b'N', b'F', b'O', ..] => Incoming::Nothing,
        other => bail!("received: {}", String::from_utf8_lossy(other)),
    };
    Ok(Some((used, incoming)))
}
