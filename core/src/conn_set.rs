//! A map of live connections with a uniformly random choice.

use alloc::vec::Vec;

use rand_core::Rng;

use crate::ConnId;
use crate::random::below;

/// A map from live connections to `T`. Insert, remove, look-up and uniform random choice are O(1): entries are dense,
/// and a table by slot has the index of each.
#[derive(Debug)]
pub struct ConnSet<T> {
    entries: Vec<(ConnId, T)>,
    by_slot: Vec<Position>,
}

#[derive(Clone, Copy, Debug)]
struct Position {
    generation: u32,
    index: u32,
}

const NOWHERE: u32 = u32::MAX;

impl<T> ConnSet<T> {
    /// An empty set.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            entries: Vec::new(),
            by_slot: Vec::new(),
        }
    }

    /// Adds a connection. Returns `false` and changes nothing if its slot is in use.
    pub fn insert(&mut self, id: ConnId, value: T) -> bool {
        let slot = id.slot as usize;
        if slot >= self.by_slot.len() {
            let empty = Position {
                generation: 0,
                index: NOWHERE,
            };
            self.by_slot.resize(slot + 1, empty);
        }
        if self.by_slot[slot].index != NOWHERE {
            return false;
        }
        self.by_slot[slot] = Position {
            generation: id.generation,
            index: self.entries.len() as u32,
        };
        self.entries.push((id, value));
        true
    }

    /// Removes a connection; `None` if the id is stale or unknown.
    pub fn remove(&mut self, id: ConnId) -> Option<T> {
        let index = self.index(id)?;
        self.by_slot[id.slot as usize].index = NOWHERE;
        let (_, value) = self.entries.swap_remove(index);
        if let Some((moved, _)) = self.entries.get(index) {
            self.by_slot[moved.slot as usize].index = index as u32;
        }
        if self.entries.is_empty() {
            self.by_slot = Vec::new();
        }
        Some(value)
    }

    /// The value of a connection; `None` if the id is stale or unknown.
    #[must_use]
    pub fn get(&self, id: ConnId) -> Option<&T> {
        self.index(id).map(|index| &self.entries[index].1)
    }

    /// The value of a connection, mutable; `None` if the id is stale or unknown.
    pub fn get_mut(&mut self, id: ConnId) -> Option<&mut T> {
        self.index(id).map(|index| &mut self.entries[index].1)
    }

    /// Whether the connection is live.
    #[must_use]
    pub fn contains(&self, id: ConnId) -> bool {
        self.index(id).is_some()
    }

    /// A uniformly random connection; `None` if there are none.
    pub fn pick(&self, rng: &mut impl Rng) -> Option<ConnId> {
        let count = u32::try_from(self.entries.len()).ok()?;
        (count > 0).then(|| self.entries[below(rng, count) as usize].0)
    }

    /// All connections, in an order that depends only on the inserts and removes so far.
    pub fn iter(&self) -> impl Iterator<Item = (ConnId, &T)> {
        self.entries.iter().map(|(id, value)| (*id, value))
    }

    /// The number of connections.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no connections.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn index(&self, id: ConnId) -> Option<usize> {
        let place = self.by_slot.get(id.slot as usize)?;
        (place.generation == id.generation && place.index != NOWHERE).then_some(place.index as usize)
    }
}

impl<T> Default for ConnSet<T> {
    fn default() -> Self {
        Self::new()
    }
}
