//! Long-lived clients: each connection stays open and has several messages without their ok, until the load stops.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Duration;

use bytes::Bytes;
use echosphere_core::conn_set::ConnSet;
use echosphere_core::echo::Message;
use echosphere_core::{Action, Actions, CloseReason, ConnId, DialTarget, DialToken, Event, Machine, Time};

use crate::latency::Latencies;

/// The bytes that make a message unique: run, connection, place in its window, count.
pub(super) const NAME_BYTES: usize = 16;
/// The most attempts to connect at once.
const DIALS_AT_ONCE: usize = 256;
/// The resolution of timers. The latency of a message that is no later than this counts from its sending.
const GRAIN: Duration = Duration::from_millis(2);
/// The most different waiting times that are recorded for one connection's unsent messages.
const STEPS: u64 = 64;

/// The load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Config {
    pub(crate) connections: u32,
    /// The most messages without their ok on each connection.
    pub(crate) window: u32,
    /// Bytes of each message.
    pub(crate) size: usize,
    /// Messages per second over all connections; `None` for as fast as possible.
    pub(crate) rate: Option<f64>,
    /// Messages of each connection; `None` until [`Command::Stop`].
    pub(crate) messages: Option<u32>,
    /// Distinguishes the messages of this run from those of another.
    pub(crate) run: u32,
}

#[derive(Debug)]
pub(super) enum Command {
    /// Open all connections; answered by [`Notice::Open`].
    Open,
    /// Send; answered by [`Notice::Done`] after the last ok.
    Begin,
    /// Send nothing new.
    Stop,
    /// Close all connections.
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Notice {
    /// Every attempt to connect has ended.
    Open,
    /// Every connection is closed.
    Gone,
    /// Every message has its ok, or its connection is closed.
    Done,
}

/// The results.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    /// From the time that a message is due to its ok, or to the end of the run without one.
    pub(super) round_trips: Latencies,
    pub(super) opened: u32,
    pub(super) dials_failed: u32,
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    pub(super) answered: u64,
    /// Messages sent after they were due, as the window was full or this program too slow.
    pub(super) late: u64,
    /// Messages that were due and never sent.
    pub(super) never_sent: u64,
    /// Connections that ended and messages that went wrong, by cause.
    pub(super) broken: BTreeMap<String, u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Opening,
    Waiting,
    Running,
    Stopping,
    Done,
}

#[derive(Debug)]
pub(super) struct LongLivedClients {
    config: Config,
    stage: Stage,
    conns: ConnSet<Conn>,
    order: Vec<ConnId>,
    dialling: BTreeSet<DialToken>,
    dials: u32,
    under_way: u64,
    since: Time,
    /// The number of messages that are due. They are numbered from 0, and the connections send them in turn.
    due: u64,
    /// The next message of each closed connection.
    of_gone: Vec<u64>,
    counts: Counts,
}

#[derive(Debug)]
struct Conn {
    places: Vec<Place>,
    free: Vec<u32>,
    left: Option<u32>,
    /// The number of its next message, with a rate.
    next: u64,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    count: u32,
    under_way: bool,
    since: Time,
}

type Out = Actions<Message, Notice>;

impl LongLivedClients {
    pub(super) fn new(config: Config) -> anyhow::Result<Self> {
        Ok(Self {
            config,
            stage: Stage::Opening,
            conns: ConnSet::new(),
            order: Vec::new(),
            dialling: BTreeSet::new(),
            dials: 0,
            under_way: 0,
            since: Time::ZERO,
            due: 0,
            of_gone: Vec::new(),
            counts: Counts {
                round_trips: Latencies::new()?,
                opened: 0,
                dials_failed: 0,
                sent: 0,
                acknowledged: 0,
                answered: 0,
                late: 0,
                never_sent: 0,
                broken: BTreeMap::new(),
            },
        })
    }

    pub(super) const fn counts(&self) -> &Counts {
        &self.counts
    }

    fn command(&mut self, now: Time, command: &Command, out: &mut Out) {
        match command {
            Command::Open => self.dial(out),
            Command::Begin => self.begin(now, out),
            Command::Stop => self.stop(now, out),
            Command::Close => self.close(now, out),
        }
        self.check_done(out);
    }

    fn dial(&mut self, out: &mut Out) {
        let opening = self.stage == Stage::Opening;
        while opening && self.dials < self.config.connections && self.dialling.len() < DIALS_AT_ONCE {
            let token = DialToken(self.dials.into());
            self.dials += 1;
            self.dialling.insert(token);
            out.push(Action::Dial(token, DialTarget::default()));
        }
        if opening && self.dialling.is_empty() {
            self.stage = Stage::Waiting;
            out.push(Action::Notify(Notice::Open));
        }
    }

