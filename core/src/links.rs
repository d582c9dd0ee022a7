//! All connections of an endpoint, by id, with their timers.

use alloc::vec::Vec;

use crate::link::{Link, LinkConfig};
use crate::timers::Timers;
use crate::wire::Codec;
use crate::{ConnId, Time};

/// Mints ids: slots are reused, last freed first, and each use has a generation of its own.
#[derive(Debug)]
pub(crate) struct Links<C> {
    config: LinkConfig,
    slots: Vec<Slot<C>>,
    free: Vec<u32>,
    timers: Timers<ConnId>,
}

#[derive(Debug)]
struct Slot<C> {
    generation: u32,
    link: Option<Link<C>>,
}

impl<C: Codec> Links<C> {
    pub(crate) const fn new(config: LinkConfig) -> Self {
        Self {
            config,
            slots: Vec::new(),
            free: Vec::new(),
            timers: Timers::new(),
        }
    }

    pub(crate) const fn config(&self) -> &LinkConfig {
        &self.config
    }

    pub(crate) fn insert(&mut self, link: Link<C>) -> ConnId {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot {
                generation: 0,
                link: None,
            });
            (self.slots.len() - 1) as u32
        });
        let entry = &mut self.slots[slot as usize];
        entry.link = Some(link);
        let id = ConnId {
            slot,
            generation: entry.generation,
        };
        self.arm(id);
        id
    }

    /// Forgets a connection at once; its id is stale from here on. `false` if it was already.
    pub(crate) fn remove(&mut self, id: ConnId) -> bool {
        let slot = self.slots.get_mut(id.slot as usize);
        let Some(slot) = slot.filter(|slot| slot.generation == id.generation) else {
            return false;
        };
        let Some(link) = slot.link.take() else {
            return false;
        };
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(id.slot);
        if let Some(timer) = link.timer {
            self.timers.cancel(timer);
        }
        true
    }

    pub(crate) fn get(&self, id: ConnId) -> Option<&Link<C>> {
        let slot = self.slots.get(id.slot as usize)?;
        slot.link.as_ref().filter(|_| slot.generation == id.generation)
    }

    pub(crate) fn get_mut(&mut self, id: ConnId) -> Option<&mut Link<C>> {
        self.with_config(id).map(|(link, _)| link)
    }

    /// A connection, and what it is configured by.
    pub(crate) fn with_config(&mut self, id: ConnId) -> Option<(&mut Link<C>, &LinkConfig)> {
        let slot = self.slots.get_mut(id.slot as usize)?;
        let generation = slot.generation;
        let link = slot.link.as_mut().filter(|_| generation == id.generation)?;
        Some((link, &self.config))
    }

    /// The connections that are as `wanted`, by slot.
    pub(crate) fn ids_where(&self, wanted: impl Fn(&Link<C>) -> bool) -> Vec<ConnId> {
        let ids = self.slots.iter().zip(0..).filter_map(|(entry, slot)| {
            let generation = entry.generation;
            let link = entry.link.as_ref()?;
            wanted(link).then_some(ConnId { slot, generation })
        });
        ids.collect()
    }

    /// Sets the connection's timer to its present deadline.
    pub(crate) fn arm(&mut self, id: ConnId) {
        let config = self.config;
        let Some(link) = self.get_mut(id) else {
            return;
        };
        let deadline = link.deadline(&config);
        if let Some(timer) = link.timer.take() {
            self.timers.cancel(timer);
        }
        let timer = self.timers.set(deadline, id);
        if let Some(link) = self.get_mut(id) {
            link.timer = Some(timer);
        }
    }

    /// Sets the connection's timer to its present deadline if it would come too late. One that comes too early is set
    /// anew then.
    pub(crate) fn arm_if_sooner(&mut self, id: ConnId) {
        let config = self.config;
        let sooner = |link: &Link<C>| link.timer.is_none_or(|timer| link.deadline(&config) < timer.at());
        if self.get(id).is_some_and(sooner) {
            self.arm(id);
        }
    }

    /// Takes the next connection whose timer is due.
    pub(crate) fn pop_due(&mut self, now: Time) -> Option<ConnId> {
        let (_, id) = self.timers.pop_due(now)?;
        if let Some(link) = self.get_mut(id) {
            link.timer = None;
        }
        Some(id)
    }

    /// Whether a connection is to be ended at `now`.
    pub(crate) fn is_judged(&self, now: Time) -> bool {
        let mut due = self.timers.due(now).filter_map(|&id| self.get(id));
        due.any(|link| link.is_judged(now, &self.config))
    }

    pub(crate) fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    pub(crate) const fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(crate) fn timer_count(&self) -> usize {
        self.timers.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0 && self.timers.is_empty()
    }
}
