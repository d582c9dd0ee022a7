//! The rules of the server, with plain data structures: a list of flights for each X, and a list of X
//! for each connection.
//!
//! What an event changes is checked at that event. The whole ledger is compared as often as a fixed
//! cost per event allows: at every event while it is small.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::fmt;
use std::hash::BuildHasherDefault;

use echosphere_core::wire::ErrorCode;
use echosphere_core::{CloseReason, ConnId};
use hashbrown::HashMap;
use smallvec::SmallVec;

use super::Limits;
use super::by_conn::ByConn;
use super::choices::{Choice, Choices};
use super::words::{ModelAction, ModelEvent, Payload, X};
use crate::marks::{Mark, Marks};
use crate::trace::Mixer;
use crate::words;

mod full_check;

#[derive(Debug)]
pub(super) struct ServerModel {
    pub(super) deep: bool,
    pub(super) choices: Choices,
    marks: Marks,
    limits: Limits,
    /// How long each X is.
    lens: Vec<usize>,
    /// Those X that no line can carry.
    no_lines: BTreeSet<X>,
    conns: ByConn<Conn>,
    /// Nothing depends on their order.
    flights: HashMap<X, Flights, BuildHasherDefault<Mixer>>,
    listed: Vec<ConnId>,
    /// Of each slot's last use.
    generations: Vec<Option<u32>>,
    /// Those that may have nothing left to do since the last event.
    freed: Vec<ConnId>,
    /// How much may be spent on the comparison of everything.
    credit: usize,
    /// Whether everything is compared after this event.
    due: bool,
    /// How many comparisons there were.
    comparison: u32,
    flight_count: usize,
    flight_bytes: usize,
    opened: u64,
    forwarded: u64,
    draining: bool,
}

/// A live connection.
#[derive(Debug, Default)]
struct Conn {
    opened: u64,
    lines: bool,
    /// What it waits for or holds.
    xs: SmallVec<[X; 4]>,
    /// How often it was sent something to answer.
    sent: u64,
    /// How often it answered, and that counted or was late.
    answered: u64,
    /// In which comparison it was last found in the server's own books.
    compared: u32,
}

/// One `message X`, forwarded and not answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Flight {
    /// Who sent it; `None` if it has left.
    waiter: Option<ConnId>,
    /// Who was sent it and may answer.
    holder: ConnId,
    /// When that was, in forwards.
    forwarded: u64,
    /// In which comparison it was last found in the server's own books.
    compared: u32,
}

impl fmt::Display for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "held by {:?} for {}", self.holder, words::conn(self.waiter))
    }
}

/// Most X have one.
type Flights = SmallVec<[Flight; 2]>;

type Doings<'a> = [ModelAction<'a, Infallible>];

impl Conn {
    fn note(&mut self, x: X) {
        if !self.xs.contains(&x) {
            self.xs.push(x);
        }
    }
}

/// Choices among more connections than these are not counted, unless everything is compared.
const COUNTED: usize = 128;

impl ServerModel {
    pub(super) fn new(deep: bool, limits: &Limits, lens: Vec<usize>, no_lines: BTreeSet<X>, marks: Marks) -> Self {
        Self {
            limits: limits.clone(),
            lens,
            deep,
            choices: Choices::default(),
            marks,
            no_lines,
            conns: ByConn::default(),
            flights: HashMap::default(),
            listed: Vec::new(),
            generations: Vec::new(),
            freed: Vec::new(),
            credit: 0,
            due: false,
            comparison: 0,
            flight_count: 0,
            flight_bytes: 0,
            opened: 0,
            forwarded: 0,
            draining: false,
        }
    }

    /// Whether what a step chooses from matters to the statistics.
    pub(super) fn counts_choices(&self) -> bool {
        self.due || self.deep && self.conns.len() <= COUNTED
    }

    /// How many flights there are.
    pub(super) const fn flight_count(&self) -> usize {
        self.flight_count
    }

    pub(super) fn restart(&mut self) {
        self.conns.clear();
        self.flights.clear();
        self.flight_count = 0;
        self.flight_bytes = 0;
        self.generations.clear();
        self.draining = false;
    }