    fn opened(&mut self, id: ConnId, dial: Option<DialToken>, out: &mut Out) {
        self.forget_dial(dial);
        self.counts.opened += 1;
        let window = self.config.window;
        let empty = Place {
            count: 0,
            under_way: false,
            since: Time::ZERO,
        };
        let conn = Conn {
            places: vec![empty; window as usize],
            free: (0..window).rev().collect(),
            left: self.config.messages,
            next: self.order.len() as u64,
        };
        self.conns.insert(id, conn);
        self.order.push(id);
        self.dial(out);
    }

    fn forget_dial(&mut self, dial: Option<DialToken>) {
        if let Some(dial) = dial {
            self.dialling.remove(&dial);
        }
    }

    /// Starts to send on open connections, and abandons the other attempts.
    fn begin(&mut self, now: Time, out: &mut Out) {
        self.abandon_dials(out);
        self.stage = Stage::Running;
        self.since = now;
        if self.config.rate.is_none() {
            for id in self.order.clone() {
                for _ in 0..self.config.window {
                    self.send(now, now, id, out);
                }
            }
        }
    }

    fn abandon_dials(&mut self, out: &mut Out) {
        for token in mem::take(&mut self.dialling) {
            out.push(Action::AbandonDial(token));
        }
    }

    /// Sends one more message on a connection, if one is left and its window has a place. Returns whether it did.
    fn send(&mut self, now: Time, since: Time, id: ConnId, out: &mut Out) -> bool {
        let Some(conn) = self.conns.get_mut(id) else {
            return false;
        };
        if conn.left == Some(0) {
            return false;
        }
        let Some(at) = conn.free.pop() else {
            return false;
        };
        conn.left = conn.left.map(|left| left - 1);
        let late = now.since(since) > GRAIN;
        self.counts.late += u64::from(late);
        let place = &mut conn.places[at as usize];
        *place = Place {
            count: place.count.wrapping_add(1),
            under_way: true,
            since: if late { since } else { now },
        };
        let x = name(self.config.run, id.slot, at, place.count, self.config.size);
        self.counts.sent += 1;
        self.under_way += 1;
        out.push(Action::Send(id, Message::Message(x)));
        true
    }

    /// The time that the message of this number is due.
    fn moment(&self, number: u64, rate: f64) -> Time {
        let after = Duration::try_from_secs_f64(number as f64 / rate);
        after.map_or(Time::FAR, |after| self.since + after)
    }

    /// Updates the number of messages that are due.
    fn note_due(&mut self, now: Time) {
        let Some(rate) = self.config.rate else {
            return;
        };
        let due = (now.since(self.since).as_secs_f64() * rate) as u64;
        self.due = self.due.max(due.saturating_add(1));
    }

    /// Sends the messages that are due, each connection in turn.
    fn send_due(&mut self, now: Time, out: &mut Out) {
        if self.next_deadline().is_none_or(|due| due > now) {
            return;
        }
        let before = self.due;
        self.note_due(now);
        self.due = self.due.max(before + 1);
        let conns = self.order.len() as u64;
        // Once per connection is enough.
        for number in before..self.due.min(before.saturating_add(conns)) {
            self.catch_up(now, self.order[(number % conns) as usize], out);
        }
    }

    /// Sends the messages of a connection that are due and have a place in its window.
    fn catch_up(&mut self, now: Time, id: ConnId, out: &mut Out) {
        let Some(rate) = self.config.rate else {
            return;
        };
        while let Some(number) = self.conns.get(id).map(|conn| conn.next).filter(|&next| next < self.due) {
            if !self.send(now, self.moment(number, rate), id, out) {
                return;
            }
            let turns = self.order.len() as u64;
            if let Some(conn) = self.conns.get_mut(id) {
                conn.next += turns;
            }
        }
    }

    fn acknowledged(&mut self, now: Time, id: ConnId, x: &Bytes, out: &mut Out) {
        let Some((at, count)) = place_of(x, self.config.run, id.slot) else {
            return self.note("ok for an unknown message".to_owned());
        };
        let place = self.conns.get_mut(id).and_then(|conn| {
            let place = conn.places.get_mut(at as usize)?;
            (place.under_way && place.count == count).then(|| {
                place.under_way = false;
                conn.free.push(at);
                place.since
            })
        });
        let Some(since) = place else {
            return self.note("ok for an unknown message".to_owned());
        };
        self.under_way -= 1;
        self.counts.acknowledged += 1;
        self.counts.round_trips.record(now.since(since));
        self.send_next(now, id, out);
        self.check_done(out);
    }

    fn send_next(&mut self, now: Time, id: ConnId, out: &mut Out) {
        if self.config.rate.is_some() {
            self.catch_up(now, id, out);
        } else if self.stage == Stage::Running {
            self.send(now, now, id, out);
        }
    }

