//! The books of a load: what to send next, what arrived, and the report.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use echosphere_core::hub::{Command, Notice, Reply, Request, Unsent, UserIds};
use echosphere_core::random::below;
use rand_chacha::ChaCha8Rng;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::failure::Remote;
use crate::latency::{Latencies, Percentiles};
use crate::server::State;
use crate::values::{counted, thousands};
use crate::{output, verdict};

/// The length of a body's header: its sender, its number among the sender's bodies, and its send time in nanoseconds.
pub(super) const HEADER: usize = 4 + 4 + 8;
/// The most problems in a report; the others are counted.
const LISTED: usize = 10;

/// The options of a load.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    pub(crate) users: u32,
    pub(crate) messages: u32,
    pub(crate) fan_out: u32,
    pub(crate) size: usize,
    pub(crate) window: u32,
    pub(crate) seed: u64,
}

impl Plan {
    const fn relays(&self) -> u64 {
        self.users as u64 * self.messages as u64
    }

    pub(super) const fn deliveries(&self) -> u64 {
        self.relays() * self.fan_out as u64
    }
}

#[derive(Clone, Debug, Default)]
struct User {
    id: u64,
    sent: u32,
    receipts: u32,
    /// The bodies on their way to it: sender and number.
    expected: BTreeSet<(u32, u32)>,
}

/// The results so far.
pub(super) struct Tally {
    plan: Plan,
    remote: Remote,
    rng: ChaCha8Rng,
    /// `None` at the end of the load.
    commands: Option<mpsc::UnboundedSender<Command>>,
    start: Instant,
    users: Vec<User>,
    by_id: BTreeMap<u64, u32>,
    /// The number of the last body, by receiver and sender.
    last: BTreeMap<(u32, u32), u32>,
    receipts: u64,
    delivered: u64,
    /// Bodies that are on their way, or were lost.
    on_their_way: u64,
    /// Bodies that arrived and do not show which of those on their way they are.
    unidentified: u64,
    /// Bodies that arrived and were not expected, because they were not sent or had arrived before.
    unexpected: u64,
    latencies: Latencies,
    filling: Filling,
    wrong: Vec<String>,
    more_wrong: u64,
}

