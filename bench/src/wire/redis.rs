//! Redis' protocol, version 3: with it, a connection that subscribes can publish too.

use anyhow::{Context, bail};

use super::{Decoded, Incoming, line, number, published, put_number};

pub(super) fn hello(me: u32, output: &mut Vec<u8>) {
    let name = me.to_string();
    output.extend_from_slice(b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n*2\r\n$9\r\nSUBSCRIBE\r\n");
    put_text(name.as_bytes(), output);
}

pub(super) fn publish(to: u64, kind: u8, x: &[u8], output: &mut Vec<u8>) {
    output.extend_from_slice(b"*3\r\n$7\r\nPUBLISH\r\n$");
    put_number(to.checked_ilog10().unwrap_or(0) as usize + 1, output);
    output.extend_from_slice(b"\r\n");
    put_number(to as usize, output);
    output.extend_from_slice(b"\r\n$");
    put_number(1 + x.len(), output);
    output.extend_from_slice(b"\r\n");
    output.push(kind);
    output.extend_from_slice(x);
    output.extend_from_slice(b"\r\n");
}

fn put_text(text: &[u8], output: &mut Vec<u8>) {
    output.push(b'$');
    put_number(text.len(), output);
    output.extend_from_slice(b"\r\n");
    output.extend_from_slice(text);
    output.extend_from_slice(b"\r\n");
}

/// A push of three is a message or the answer to a subscription. The answer to HELLO is a map; each of its lines counts as a
/// unit of its own.
pub(super) fn decode(input: &[u8]) -> Decoded<'_> {
    let Some(first) = line(input) else {
        return Ok(None);
    };
    match first {
        b">3" => push(input, first.len() + 2),
        [b'$', length @ ..] => {
            let used = first.len() + 2 + number(length)? + 2;
            Ok((input.len() >= used).then_some((used, Incoming::Nothing)))
        }
        [b':' | b'%' | b'*' | b'+', ..] => Ok(Some((first.len() + 2, Incoming::Nothing))),
        other => bail!("received: {}", String::from_utf8_lossy(other)),
    }
}

fn push(input: &[u8], head: usize) -> Decoded<'_> {
    let Some((word, used)) = text(input, head)? else {
        return Ok(None);
    };
    let Some((_channel, used)) = text(input, used)? else {
        return Ok(None);
    };
    match word {
        b"message" => {
            let Some((payload, used)) = text(input, used)? else {
                return Ok(None);
            };
            Ok(Some((used, published(payload)?)))
        }
        b"subscribe" => Ok(line(&input[used..]).map(|count| (used + count.len() + 2, Incoming::Ready))),
        other => bail!("a push of {}", String::from_utf8_lossy(other)),
    }
}

/// The text at `from` and its end; `None` if it is not complete.
fn text(input: &[u8], from: usize) -> anyhow::Result<Option<(&[u8], usize)>> {
    let Some(head) = line(&input[from..]) else {
        return Ok(None);
    };
    let length = number(head.strip_prefix(b"$").context("no text where one must be")?)?;
    let start = from + head.len() + 2;
    let end = start + length;
    Ok((input.len() >= end + 2).then(|| (&input[start..end], end + 2)))
}