    fn closed(&mut self, id: ConnId, reason: CloseReason, out: &mut Out) {
        let Some(conn) = self.conns.remove(id) else {
            return;
        };
        self.of_gone.push(conn.next);
        self.under_way -= conn.places.iter().filter(|place| place.under_way).count() as u64;
        self.note(reason.to_string());
        if self.conns.is_empty() && self.stage == Stage::Running {
            out.push(Action::Notify(Notice::Gone));
        }
        self.check_done(out);
    }

    /// Sends the messages that are due already, and no others.
    fn stop(&mut self, now: Time, out: &mut Out) {
        self.send_due(now, out);
        if self.stage == Stage::Running {
            self.stage = Stage::Stopping;
        }
    }

    /// Counts the messages that were due and not sent, with their waiting time until now.
    fn count_never_sent(&mut self, now: Time) {
        let Some(rate) = self.config.rate else {
            return;
        };
        self.counts.never_sent = self.due.saturating_sub(self.counts.sent);
        let turns = self.order.len() as u64;
        let nexts = self.order.iter().filter_map(|&id| Some(self.conns.get(id)?.next));
        let nexts: Vec<u64> = nexts.chain(self.of_gone.iter().copied()).collect();
        for next in nexts {
            let waiting = self.due.saturating_sub(next).div_ceil(turns.max(1));
            let step = waiting.div_ceil(STEPS).max(1);
            for first in (0..waiting).step_by(step as usize) {
                let count = step.min(waiting - first);
                let middle = next + (first + count / 2) * turns;
                let waited = now.since(self.moment(middle, rate));
                self.counts.round_trips.record_many(waited, count);
            }
        }
    }

    fn note(&mut self, what: String) {
        *self.counts.broken.entry(what).or_default() += 1;
    }

    /// Without a waiting message, every connection has sent all of its messages: each ok and the stop send the next.
    fn check_done(&mut self, out: &mut Out) {
        let ending = self.stage == Stage::Stopping || (self.stage == Stage::Running && self.config.messages.is_some());
        if ending && self.under_way == 0 {
            self.stage = Stage::Done;
            out.push(Action::Notify(Notice::Done));
        }
    }

    fn close(&mut self, now: Time, out: &mut Out) {
        self.abandon_dials(out);
        self.stage = Stage::Done;
        self.count_never_sent(now);
        for id in mem::take(&mut self.order) {
            let Some(conn) = self.conns.remove(id) else {
                continue;
            };
            for place in conn.places.iter().filter(|place| place.under_way) {
                self.counts.round_trips.record(now.since(place.since));
            }
            out.push(Action::Close(id, CloseReason::Finished));
        }
    }
}

impl Machine for LongLivedClients {
    type Message = Message;
    type Command = Command;
    type Notice = Notice;

    fn handle(&mut self, now: Time, event: Event<Message, Command>, out: &mut Out) {
        match event {
            Event::Command(command) => self.command(now, &command, out),
            Event::Opened(id, opened) => self.opened(id, opened.dial, out),
            Event::DialFailed(token, _) => {
                self.forget_dial(Some(token));
                self.counts.dials_failed += 1;
                self.dial(out);
            }
            Event::Received(id, Message::Message(x)) => {
                self.counts.answered += 1;
                out.push(Action::Send(id, Message::Ok(x)));
            }
            Event::Received(id, Message::Ok(x)) => self.acknowledged(now, id, &x, out),
            Event::Received(_, Message::Error(code, _)) => self.note(format!("error {code}")),
            Event::Closed(id, reason) => self.closed(id, reason, out),
            Event::Drain => self.close(now, out),
            Event::PeerFinished(_) => {}
            Event::Deadline => self.send_due(now, out),
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        let rate = self.config.rate?;
        let runs = self.stage == Stage::Running && !self.order.is_empty();
        runs.then(|| self.moment(self.due, rate))
    }

    fn is_zero(&self) -> bool {
        self.conns.is_empty() && self.dialling.is_empty()
    }
}

fn name(run: u32, slot: u32, place: u32, count: u32, size: usize) -> Bytes {
    let mut x = Vec::with_capacity(size.max(NAME_BYTES));
    for part in [run, slot, place, count] {
        x.extend_from_slice(&part.to_be_bytes());
    }
    x.resize(size.max(NAME_BYTES), b'.');
    x.into()
}

/// The place and the count of a message, if it is of this run and connection.
fn place_of(x: &[u8], run: u32, slot: u32) -> Option<(u32, u32)> {
    let (parts, _) = x.as_chunks::<4>();
    match parts.first_chunk::<4>()?.map(u32::from_be_bytes) {
        [of_run, of_slot, place, count] if (of_run, of_slot) == (run, slot) => Some((place, count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
