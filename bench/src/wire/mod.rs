//! What the generator says to each kind of server, and what it understands of the answers.

pub(crate) mod echo;
mod hub;
mod mqtt;
mod nats;
mod redis;

use anyhow::bail;

/// What came, of a round trip.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming<'a> {
    /// The connection can receive from now on.
    Ready,
    /// The same, by this address.
    Named(u64),
    /// Somebody sent this X; it is to be answered.
    Message(&'a [u8]),
    /// This X was answered.
    Ok(&'a [u8]),
    /// Nothing to do.
    Nothing,
}

/// A whole unit that was found at the front of the input, with its length; `None` if there is none yet.
pub(crate) type Decoded<'a> = anyhow::Result<Option<(usize, Incoming<'a>)>>;

/// A server's protocol. With echo the server chooses the receiver; at the hub each connection is a user; with the others each
/// subscribes to a subject of its own. What is sent there says in its first byte whether it is a message or its answer.
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
    /// Appends what connection `me` says first. With echo there is no answer to it; with the others [`Incoming::Ready`]
    /// or [`Incoming::Named`].
    pub(crate) fn hello(self, me: u32, output: &mut Vec<u8>) {
        match self {
            Self::Echo => echo::hello(output),
            Self::Hub => hub::hello(output),
            Self::Nats => nats::hello(me, output),
            Self::Mqtt => mqtt::hello(me, output),
            Self::Redis => redis::hello(me, output),
        }
    }

    /// Appends X, for the connection whose address is `to`.
    pub(crate) fn message(self, to: u64, x: &[u8], output: &mut Vec<u8>) {
        match self {
            Self::Echo => echo::message(x, output),
            _ => self.publish(to, MESSAGE, x, output),
        }
    }

    /// Appends the answer to X, for the connection whose address is `to`.
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

    /// Takes one unit off the front of `input`.
    ///
    /// # Errors
    ///
    /// If it makes no sense, or is an error of the server's.
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

/// What was published, by its first byte.
fn published(payload: &[u8]) -> anyhow::Result<Incoming<'_>> {
    match payload {
        [MESSAGE, x @ ..] => Ok(Incoming::Message(x)),
        [OK, x @ ..] => Ok(Incoming::Ok(x)),
        _ => bail!("something was received that nobody sent"),
    }
}

/// The line at the front of the input, without its CR LF.
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
