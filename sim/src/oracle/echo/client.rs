//! The rules of clients: each message has a connection of its own until its `ok` arrives, each `message
//! Y` is answered at most once, and connections close cleanly.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use echosphere_core::echo::{Command, Notice};
use echosphere_core::random::Delay;
use echosphere_core::wire::ErrorCode;
use echosphere_core::{CloseReason, ConnId};
use smallvec::SmallVec;

use super::Echo;
use super::by_conn::ByConn;
use super::words::{ModelAction, ModelEvent, Payload, X};
use crate::marks::{Mark, Marks};
use crate::oracle::attempts::{AttemptRule, Attempts};
use crate::words;

mod notices;

/// What an answer may be late by, as clocks are read at different moments.
const SLACK: Duration = Duration::from_millis(5);

fn too_long(echo: &Echo) -> BTreeSet<u64> {
    let numbered = (0..).zip(&*echo.messages);
    let too_long = numbered.filter(|(_, message)| message.x.len() > echo.limits.max_message);
    too_long.map(|(id, _)| id).collect()
}

/// The shortest delay, by a clock that goes too fast.
fn fastest(delay: Delay) -> Duration {
    match delay {
        Delay::Constant(delay) | Delay::Uniform(delay, _) => delay.mul_f64(0.9),
        Delay::None | Delay::Exponential(_) => Duration::ZERO,
    }
}

/// The longest delay, by a clock that goes too slow.
fn slowest(delay: Delay) -> Duration {
    let longest = match delay {
        Delay::None => Duration::ZERO,
        Delay::Constant(delay) | Delay::Uniform(_, delay) => delay,
        Delay::Exponential(mean) => mean * Delay::EXPONENTIAL_CUT,
    };
    longest.mul_f64(1.12)
}

#[derive(Debug)]
pub(super) struct ClientModel {
    pub(super) retries: u64,
    pub(super) natural_closes: u64,
    marks: Marks,
    /// The X of each message.
    says: Vec<X>,
    /// Those whose X is too long for the server.
    too_long: BTreeSet<u64>,
    /// Those that a client gave up for that.
    given_up: BTreeSet<u64>,
    max_delayed_acks: usize,
    /// How long an answer takes at least.
    fastest_answer: Duration,
    /// Acknowledged messages whose caller was not notified yet.
    open: Vec<bool>,
    open_count: usize,
    /// None before this one is open.
    first_open: Cell<usize>,
    /// Those that a host has been asked to send, in its present life, and that it has not said are acknowledged.
    under_way: Vec<Option<u32>>,
    hosts: Vec<Host>,
    /// Hosts whose clients say more than they should.
    rude: Vec<usize>,
    /// Hosts whose clients take a first refusal for an answer.
    meek: Vec<usize>,
    rule: AttemptRule,
    /// When the connection that was closed last, by the ok to its message, had sent that.
    acknowledged_on: Option<Duration>,
    /// Since the run began, if the driver says.
    pub(super) now: Option<Duration>,
    /// When each attempt that is to follow one that failed may begin, by host.
    pauses: BTreeSet<(usize, Duration, u64)>,
    /// How the attempts went in their hosts' present lives, of those of which some failed.
    attempts: BTreeMap<u64, Attempts>,
    /// How long an answer may take.
    slowest_answer: Duration,
}

/// What a host has, in its present life.
#[derive(Debug, Default)]
struct Host {
    conns: ByConn<Conn>,
    /// How many messages are under way.
    under_way: usize,
    /// How many of each X.
    wanted: Vec<u32>,
    /// What was to be answered, oldest first.
    to_answer: VecDeque<(Duration, ConnId, X)>,
    /// Until when it did nothing.
    paused: Duration,
    draining: bool,
    /// Some attempt has connected.
    connected: bool,
}

#[derive(Debug, Default)]
struct Conn {
    /// What it sent, once it has, and when.
    sent: Option<X>,
    sent_at: Duration,
    /// What it was sent and has not answered, and when it was sent that; oldest first.
    owes: SmallVec<[(X, Duration); 2]>,
}

