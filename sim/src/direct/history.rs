//! Everything that happened in a run, step by step, for drawing it.

use std::collections::BTreeMap;
use std::time::Duration;

use echosphere_core::{Action, ConnId, DialToken, Event};

use super::case::Fault;
use crate::trace::Brief;
use crate::words::{self, Whose, brief};

/// The events of a run from its start to its end.
#[derive(Debug, Default)]
pub struct History {
    /// What happened, in order.
    pub steps: Vec<Step>,
    /// The connections that were made, in the order in which each end opened.
    pub ends: Vec<EndOf>,
    /// The step that broke a rule, if one did.
    pub broken: Option<usize>,
    /// The server's facts, and how often it has each.
    known: BTreeMap<Fact, usize>,
}

/// What one machine did at once, or what was done to the hosts and the network.
#[derive(Debug)]
pub struct Step {
    /// When.
    pub at: Duration,
    /// Who: a host of clients by its number, the server by the next, `None` for what was done to them.
    pub who: Option<usize>,
    /// How often that host had started.
    pub life: u32,
    /// The event.
    pub event: Described,
    /// What it did.
    pub actions: Vec<Described>,
    /// Which of the case's faults begins or ends.
    pub fault: Option<Turn>,
    /// Facts that the server has from here on.
    pub learnt: Vec<Fact>,
    /// What the server does not know any more.
    pub forgotten: Vec<Fact>,
}

/// A fault of the case, by its number, begins or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// It begins.
    Begins(usize),
    /// It ends.
    Ends(usize),
}

/// A fact of the server's state: its kind and its text.
pub type Fact = (&'static str, String);

/// An event or an action in words.
#[derive(Debug, PartialEq, Eq)]
pub struct Described {
    /// What kind of event or action.
    pub kind: Kind,
    /// The connection that it is about, as this host calls it.
    pub conn: Option<ConnId>,
    /// The attempt to connect that it is about.
    pub dial: Option<DialToken>,
    /// The message, or the reason.
    pub text: String,
}

/// The kinds of events and actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A connection opened.
    Opened,
    /// A message came.
    Received,
    /// A message was sent.
    Sent,
    /// A connection ended.
    Closed,
    /// The peer finished sending, and the connection stays open.
    PeerFinished,
    /// A connection was closed.
    Close,
    /// The end of stream was sent on a connection that its host still knows.
    Finish,
    /// An attempt to connect.
    Dial,
    /// It failed.
    DialFailed,
    /// It was given up.
    Abandon,
    /// The local caller asked for something.
    Command,
    /// The machine notified its caller.
    Notice,
    /// A timer rang.
    Deadline,
    /// The host shall end.
    Drain,
    /// Something was done to the hosts or the network.
    Note,
}

/// One end of a connection.
#[derive(Clone, Copy, Debug)]
pub struct EndOf {
    /// The connection, numbered through the run.
    pub conn: u32,
    /// The host that has this end.
    pub who: usize,
    /// How often that host had started.
    pub life: u32,
    /// What that host calls it.
    pub id: ConnId,
}

impl History {
    pub(super) fn step<M: Brief, C: Brief, N: Brief>(
        &mut self,
        at: Duration,
        (who, life): (usize, u32),
        event: &Event<M, C>,
        actions: &[Action<M, N>],
    ) {
        self.push(Step {
            who: Some(who),
            life,
            actions: actions.iter().map(did).collect(),
            ..Step::new(at, heard(event))
        });
    }

    /// What the server, `whose` connections are named in it, knows after the last step, in any order.
    pub(super) fn known(&mut self, whose: Whose, facts: Vec<Fact>) {
        let mut now: BTreeMap<Fact, usize> = BTreeMap::new();
        for (kind, fact) in facts {
            *now.entry((kind, whose.names_in(&fact))).or_default() += 1;
        }
        self.knows(now);
    }

    fn knows(&mut self, now: BTreeMap<Fact, usize>) {
        if let Some(step) = self.steps.last_mut() {
            step.learnt = beyond(&now, &self.known);
            step.forgotten = beyond(&self.known, &now);
        }
        self.known = now;
    }

    pub(super) fn note(&mut self, at: Duration, what: &str, turn: Option<(Turn, Fault)>) {
        let event = Described::new(Kind::Note, what.to_owned());
        self.push(Step {
            fault: turn.map(|(turn, _)| turn),
            ..Step::new(at, event)
        });
        if let Some(
            (Turn::Begins(_), Fault::ServerCrash(_) | Fault::ServerPowerLoss(_))
            | (Turn::Ends(_), Fault::ServerDrain(_)),
        ) = turn
        {
            self.knows(BTreeMap::new());
        }
    }

    pub(super) fn broken(&mut self) {
        self.broken.get_or_insert(self.steps.len().saturating_sub(1));
    }

    fn push(&mut self, step: Step) {
        self.steps.push(step);
    }
}

impl Step {
    const fn new(at: Duration, event: Described) -> Self {
        Self {
            at,
            who: None,
            life: 0,
            event,
            actions: Vec::new(),
            fault: None,
            learnt: Vec::new(),
            forgotten: Vec::new(),
        }
    }
}

impl Described {
    fn new(kind: Kind, text: String) -> Self {
        Self {
            kind,
            conn: None,
            dial: None,
            text,
        }
    }

    fn of(kind: Kind, conn: ConnId, text: String) -> Self {
        Self {
            conn: Some(conn),
            ..Self::new(kind, text)
        }
    }

    fn dial(kind: Kind, dial: DialToken, text: String) -> Self {
        Self {
            dial: Some(dial),
            ..Self::new(kind, text)
        }
    }
}

/// What there is more of in `these` than in `those`.
fn beyond(these: &BTreeMap<Fact, usize>, those: &BTreeMap<Fact, usize>) -> Vec<Fact> {
    let more = these.iter().flat_map(|(fact, &count)| {
        let more = count.saturating_sub(those.get(fact).copied().unwrap_or(0));
        std::iter::repeat_n(fact.clone(), more)
    });
    more.collect()
}

fn heard<M: Brief, C: Brief>(event: &Event<M, C>) -> Described {
    match event {
        Event::Opened(id, opened) => Described {
            dial: opened.dial,
            ..Described::of(Kind::Opened, *id, String::new())
        },
        Event::Received(id, message) => Described::of(Kind::Received, *id, brief(message)),
        Event::Closed(id, reason) => Described::of(Kind::Closed, *id, words::why(*reason)),
        Event::PeerFinished(id) => Described::of(Kind::PeerFinished, *id, String::new()),
        Event::DialFailed(token, error) => Described::dial(Kind::DialFailed, *token, words::not_connected(*error)),
        Event::Command(command) => Described::new(Kind::Command, brief(command)),
        Event::Drain => Described::new(Kind::Drain, String::new()),
        Event::Deadline => Described::new(Kind::Deadline, String::new()),
    }
}

fn did<M: Brief, N: Brief>(action: &Action<M, N>) -> Described {
    match action {
        Action::Dial(token, _) => Described::dial(Kind::Dial, *token, String::new()),
        Action::AbandonDial(token) => Described::dial(Kind::Abandon, *token, String::new()),
        Action::Send(id, message) => Described::of(Kind::Sent, *id, brief(message)),
        Action::Close(id, reason) => Described::of(Kind::Close, *id, words::why(*reason)),
        Action::Notify(notice) => Described::new(Kind::Notice, brief(notice)),
        Action::Finish(id) => Described::of(Kind::Finish, *id, String::new()),
    }
}