    /// `listed` are the connections that the server says are live, in its own order; looked at only if a comparison is due or
    /// choices count.
    pub(super) fn step(
        &mut self,
        event: &ModelEvent<'_, Infallible>,
        actions: &Doings<'_>,
        listed: Vec<ConnId>,
    ) -> Result<(), String> {
        self.listed = listed;
        self.freed.clear();
        if !self.draining && !matches!(event, ModelEvent::Drain) {
            return self.handled(event, actions);
        }
        let is_farewell =
            |action: &ModelAction<'_, _>| matches!(action, ModelAction::Close(_, CloseReason::ShuttingDown));
        let (farewells, actions): (Vec<_>, Vec<_>) = actions.iter().copied().partition(is_farewell);
        self.handled(event, &actions)?;
        self.said_farewell(&farewells)
    }

    fn handled(&mut self, event: &ModelEvent<'_, Infallible>, actions: &Doings<'_>) -> Result<(), String> {
        match *event {
            ModelEvent::Opened { dialled: true, .. } => Err("a connection that no client of this run made".into()),
            ModelEvent::Opened { id, text, .. } => {
                if text {
                    self.marks.hit(Mark::Lines);
                }
                self.opened += 1;
                self.freed.push(id);
                let slot = id.slot as usize;
                self.generations.resize(self.generations.len().max(slot + 1), None);
                let used = self.generations[slot].replace(id.generation);
                if used.is_some_and(|generation| generation >= id.generation) {
                    return Err(format!("{id:?} names a second connection"));
                }
                let conn = Conn {
                    opened: self.opened,
                    lines: text,
                    ..Conn::default()
                };
                self.conns.insert(id, conn);
                expect_nothing(actions)
            }
            ModelEvent::Received(from, _) | ModelEvent::Closed(from) if !self.conns.contains(from) => {
                Err(format!("{from:?} is not live"))
            }
            ModelEvent::Received(from, Payload::Message(x)) => self.message(from, x, actions),
            ModelEvent::Received(from, Payload::Ok(x)) => self.ok(from, x, actions),
            // A client tells the server why it closes before it has its ok.
            ModelEvent::Received(_, Payload::Error(ErrorCode::IdleTimeout | ErrorCode::ShuttingDown)) => {
                expect_nothing(actions)
            }
            ModelEvent::Received(_, Payload::Error(code)) => Err(format!("a client sent the error {code}")),
            ModelEvent::Closed(id) => self.closed(id, actions),
            ModelEvent::Drain => {
                self.draining = true;
                self.freed.extend(self.conns.iter().map(|(id, _)| id));
                expect_nothing(actions)
            }
            ModelEvent::Command(_) | ModelEvent::Other => expect_nothing(actions),
        }
    }

    /// While draining, a connection is closed as soon as it waits for nothing and holds nothing.
    fn said_farewell(&mut self, farewells: &Doings<'_>) -> Result<(), String> {
        let is_idle = |id: &ConnId| self.conns.get(*id).is_some_and(|conn| conn.xs.is_empty());
        let mut idle: BTreeSet<ConnId> = self.freed.iter().copied().filter(is_idle).collect();
        for farewell in farewells {
            if let ModelAction::Close(id, _) = farewell
                && !(idle.remove(id) && self.conns.remove(*id).is_some())
            {
                return Err(format!("{id:?} was closed, though it had something left to do"));
            }
        }
        match idle.first() {
            Some(id) => Err(format!(
                "{id:?} was not closed, though the server drains and it had nothing left to do"
            )),
            None => Ok(()),
        }
    }

    fn message(&mut self, from: ConnId, x: X, actions: &Doings<'_>) -> Result<(), String> {
        if self.lens[x as usize] > self.limits.max_message {
            return Err(format!("X number {x} was taken, though it is too long"));
        }
        let refusals = self.refusals(from, x);
        match *actions {
            [ModelAction::Send(to, Payload::Error(code))] if to == from && refusals.contains(&code) => {
                match code {
                    ErrorCode::TooManyWaiting => self.marks.hit(Mark::TooManyWaiting),
                    ErrorCode::Busy => self.marks.hit(Mark::ServerBusy),
                    _ => {}
                }
                Ok(())
            }
            [ModelAction::Send(holder, Payload::Message(forwarded))] if forwarded == x && refusals.is_empty() => {
                self.forward(x, Some(from), holder, true)
            }
            _ if refusals.is_empty() => Err(format!(
                "message X number {x} of {from:?} was not forwarded to exactly one; the server did: {}",
                words::list(actions)
            )),
            _ => Err(format!(
                "message X number {x} of {from:?} was not refused ({}); the server did: {}",
                words::list(refusals),
                words::list(actions)
            )),
        }
    }