impl ClientModel {
    pub(super) fn new(echo: &Echo, says: Vec<X>, marks: Marks) -> Self {
        Self {
            retries: 0,
            natural_closes: 0,
            marks,
            open: vec![true; says.len()],
            open_count: says.len(),
            first_open: Cell::new(0),
            under_way: vec![None; says.len()],
            says,
            too_long: too_long(echo),
            given_up: BTreeSet::new(),
            max_delayed_acks: echo.limits.max_delayed_acks,
            fastest_answer: fastest(echo.client.ack_delay),
            hosts: Vec::new(),
            rude: echo.rude.clone(),
            meek: echo.meek.clone(),
            rule: AttemptRule {
                steps: echo.client.backoff,
                attempt: echo.client.response_timeout,
                all: echo.client.give_up_after,
                insists: true,
            },
            acknowledged_on: None,
            now: None,
            pauses: BTreeSet::new(),
            attempts: BTreeMap::new(),
            slowest_answer: slowest(echo.client.ack_delay),
        }
    }

    pub(super) fn restart(&mut self, host: usize) {
        if host >= self.hosts.len() {
            self.hosts.resize_with(host + 1, Host::default);
        }
        for (id, of) in (0..).zip(&mut self.under_way) {
            if of.take_if(|of| *of == host as u32).is_some() {
                self.attempts.remove(&id);
            }
        }
        let paused = self.host(host).paused;
        *self.host(host) = Host {
            paused,
            ..Host::default()
        };
        self.pauses.retain(|(of, ..)| *of != host);
    }

    /// Which X each message of the plan has.
    pub(super) fn of_message(&self) -> &[X] {
        &self.says
    }

    pub(super) fn is_done(&self, id: u64) -> bool {
        !self.open[id as usize]
    }

    fn host(&mut self, host: usize) -> &mut Host {
        &mut self.hosts[host]
    }

    /// Whether a host has no message under way and no connection.
    pub(super) fn is_zero(&self, host: usize) -> bool {
        let host = self.hosts.get(host);
        host.is_none_or(|host| host.under_way == 0 && host.conns.is_empty())
    }

    pub(super) fn given_up(&self) -> usize {
        self.given_up.len()
    }

    pub(super) const fn open(&self) -> usize {
        self.open_count
    }

    pub(super) fn first_open(&self) -> Option<u64> {
        let first = self.first_open.get();
        let first = first + self.open[first..].iter().position(|open| *open)?;
        self.first_open.set(first);
        Some(first as u64)
    }

    pub(super) fn step(
        &mut self,
        host: usize,
        event: &ModelEvent<'_, Command>,
        actions: &[ModelAction<'_, Notice>],
    ) -> Result<(), String> {
        self.check_answered(host)?;
        self.hear(host, event)?;
        for action in actions {
            match *action {
                ModelAction::Send(conn, said) => self.send(host, conn, said, event)?,
                ModelAction::Close(conn, reason) => self.close(host, conn, reason, event)?,
                ModelAction::Notify(notice) => self.notify(host, notice, event)?,
                ModelAction::AbandonDial => self.marks.hit(Mark::DialAbandoned),
                ModelAction::Dial => self.dial(host, event)?,
            }
        }
        self.check_drained(host)?;
        let draining = self.host(host).draining;
        let retries = |action: &ModelAction<'_, _>| match action {
            ModelAction::Notify(Notice::GaveUp { .. }) => draining,
            ModelAction::Notify(Notice::Retrying { .. }) => !draining,
            _ => false,
        };
        if matches!(event, ModelEvent::Closed(_)) && !actions.iter().any(retries) {
            return Err(
                "a connection ended before its ok, and the client neither tries again nor, if it drains, gives up"
                    .into(),
            );
        }
        if let ModelEvent::Received(id, Payload::Message(_)) = *event
            && let Some(conn) = self.hosts.get(host).and_then(|host| host.conns.get(id))
            && conn.owes.len() > self.max_delayed_acks
        {
            return Err(format!("{id:?} delays {} answers, which is too many", conn.owes.len()));
        }
        if let Some(id) = self.acknowledged_by(host, event) {
            return Err(format!("{id:?} got its ok and did not end"));
        }
        Ok(())
    }

