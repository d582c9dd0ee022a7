use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use bytes::{BufMut, Bytes, BytesMut};

use super::text;
use crate::wire::{ErrorCode, WireError};

/// The longest body: 1 MiB.
pub const MAX_BODY: usize = 1024 * 1024;

/// The most receivers of one relay.
pub const MAX_RECEIVERS: usize = 255;

const ID_BYTES: usize = size_of::<u64>();

/// A list of user ids, as it stands on the wire: big-endian, eight bytes each. Cloning shares it.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct Ids(Bytes);

impl Ids {
    /// Takes what stands on the wire; `None` if that is not a whole number of ids.
    pub(super) fn from_wire(bytes: Bytes) -> Option<Self> {
        bytes.len().is_multiple_of(ID_BYTES).then_some(Self(bytes))
    }

    pub(super) const fn as_wire(&self) -> &Bytes {
        &self.0
    }

    /// How many there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len() / ID_BYTES
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Each id, in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        let (ids, _) = self.0.as_chunks();
        ids.iter().map(|&id| u64::from_be_bytes(id))
    }
}

impl FromIterator<u64> for Ids {
    fn from_iter<I: IntoIterator<Item = u64>>(ids: I) -> Self {
        let mut wire = BytesMut::new();
        ids.into_iter().for_each(|id| wire.put_u64(id));
        Self(wire.freeze())
    }
}

/// As people write it: 1 to [`MAX_RECEIVERS`] ids with commas between, and perhaps spaces after those.
impl FromStr for Ids {
    type Err = WireError;

    fn from_str(text: &str) -> Result<Self, WireError> {
        match text::ids(text.as_bytes())? {
            (ids, end) if end == text.len() => Ok(ids),
            (_, end) => {
                let expected = alloc::format!("{:?} after the user ids", &text[end..]);
                Err(WireError::new(ErrorCode::BadReceiver, expected))
            }
        }
    }
}

/// As people write it: with commas between.
impl fmt::Display for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, id) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{id}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Ids {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

/// What a user asks of the hub. Each request is answered by one [`Reply`], in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// Which user id is mine? Answered by [`Reply::Identity`].
    Identity,
    /// Who else is connected? Answered by [`Reply::List`].
    List,
    /// Send this back: [`Reply::Echo`].
    Echo(Bytes),
    /// Deliver `body`, at most [`MAX_BODY`] bytes, to each of `to`, 1 to [`MAX_RECEIVERS`] ids. Answered by
    /// [`Reply::Relayed`].
    Relay {
        /// The receivers; one that is named twice gets it once.
        to: Ids,
        /// Any bytes.
        body: Bytes,
    },
}

/// What the hub says to a user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Reply {
    /// The user's own id.
    Identity(u64),
    /// All other users' ids, ascending.
    List(Ids),
    /// What was sent.
    Echo(Bytes),
    /// A relay was done.
    Relayed {
        /// How many receivers it was sent to: it is on its way on their connections, after all that was sent there
        /// before.
        sent: u8,
        /// The receivers it was not sent to, ascending by id, and why.
        unsent: Vec<(u64, Unsent)>,
    },
    /// A request could not be done, or the connection is about to end: the code and a sentence for people.
    Error(ErrorCode, Bytes),
    /// Somebody sent this user a body; not an answer.
    Delivery {
        /// The sender's user id.
        from: u64,
        /// What was sent.
        body: Bytes,
    },
}

/// Why a relay was not sent to a receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Unsent {
    /// No such user is connected.
    Unknown,
    /// More than may wait for long waits for the receiver, as it does not read. It is cut unless it reads on soon.
    TooSlow,
}

/// What travels between a hub and a user.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// From the user to the hub.
    Request(Request),
    /// From the hub to the user.
    Reply(Reply),
}