    /// Why `message x` must be refused; with several reasons any will do.
    fn refusals(&self, from: ConnId, x: X) -> SmallVec<[ErrorCode; 4]> {
        let mut reasons = SmallVec::new();
        if self.draining {
            reasons.push(ErrorCode::ShuttingDown);
        }
        if !self.limits.is_server_tight() {
            return reasons;
        }
        let len = self.lens[x as usize];
        let (mut waiting, mut waiting_bytes, mut kept, mut kept_bytes) = (0, 0, 0, 0);
        for (x, flights) in &self.flights {
            let len = self.lens[*x as usize];
            let mine = flights.iter().filter(|flight| flight.waiter == Some(from)).count();
            waiting += mine;
            waiting_bytes += mine * len;
            kept += flights.len();
            kept_bytes += flights.len() * len;
        }
        let limits = &self.limits;
        if waiting >= limits.max_waiting || waiting_bytes + len > limits.max_waiting_bytes {
            reasons.push(ErrorCode::TooManyWaiting);
        }
        if kept >= limits.max_flights || kept_bytes + len > limits.max_bytes {
            reasons.push(ErrorCode::Busy);
        }
        reasons
    }

    /// `x` was sent to `holder`, on behalf of `waiter`.
    fn forward(&mut self, x: X, waiter: Option<ConnId>, holder: ConnId, first: bool) -> Result<(), String> {
        if self.counts_choices() && self.conns.contains(holder) {
            self.note_choice(x, holder, first.then_some(waiter == Some(holder)));
        }
        let Some(conn) = self.conns.get_mut(holder) else {
            return Err(format!("X number {x} was forwarded to {holder:?}, which is not live"));
        };
        if conn.lines && self.no_lines.contains(&x) {
            return Err(format!(
                "X number {x} was forwarded to {holder:?}, whose lines cannot carry it"
            ));
        }
        if first && waiter == Some(holder) {
            self.marks.hit(Mark::ForwardToSelf);
        }
        conn.sent += 1;
        conn.note(x);
        if let Some(waiter) = waiter.and_then(|id| self.conns.get_mut(id)) {
            waiter.note(x);
        }
        self.forwarded += 1;
        self.flight_count += 1;
        self.flight_bytes += self.lens[x as usize];
        self.flights.entry(x).or_default().push(Flight {
            waiter,
            holder,
            forwarded: self.forwarded,
            compared: 0,
        });
        Ok(())
    }

    /// Only those that can be sent `x` are to choose from.
    fn note_choice(&mut self, x: X, chosen: ConnId, to_self: Option<bool>) {
        let age = self.conns.get(chosen).map_or(0, |conn| conn.opened);
        let any = !self.no_lines.contains(&x);
        let can = |conn: &Conn| any || !conn.lines;
        let (mut among, mut by_id, mut by_age) = (0, 0, 0);
        for (id, conn) in self.conns.iter().filter(|(_, conn)| can(conn)) {
            among += 1;
            by_id += usize::from(id < chosen);
            by_age += usize::from(conn.opened < age);
        }
        let before = self.listed.iter().take_while(|id| **id != chosen);
        self.choices.made.push(Choice {
            among,
            by_place: before.filter(|id| self.conns.get(**id).is_some_and(can)).count(),
            by_id,
            by_age,
            to_self,
        });
    }

    fn ok(&mut self, from: ConnId, x: X, actions: &Doings<'_>) -> Result<(), String> {
        let flights = self.flights.get(&x);
        let holds = flights.is_some_and(|flights| flights.iter().any(|flight| flight.holder == from));
        if holds {
            return self.ok_counts(from, x, actions);
        }
        let conn = self.conns.get_mut(from).ok_or("not live")?;
        let holding = conn.xs.iter().filter_map(|x| self.flights.get(x)).flatten();
        let held = holding.filter(|flight| flight.holder == from).count() as u64;
        // Of what it was sent, something is neither answered nor waited for: this is the answer to that.
        if conn.sent > conn.answered + held {
            conn.answered += 1;
            self.marks.hit(Mark::LateOk);
            return expect_nothing(actions);
        }
        match *actions {
            [ModelAction::Send(to, Payload::Error(ErrorCode::NotHeld))] if to == from => Ok(()),
            _ => Err(format!(
                "ok X number {x} of {from:?} answers nothing and was not rejected; the server did: {}",
                words::list(actions)
            )),
        }
    }

