//! Which connections wait for which X, and which hold it. Only bookkeeping: the rules of the protocol are in `server`.
//!
//! Each forwarded `message X` is a *flight*, with its X, its originator (which waits for the `ok`) and its holder
//! (which owes it). A flight is in three linked lists: of its X, its originator and its holder. So every operation is
//! O(1) per flight that it touches, and an idle connection needs no memory but its table entry.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use core::mem;

use bytes::Bytes;
use hashbrown::HashTable;
use rand_core::Rng;
use siphasher::sip::SipHasher13;
use slab::Slab;

use super::kept::{Kept, Spare};
use crate::ConnId;
use crate::conn_set::ConnSet;

/// A forwarded message that is not acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flight<'a> {
    /// What was sent.
    pub x: &'a [u8],
    /// The connection that waits for the `ok`; `None` if it has closed while others wait for the same X.
    pub originator: Option<ConnId>,
    /// The connection that was sent X and owes the `ok`.
    pub holder: ConnId,
}

/// What an `ok` refers to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// A flight that this connection holds.
    Counted,
    /// A flight that this connection held, of an X that no connection waits for any more.
    Late,
    /// Neither: never forwarded to this connection, or acknowledged by it before.
    Unexpected,
}

#[derive(Debug)]
pub(super) struct Ledger {
    conns: ConnSet<Conn>,
    /// The connections to which any bytes can be sent.
    binary: ConnSet<()>,
    entries: Slab<Entry>,
    spare: Spare,
    by_x: HashTable<u32>,
    flights: Slab<Node>,
    keys: (u64, u64),
    bytes: usize,
}

#[derive(Debug, Default)]
struct Conn {
    sent: List,
    held: List,
    sent_bytes: usize,
    /// Late answers that this connection may still send.
    late: u32,
}

#[derive(Debug)]
struct Entry {
    x: Kept,
    hash: u64,
    flights: List,
    waits: u32,
}

#[derive(Debug)]
struct Node {
    entry: u32,
    originator: Option<ConnId>,
    holder: ConnId,
    neighbours: [Neighbours; 3],
}

#[derive(Clone, Copy, Debug)]
struct Neighbours {
    previous: u32,
    next: u32,
}

#[derive(Clone, Copy, Debug)]
struct List {
    first: u32,
    last: u32,
    len: u32,
}

#[derive(Clone, Copy, Debug)]
enum By {
    X,
    Originator,
    Holder,
}

const NONE: u32 = u32::MAX;
const UNLINKED: Neighbours = Neighbours {
    previous: NONE,
    next: NONE,
};

impl List {
    fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }
}

impl Default for List {
    fn default() -> Self {
        Self {
            first: NONE,
            last: NONE,
            len: 0,
        }
    }
}

impl Ledger {
    /// `keys` make the hash of X unpredictable to peers, who choose X.
    pub(super) const fn new(keys: (u64, u64)) -> Self {
        Self {
            conns: ConnSet::new(),
            binary: ConnSet::new(),
            entries: Slab::new(),
            spare: Spare::new(),
            by_x: HashTable::new(),
            flights: Slab::new(),
            keys,
            bytes: 0,
        }
    }

    pub(super) fn open(&mut self, id: ConnId, text: bool) -> bool {
        let new = self.conns.insert(id, Conn::default());
        if new && !text {
            self.binary.insert(id, ());
        }
        new
    }

    pub(super) fn contains(&self, id: ConnId) -> bool {
        self.conns.contains(id)
    }

    pub(super) fn connections(&self) -> impl Iterator<Item = ConnId> {
        self.conns.iter().map(|(id, _)| id)
    }

    pub(super) fn connection_count(&self) -> usize {
        self.conns.len()
    }

    /// The number of a connection's unacknowledged messages, and their bytes.
    pub(super) fn waiting(&self, id: ConnId) -> (usize, usize) {
        self.conns
            .get(id)
            .map_or((0, 0), |conn| (conn.sent.len as usize, conn.sent_bytes))
    }

