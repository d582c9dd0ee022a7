//! A map from connections, dense by slot, because look-ups are frequent.

use echosphere_core::ConnId;

/// A map from connections of one host, of which no two that live at once share a slot, in the order of their ids.
#[derive(Debug)]
pub(super) struct ByConn<T> {
    slots: Vec<Option<(u32, T)>>,
    len: usize,
}

impl<T> Default for ByConn<T> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            len: 0,
        }
    }
}

impl<T> ByConn<T> {
    /// Adds a connection. What had its slot is returned, and forgotten.
    pub(super) fn insert(&mut self, id: ConnId, value: T) -> Option<T> {
        let slot = id.slot as usize;
        if slot >= self.slots.len() {
            self.slots.resize_with(slot + 1, || None);
        }
        let before = self.slots[slot].replace((id.generation, value));
        self.len += usize::from(before.is_none());
        before.map(|(_, value)| value)
    }

    pub(super) fn remove(&mut self, id: ConnId) -> Option<T> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        let (_, value) = slot.take_if(|(generation, _)| *generation == id.generation)?;
        self.len -= 1;
        Some(value)
    }

    pub(super) fn get(&self, id: ConnId) -> Option<&T> {
        let (generation, value) = self.slots.get(id.slot as usize)?.as_ref()?;
        (*generation == id.generation).then_some(value)
    }

    pub(super) fn get_mut(&mut self, id: ConnId) -> Option<&mut T> {
        let (generation, value) = self.slots.get_mut(id.slot as usize)?.as_mut()?;
        (*generation == id.generation).then_some(value)
    }

    pub(super) fn contains(&self, id: ConnId) -> bool {
        self.get(id).is_some()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &T)> {
        (0..).zip(&self.slots).filter_map(|(slot, entry)| {
            let (generation, value) = entry.as_ref()?;
            let generation = *generation;
            Some((ConnId { slot, generation }, value))
        })
    }

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
