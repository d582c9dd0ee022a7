//! Clients that stay: each connection is kept open and has several messages under way, until it is told to stop.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use echosphere_core::conn_set::ConnSet;
use echosphere_core::echo::Message;
use echosphere_core::{Action, Actions, CloseReason, ConnId, DialToken, Event, Machine, Time};
use hdrhistogram::Histogram;

/// Bytes of a message that make it unique: run, connection, place in its window, count.
pub(super) const NAME_BYTES: usize = 16;
/// Attempts to connect at once.
const DIALS_AT_ONCE: u32 = 256;
/// Timers are no finer than this. A message sent so late at most counts from when it was sent.
const GRAIN: Duration = Duration::from_millis(2);
/// Round trips from here on are all recorded as this long.
const LONGEST_RECORDED: Duration = Duration::from_secs(3600);

/// What the clients shall do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Config {
    pub(super) connections: u32,
    /// Messages under way on each connection, at most.
    pub(super) window: u32,
    /// Bytes of each message.
    pub(super) size: usize,
    /// Messages a second of all connections; without it, as fast as it goes.
    pub(super) rate: Option<f64>,
    /// Messages of each connection; without it, until [`Command::Stop`].
    pub(super) messages: Option<u32>,
    /// Tells this run's messages from those of another.
    pub(super) run: u32,
}

#[derive(Debug)]
pub(super) enum Command {
    /// Open all connections; answered by [`Notice::Open`].
    Open,
    /// Send; answered by [`Notice::Done`] once nothing more is sent and nothing is under way.
    Begin,
    /// Send nothing new.
    Stop,
    /// Close all connections.
    Close,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Every attempt to connect has ended.
    Open,
    /// All that was sent is answered, or its connection is gone.
    Done,
}

