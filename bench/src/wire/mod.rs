//! The protocols of the servers, as far as the generator uses them.

pub(crate) mod echo;
mod hub;
mod mqtt;
mod nats;
mod redis;

use anyhow::bail;

/// A received unit of a protocol.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming<'a> {
    /// The connection is ready to receive.
    Ready,
    /// The connection is ready to receive at this address.
    Named(u64),
    /// A client sent this X, which must be answered.
    Message(&'a [u8]),
    /// This X was answered.
    Ok(&'a [u8]),
    /// A unit that needs no action.
    Nothing,
}

/// The first unit of the input with its length; `None` if it is not complete.
pub(crate) type Decoded<'a> = anyhow::Result<Option<(usize, Incoming<'a>)>>;

/// A server's protocol. An echo server chooses the receiver. Each connection to a hub is a user. With the others, each
/// connection subscribes to its own subject. The first byte of a published payload says whether it is a message or an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wire {
    Echo,
    Hub,
    Nats,
    Mqtt,
    Redis,
}

const MESSAGE: u8 = b'm';
const OK: u8 = b'o';

impl Wire {
    /// Appends the first bytes of connection `me`. The server answers with [`Incoming::Ready`] or [`Incoming::Named`]; an echo
    /// server does not answer.
    pub(crate) fn hello(self, me: u32, output: &mut Vec<u8>) {
        match self {
            Self::Echo => echo::hello(output),
            Self::Hub => hub::hello(output),
            Self::Nats => nats::hello(me, output),
            Self::Mqtt => mqtt::hello(me, output),
            Self::Redis => redis::hello(me, output),
        }
    }

    /// Appends message X to the connection at address `to`.
    pub(crate) fn message(self, to: u64, x: &[u8], output: &mut Vec<u8>) {
        match self {
            Self::Echo => echo::message(x, output),
            _ => self.publish(to, MESSAGE, x, output),
        }
    }

    /// Appends the answer to X to the connection at address `to`.
    pub(crate) fn ok(self, to: u64, x: &[u8], output: &mut Vec<u8>) {
        match self {
            Self::Echo => echo::ok(x, output),
            _ => self.publish(to, OK, x, output),
        }
    }

    fn publish(self, to: u64, kind: u8, x: &[u8], output: &mut Vec<u8>) {
        match self {
            Self::Echo => {}
            Self::Hub => hub::publish(to, kind, x, output),
            Self::Nats => nats::publish(to, kind, x, output),
            Self::Mqtt => mqtt::publish(to, kind, x, output),
            Self::Redis => redis::publish(to, kind, x, output),
        }
    }

    /// Decodes the first unit of `input`.
    ///
    /// # Errors
    ///
    /// If the unit is invalid, or is an error from the server.
    pub(crate) fn decode(self, input: &[u8]) -> Decoded<'_> {
        match self {
            Self::Echo => echo::decode(input),
            Self::Hub => hub::decode(input),
            Self::Nats => nats::decode(input),
            Self::Mqtt => mqtt::decode(input),
            Self::Redis => redis::decode(input),
        }
    }
}

/// Decodes a published payload.
fn published(payload: &[u8]) -> anyhow::Result<Incoming<'_>> {
    match payload {
        [MESSAGE, x @ ..] => Ok(Incoming::Message(x)),
        [OK, x @ ..] => Ok(Incoming::Ok(x)),
        _ => bail!("received a payload that no connection sent"),
    }
}

/// The first line of the input, without its CR LF.
fn line(input: &[u8]) -> Option<&[u8]> {
    let end = memchr::memchr(b'\n', input)?;
    input[..end].strip_suffix(b"\r")
}

/// A decimal number.
fn number(digits: &[u8]) -> anyhow::Result<usize> {
    Ok(std::str::from_utf8(digits)?.parse()?)
}

/// Appends a decimal number.
fn put_number(number: usize, output: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut left = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    output.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests;
