//! Masks of payloads (RFC 6455, section 5.3) and the check of text (section 8.1), both for payloads that come in pieces.

use std::str::from_utf8;

/// Masks or unmasks a piece of a payload. Returns the mask for the next piece.
pub(crate) fn apply(mask: [u8; 4], piece: &mut [u8]) -> [u8; 4] {
    let wide = u64::from_ne_bytes([mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]]);
    let length = piece.len();
    let (chunks, rest) = piece.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    let mut next = mask;
    next.rotate_left(length % 4);
    next
}

/// Checks that a text that comes in pieces is UTF-8. The default is at the start of a text.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Utf8Check {
    /// The start of a character that is incomplete.
    part: [u8; 4],
    length: u8,
}

/// The text is not UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NotUtf8;

impl Utf8Check {
    /// Checks the next piece.
    pub(crate) fn check(&mut self, mut piece: &[u8]) -> Result<(), NotUtf8> {
        while self.length > 0 {
            let Some((first, rest)) = piece.split_first() else {
                return Ok(());
            };
            piece = rest;
            let length = usize::from(self.length);
            self.part[length] = *first;
            match from_utf8(&self.part[..=length]) {
                Ok(_) => self.length = 0,
                Err(error) if error.error_len().is_none() => self.length += 1,
                Err(_) => return Err(NotUtf8),
            }
        }
        match from_utf8(piece) {
            Ok(_) => Ok(()),
            Err(error) if error.error_len().is_none() => {
                let part = &piece[error.valid_up_to()..];
                self.part[..part.len()].copy_from_slice(part);
                self.length = part.len() as u8;
                Ok(())
            }
            Err(_) => Err(NotUtf8),
        }
    }

    /// Checks the end of the text. If it is complete, the check is at the start of the next text.
    pub(crate) const fn finish(self) -> Result<(), NotUtf8> {
        if self.length > 0 {
            return Err(NotUtf8);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_masked_as_the_whole() {
        let plain: Vec<u8> = (0..100).collect();
        let mask = [0x12, 0x34, 0x56, 0x78];
        let expected: Vec<u8> = plain.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b).collect();
        for at in 0..=plain.len() {
            let mut masked = plain.clone();
            let next = apply(mask, &mut masked[..at]);
            apply(next, &mut masked[at..]);
            assert_eq!(masked, expected, "in two pieces, at {at}");
        }
    }

    #[test]
    fn a_text_in_pieces_is_checked_as_the_whole() {
        let valid = "aé€😀 z".as_bytes();
        let mut texts = vec![valid.to_vec()];
        for (at, byte) in [(1, 0xFF), (2, b'x'), (4, 0xC0), (6, 0x20), (9, 0xF8)] {
            let mut text = valid.to_vec();
            text[at] = byte;
            texts.push(text);
        }
        texts.extend((0..valid.len()).map(|end| valid[..end].to_vec()));
        for text in texts {
            for size in 1..=text.len().max(1) {
                let mut check = Utf8Check::default();
                let valid = text.chunks(size).try_for_each(|piece| check.check(piece));
                assert_eq!(
                    valid.and_then(|()| check.finish()).is_ok(),
                    from_utf8(&text).is_ok(),
                    "{text:?} in pieces of {size}"
                );
            }
        }
    }
}
