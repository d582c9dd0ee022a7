//! Connections whose requests follow a script, whatever the answers.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use echosphere_core::numbers::{Command, Message, Notice};
use echosphere_core::timers::{TimerId, Timers};
use echosphere_core::{Action, Actions, CloseReason, ConnId, DialTarget, DialToken, Event, Time};

/// Tokens from here on are theirs: more than a client counts to.
const FIRST_TOKEN: u64 = 1 << 63;
/// How long they wait for a connection.
const PATIENCE: Duration = Duration::from_millis(1500);

/// The requests that are left, each with its pause; the end comes last.
type Script = VecDeque<(Duration, Option<Message>)>;

#[derive(Clone, Copy, Debug)]
enum Due {
    Dial(DialToken),
    Next(ConnId),
}

/// What a host of clients is to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SimCommand {
    /// What a client can be asked for.
    Get(Command),
    /// Requests on one connection, each after a time, and its end: what no client of ours sends.
    Script {
        /// Each request, and how long after the one before.
        script: Vec<(Duration, Message)>,
        /// How long after the last the connection ends.
        stays: Duration,
    },
}

#[derive(Debug)]
pub(super) struct Scripts {
    last_token: u64,
    dials: BTreeMap<DialToken, (TimerId, Script)>,
    conns: BTreeMap<ConnId, (TimerId, Script)>,
    timers: Timers<Due>,
}

type Out = Actions<Message, Notice>;

impl Scripts {
    pub(super) const fn new() -> Self {
        Self {
            last_token: FIRST_TOKEN,
            dials: BTreeMap::new(),
            conns: BTreeMap::new(),
            timers: Timers::new(),
        }
    }

    pub(super) fn begin(&mut self, now: Time, script: Vec<(Duration, Message)>, stays: Duration, out: &mut Out) {
        self.last_token += 1;
        let token = DialToken(self.last_token);
        let timer = self.timers.set(now + PATIENCE, Due::Dial(token));
        let steps = script.into_iter().map(|(after, message)| (after, Some(message)));
        self.dials
            .insert(token, (timer, steps.chain([(stays, None)]).collect()));
        out.push(Action::Dial(token, DialTarget::default()));
    }

    /// Whether the event is about one of these connections.
    pub(super) fn owns(&self, event: &Event<Message, SimCommand>) -> bool {
        match event {
            Event::Opened(_, opened) => opened.dial.is_some_and(|token| token.0 > FIRST_TOKEN),
            Event::DialFailed(token, _) => token.0 > FIRST_TOKEN,
            Event::Received(conn, _) | Event::Closed(conn, _) | Event::PeerFinished(conn) => {
                self.conns.contains_key(conn)
            }
            Event::Command(_) | Event::Drain | Event::Deadline => false,
        }
    }

    pub(super) fn handle(&mut self, now: Time, event: &Event<Message, SimCommand>, out: &mut Out) {
        match event {
            Event::Opened(conn, opened) => {
                if let Some((timer, script)) = opened.dial.and_then(|token| self.dials.remove(&token)) {
                    self.timers.cancel(timer);
                    self.wait(now, *conn, script);
                    self.expire(now, out);
                }
            }
            Event::DialFailed(token, _) => {
                if let Some((timer, _)) = self.dials.remove(token) {
                    self.timers.cancel(timer);
                }
            }
            Event::Closed(conn, _) => {
                if let Some((timer, _)) = self.conns.remove(conn) {
                    self.timers.cancel(timer);
                }
            }
            Event::Deadline => self.expire(now, out),
            Event::Drain => {
                let dials = std::mem::take(&mut self.dials).into_keys();
                dials.for_each(|token| out.push(Action::AbandonDial(token)));
                let conns = std::mem::take(&mut self.conns).into_keys();
                conns.for_each(|conn| out.push(Action::Close(conn, CloseReason::Finished)));
                self.timers = Timers::new();
            }
            Event::Received(..) | Event::Command(_) | Event::PeerFinished(_) => {}
        }
    }

    /// Continues the script when its next step is due.
    fn wait(&mut self, now: Time, conn: ConnId, script: Script) {
        if let Some((after, _)) = script.front() {
            let timer = self.timers.set(now + *after, Due::Next(conn));
            self.conns.insert(conn, (timer, script));
        }
    }

    fn expire(&mut self, now: Time, out: &mut Out) {
        while let Some((_, due)) = self.timers.pop_due(now) {
            match due {
                Due::Dial(token) => {
                    self.dials.remove(&token);
                    out.push(Action::AbandonDial(token));
                }
                Due::Next(conn) => {
                    let Some((_, mut script)) = self.conns.remove(&conn) else {
                        continue;
                    };
                    match script.pop_front() {
                        Some((_, Some(message))) => out.push(Action::Send(conn, message)),
                        _ => out.push(Action::Close(conn, CloseReason::Finished)),
                    }
                    self.wait(now, conn, script);
                }
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Time> {
        self.timers.next()
    }

    pub(super) fn is_zero(&self) -> bool {
        self.dials.is_empty() && self.conns.is_empty() && self.timers.is_empty()
    }
}