impl Tally {
    pub(super) fn new(
        plan: Plan,
        remote: Remote,
        rng: ChaCha8Rng,
        commands: mpsc::UnboundedSender<Command>,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            plan,
            remote,
            rng,
            commands: Some(commands),
            start: Instant::now(),
            users: vec![User::default(); plan.users as usize],
            by_id: BTreeMap::new(),
            last: BTreeMap::new(),
            receipts: 0,
            delivered: 0,
            on_their_way: 0,
            unidentified: 0,
            unexpected: 0,
            latencies: Latencies::new()?,
            filling: Filling::new(plan.size - HEADER),
            wrong: Vec::new(),
            more_wrong: 0,
        })
    }

    pub(super) const fn delivered(&self) -> u64 {
        self.delivered
    }

    pub(super) fn note(&mut self, notice: Notice) {
        match notice {
            Notice::Connected { session } => self.ask(session, Request::Identity),
            Notice::Answered { session, reply, .. } => match reply {
                Reply::Identity(id) => self.identified(session as u32, id),
                Reply::Relayed { sent, unsent } => {
                    self.receipts += 1;
                    let number = self.users[session as usize].receipts;
                    self.users[session as usize].receipts += 1;
                    let receivers = u32::from(sent) + unsent.len() as u32;
                    if receivers != self.plan.fan_out {
                        self.wrong(format!(
                            "a receipt lists {receivers} receivers instead of {}",
                            self.plan.fan_out
                        ));
                    }
                    for (id, why) in unsent {
                        let why = match why {
                            Unsent::Unknown => "it does not know that user",
                            Unsent::TooSlow => "that user does not read",
                        };
                        self.wrong(format!("the hub did not relay to user {id}: {why}"));
                        if let Some(user) = self.by_id.get(&id) {
                            let expected = &mut self.users[*user as usize].expected;
                            self.on_their_way -= u64::from(expected.remove(&(session as u32, number)));
                        }
                    }
                    self.send(session as u32);
                }
                _ => self.wrong("the hub sent an answer that does not fit its request".to_owned()),
            },
            Notice::Received { session, from, body } => self.arrived(session as u32, from, body),
            Notice::Ended {
                failure: Some(failure), ..
            } => self.wrong(format!("a session ended: {}", self.remote.explain(&failure))),
            Notice::Retrying { .. } | Notice::Unanswered { .. } | Notice::Ended { .. } => {}
        }
        if self.receipts == self.plan.relays() && self.on_their_way <= self.unidentified {
            self.commands = None;
        }
    }

    fn ask(&self, session: u64, request: Request) {
        if let Some(commands) = &self.commands {
            // The receiver is gone only after an interruption.
            let _ = commands.send(Command::Ask {
                session,
                ask: 0,
                request,
            });
        }
    }

    fn identified(&mut self, user: u32, id: u64) {
        self.users[user as usize].id = id;
        if self.by_id.insert(id, user).is_some() {
            self.wrong(format!("two users have the id {id}"));
        }
        if self.by_id.len() == self.users.len() {
            self.start = Instant::now();
            for user in 0..self.plan.users {
                for _ in 0..self.plan.window {
                    self.send(user);
                }
            }
        }
    }

    /// Sends a user's next body, if one is left.
    fn send(&mut self, user: u32) {
        let number = self.users[user as usize].sent;
        if number == self.plan.messages {
            return;
        }
        self.users[user as usize].sent += 1;
        let to = self.receivers(user, number);
        let sent = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let body = self.filling.body(user, number, sent);
        self.ask(user.into(), Request::Relay { to, body });
    }

    /// Chooses the receivers of a body of this sender.
    fn receivers(&mut self, sender: u32, number: u32) -> UserIds {
        let (users, count) = (self.plan.users, self.plan.fan_out);
        let mut chosen: Vec<u32> = Vec::with_capacity(count as usize);
        // Floyd's algorithm: one draw for each receiver.
        for most in users - count..users {
            let drawn = below(&mut self.rng, most + 1);
            chosen.push(if chosen.contains(&drawn) { most } else { drawn });
        }
        for user in &chosen {
            self.users[*user as usize].expected.insert((sender, number));
        }
        self.on_their_way += u64::from(count);
        chosen.iter().map(|user| self.users[*user as usize].id).collect()
    }

    fn arrived(&mut self, receiver: u32, from: u64, whole: Bytes) {
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.delivered += 1;
        let mut rest = whole;
        if rest.len() != self.plan.size {
            self.unidentified += 1;
            self.wrong(format!("a body has {} bytes instead of {}", rest.len(), self.plan.size));
            return;
        }
        let (sender, number, sent) = (rest.get_u32(), rest.get_u32(), rest.get_u64());
        if self.by_id.get(&from) != Some(&sender) {
            self.unidentified += 1;
            self.wrong(format!("a body of user {sender} has the sender id {from}"));
            return;
        }
        if rest != self.filling.of(sender, number) {
            self.wrong(format!("body {number} of user {sender} arrived changed"));
        }
        if !self.users[receiver as usize].expected.remove(&(sender, number)) {
            self.unexpected += 1;
            return;
        }
        self.on_their_way -= 1;
        if let Some(before) = self.last.insert((receiver, sender), number)
            && before >= number
        {
            self.wrong(format!(
                "user {receiver} got body {number} of user {sender} after {before}"
            ));
        }
        self.latencies.record(Duration::from_nanos(now.saturating_sub(sent)));
    }

    fn wrong(&mut self, what: String) {
        if self.wrong.len() < LISTED {
            self.wrong.push(what);
        } else {
            self.more_wrong += 1;
        }
    }

    pub(super) fn report(&mut self, elapsed: Duration, hub: Option<State>) -> Report {
        let lost = self.on_their_way;
        if lost > 0 {
            self.wrong(format!("{} did not arrive", counted(lost, "delivery")));
        }
        if self.unexpected > 0 {
            let unexpected = counted(self.unexpected, "delivery");
            self.wrong(format!("{unexpected} arrived twice or was never sent"));
        }
        if self.receipts < self.plan.relays() {
            let missing = self.plan.relays() - self.receipts;
            self.wrong(format!("{} got no receipt", counted(missing, "relay")));
        }
        if let Some(state) = hub.as_ref().filter(|state| !state.zero) {
            self.wrong(state.summary());
        }
        let seconds = elapsed.as_secs_f64();
        let Plan {
            users,
            messages,
            fan_out,
            size,
            window,
            seed,
        } = self.plan;
        Report {
            passed: self.wrong.is_empty(),
            missing: self.wrong.clone(),
            more_missing: self.more_wrong,
            users,
            messages,
            fan_out,
            bytes: size,
            window,
            seed,
            elapsed_s: seconds,
            relayed: self.receipts,
            delivered: self.delivered,
            lost,
            relays_per_s: self.receipts as f64 / seconds,
            deliveries_per_s: self.delivered as f64 / seconds,
            delivered_bytes_per_s: self.delivered as f64 * size as f64 / seconds,
            latency_us: self.latencies.percentiles(),
            server: hub,
        }
    }
}

