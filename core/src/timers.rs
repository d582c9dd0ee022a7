//! Deadlines in order. Cancelling removes a deadline at once, so that `is_empty` is exact.

use alloc::collections::BTreeMap;
use core::time::Duration;

use crate::Time;

/// The shortest time-out or pause of a client: with zero, handling what is due would never end.
pub(crate) const SHORTEST: Duration = Duration::from_nanos(1);

/// Identifies a deadline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimerId {
    at: Time,
    sequence: u64,
}

impl TimerId {
    /// When it is due.
    #[must_use]
    pub const fn at(self) -> Time {
        self.at
    }
}

/// A set of deadlines, each with a key. Deadlines at the same time come in the order in which they were set.
#[derive(Debug)]
pub struct Timers<K> {
    due: BTreeMap<TimerId, K>,
    sequence: u64,
}

impl<K> Timers<K> {
    /// No deadlines.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            due: BTreeMap::new(),
            sequence: 0,
        }
    }

    /// Sets a deadline.
    pub fn set(&mut self, at: Time, key: K) -> TimerId {
        let id = TimerId {
            at,
            sequence: self.sequence,
        };
        self.sequence += 1;
        self.due.insert(id, key);
        id
    }

    /// Removes a deadline; `None` if it was taken or cancelled.
    pub fn cancel(&mut self, id: TimerId) -> Option<K> {
        self.due.remove(&id)
    }

    /// The earliest deadline.
    #[must_use]
    pub fn next(&self) -> Option<Time> {
        self.due.first_key_value().map(|(id, _)| id.at)
    }

    /// Takes the earliest deadline if it is due at `now`.
    pub fn pop_due(&mut self, now: Time) -> Option<(TimerId, K)> {
        let first = self.due.first_entry()?;
        (first.key().at <= now).then(|| first.remove_entry())
    }

    /// The keys of all deadlines that are due at `now`, earliest first.
    pub fn due(&self, now: Time) -> impl Iterator<Item = &K> {
        let last = TimerId {
            at: now,
            sequence: u64::MAX,
        };
        self.due.range(..=last).map(|(_, key)| key)
    }

    /// The number of deadlines.
    #[must_use]
    pub fn len(&self) -> usize {
        self.due.len()
    }

    /// Whether there are no deadlines.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.due.is_empty()
    }
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self::new()
    }
}