/// What the clients did.
#[derive(Clone, Debug)]
pub(super) struct Counts {
    /// In nanoseconds.
    pub(super) round_trips: Histogram<u64>,
    pub(super) opened: u32,
    pub(super) dials_failed: u32,
    pub(super) sent: u64,
    pub(super) acknowledged: u64,
    pub(super) answered: u64,
    /// Sent later than their moment, since the window was full or this program too slow.
    pub(super) late: u64,
    /// Connections that ended, and messages that were refused, by how.
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
pub(super) struct Stay {
    config: Config,
    stage: Stage,
    conns: ConnSet<Conn>,
    order: Vec<ConnId>,
    dialling: u32,
    dials: u32,
    under_way: u64,
    waiting: u64,
    since: Time,
    /// Messages whose moment has come.
    scheduled: u64,
    counts: Counts,
}

#[derive(Debug)]
struct Conn {
    places: Vec<Place>,
    free: Vec<u32>,
    left: Option<u32>,
    /// The moments of messages that wait for a place.
    late: VecDeque<Time>,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    count: u32,
    under_way: bool,
    since: Time,
}

type Out = Actions<Message, Notice>;

impl Stay {
    pub(super) fn new(config: Config) -> anyhow::Result<Self> {
        Ok(Self {
            config,
            stage: Stage::Opening,
            conns: ConnSet::new(),
            order: Vec::new(),
            dialling: 0,
            dials: 0,
            under_way: 0,
            waiting: 0,
            since: Time::ZERO,
            scheduled: 0,
            counts: Counts {
                round_trips: Histogram::new_with_max(LONGEST_RECORDED.as_nanos() as u64, 3)?,
                opened: 0,
                dials_failed: 0,
                sent: 0,
                acknowledged: 0,
                answered: 0,
                late: 0,
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
            Command::Stop => {
                self.stage = Stage::Stopping;
                for id in self.order.clone() {
                    self.forget_late(id);
                }
            }
            Command::Close => self.close(out),
        }
        self.check_done(out);
    }

    fn dial(&mut self, out: &mut Out) {
        while self.stage == Stage::Opening && self.dials < self.config.connections && self.dialling < DIALS_AT_ONCE {
            // The upper half counts the attempts: the connector chooses an address by it.
            out.push(Action::Dial(DialToken(u64::from(self.dials) << 32)));
            self.dials += 1;
            self.dialling += 1;
        }
        if self.stage == Stage::Opening && self.dialling == 0 {
            self.stage = Stage::Waiting;
            out.push(Action::Notify(Notice::Open));
        }
    }

    fn opened(&mut self, id: ConnId, out: &mut Out) {
        self.dialling -= 1;
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
            late: VecDeque::new(),
        };
        self.conns.insert(id, conn);
        self.order.push(id);
        self.dial(out);
    }

    fn begin(&mut self, now: Time, out: &mut Out) {
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

    /// Has a connection send one more message, if it has any left and a place in its window.
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

    /// Sends what is due at the rate asked for, each connection in turn.
    fn send_due(&mut self, now: Time, out: &mut Out) {
        while let Some(due) = self.next_deadline().filter(|&due| due <= now) {
            let id = self.order[(self.scheduled % self.order.len() as u64) as usize];
            self.scheduled += 1;
            if !self.send(now, due, id, out)
                && let Some(conn) = self.conns.get_mut(id)
            {
                conn.late.push_back(due);
                self.waiting += 1;
            }
        }
    }

    fn acknowledged(&mut self, now: Time, id: ConnId, x: &Bytes, out: &mut Out) {
        let Some((at, count)) = place_of(x, self.config.run, id.slot) else {
            return self.note("ok to something else".to_owned());
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
            return self.note("ok to something else".to_owned());
        };
        self.under_way -= 1;
        self.counts.acknowledged += 1;
        self.counts
            .round_trips
            .saturating_record(now.since(since).as_nanos() as u64);
        self.send_next(now, id, out);
        self.check_done(out);
    }

    fn send_next(&mut self, now: Time, id: ConnId, out: &mut Out) {
        if self.stage != Stage::Running {
            return;
        }
        let late = self.conns.get_mut(id).and_then(|conn| conn.late.pop_front());
        match late {
            Some(due) => {
                self.waiting -= 1;
                self.send(now, due, id, out);
            }
            None if self.config.rate.is_none() => {
                self.send(now, now, id, out);
            }
            None => {}
        }
    }

    fn closed(&mut self, id: ConnId, reason: CloseReason, out: &mut Out) {
        self.forget_late(id);
        let Some(conn) = self.conns.remove(id) else {
            return;
        };
        self.under_way -= conn.places.iter().filter(|place| place.under_way).count() as u64;
        self.note(format!("{reason:?}"));
        self.check_done(out);
    }

    fn forget_late(&mut self, id: ConnId) {
        if let Some(conn) = self.conns.get_mut(id) {
            self.waiting -= conn.late.len() as u64;
            conn.late.clear();
        }
    }

    fn note(&mut self, what: String) {
        *self.counts.broken.entry(what).or_default() += 1;
    }

    /// With a number of messages for each connection, all are sent at once or follow an ok: when nothing is under way,
    /// nothing is left to be sent.
    fn check_done(&mut self, out: &mut Out) {
        let ending = self.stage == Stage::Stopping || (self.stage == Stage::Running && self.config.messages.is_some());
        if ending && self.under_way == 0 && self.waiting == 0 {
            self.stage = Stage::Done;
            out.push(Action::Notify(Notice::Done));
        }
    }

    fn close(&mut self, out: &mut Out) {
        self.stage = Stage::Done;
        for id in std::mem::take(&mut self.order) {
            self.forget_late(id);
            if self.conns.remove(id).is_some() {
                out.push(Action::Close(id, CloseReason::Finished));
            }
        }
    }
}

impl Machine for Stay {
    type Message = Message;
    type Command = Command;
    type Notice = Notice;

    fn handle(&mut self, now: Time, event: Event<Message, Command>, out: &mut Out) {
        match event {
            Event::Command(command) => self.command(now, &command, out),
            Event::Opened(id, _) => self.opened(id, out),
            Event::DialFailed(..) => {
                self.dialling -= 1;
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
            Event::Drain => self.close(out),
            Event::Deadline => self.send_due(now, out),
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        let rate = self.config.rate?;
        let runs = self.stage == Stage::Running && !self.order.is_empty();
        runs.then(|| self.since + Duration::from_secs_f64(self.scheduled as f64 / rate))
    }

    fn is_zero(&self) -> bool {
        self.conns.is_empty() && self.dialling == 0 && self.waiting == 0
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

/// The place in its connection's window, and the count, of a message of this run and connection.
fn place_of(x: &[u8], run: u32, slot: u32) -> Option<(u32, u32)> {
    let (parts, _) = x.as_chunks::<4>();
    match parts.first_chunk::<4>()?.map(u32::from_be_bytes) {
        [of_run, of_slot, place, count] if (of_run, of_slot) == (run, slot) => Some((place, count)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
