use uuid::Uuid;

use super::sequence::{Checksum, Sequence};
use crate::ConnId;
use crate::timers::TimerId;
use crate::wire::{ErrorCode, WireError};

/// A session. Its numbers can be generated at any time, so only positions are kept.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) n: u16,
    /// How many numbers were sent: the position of the next one.
    pub(super) place: u16,
    /// The highest position so far: the client cannot have more numbers.
    pub(super) reached: u16,
    /// Of the numbers before `place`.
    pub(super) checksum: Checksum,
    /// Whether its end was sent, or the client has shown that it received something.
    pub(super) underway: bool,
    pub(super) receiver: Receiver,
}

impl Session {
    pub(super) const fn new(n: u16, conn: ConnId) -> Self {
        Self {
            n,
            place: 0,
            reached: 0,
            checksum: Checksum(0),
            underway: false,
            receiver: Receiver::Conn(conn),
        }
    }

    /// How many numbers the client has received, by its request to resume; an error if that is impossible.
    pub(super) fn proven(&self, sequence: &mut Sequence, last: u64, count: Option<u16>) -> Result<u16, WireError> {
        let found = match count {
            None => sequence.count_to_latest(last, self.reached),
            Some(0) => Some(0),
            Some(count) if count > self.reached => None,
            Some(count) => (sequence.after(count - 1).next().map(u64::from) == Some(last)).then_some(count),
        };
        found.ok_or_else(|| ErrorCode::BadNumber.into())
    }

    /// Makes the number at `place` the next one. Costs O(distance).
    pub(super) fn move_to(&mut self, sequence: &mut Sequence, place: u16) {
        let (from, to) = (self.place.min(place), self.place.max(place));
        let between = sequence.after(from).take(usize::from(to - from));
        self.checksum = if place > self.place {
            between.fold(self.checksum, Checksum::plus)
        } else {
            between.fold(self.checksum, Checksum::minus)
        };
        self.place = place;
    }

    /// Returns the next number and advances; `None` at the end.
    pub(super) fn next(&mut self, uuid: Uuid) -> Option<u32> {
        if self.place == self.n {
            return None;
        }
        let number = Sequence::new(uuid).after(self.place).next()?;
        self.place += 1;
        self.reached = self.reached.max(self.place);
        self.checksum = self.checksum.plus(number);
        Some(number)
    }
}

/// Where a session's numbers are sent.
#[derive(Clone, Copy, Debug)]
pub(super) enum Receiver {
    Conn(ConnId),
    /// To no connection; the session is discarded when the timer is due.
    None(TimerId),
}
