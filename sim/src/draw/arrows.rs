//! Which action caused which event: the other end of a connection receives what one end sends, in
//! order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use echosphere_core::{CloseReason, ConnId, DialToken};
use serde_json::{Value, json};

use super::colour;
use crate::direct::history::{Described, History, Kind, Step, Turn};
use crate::direct::{Case, Fault};
use crate::words;

/// Hardly anything that arrives is under way for longer.
const LONGEST: Duration = Duration::from_secs(2);

/// From a step of one host to the step of another that it led to.
#[derive(Debug)]
pub(super) struct Arrow {
    /// The step that sent it.
    pub(super) from: usize,
    /// Whose that step is.
    who: usize,
    /// The step that received it; `None` if it never arrived.
    pub(super) to: Option<usize>,
    colour: String,
    text: String,
    /// The connection, numbered through the run; `None` for an attempt to connect.
    conn: Option<u32>,
    /// An attempt to connect that led to a connection, which has arrows of its own.
    answered: bool,
    /// It had not arrived yet when the run was broken off.
    pub(super) under_way: bool,
}

impl Arrow {
    pub(super) fn to_json(&self) -> Value {
        json!([
            self.from,
            self.to,
            self.who,
            self.colour,
            self.text,
            self.conn,
            self.under_way
        ])
    }
}

/// The arrows of a run, in the order of their starts.
pub(super) fn arrows(case: &Case, history: &History) -> Vec<Arrow> {
    let mut drawer = Drawer {
        server: case.hosts,
        ..Drawer::default()
    };
    for end in &history.ends {
        drawer.conns.insert((end.who, end.life, end.id), end.conn);
        drawer
            .ends
            .insert((end.conn, end.who == case.hosts), (end.who, end.life));
    }
    for (at, step) in history.steps.iter().enumerate() {
        if let Some(who) = step.who {
            drawer.lives.insert(who, step.life);
            drawer.hears(at, who, step);
            drawer.forgets(who, step);
            for action in &step.actions {
                drawer.does(at, who, step.life, action);
            }
        } else if let Some(who) = crashed(case, step) {
            let life = drawer.lives.get(&who).copied().unwrap_or_default();
            drawer.crashes.entry((who, life)).or_insert(at);
        }
    }
    if history.broken.is_some() {
        drawer.break_off(history);
    }
    let mut arrows = drawer.arrows;
    arrows.retain(|arrow| !arrow.answered);
    arrows.sort_by_key(|arrow| arrow.from);
    arrows
}

/// The host whose life ends here, if the system then ends its connections.
fn crashed(case: &Case, step: &Step) -> Option<usize> {
    let (Turn::Begins(at) | Turn::Ends(at)) = step.fault?;
    match (step.fault?, case.faults[at].1) {
        (Turn::Begins(_), Fault::ClientCrash(host, _)) | (Turn::Ends(_), Fault::ClientDrain(host, _)) => Some(host),
        (Turn::Begins(_), Fault::ServerCrash(_)) | (Turn::Ends(_), Fault::ServerDrain(_)) => Some(case.hosts),
        _ => None,
    }
}

#[derive(Default)]
struct Drawer {
    server: usize,
    /// The connections by what their ends call them.
    conns: BTreeMap<(usize, u32, ConnId), u32>,
    /// Which host has a connection's end, the client's or the server's, and in which life.
    ends: BTreeMap<(u32, bool), (usize, u32)>,
    lives: BTreeMap<usize, u32>,
    /// When a host's life ended.
    crashes: BTreeMap<(usize, u32), usize>,
    /// Attempts to connect that have led to nothing yet.
    dials: BTreeMap<(usize, u32, DialToken), usize>,
    /// The step at which the client's end opened.
    opened: BTreeMap<u32, usize>,
    /// What was sent on a connection, by whether the server sent it, and has not arrived.
    under_way: BTreeMap<(u32, bool), VecDeque<usize>>,
    /// Ends that have closed, or received the end of their connection.
    gone: BTreeSet<(u32, bool)>,
    arrows: Vec<Arrow>,
}