/// The bytes of bodies after their header: they count up, from a different start for each body.
struct Filling {
    bytes: Vec<u8>,
    len: usize,
}

impl Filling {
    fn new(len: usize) -> Self {
        let bytes = (0..len + 256).map(|at| at as u8).collect();
        Self { bytes, len }
    }

    fn of(&self, sender: u32, number: u32) -> &[u8] {
        let first = usize::from(sender.wrapping_mul(31).wrapping_add(number) as u8);
        &self.bytes[first..first + self.len]
    }

    fn body(&self, sender: u32, number: u32, sent: u64) -> Bytes {
        let mut body = BytesMut::with_capacity(HEADER + self.len);
        body.put_u32(sender);
        body.put_u32(number);
        body.put_u64(sent);
        body.put_slice(self.of(sender, number));
        body.freeze()
    }
}

/// The report.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    passed: bool,
    /// A sentence for each broken promise.
    missing: Vec<String>,
    /// The number of sentences left out.
    more_missing: u64,
    users: u32,
    messages: u32,
    fan_out: u32,
    bytes: usize,
    window: u32,
    #[serde(serialize_with = "output::exact")]
    seed: u64,
    elapsed_s: f64,
    relayed: u64,
    delivered: u64,
    lost: u64,
    relays_per_s: f64,
    deliveries_per_s: f64,
    delivered_bytes_per_s: f64,
    /// From sending to delivery.
    latency_us: Percentiles,
    server: Option<State>,
}

impl Report {
    pub(super) const fn passed(&self) -> bool {
        self.passed
    }

    pub(super) fn print(&self, json: bool) -> anyhow::Result<()> {
        if json {
            output::json(self)
        } else {
            output::bytes(self.to_text().as_bytes())
        }
    }

    fn to_text(&self) -> String {
        let per_second = |rate: f64| thousands(rate as u64);
        let rows = [
            (
                "relayed",
                format!(
                    "{}, {} a second",
                    thousands(self.relayed),
                    per_second(self.relays_per_s)
                ),
            ),
            (
                "delivered",
                format!(
                    "{}, {} a second, {:.1} MB/s",
                    thousands(self.delivered),
                    per_second(self.deliveries_per_s),
                    self.delivered_bytes_per_s / 1e6
                ),
            ),
            ("lost", thousands(self.lost)),
        ];
        let mut text = format!(
            "{}, each with {} of {} to {}, {} at once, seed {}: done in {:.2} s\n{}{}",
            counted(self.users.into(), "user"),
            counted(self.messages.into(), "message"),
            counted(self.bytes as u64, "byte"),
            counted(self.fan_out.into(), "receiver"),
            self.window,
            self.seed,
            self.elapsed_s,
            output::table(rows),
            self.latency_us.to_text(None)
        );
        let promise = "every body arrived once at each receiver, in order and unchanged";
        text += &verdict::to_text(self.server.as_ref(), &self.missing, self.more_missing, promise);
        text
    }
}

#[cfg(test)]
mod tests;