    /// Who drains waits for the ok on connections that are open, and for nothing else.
    fn check_drained(&mut self, host: usize) -> Result<(), String> {
        let host = self.host(host);
        let (under_way, open) = (host.under_way, host.conns.len());
        if host.draining && under_way != open {
            return Err(format!(
                "drains with {under_way} messages under way, and {open} connections"
            ));
        }
        Ok(())
    }

    pub(super) fn pauses(&mut self, host: usize, until: Duration) {
        self.host(host).paused = until;
    }

    /// An answer given now to what came at `since`, while `others` answers are owed, was not given too early. A connection
    /// that owes as many as it may delay answers at once.
    fn check_delay(&self, since: Duration, others: usize, rude: bool) -> Result<(), String> {
        let Some(after) = self.now.map(|now| now.saturating_sub(since)) else {
            return Ok(());
        };
        if rude || after + SLACK >= self.fastest_answer {
            return Ok(());
        }
        if others < self.max_delayed_acks {
            return Err(format!("answered after {after:?}, though {others} others are owed"));
        }
        self.marks.hit(Mark::AnswerNotDelayed);
        Ok(())
    }

    /// Whatever is due has been answered, on connections that are still open. Only for drivers that tell the time.
    fn check_answered(&mut self, host: usize) -> Result<(), String> {
        let slowest = self.slowest_answer;
        let (Some(now), Some(host)) = (self.now, self.hosts.get_mut(host)) else {
            return Ok(());
        };
        while let Some(&(since, id, y)) = host.to_answer.front() {
            if now <= (since + slowest).max(host.paused) + SLACK {
                break;
            }
            host.to_answer.pop_front();
            let owed = host.conns.get(id).map(|conn| &conn.owes);
            if owed.is_some_and(|owed| owed.contains(&(y, since))) {
                return Err(format!("{id:?} has not answered X number {y} in {:?}", now - since));
            }
        }
        Ok(())
    }

    fn hear(&mut self, host: usize, event: &ModelEvent<'_, Command>) -> Result<(), String> {
        match *event {
            ModelEvent::Opened { id, dialled, .. } => {
                self.host(host).connected = true;
                if !dialled || self.host(host).conns.insert(id, Conn::default()).is_some() {
                    return Err(format!("{id:?} opened twice, or not by a dial"));
                }
            }
            ModelEvent::Received(id, said) => {
                let now = self.now.unwrap_or_default();
                let conn = self.conn(host, id)?;
                match said {
                    Payload::Message(y) => {
                        conn.owes.push((y, now));
                        self.host(host).to_answer.push_back((now, id, y));
                    }
                    Payload::Ok(_) => {}
                    Payload::Error(ErrorCode::NotHeld) => {
                        if !self.rude.contains(&host) {
                            return Err("a client's ok was not-held".into());
                        }
                        self.marks.hit(Mark::NotHeld);
                    }
                    Payload::Error(ErrorCode::Full) => self.marks.hit(Mark::ToldFull),
                    Payload::Error(_) => {}
                }
            }
            ModelEvent::Closed(id) => {
                if !self.conn(host, id)?.owes.is_empty() {
                    self.marks.hit(Mark::LostWhileWithheld);
                }
                self.host(host).conns.remove(id);
            }
            ModelEvent::Command(&Command::Send { key: id, .. }) => {
                let at = id as usize;
                if !self.open[at] || self.under_way[at].replace(host as u32).is_some() {
                    return Err(format!("message number {id} is asked for twice"));
                }
                let (x, all) = (self.says[at] as usize, self.says.len());
                let host = self.host(host);
                host.under_way += 1;
                host.wanted.resize(all, 0);
                host.wanted[x] += 1;
            }
            ModelEvent::Drain => {
                self.host(host).draining = true;
                self.pauses.retain(|(of, ..)| *of != host);
            }
            ModelEvent::Other => {}
        }
        Ok(())
    }