    fn ok_counts(&mut self, from: ConnId, x: X, actions: &Doings<'_>) -> Result<(), String> {
        let flights = self.flights.remove(&x).unwrap_or_default();
        self.ended(x, flights.len());
        let mut waiting: SmallVec<[ConnId; 4]> = flights.iter().filter_map(|flight| flight.waiter).collect();
        let mut told: SmallVec<[ConnId; 4]> = SmallVec::new();
        for action in actions {
            match *action {
                ModelAction::Send(to, Payload::Ok(answered)) if answered == x => told.push(to),
                _ => {
                    return Err(format!(
                        "ok X number {x} of {from:?} led to something else than oks: {action}"
                    ));
                }
            }
        }
        waiting.sort_unstable();
        told.sort_unstable();
        if waiting != told {
            return Err(format!(
                "waiting for X number {x}: {}; the ok was sent to: {}",
                words::conns(&waiting),
                words::conns(&told)
            ));
        }
        if waiting.windows(2).any(|two| two[0] == two[1]) {
            self.marks.hit(Mark::WaitsTwice);
        }
        if waiting.first() != waiting.last() {
            self.marks.hit(Mark::SharedOk);
        }
        self.forget(x, &flights);
        if let Some(conn) = self.conns.get_mut(from) {
            conn.answered += 1;
        }
        Ok(())
    }

    /// `count` flights of `x` have ended.
    fn ended(&mut self, x: X, count: usize) {
        self.flight_count -= count;
        self.flight_bytes -= count * self.lens[x as usize];
    }

    /// No connection waits for `x` or holds it any more.
    fn forget(&mut self, x: X, flights: &[Flight]) {
        for id in flights.iter().flat_map(|flight| [Some(flight.holder), flight.waiter]) {
            if let Some(id) = id
                && let Some(conn) = self.conns.get_mut(id)
            {
                conn.xs.retain(|other| *other != x);
                self.freed.push(id);
            }
        }
    }

    fn closed(&mut self, id: ConnId, actions: &Doings<'_>) -> Result<(), String> {
        let Some(conn) = self.conns.remove(id) else {
            return Err(format!("{id:?} is not live"));
        };
        let mut orphaned: BTreeMap<X, Flights> = BTreeMap::new();
        for x in conn.xs {
            let flights = self.flights.entry(x).or_default();
            for flight in flights.iter_mut().filter(|flight| flight.waiter == Some(id)) {
                flight.waiter = None;
            }
            if flights.iter().all(|flight| flight.waiter.is_none()) {
                let flights = self.flights.remove(&x).unwrap_or_default();
                self.ended(x, flights.len());
                self.forget(x, &flights);
                continue;
            }
            let (held, left) = flights.drain(..).partition(|flight| flight.holder == id);
            let held: Flights = held;
            *flights = left;
            self.ended(x, held.len());
            orphaned.insert(x, held.into_iter().filter(|flight| flight.waiter.is_some()).collect());
        }
        for action in actions {
            let ModelAction::Send(holder, Payload::Message(x)) = *action else {
                return Err(format!(
                    "the end of {id:?} led to something else than forwards: {action}"
                ));
            };
            // Several of one X are alike but for who waits; what was forwarded first is forwarded anew first.
            let flights = orphaned.get_mut(&x).filter(|flights| !flights.is_empty());
            let Some(flights) = flights else {
                return Err(format!(
                    "X number {x} was forwarded again, though no originator lost its holder"
                ));
            };
            flights.sort_unstable_by_key(|flight| flight.forwarded);
            let flight = flights.remove(0);
            self.marks.hit(Mark::Reforward);
            self.forward(x, flight.waiter, holder, false)?;
        }
        match orphaned.iter().find(|(_, flights)| !flights.is_empty()) {
            Some((x, flights)) => Err(format!(
                "X number {x} lost its holder and has no other: {}",
                words::list(flights)
            )),
            None => Ok(()),
        }
    }

    pub(super) fn is_zero(&self) -> bool {
        self.conns.is_empty() && self.flights.is_empty()
    }

    pub(super) fn ends(&self) -> Result<(), String> {
        if self.is_zero() {
            Ok(())
        } else {
            let flights = self.flights.keys().map(|x| format!("X number {x}"));
            let (conns, flights) = (self.conns.len(), words::list(flights));
            Err(format!("left at the server: {conns} connections and {flights}"))
        }
    }
}

fn expect_nothing(actions: &Doings<'_>) -> Result<(), String> {
    if actions.is_empty() {
        Ok(())
    } else {
        let actual = words::list(actions);
        Err(format!("nothing should follow; the server did: {actual}"))
    }
}
