//! All connections of an endpoint, by id, with their timers.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use crate::connection::{Connection, ConnectionConfig};
use crate::partial::Partials;
use crate::principal::Principal;
use crate::timers::Timers;
use crate::wire::Codec;
use crate::{ConnId, Time};

/// Assigns ids: the slot freed last is reused first, and each use has a new generation.
#[derive(Debug)]
pub(crate) struct Connections<C> {
    config: ConnectionConfig,
    slots: Vec<Slot<C>>,
    free: Vec<u32>,
    count: usize,
    /// Of the connections that have one.
    principals: BTreeMap<ConnId, Principal>,
    timers: Timers<ConnId>,
    partials: Partials,
}

#[derive(Debug)]
struct Slot<C> {
    generation: u32,
    connection: Option<Connection<C>>,
}

impl<C: Codec> Connections<C> {
    pub(crate) const fn new(config: ConnectionConfig) -> Self {
        Self {
            config,
            slots: Vec::new(),
            free: Vec::new(),
            count: 0,
            principals: BTreeMap::new(),
            timers: Timers::new(),
            partials: Partials::new(),
        }
    }

    pub(crate) const fn config(&self) -> &ConnectionConfig {
        &self.config
    }

    pub(crate) fn insert(&mut self, connection: Connection<C>) -> ConnId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                connection: None,
            });
            (self.slots.len() - 1) as u32
        });
        let entry = &mut self.slots[slot as usize];
        entry.connection = Some(connection);
        self.count += 1;
        let id = ConnId {
            slot,
            generation: entry.generation,
        };
        self.arm(id);
        id
    }

    /// Removes a connection; its id becomes stale. `false` if it was stale. Its slot is not used again before
    /// [`Connections::free`].
    pub(crate) fn remove(&mut self, id: ConnId) -> bool {
        let slot = self.slots.get_mut(id.slot as usize);
        let Some(slot) = slot.filter(|slot| slot.generation == id.generation) else {
            return false;
        };
        let Some(connection) = slot.connection.take() else {
            return false;
        };
        slot.generation = slot.generation.wrapping_add(1);
        self.count -= 1;
        self.principals.remove(&id);
        if let Some(timer) = connection.timer {
            self.timers.cancel(timer);
        }
        if let Some(partial) = connection.partial {
            self.partials.forget(id, &partial);
        }
        true
    }

    /// Frees the slot of a connection that was removed.
    pub(crate) fn free(&mut self, id: ConnId) {
        self.free.push(id.slot);
    }

    pub(crate) fn set_principal(&mut self, id: ConnId, principal: Principal) {
        if self.get(id).is_some() {
            self.principals.insert(id, principal);
        }
    }

    pub(crate) fn principal(&self, id: ConnId) -> Option<&Principal> {
        self.principals.get(&id)
    }

    pub(crate) fn get(&self, id: ConnId) -> Option<&Connection<C>> {
        let slot = self.slots.get(id.slot as usize)?;
        slot.connection.as_ref().filter(|_| slot.generation == id.generation)
    }

    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut Connection<C>> {
        self.with_config(id).map(|(connection, _)| connection)
    }

    /// A connection and its configuration.
    pub(crate) fn with_config(&mut self, id: ConnId) -> Option<(&mut Connection<C>, &ConnectionConfig)> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        let generation = slot.generation;
        let connection = slot.connection.as_mut().filter(|_| generation == id.generation)?;
        Some((connection, &self.config))
    }

    /// Sets the size of a connection's partial message, including what its machine holds. `begun`: it is another
    /// message than before.
    pub(crate) fn note_partial(&mut self, now: Time, id: ConnId, held: usize, begun: bool) {
        let slot = self.slots.get_mut(id.slot as usize);
        let slot = slot.filter(|slot| slot.generation == id.generation);
        let Some(connection) = slot.and_then(|slot| slot.connection.as_mut()) else {
            return;
        };
        if held == 0 {
            self.forget_partial(id);
        } else {
            let partial = connection.partial.get_or_insert_default();
            self.partials.note(now, id, partial, held, begun);
        }
    }

    /// Frees the connection's partial message.
    pub(crate) fn forget_partial(&mut self, id: ConnId) {
        if let Some(partial) = self.get_mut(id).and_then(|connection| connection.partial.take()) {
            self.partials.forget(id, &partial);
        }
    }

    pub(crate) const fn partials(&self) -> &Partials {
        &self.partials
    }

    /// The connections that match `wanted`, by slot.
    pub(crate) fn ids_where(&self, wanted: impl Fn(&Connection<C>) -> bool) -> Vec<ConnId> {
        let ids = self.slots.iter().zip(0..).filter_map(|(entry, slot)| {
            let generation = entry.generation;
            let connection = entry.connection.as_ref()?;
            wanted(connection).then_some(ConnId { slot, generation })
        });
        ids.collect()
    }

    /// Sets the connection's timer to its next deadline.
    pub(crate) fn arm(&mut self, id: ConnId) {
        let config = self.config;
        let Some(connection) = self.get_mut(id) else {
            return;
        };
        let deadline = connection.deadline(&config);
        if let Some(timer) = connection.timer.take() {
            self.timers.cancel(timer);
        }
        let timer = self.timers.set(deadline, id);
        if let Some(connection) = self.get_mut(id) {
            connection.timer = Some(timer);
        }
    }

    /// Sets the connection's timer to its next deadline if the timer is later. An early timer is set again when it is
    /// due.
    pub(crate) fn arm_if_sooner(&mut self, id: ConnId) {
        let config = self.config;
        let sooner = |connection: &Connection<C>| {
            connection
                .timer
                .is_none_or(|timer| connection.deadline(&config) < timer.at())
        };
        if self.get(id).is_some_and(sooner) {
            self.arm(id);
        }
    }

    /// Takes the next connection whose timer is due.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<ConnId> {
        let (_, id) = self.timers.pop_due(now)?;
        if let Some(connection) = self.get_mut(id) {
            connection.timer = None;
        }
        Some(id)
    }

    /// Whether a connection must be ended at `now`.
    pub(crate) fn must_end(&self, now: Time) -> bool {
        let mut due = self.timers.due(now).filter_map(|&id| self.get(id));
        due.any(|connection| connection.must_end(now, &self.config))
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    pub(crate) const fn len(&self) -> usize {
        self.count
    }

    pub(crate) fn timer_count(&self) -> usize {
        self.timers.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0 && self.timers.is_empty()
    }
}