    /// Whether a connection is neither originator nor holder of a flight.
    pub(super) fn is_idle(&self, id: ConnId) -> bool {
        self.conns
            .get(id)
            .is_some_and(|conn| conn.sent.len == 0 && conn.held.len == 0)
    }

    pub(super) fn flights(&self) -> impl Iterator<Item = Flight<'_>> {
        self.flights.iter().map(|(_, node)| Flight {
            x: &self.entries[node.entry as usize].x,
            originator: node.originator,
            holder: node.holder,
        })
    }

    pub(super) fn flight_count(&self) -> usize {
        self.flights.len()
    }

    /// Bytes of all flights: an X that was sent twice counts twice.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.conns.is_empty()
            && self.binary.is_empty()
            && self.entries.is_empty()
            && self.by_x.is_empty()
            && self.flights.is_empty()
            && self.bytes == 0
    }

    /// Whether `x` can be sent to a live connection.
    pub(super) fn can_be_sent(&self, id: ConnId, x: &[u8]) -> bool {
        self.binary.contains(id) || fits_in_a_line(x)
    }

    /// A uniformly random choice among the connections to which `x` can be sent. A line cannot carry a line break.
    pub(super) fn pick(&self, x: &[u8], rng: &mut impl Rng) -> Option<ConnId> {
        if self.binary.len() < self.conns.len() && !fits_in_a_line(x) {
            self.binary.pick(rng)
        } else {
            self.conns.pick(rng)
        }
    }

    /// Adds a flight of `x`. Both connections must be live. Returns X for sending.
    pub(super) fn add(&mut self, x: Bytes, originator: ConnId, holder: ConnId) -> Bytes {
        let entry = self.entry_or_insert(&x);
        let kept = &mut self.entries[entry as usize];
        kept.waits += 1;
        self.bytes += x.len();
        let flight = self.flights.insert(Node {
            entry,
            originator: Some(originator),
            holder,
            neighbours: [UNLINKED; 3],
        }) as u32;
        push(&mut self.flights, By::X, &mut kept.flights, flight);
        if let Some(conn) = self.conns.get_mut(originator) {
            push(&mut self.flights, By::Originator, &mut conn.sent, flight);
            conn.sent_bytes += x.len();
        }
        if let Some(conn) = self.conns.get_mut(holder) {
            push(&mut self.flights, By::Holder, &mut conn.held, flight);
        }
        kept.x.to_send(x)
    }

    /// Handles `ok x` from `holder`. If `holder` holds `x`, calls `each` with every originator of `x`, and appends
    /// every originator and holder of `x` to `freed`.
    pub(super) fn answer(
        &mut self,
        x: &Bytes,
        holder: ConnId,
        mut each: impl FnMut(ConnId, Bytes),
        freed: &mut Vec<ConnId>,
    ) -> Answer {
        let Some((entry, answered)) = self.held(x, holder) else {
            return match self.conns.get_mut(holder) {
                Some(conn) if conn.late > 0 => {
                    conn.late -= 1;
                    Answer::Late
                }
                _ => Answer::Unexpected,
            };
        };
        let mut each = |id, kept: &Kept| each(id, kept.to_send(x.clone()));
        self.close_entry(entry, Some(answered), &mut each, freed);
        Answer::Counted
    }

    /// Removes a connection. Removes each X that no other connection waits for, and appends its holders to `freed`.
    /// Returns the flights that the connection held and that need a new holder.
    pub(super) fn close(&mut self, id: ConnId, freed: &mut Vec<ConnId>) -> Option<Vec<u32>> {
        while let Some(flight) = self.conns.get(id)?.sent.first() {
            if let Some(conn) = self.conns.get_mut(id) {
                remove(&mut self.flights, By::Originator, &mut conn.sent, flight);
            }
            let node = &mut self.flights[flight as usize];
            node.originator = None;
            let entry = node.entry;
            let waits = &mut self.entries[entry as usize].waits;
            *waits -= 1;
            if *waits == 0 {
                self.close_entry(entry, None, &mut |_, _| {}, freed);
            }
        }
        let mut conn = self.conns.remove(id)?;
        self.binary.remove(id);
        let mut to_forward = Vec::new();
        while let Some(flight) = conn.held.first() {
            remove(&mut self.flights, By::Holder, &mut conn.held, flight);
            let node = &self.flights[flight as usize];
            if node.originator.is_some() {
                to_forward.push(flight);
            } else {
                let entry = &mut self.entries[node.entry as usize];
                self.bytes -= entry.x.len();
                remove(&mut self.flights, By::X, &mut entry.flights, flight);
                self.flights.remove(flight as usize);
            }
        }
        Some(to_forward)
    }

    /// The X of a flight.
    pub(super) fn x(&self, flight: u32) -> &Kept {
        &self.entries[self.flights[flight as usize].entry as usize].x
    }

    /// Sets the new holder, which must be live, of a flight that has lost its own.
    pub(super) fn hand_over(&mut self, flight: u32, holder: ConnId) {
        self.flights[flight as usize].holder = holder;
        if let Some(conn) = self.conns.get_mut(holder) {
            push(&mut self.flights, By::Holder, &mut conn.held, flight);
        }
    }

    /// Checks the ledger's invariants. O(n): for tests and simulation.
    pub(super) fn audit(&self) -> Result<(), String> {
        let mut bytes = 0;
        let mut listed = 0;
        for (at, entry) in &self.entries {
            let mut waits = 0;
            for flight in iter(&self.flights, By::X, &entry.flights) {
                let node = &self.flights[flight as usize];
                waits += u32::from(node.originator.is_some());
                listed += 1;
                bytes += entry.x.len();
                if node.entry as usize != at {
                    return Err(format!("flight {flight} is listed under an X that is not its own"));
                }
                if let Some(gone) = [Some(node.holder), node.originator]
                    .into_iter()
                    .flatten()
                    .find(|&id| !self.conns.contains(id))
                {
                    return Err(format!("flight {flight} names {gone:?}, which is not live"));
                }
            }
            if waits == 0 || waits != entry.waits {
                return Err(format!("an X counts {} waits and has {waits}", entry.waits));
            }
            if self.by_x.find(entry.hash, |&found| found as usize == at).is_none() {
                return Err(format!("X number {at} cannot be found"));
            }
        }
        let (mut sent, mut held, mut sent_bytes) = (0, 0, 0);
        for (id, conn) in self.conns.iter() {
            sent_bytes = conn.sent_bytes;
            for flight in iter(&self.flights, By::Originator, &conn.sent) {
                sent += 1;
                sent_bytes -= self.x(flight).len();
                if self.flights[flight as usize].originator != Some(id) {
                    return Err(format!("{id:?} lists a flight that it did not send"));
                }
            }
            for flight in iter(&self.flights, By::Holder, &conn.held) {
                held += 1;
                if self.flights[flight as usize].holder != id {
                    return Err(format!("{id:?} lists a flight that it does not hold"));
                }
            }
            if sent_bytes != 0 {
                break;
            }
        }
        let with_originator = self
            .flights
            .iter()
            .filter(|(_, node)| node.originator.is_some())
            .count();
        let totals = (listed, held, sent, bytes, sent_bytes, self.by_x.len());
        let flights = self.flights.len();
        let expected = (flights, flights, with_originator, self.bytes, 0, self.entries.len());
        if totals != expected {
            return Err(format!("the books do not add up: {totals:?}, expected {expected:?}"));
        }
        Ok(())
    }

    /// Ends all flights of an X. Every holder except that of flight `answered` may still send a late answer.
    fn close_entry(
        &mut self,
        entry: u32,
        answered: Option<u32>,
        each: &mut impl FnMut(ConnId, &Kept),
        freed: &mut Vec<ConnId>,
    ) {
        let hash = self.entries[entry as usize].hash;
        if let Ok(found) = self.by_x.find_entry(hash, |&at| at == entry) {
            found.remove();
        }
        let mut entry = self.entries.remove(entry as usize);
        self.bytes -= entry.x.len() * entry.flights.len as usize;
        while let Some(flight) = entry.flights.first() {
            remove(&mut self.flights, By::X, &mut entry.flights, flight);
            let Node { originator, holder, .. } = self.flights[flight as usize];
            if let Some(conn) = originator.and_then(|id| self.conns.get_mut(id)) {
                remove(&mut self.flights, By::Originator, &mut conn.sent, flight);
                conn.sent_bytes -= entry.x.len();
            }
            if let Some(conn) = self.conns.get_mut(holder) {
                remove(&mut self.flights, By::Holder, &mut conn.held, flight);
                conn.late = conn.late.saturating_add(u32::from(answered != Some(flight)));
                freed.push(holder);
            }
            self.flights.remove(flight as usize);
            if let Some(id) = originator {
                each(id, &entry.x);
                freed.push(id);
            }
        }
        self.spare.drop(entry.x);
    }

    fn entry_or_insert(&mut self, x: &Bytes) -> u32 {
        let hash = self.hash(x);
        if let Some(entry) = self.find_hashed(hash, x) {
            return entry;
        }
        let entry = self.entries.insert(Entry {
            x: self.spare.keep(x),
            hash,
            flights: List::default(),
            waits: 0,
        }) as u32;
        let entries = &self.entries;
        self.by_x.insert_unique(hash, entry, |&at| entries[at as usize].hash);
        entry
    }

    fn find(&self, x: &[u8]) -> Option<u32> {
        self.find_hashed(self.hash(x), x)
    }

    fn find_hashed(&self, hash: u64, x: &[u8]) -> Option<u32> {
        let found = self.by_x.find(hash, |&at| *self.entries[at as usize].x == *x);
        found.copied()
    }

    /// A flight of `x` that `holder` holds, and its entry. Most holders answer in order: checking the oldest first
    /// often avoids hashing X.
    fn held(&self, x: &[u8], holder: ConnId) -> Option<(u32, u32)> {
        if let Some(first) = self.conns.get(holder)?.held.first()
            && **self.x(first) == *x
        {
            return Some((self.flights[first as usize].entry, first));
        }
        let entry = self.find(x)?;
        Some((entry, self.held_by(entry, holder)?))
    }

    /// A flight of `entry` that `holder` holds. Searches the shorter of the two lists.
    fn held_by(&self, entry: u32, holder: ConnId) -> Option<u32> {
        let of_x = &self.entries[entry as usize].flights;
        let of_holder = &self.conns.get(holder)?.held;
        let matches = |&flight: &u32| {
            let node = &self.flights[flight as usize];
            node.entry == entry && node.holder == holder
        };
        if of_x.len <= of_holder.len {
            iter(&self.flights, By::X, of_x).find(matches)
        } else {
            iter(&self.flights, By::Holder, of_holder).find(matches)
        }
    }

    fn hash(&self, x: &[u8]) -> u64 {
        SipHasher13::new_with_keys(self.keys.0, self.keys.1).hash(x)
    }
}

