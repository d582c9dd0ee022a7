//! Modelled byte streams.
//!
//! Like TCP, a stream never loses or reorders bytes within itself. The network delays, splits, joins,
//! stalls and holds them, and a stream can die unnoticed. Only attempts to connect, ends of stream and
//! resets can be lost for good.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::mem;

use bytes::BytesMut;
use echosphere_core::DialToken;
use slab::Slab;

use super::case::{NARROW, Rates, nanos};
use super::conn::{Arrival, Conn, Pipe, Segment};
use super::decisions::Decisions;
use super::history::EndOf;
use crate::marks::{Mark, Marks};
use crate::role::Role;

/// Nanoseconds of virtual time since the run began.
pub(super) type Nanos = u64;

pub(super) const MILLISECOND: Nanos = 1_000_000;
/// After all that happens.
pub(super) const NEVER: Nanos = Nanos::MAX;

/// Bytes that a slow reader takes at a time.
const SLOW_READ: usize = 7;
/// Until it takes the next.
const SLOW_PAUSE: Nanos = 5 * MILLISECOND;
/// The most milliseconds of a negotiation: some take longer than the handshake time-out.
const MOST_NEGOTIATION: u64 = 1500;
/// How long a host's system waits for an acknowledgement, at most.
const GIVE_UP: Nanos = 2000 * MILLISECOND;

/// What happens next somewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scheduled {
    /// The first segment that this side sent reaches the other.
    Arrive(u32, u32, bool),
    /// This side of a connection can write again.
    Writable(u32, u32, bool),
    /// An attempt to connect reaches the server.
    Syn(u32, u32),
    /// The server's negotiation of a connection is over.
    Negotiated(u32, u32),
    /// The answer to it reaches the client: yes or no.
    Answer(u32, u32, bool),
    /// A host's timer rings; hosts of clients have their numbers, the server is the last.
    Wake(u32),
    /// A host of clients is asked for the next thing in its plan.
    Command(u32, u32),
    /// This one of the planned faults begins.
    Fault(u32),
    /// It ends.
    End(u32),
}

/// How a host's link to the server is.
#[derive(Clone, Debug, Default)]
pub(super) struct HostLink {
    /// By how many faults what each side sends is kept back.
    pub(super) held: [u32; 2],
    /// By how many faults attempts to connect, and their answers, are lost.
    pub(super) cut: [u32; 2],
    pub(super) extra: Nanos,
    /// How long a byte takes.
    pub(super) byte: Nanos,
}

/// All connections, and what is under way.
#[derive(Debug)]
pub(super) struct Net {
    pub(super) now: Nanos,
    queue: BinaryHeap<Reverse<(Nanos, u32, Scheduled)>>,
    /// Orders what happens at the same time.
    sequence: u32,
    /// When each host's timer rings; [`NEVER`] if it is not set.
    pub(super) timers: Vec<Nanos>,
    pub(super) conns: Slab<Conn>,
    /// Those of connections that are gone, for the next ones.
    spare: Vec<[Pipe; 2]>,
    serial: u32,
    pub(super) links: Vec<HostLink>,
    pub(super) latency: (Nanos, Nanos),
    pub(super) rates: Rates,
    pub(super) decisions: Decisions,
    pub(super) marks: Marks,
    /// The ends of connections that opened, if they are recorded.
    pub(super) ends: Option<Vec<EndOf>>,
}

impl Net {
    pub(super) fn new(hosts: usize, latency: (Nanos, Nanos), rates: Rates, decisions: Decisions, marks: Marks) -> Self {
        Self {
            now: 0,
            queue: BinaryHeap::new(),
            sequence: 0,
            timers: vec![NEVER; hosts + 1],
            conns: Slab::new(),
            spare: Vec::new(),
            serial: 0,
            links: vec![HostLink::default(); hosts],
            latency,
            rates,
            decisions,
            marks,
            ends: None,
        }
    }