    /// The connection on which the ok to its own message came with this event, if it is still open.
    fn acknowledged_by(&self, host: usize, event: &ModelEvent<'_, Command>) -> Option<ConnId> {
        let ModelEvent::Received(id, Payload::Ok(x)) = *event else {
            return None;
        };
        let conn = self.hosts.get(host)?.conns.get(id)?;
        (conn.sent == Some(x)).then_some(id)
    }

    fn conn(&mut self, host: usize, id: ConnId) -> Result<&mut Conn, String> {
        let conn = self.host(host).conns.get_mut(id);
        conn.ok_or_else(|| format!("{id:?} of host {host} is not open"))
    }

    fn send(&mut self, host: usize, id: ConnId, said: Payload, event: &ModelEvent<'_, Command>) -> Result<(), String> {
        match said {
            Payload::Message(x) if self.host(host).wanted.get(x as usize).is_none_or(|count| *count == 0) => {
                Err(format!("sent X number {x}, which nobody asked for"))
            }
            Payload::Message(x) => {
                let now = self.now.unwrap_or_default();
                let conn = self.conn(host, id)?;
                match conn.sent.replace(x) {
                    None => {
                        conn.sent_at = now;
                        Ok(())
                    }
                    Some(before) if before == x && self.rude.contains(&host) => Ok(()),
                    Some(_) => Err(format!("{id:?} sent two messages")),
                }
            }
            Payload::Ok(y) => {
                let rude = self.rude.contains(&host);
                // Of several the same, what is answered at once is what has just come.
                let at_once = matches!(*event, ModelEvent::Received(from, Payload::Message(_)) if from == id);
                let owes = &mut self.conn(host, id)?.owes;
                let mut same = (0..owes.len()).filter(|at| owes[*at].0 == y);
                let Some(at) = (if at_once { same.next_back() } else { same.next() }) else {
                    if rude {
                        return Ok(());
                    }
                    return Err(format!(
                        "{id:?} answered X number {y}, which it was not sent or has answered"
                    ));
                };
                let (_, since) = owes.remove(at);
                let others = owes.len();
                if !at_once {
                    self.marks.hit(Mark::AnswerWithheld);
                }
                self.check_delay(since, others, rude)
            }
            Payload::Error(_) => Err("a client sent an error".into()),
        }
    }

    fn close(
        &mut self,
        host: usize,
        id: ConnId,
        reason: CloseReason,
        event: &ModelEvent<'_, Command>,
    ) -> Result<(), String> {
        let natural = self.acknowledged_by(host, event) == Some(id);
        if natural != (reason == CloseReason::Finished) {
            return Err(format!(
                "{id:?} was closed ({}), {} its ok",
                words::why(reason),
                if natural { "having got" } else { "without" }
            ));
        }
        self.natural_closes += u64::from(natural);
        self.acknowledged_on = Some(self.conn(host, id)?.sent_at).filter(|_| natural);
        self.host(host).conns.remove(id);
        Ok(())
    }

    pub(super) fn ends(&self) -> Result<(), String> {
        let zero = (0..self.hosts.len()).all(|host| self.is_zero(host));
        if zero && self.natural_closes == (self.says.len() - self.given_up.len()) as u64 {
            Ok(())
        } else {
            let conns: usize = self.hosts.iter().map(|host| host.conns.len()).sum();
            let under_way = self.under_way.iter().flatten().count();
            let closes = self.natural_closes;
            Err(format!(
                "left at the clients: {conns} connections, {under_way} messages; natural closes: {closes}"
            ))
        }
    }
}
