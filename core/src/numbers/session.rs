use uuid::Uuid;

use super::sequence::{Checksum, Sequence};
use crate::ConnId;
use crate::timers::TimerId;
use crate::wire::{ErrorCode, WireError};

/// A session. The server can make any of its numbers, so it keeps only places: how many numbers come before one.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) n: u16,
    /// The next number's place.
    pub(super) place: u16,
    /// The highest place so far: the client cannot have got more.
    pub(super) reached: u16,
    /// Of the numbers before `place`.
    pub(super) checksum: Checksum,
    /// Its end was sent, or the client has shown that it got something.
    pub(super) underway: bool,
    pub(super) holder: Holder,
}

impl Session {
    pub(super) const fn new(n: u16, conn: ConnId) -> Self {
        Self {
            n,
            place: 0,
            reached: 0,
            checksum: Checksum(0),
            underway: false,
            holder: Holder::Conn(conn),
        }
    }

    /// How many numbers a client has got that says so; an error if it cannot have.
    pub(super) fn proven(&self, sequence: &mut Sequence, last: u64, count: Option<u16>) -> Result<u16, WireError> {
        let found = match count {
            None => sequence.count_to_latest(last, self.reached),
            Some(0) => Some(0),
            Some(count) if count > self.reached => None,
            Some(count) => (sequence.after(count - 1).next().map(u64::from) == Some(last)).then_some(count),
        };
        found.ok_or_else(|| ErrorCode::BadNumber.into())
    }

    /// Has the number at `place` be the next. Costs as much as that is far from where it was.
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

    /// The next number, and its successor's place; `None` if there are no more.
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

/// Who a session's numbers are sent to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Holder {
    Conn(ConnId),
    /// Nobody, until somebody comes back or the timer is due.
    Nobody(TimerId),
}