    pub(super) fn at(&mut self, at: Nanos, what: Scheduled) {
        self.sequence = self.sequence.wrapping_add(1);
        self.queue.push(Reverse((at, self.sequence, what)));
    }

    /// What was to happen now happens then, for its host pauses.
    pub(super) fn put_off(&mut self, until: Nanos, what: Scheduled) {
        match what {
            Scheduled::Wake(host) => self.timers[host as usize] = until,
            what => self.at(until, what),
        }
    }

    /// Takes the next thing that happens before `end`, and goes to its time. A timer rings after all else of its moment.
    pub(super) fn next(&mut self, end: Nanos) -> Option<Scheduled> {
        let (ring, host) = (0..).zip(&self.timers).fold(
            (NEVER, 0),
            |first, (host, &at)| {
                if at < first.0 { (at, host) } else { first }
            },
        );
        let queued = self.queue.peek().map_or(NEVER, |Reverse((at, ..))| *at);
        let at = ring.min(queued);
        if at > end {
            return None;
        }
        self.now = at;
        if ring < queued {
            self.timers[host as usize] = NEVER;
            return Some(Scheduled::Wake(host));
        }
        self.queue.pop().map(|Reverse((.., what))| what)
    }

    pub(super) fn get(&mut self, index: u32, serial: u32) -> Option<&mut Conn> {
        self.conns.get_mut(index as usize).filter(|conn| conn.serial == serial)
    }

    /// A client asks for a connection.
    pub(super) fn dial(&mut self, host: usize, token: DialToken) -> usize {
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        let index = self.conns.insert(Conn {
            host,
            token,
            serial,
            ends: Default::default(),
            pipes: self.spare.pop().unwrap_or_default(),
            dead: false,
            attempted: true,
            negotiating: false,
            named: false,
            lines: false,
            spoken: false,
            stranger: None,
        });
        let at = self.now + self.latency(host);
        if self.decisions.chance(self.rates.refuse) {
            self.marks.hit(Mark::DialRefused);
            self.at(at, Scheduled::Answer(index as u32, serial, false));
        } else if self.links[host].cut[0] > 0 || self.decisions.chance(self.rates.blackhole) {
            self.marks.hit(Mark::Blackhole);
            // No answer comes; the client's own time-out ends it.
            self.conns[index].dead = true;
        } else {
            self.at(at, Scheduled::Syn(index as u32, serial));
        }
        index
    }

    /// The server, or the lack of one, answers an attempt to connect. Says whether that gets through.
    pub(super) fn answer(&mut self, index: usize, yes: bool) -> bool {
        let conn = &self.conns[index];
        let (host, serial) = (conn.host, conn.serial);
        if self.links[host].cut[1] > 0 {
            self.marks.hit(Mark::Blackhole);
            self.conns[index].dead = true;
            self.forget_if_over(index);
            return false;
        }
        let at = self.now + self.latency(host);
        // What the server sends comes after its answer.
        self.conns[index].pipes[Role::Server as usize].last_arrival = at;
        self.at(at, Scheduled::Answer(index as u32, serial, yes));
        true
    }

    /// The server has accepted a connection, which is negotiated now.
    pub(super) fn negotiate(&mut self, index: usize) {
        self.marks.hit(Mark::Negotiated);
        let time = (1 + self.decisions.below(MOST_NEGOTIATION)) * MILLISECOND;
        let conn = &mut self.conns[index];
        conn.negotiating = true;
        let serial = conn.serial;
        self.at(self.now + time, Scheduled::Negotiated(index as u32, serial));
    }

    /// The client does not wait for an answer any more.
    pub(super) fn give_up(&mut self, index: usize) {
        let conn = &mut self.conns[index];
        conn.attempted = false;
        if conn.dead {
            self.forget_if_over(index);
        }
    }

    /// Nothing passes any more, and no side notices.
    pub(super) fn die(&mut self, index: usize) {
        self.conns[index].dead = true;
        for role in Role::BOTH {
            self.unacknowledged(index, role);
        }
    }