fn fits_in_a_line(x: &[u8]) -> bool {
    memchr::memchr(b'\n', x).is_none() && x.last() != Some(&b'\r')
}

fn push(flights: &mut Slab<Node>, by: By, list: &mut List, flight: u32) {
    let previous = mem::replace(&mut list.last, flight);
    flights[flight as usize].neighbours[by as usize] = Neighbours { previous, next: NONE };
    match flights.get_mut(previous as usize) {
        Some(node) => node.neighbours[by as usize].next = flight,
        None => list.first = flight,
    }
    list.len += 1;
}

fn remove(flights: &mut Slab<Node>, by: By, list: &mut List, flight: u32) {
    let Neighbours { previous, next } = flights[flight as usize].neighbours[by as usize];
    if previous == NONE {
        list.first = next;
    } else {
        flights[previous as usize].neighbours[by as usize].next = next;
    }
    if next == NONE {
        list.last = previous;
    } else {
        flights[next as usize].neighbours[by as usize].previous = previous;
    }
    list.len -= 1;
}

fn iter<'a>(flights: &'a Slab<Node>, by: By, list: &List) -> impl Iterator<Item = u32> + use<'a> {
    let mut at = list.first;
    core::iter::from_fn(move || {
        let flight = (at != NONE).then_some(at)?;
        at = flights[flight as usize].neighbours[by as usize].next;
        Some(flight)
    })
}
