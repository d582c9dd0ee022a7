//! User ids, on the wire and as text.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use bytes::{BufMut, Bytes, BytesMut};

use crate::wire::{ErrorCode, WireError};

/// The most receivers of one relay.
pub const MAX_RECEIVERS: usize = 255;

const ID_BYTES: usize = size_of::<u64>();

/// A list of user ids in wire format: big-endian, eight bytes each. Clones share memory.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct UserIds(Bytes);

impl UserIds {
    /// Reads the wire format; `None` if the length is not a multiple of eight.
    pub(super) fn from_wire(bytes: Bytes) -> Option<Self> {
        bytes.len().is_multiple_of(ID_BYTES).then_some(Self(bytes))
    }

    pub(super) const fn as_wire(&self) -> &Bytes {
        &self.0
    }

    /// The number of ids.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len() / ID_BYTES
    }

    /// Whether there are no ids.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The ids, in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> {
        let (ids, _) = self.0.as_chunks();
        ids.iter().map(|&id| u64::from_be_bytes(id))
    }
}

impl FromIterator<u64> for UserIds {
    fn from_iter<I: IntoIterator<Item = u64>>(ids: I) -> Self {
        let mut wire = BytesMut::new();
        ids.into_iter().for_each(|id| wire.put_u64(id));
        Self(wire.freeze())
    }
}

/// Parses 1 to [`MAX_RECEIVERS`] ids, separated by commas and optional spaces.
impl FromStr for UserIds {
    type Err = WireError;

    fn from_str(text: &str) -> Result<Self, WireError> {
        match parse(text.as_bytes())? {
            (ids, end) if end == text.len() => Ok(ids),
            (_, end) => {
                let expected = format!("{:?} after the user ids", &text[end..]);
                Err(WireError::new(ErrorCode::BadReceiver, expected))
            }
        }
    }
}

/// The ids, separated by commas.
impl fmt::Display for UserIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, id) in self.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{id}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for UserIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{self}]")
    }
}

/// Reads ids separated by commas and optional spaces. Also returns where they end.
pub(super) fn parse(text: &[u8]) -> Result<(UserIds, usize), WireError> {
    let mut ids = Vec::new();
    let mut at = 0;
    loop {
        let rest = &text[at..];
        let word = &rest[..rest.iter().position(|b| *b == b',' || *b == b' ').unwrap_or(rest.len())];
        if word.is_empty() && ids.is_empty() {
            return Err(ErrorCode::NoReceivers.into());
        }
        let Some(id) = number(word) else {
            let text = format!(
                "\"{}\" is not a user id; expected numbers up to {}, separated by commas",
                excerpt(word),
                u64::MAX
            );
            return Err(WireError::new(ErrorCode::BadReceiver, text));
        };
        ids.push(id);
        at += word.len();
        if text.get(at) != Some(&b',') {
            break;
        }
        at += 1;
        at += text[at..].iter().take_while(|b| **b == b' ').count();
    }
    if ids.len() > MAX_RECEIVERS {
        let text = format!("{} receivers; at most {MAX_RECEIVERS} can be named", ids.len());
        return Err(WireError::new(ErrorCode::TooManyReceivers, text));
    }
    Ok((ids.into_iter().collect(), at))
}

pub(super) fn number(word: &[u8]) -> Option<u64> {
    let digits = !word.is_empty() && word.iter().all(u8::is_ascii_digit);
    digits.then(|| core::str::from_utf8(word).ok()?.parse().ok())?
}

/// The start of what was typed, escaped, for the text of an error.
pub(super) fn excerpt(word: &[u8]) -> String {
    const SHOWN: usize = 24;
    let mut shown: String = format!("{}", word[..word.len().min(SHOWN)].escape_ascii());
    if word.len() > SHOWN {
        shown.push('…');
    }
    shown
}
