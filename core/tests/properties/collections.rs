//! The collections, compared with simple ones of the standard library.

use std::collections::BTreeMap;

use bytes::Bytes;
use echosphere_core::conn_set::ConnSet;
use echosphere_core::timers::{TimerId, Timers};
use echosphere_core::wire::Outbox;
use echosphere_core::{ConnId, Time};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

#[derive(Clone, Debug)]
enum TimerStep {
    Set(u64),
    Cancel(Index),
    PopDue(u64),
}

fn timer_step() -> impl Strategy<Value = TimerStep> {
    prop_oneof![
        3 => (0..20_u64).prop_map(TimerStep::Set),
        1 => any::<Index>().prop_map(TimerStep::Cancel),
        2 => (0..20_u64).prop_map(TimerStep::PopDue),
    ]
}

#[derive(Clone, Debug)]
enum SetStep {
    Insert(ConnId),
    Remove(ConnId),
    Change(ConnId),
    Pick(u64),
}

fn set_step() -> impl Strategy<Value = SetStep> {
    let id = || (0..8_u32, 0..3_u32).prop_map(|(slot, generation)| ConnId { slot, generation });
    prop_oneof![
        3 => id().prop_map(SetStep::Insert),
        3 => id().prop_map(SetStep::Remove),
        1 => id().prop_map(SetStep::Change),
        1 => any::<u64>().prop_map(SetStep::Pick),
    ]
}

#[derive(Clone, Debug)]
enum OutboxStep {
    Put(usize),
    PutShared(usize),
    /// Writes this many thousandths of the rest.
    Write(usize),
}

fn outbox_step() -> impl Strategy<Value = OutboxStep> {
    // Around the sizes at which bodies are shared and written bytes are removed.
    let len = || prop_oneof![0..50_usize, 2000..2100_usize, 30_000..90_000_usize];
    let part = prop_oneof![Just(1000_usize), 0..1000_usize];
    prop_oneof![
        3 => len().prop_map(OutboxStep::Put),
        3 => len().prop_map(OutboxStep::PutShared),
        4 => part.prop_map(OutboxStep::Write),
    ]
}

proptest! {
    #[test]
    fn timers_come_in_the_order_of_their_times_then_of_their_setting(steps in vec(timer_step(), 0..60)) {
        let mut timers = Timers::new();
        let mut model: Vec<(TimerId, usize)> = Vec::new();
        let mut all = Vec::new();
        for (key, step) in steps.into_iter().enumerate() {
            match step {
                TimerStep::Set(at) => {
                    let id = timers.set(Time::from_nanos(at), key);
                    prop_assert_eq!(id.at(), Time::from_nanos(at));
                    // Stable: deadlines at the same time stay in the order in which they were set.
                    let after = model.partition_point(|(other, _)| other.at() <= id.at());
                    model.insert(after, (id, key));
                    all.push(id);
                }
                TimerStep::Cancel(which) if !all.is_empty() => {
                    let id = *which.get(&all);
                    let at = model.iter().position(|(other, _)| *other == id);
                    prop_assert_eq!(timers.cancel(id), at.map(|at| model.remove(at).1));
                }
                TimerStep::Cancel(_) => {}
                TimerStep::PopDue(now) => {
                    let now = Time::from_nanos(now);
                    let due = model.first().is_some_and(|(id, _)| id.at() <= now);
                    prop_assert_eq!(timers.pop_due(now), due.then(|| model.remove(0)));
                }
            }
            prop_assert_eq!(timers.next(), model.first().map(|(id, _)| id.at()));
            prop_assert_eq!(timers.len(), model.len());
            prop_assert_eq!(timers.is_empty(), model.is_empty());
        }
    }

    #[test]
    fn a_connection_set_is_a_map_with_one_owner_for_each_slot(steps in vec(set_step(), 0..80)) {
        let mut set = ConnSet::new();
        let mut model: BTreeMap<ConnId, usize> = BTreeMap::new();
        for (value, step) in steps.into_iter().enumerate() {
            match step {
                SetStep::Insert(id) => {
                    let free = model.keys().all(|other| other.slot != id.slot);
                    prop_assert_eq!(set.insert(id, value), free);
                    if free {
                        model.insert(id, value);
                    }
                }
                SetStep::Remove(id) => prop_assert_eq!(set.remove(id), model.remove(&id)),
                SetStep::Change(id) => {
                    prop_assert_eq!(set.get(id), model.get(&id));
                    prop_assert_eq!(set.contains(id), model.contains_key(&id));
                    if let Some(present) = set.get_mut(id) {
                        *present = value;
                        model.insert(id, value);
                    }
                }
                SetStep::Pick(seed) => {
                    let picked = set.pick(&mut ChaCha8Rng::seed_from_u64(seed));
                    prop_assert_eq!(picked.is_some(), !model.is_empty());
                    prop_assert!(picked.is_none_or(|id| model.contains_key(&id)));
                }
            }
            let mut entries: Vec<(ConnId, usize)> = set.iter().map(|(id, value)| (id, *value)).collect();
            entries.sort();
            prop_assert!(entries.into_iter().eq(model.clone()));
            prop_assert_eq!(set.len(), model.len());
            prop_assert_eq!(set.is_empty(), model.is_empty());
        }
    }

    #[test]
    fn an_outbox_is_a_queue_of_bytes(steps in vec(outbox_step(), 0..30)) {
        let mut outbox = Outbox::new();
        let mut model: Vec<u8> = Vec::new();
        for (n, step) in steps.into_iter().enumerate() {
            match step {
                OutboxStep::Put(len) => {
                    let bytes: Vec<u8> = (0..len).map(|at| (n * 31 + at) as u8).collect();
                    outbox.put(&bytes);
                    model.extend(bytes);
                }
                OutboxStep::PutShared(len) => {
                    let bytes: Bytes = (0..len).map(|at| (n * 37 + at) as u8).collect();
                    outbox.put_shared(&bytes);
                    model.extend(bytes);
                }
                OutboxStep::Write(thousandths) => {
                    let written = model.len() * thousandths / 1000;
                    outbox.advance(written);
                    model.drain(..written);
                }
            }
            let chunks: Vec<&[u8]> = outbox.chunks().collect();
            prop_assert!(chunks.iter().all(|chunk| !chunk.is_empty()), "an empty piece looks like the end");
            prop_assert!(chunks.concat() == model);
            prop_assert_eq!(outbox.len(), model.len());
            prop_assert_eq!(outbox.is_empty(), model.is_empty());
        }
    }
}