impl Drawer {
    fn push(&mut self, from: usize, who: usize, to: Option<usize>, told: &Described, conn: Option<u32>) {
        self.arrows.push(Arrow {
            from,
            who,
            to,
            colour: colour(told).to_owned(),
            text: match told.kind {
                Kind::Dial => told.dial.map_or_else(String::new, |dial| format!("dial {}", dial.0)),
                Kind::Opened => "open".to_owned(),
                Kind::Close => format!("close: {}", told.text),
                Kind::Finish => "finish".to_owned(),
                _ => told.text.clone(),
            },
            conn,
            answered: false,
            under_way: false,
        });
    }

    /// Notes which ends are gone after a step of their host: nothing arrives there any more.
    fn forgets(&mut self, who: usize, step: &Step) {
        let event = (step.event.kind == Kind::Closed).then_some(&step.event);
        let closed = step
            .actions
            .iter()
            .filter(|action| action.kind == Kind::Close)
            .chain(event);
        for id in closed.filter_map(|told| told.conn) {
            if let Some(&conn) = self.conns.get(&(who, step.life, id)) {
                self.gone.insert((conn, who == self.server));
            }
        }
    }

    /// The run was broken off at its last step: what was sent shortly before, to an end that was there, may have arrived later.
    fn break_off(&mut self, history: &History) {
        let last = history.steps.last().map(|step| step.at).unwrap_or_default();
        for (&(conn, by_server), queue) in &self.under_way {
            if self.gone.contains(&(conn, !by_server)) {
                continue;
            }
            for &arrow in queue {
                let arrow = &mut self.arrows[arrow];
                arrow.under_way = history.steps[arrow.from].at + LONGEST > last;
            }
        }
    }

    fn does(&mut self, at: usize, who: usize, life: u32, action: &Described) {
        match (action.kind, action.dial, action.conn) {
            (Kind::Dial, Some(dial), _) => {
                self.dials.insert((who, life, dial), self.arrows.len());
                self.push(at, who, None, action, None);
            }
            (Kind::Sent | Kind::Close | Kind::Finish, _, Some(id)) => {
                let Some(&conn) = self.conns.get(&(who, life, id)) else {
                    return;
                };
                let queue = self.under_way.entry((conn, who == self.server)).or_default();
                queue.push_back(self.arrows.len());
                self.push(at, who, None, action, Some(conn));
            }
            _ => {}
        }
    }

    fn hears(&mut self, at: usize, who: usize, step: &Step) {
        let event = &step.event;
        let by_server = who != self.server;
        let conn = event.conn.and_then(|id| self.conns.get(&(who, step.life, id)).copied());
        let Some(conn) = conn else {
            return;
        };
        match event.kind {
            Kind::Opened if by_server => {
                self.opened.insert(conn, at);
                // Answered: the opening has arrows of its own.
                if let Some(arrow) = event.dial.and_then(|dial| self.dials.remove(&(who, step.life, dial))) {
                    self.arrows[arrow].answered = true;
                }
            }
            Kind::Opened => {
                if let (Some(&from), Some(&(client, _))) = (self.opened.get(&conn), self.ends.get(&(conn, false))) {
                    self.push(from, client, Some(at), event, Some(conn));
                }
            }
            Kind::Received => {
                self.arrives(at, conn, by_server, |arrow| arrow.text == event.text);
            }
            // An end by a time-out of one's own, or because of what came, has its cause here.
            Kind::Closed
                if [CloseReason::PeerClosed, CloseReason::Reset]
                    .map(words::why)
                    .contains(&event.text) =>
            {
                let peer = self.ends.get(&(conn, by_server)).copied();
                let crash = peer.and_then(|peer| Some((peer.0, *self.crashes.get(&peer)?)));
                if !self.arrives(at, conn, by_server, |arrow| arrow.colour == "close")
                    && let Some((peer, crash)) = crash
                {
                    self.push(crash, peer, Some(at), event, Some(conn));
                }
            }
            _ => {}
        }
    }

    /// The first that is under way and is like this has arrived; what was sent before it never will. Says whether there
    /// was one.
    fn arrives(&mut self, at: usize, conn: u32, by_server: bool, like: impl Fn(&Arrow) -> bool) -> bool {
        let Some(queue) = self.under_way.get_mut(&(conn, by_server)) else {
            return false;
        };
        let Some(place) = queue.iter().position(|&arrow| like(&self.arrows[arrow])) else {
            return false;
        };
        let arrived = queue.drain(..=place).next_back();
        if let Some(arrow) = arrived {
            self.arrows[arrow].to = Some(at);
        }
        true
    }
}