    /// What this side sent is acknowledged by nobody. If it waits for nothing more to come, no silence tells it so; but its
    /// host's system does in the end.
    fn unacknowledged(&mut self, index: usize, from: Role) {
        let at = self.now + GIVE_UP;
        let conn = &mut self.conns[index];
        let serial = conn.serial;
        let end = &mut conn.ends[from as usize];
        if conn.dead && end.fin_heard && conn.pipes[from as usize].bytes > 0 && !end.given_up {
            end.given_up = true;
            self.at(at, Scheduled::Arrive(index as u32, serial, from == Role::Client));
        }
    }

    /// How many bytes this side could write now.
    pub(super) fn room(&self, index: usize, from: Role) -> usize {
        let conn = &self.conns[index];
        let narrow = nanos(NARROW).checked_div(self.links[conn.host].byte);
        let window = narrow.map_or(self.rates.window, |narrow| self.rates.window.min(narrow as usize));
        window.saturating_sub(conn.pipes[from as usize].bytes)
    }

    /// Puts the first `len` bytes of `chunks` on their way.
    pub(super) fn send<'a>(&mut self, index: usize, from: Role, chunks: impl Iterator<Item = &'a [u8]>, len: usize) {
        let delay = self.delay(index);
        let conn = &mut self.conns[index];
        let pipe = &mut conn.pipes[from as usize];
        pipe.bytes += len;
        let mut left = len;
        for chunk in chunks {
            let chunk = &chunk[..left.min(chunk.len())];
            if let (Some(first), Role::Client, false) = (chunk.first(), from, conn.spoken) {
                conn.spoken = true;
                conn.lines = *first != 0;
            }
            if conn.dead {
                // Written into the void; the window fills, as it would.
                break;
            }
            pipe.data.extend_from_slice(chunk);
            left -= chunk.len();
            if left == 0 {
                break;
            }
        }
        if conn.dead {
            self.unacknowledged(index, from);
        } else {
            self.put(index, from, Segment::Data(len), delay);
        }
    }

    /// This side sends its end of stream.
    pub(super) fn finish(&mut self, index: usize, from: Role) {
        let conn = &mut self.conns[index];
        conn.ends[from as usize].fin_sent = true;
        if let (Some(visit), Role::Server) = (&mut conn.stranger, from) {
            let pipe = &conn.pipes[Role::Client as usize];
            let end_read = conn.ends[Role::Server as usize].fin_heard;
            visit.finished(pipe.bytes == 0 && pipe.segments.is_empty(), end_read);
        }
        if self.decisions.chance(self.rates.lost_fin) {
            self.marks.hit(Mark::LostFin);
        } else {
            self.put_last(index, from, Segment::Fin);
        }
    }

    /// This side breaks the connection off.
    pub(super) fn reset(&mut self, index: usize, from: Role) {
        self.put_last(index, from, Segment::Reset);
    }

    fn put_last(&mut self, index: usize, from: Role, segment: Segment) {
        let delay = self.delay(index);
        if !self.conns[index].dead {
            self.put(index, from, segment, delay);
        }
    }

    fn put(&mut self, index: usize, from: Role, segment: Segment, delay: Nanos) {
        let conn = &mut self.conns[index];
        let serial = conn.serial;
        let pipe = &mut conn.pipes[from as usize];
        pipe.last_arrival = pipe.last_arrival.max(self.now + delay);
        if let Segment::Data(len) = segment {
            pipe.last_arrival += len as Nanos * self.links[conn.host].byte;
        }
        pipe.segments.push_back(segment);
        let at = pipe.last_arrival;
        self.at(at, Scheduled::Arrive(index as u32, serial, from == Role::Server));
    }

    /// How long a segment is under way.
    fn delay(&mut self, index: usize) -> Nanos {
        let delay = self.latency(self.conns[index].host);
        if !self.decisions.chance(self.rates.stall) {
            return delay;
        }
        self.marks.hit(Mark::Stall);
        delay + (100 + self.decisions.below(1500)) * MILLISECOND
    }

    /// What this side sent was read: if it waits for room, it has some.
    pub(super) fn unblock(&mut self, index: usize, role: Role) {
        let conn = &mut self.conns[index];
        if mem::take(&mut conn.ends[role as usize].blocked) {
            let serial = conn.serial;
            self.at(
                self.now,
                Scheduled::Writable(index as u32, serial, role == Role::Server),
            );
        }
    }

    /// Takes what arrives, if the link lets it through: data that may be several segments, or an end.
    pub(super) fn arrive(&mut self, index: usize, from: Role, input: &mut BytesMut) -> Option<Arrival> {
        let now = self.now;
        let join = self.rates.join;
        let conn = &mut self.conns[index];
        if conn.dead {
            return conn.ends[from.other() as usize].given_up.then_some(Arrival::Reset);
        }
        let pipe = &mut conn.pipes[from as usize];
        if self.links[conn.host].held[from as usize] > 0 {
            pipe.kept += 1;
            return None;
        }
        let len = match pipe.segments.pop_front()? {
            Segment::Fin => return Some(Arrival::Fin),
            Segment::Reset => return Some(Arrival::Reset),
            Segment::Data(len) => len,
        };
        if len > SLOW_READ && self.decisions.chance(self.rates.slow_reader) {
            self.marks.hit(Mark::SlowReader);
            pipe.segments.push_front(Segment::Data(len - SLOW_READ));
            pipe.take(SLOW_READ, input);
            let what = Scheduled::Arrive(index as u32, conn.serial, from == Role::Server);
            self.at(now + SLOW_PAUSE, what);
            return Some(Arrival::Data);
        }
        pipe.take(len, input);
        // Each segment has an arrival of its own; those of segments taken now will find nothing, or a later one.
        while pipe.last_arrival <= now + MILLISECOND
            && let Some(&Segment::Data(more)) = pipe.segments.front()
            && self.decisions.chance(join)
        {
            self.marks.hit(Mark::Joined);
            pipe.segments.pop_front();
            pipe.take(more, input);
        }
        Some(Arrival::Data)
    }

    /// One fault less keeps back what this side sends. If it was the last, what was kept goes on, connections in any
    /// order.
    pub(super) fn release(&mut self, host: usize, from: Role) {
        let held = &mut self.links[host].held[from as usize];
        *held -= 1;
        if *held > 0 {
            return;
        }
        let mut kept: Vec<(usize, u32, u32)> = Vec::new();
        for (index, conn) in &mut self.conns {
            let pipe = &mut conn.pipes[from as usize];
            if conn.host == host && pipe.kept > 0 {
                kept.push((index, conn.serial, mem::take(&mut pipe.kept)));
            }
        }
        while !kept.is_empty() {
            let pick = self.decisions.below(kept.len() as u64) as usize;
            let (index, serial, count) = kept.swap_remove(pick);
            for _ in 0..count {
                self.at(self.now, Scheduled::Arrive(index as u32, serial, from == Role::Server));
            }
        }
    }

    /// The open connections of a host, or of all hosts.
    pub(super) fn open(&self, host: Option<usize>) -> Vec<usize> {
        let open = self.conns.iter().filter(|(_, conn)| {
            host.is_none_or(|host| conn.host == host) && conn.ends.iter().any(|end| end.id.is_some())
        });
        open.map(|(index, _)| index).collect()
    }

    /// Forgets a connection that neither side has open and that carries nothing.
    pub(super) fn forget_if_over(&mut self, index: usize) {
        let conn = &self.conns[index];
        let carries = conn.pipes.iter().any(|pipe| !pipe.segments.is_empty());
        let open = conn.attempted || conn.ends.iter().any(|end| end.id.is_some());
        if !open && (!carries || conn.dead) {
            let conn = self.conns.remove(index);
            self.spare.push(conn.pipes.map(Pipe::emptied));
        }
    }

    fn latency(&mut self, host: usize) -> Nanos {
        let (from, to) = self.latency;
        from + self.decisions.below(to - from + 1) + self.links[host].extra
    }
}
