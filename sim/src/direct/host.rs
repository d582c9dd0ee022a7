//! A simulated host: an endpoint, and sockets that are ends of modelled connections.

use std::any::Any;
use std::collections::{BTreeMap, VecDeque};
use std::mem;

use bytes::BytesMut;
use echosphere_core::connection::{ConnectionConfig, SocketAction};
use echosphere_core::counters::ConnectionCounters;
use echosphere_core::endpoint::{Effect, Endpoint};
use echosphere_core::wire::Codec;
use echosphere_core::{ConnId, DialToken, Machine, Time};

use self::partials::Half;
use super::conn::Arrival;
use super::net::{MILLISECOND, NEVER, Nanos, Net, Scheduled};
use super::rules::{Backlog, SharedView, Spoken, listening};
use crate::hosts::{CLIENTS, SERVER};
use crate::marks::Mark;
use crate::observe::{ActionOf, EventOf, Observable, Observed};
use crate::oracle::typed::{Lines, Typing};
use crate::oracle::{Carried, System};
use crate::role::Role;
use crate::words::Whose;

mod checks;
mod opening;
mod partials;

/// Sees what a machine does.
pub(super) type Observer<M> = Box<dyn FnMut(&M, &EventOf<M>, &[ActionOf<M>])>;

/// How fast a clock goes that is neither fast nor slow, as most are.
const RIGHT: f64 = 1.0;

/// The bytes of a part of a body, and whether it is the last.
pub(super) type Part = (usize, bool);

/// What is to be known of how a system speaks, see [`System`].
pub(super) struct Speech<M: Machine> {
    pub(super) size: fn(&M::Message) -> (usize, Carried),
    pub(super) part: fn(&M, &M::Message) -> Option<Part>,
    pub(super) typing: fn() -> Box<dyn Typing>,
}

impl<M: Machine> Clone for Speech<M> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<M: Machine> Copy for Speech<M> {}

impl<M: Machine> Speech<M> {
    pub(super) fn of_server<S: System<Server = M>>() -> Self {
        Self {
            size: S::size,
            part: S::part,
            typing: S::typing,
        }
    }

    pub(super) fn of_client<S: System<Client = M, Server: Machine<Message = M::Message>>>() -> Self {
        Self {
            size: S::size,
            part: |_, _| None,
            typing: S::typing,
        }
    }
}

pub(super) struct Host<M: Observable, C: Codec<Message = M::Message>> {
    /// Its place among the hosts' timers and clocks.
    pub(super) number: usize,
    pub(super) role: Role,
    /// None while it is down.
    endpoint: Option<Endpoint<Observed<M, Observer<M>>, C>>,
    sockets: Vec<Option<Socket>>,
    /// How many of them there are, and the most that there were at once in the present life.
    open: usize,
    most_open: usize,
    dials: BTreeMap<DialToken, usize>,
    pub(super) plan: VecDeque<(Nanos, M::Command)>,
    pub(super) life: u32,
    started: Nanos,
    clock: f64,
    /// In which millisecond its timer last rang, and how often.
    wakes: (Nanos, u32),
    pub(super) paused_until: Nanos,
    /// A host that is down does not even refuse.
    pub(super) dark: bool,
    link: ConnectionConfig,
    /// Nothing goes wrong in this run, and there is room for all.
    pub(super) calm: bool,
    /// Who speaks lines sends and is sent bodies of several.
    pub(super) bodies_of_lines: bool,
    typing: fn() -> Box<dyn Typing>,
    /// Connections that were refused for their half-received messages, in its present life.
    refused: u64,
    /// Those with half-received messages that count.
    halves: Vec<ConnId>,
    view: SharedView,
    /// The first rule that was broken.
    pub(super) broken: Option<String>,
}

/// A connection that is open here, and its index among all.
struct Socket {
    id: ConnId,
    index: usize,
    spoken: Spoken,
    backlog: Backlog,
    /// Its machine has known it.
    met: bool,
    /// When its machine last sent or received a message.
    used: Time,
    /// What was to be written last found no room.
    stuck: bool,
    /// It was dropped because its peer does not read.
    slow: bool,
    half: Half,
}

impl Socket {
    /// It was used so recently that no time-out can be over.
    fn is_fresh(&self, now: Time, link: &ConnectionConfig) -> bool {
        self.backlog.long_since.is_none() && self.spoken.is_fresh(now, self.met, link)
    }
}

impl<M: Observable, C: Codec<Message = M::Message> + Clone> Host<M, C> {
    pub(super) fn new(number: usize, role: Role, clock: f64) -> Self {
        Self {
            number,
            role,
            endpoint: None,
            sockets: Vec::new(),
            open: 0,
            most_open: 0,
            dials: BTreeMap::new(),
            plan: VecDeque::new(),
            life: 0,
            started: 0,
            clock,
            wakes: (0, 0),
            paused_until: 0,
            dark: false,
            link: ConnectionConfig::default(),
            calm: false,
            bodies_of_lines: false,
            typing: || Box::<Lines>::default(),
            refused: 0,
            halves: Vec::new(),
            view: SharedView::default(),
            broken: None,
        }
    }

    pub(super) fn start(
        &mut self,
        now: Nanos,
        machine: M,
        codec: C,
        (link, speech): (ConnectionConfig, Speech<M>),
        observer: Observer<M>,
    ) {
        self.started = now;
        self.dark = false;
        self.link = link;
        self.view = SharedView::default();
        self.typing = speech.typing;
        self.refused = 0;
        self.most_open = 0;
        self.halves.clear();
        let observer = listening(SharedView::clone(&self.view), speech, observer);
        self.endpoint = Some(Endpoint::new(Observed::outside_turmoil(machine, observer), codec, link));
    }

    /// Its endpoint, what is shared with the observer of its machine, and how many connections it has and had at most.
    pub(super) fn into_endpoint(self) -> (Box<dyn Any>, SharedView, (usize, usize))
    where
        C: 'static,
    {
        let connections = (self.open, self.most_open);
        (Box::new(self.endpoint), self.view, connections)
    }

    /// Whose its connections are, in its present life.
    pub(super) fn whose(&self) -> Whose {
        let host = match self.role {
            Role::Client => CLIENTS[self.number],
            Role::Server => SERVER,
        };
        Whose { host, life: self.life }
    }

    pub(super) const fn is_up(&self) -> bool {
        self.endpoint.is_some()
    }

    pub(super) fn is_zero(&self) -> bool {
        self.endpoint.as_ref().is_some_and(Endpoint::is_zero)
    }

    /// What its connections did in its present life.
    pub(super) fn counters(&self) -> Option<&ConnectionCounters> {
        self.endpoint.as_ref().map(Endpoint::counters)
    }

    /// What it has left.
    pub(super) fn describe(&self) -> String {
        self.endpoint.as_ref().map_or_else(
            || "down".to_owned(),
            |endpoint| format!("{} connections, {} timers", endpoint.connections(), endpoint.timers()),
        )
    }

    /// The host's own time.
    fn local(&self, now: Nanos) -> Time {
        let since = now - self.started;
        Time::from_nanos(if self.clock == RIGHT { since } else { self.skewed(since) })
    }

    /// Apart, as most clocks are right, and would wait for the conversions.
    #[cold]
    fn skewed(&self, since: Nanos) -> Nanos {
        (since as f64 * self.clock) as Nanos
    }

    /// Loses all state. Its connections are reset or close cleanly, as an operating system does for a process that died; or they
    /// die unnoticed.
    pub(super) fn crash(&mut self, net: &mut Net, unnoticed: bool) {
        self.endpoint = None;
        net.timers[self.number] = NEVER;
        self.plan.clear();
        self.dark = unnoticed;
        self.open = 0;
        let role = self.role;
        for Socket { index, .. } in mem::take(&mut self.sockets).into_iter().flatten() {
            net.conns[index].ends[role as usize].id = None;
            net.conns[index].ends[role as usize].crashed = true;
            if unnoticed {
                net.die(index);
            } else if !net.conns[index].ends[role as usize].fin_sent {
                if net.decisions.chance(0.5) {
                    net.finish(index, role);
                } else {
                    net.reset(index, role);
                }
            }
            net.forget_if_over(index);
        }
        for (_, index) in mem::take(&mut self.dials) {
            net.give_up(index);
        }
    }

    /// Takes on nothing new, and closes what has finished.
    pub(super) fn drain(&mut self, net: &mut Net, notices: &mut Vec<M::Notice>) {
        let now = self.local(net.now);
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.drain(now);
        }
        self.settle(net, notices);
    }

    pub(super) fn command(&mut self, net: &mut Net) {
        let now = self.local(net.now);
        if let (Some(endpoint), Some((_, command))) = (&mut self.endpoint, self.plan.pop_front()) {
            endpoint.command(now, command);
        }
    }

    /// Has the next command of the plan come in time.
    pub(super) fn plan_next(&self, net: &mut Net) {
        if let Some((at, _)) = self.plan.front() {
            net.at((*at).max(net.now), Scheduled::Command(self.number as u32, self.life));
        }
    }

    pub(super) fn wake(&mut self, net: &mut Net) {
        self.check_wakes(net.now);
        let now = self.local(net.now);
        if net.now - self.paused_until.min(net.now) < MILLISECOND {
            for socket in self.sockets.iter_mut().flatten() {
                if socket.backlog.resumed(now, &self.link) {
                    net.marks.hit(Mark::ReadsAgain);
                }
            }
        }
        if let Some(endpoint) = &mut self.endpoint {
            endpoint.expire(now);
        }
    }

    /// What the other side sent has reached this host.
    pub(super) fn arrive(&mut self, net: &mut Net, index: usize, input: &mut BytesMut) {
        input.clear();
        let from = self.role.other();
        let Some(arrival) = net.arrive(index, from, input) else {
            return;
        };
        let now = self.local(net.now);
        let id = net.conns[index].ends[self.role as usize].id;
        let typing = self.is_bounded().then_some(self.typing);
        let (Some(endpoint), Some(id)) = (&mut self.endpoint, id) else {
            if arrival != Arrival::Reset && !self.dark {
                net.reset(index, self.role);
            }
            net.forget_if_over(index);
            return;
        };
        let known = self.view.borrow().knows(id);
        let mut whole = 0;
        let socket = self.sockets.get_mut(id.slot as usize).and_then(Option::as_mut);
        if let Some(socket) = socket.filter(|socket| socket.id == id && arrival == Arrival::Data) {
            if self.paused_until == net.now && now.since(socket.spoken.heard) >= self.link.idle_timeout {
                net.marks.hit(Mark::HeardAfterPause);
            }
            socket.spoken.heard = now;
            whole = socket.spoken.frames.take(input, typing);
        }
        match arrival {
            Arrival::Data => endpoint.receive(now, id, input),
            Arrival::Fin => {
                net.conns[index].ends[self.role as usize].fin_heard = true;
                if let Some(socket) = self.sockets.get_mut(id.slot as usize).and_then(Option::as_mut) {
                    socket.spoken.frames.end();
                }
                endpoint.peer_closed(now, id);
            }
            Arrival::Reset => {
                // This side sends nothing more; what is in flight both ways still arrives.
                net.conns[index].ends[self.role as usize].fin_sent = true;
                endpoint.failed(now, id);
            }
        }
        self.check_order(net);
        if arrival != Arrival::Reset {
            self.check_partial(net, now, id, arrival == Arrival::Fin || whole > 0);
        }
        self.check_ended(net, now, Some((id, known, arrival)));
        if !known
            && self.view.borrow().knows(id)
            && let Some(socket) = self.sockets.get_mut(id.slot as usize).and_then(Option::as_mut)
        {
            // Before its peer had sent anything, nothing was to be sent to it.
            socket.spoken.said = now;
            socket.met = true;
        }
        if known && arrival == Arrival::Fin {
            if let Some(socket) = self.sockets.get_mut(id.slot as usize).and_then(Option::as_mut) {
                socket.spoken.finished = Some(now);
            }
            self.check_all_heard(net, index);
        }
        net.unblock(index, from);
    }

    pub(super) fn writable(&mut self, net: &Net, index: usize) {
        if let (Some(endpoint), Some(id)) = (&mut self.endpoint, net.conns[index].ends[self.role as usize].id) {
            endpoint.writable(id);
        }
    }

    /// Does what the endpoint asks for, until it asks for nothing more. Notices are collected.
    pub(super) fn settle(&mut self, net: &mut Net, notices: &mut Vec<M::Notice>) {
        if self.endpoint.is_none() {
            return;
        }
        self.note_finished(net);
        self.check_order(net);
        self.check_ended(net, self.local(net.now), None);
        while let Some(effect) = self.endpoint.as_mut().and_then(Endpoint::poll_effect) {
            match effect {
                Effect::Notify(notice) => notices.push(notice),
                Effect::AbandonDial(token) => {
                    net.marks.hit(Mark::DialAbandoned);
                    if let Some(index) = self.dials.remove(&token) {
                        net.give_up(index);
                    }
                }
                Effect::Release(id, _) => self.release(net, id),
                Effect::Flush(id) => {
                    self.flush(net, id);
                    self.check_backlog(net, id);
                }
                Effect::Dial(token, _) => {
                    let index = net.dial(self.number, token);
                    self.dials.insert(token, index);
                }
            }
        }
        self.check_timers();
        self.check_partials(net);
        self.arm(net);
    }

    fn release(&mut self, net: &mut Net, id: ConnId) {
        let Some(socket) = self.sockets[id.slot as usize].take_if(|socket| socket.id == id) else {
            return;
        };
        let index = socket.index;
        self.check_released(net, &socket);
        self.open -= 1;
        let end = &mut net.conns[index].ends[self.role as usize];
        end.id = None;
        if !end.fin_sent {
            net.reset(index, self.role);
        }
        net.forget_if_over(index);
    }

    fn flush(&mut self, net: &mut Net, id: ConnId) {
        let now = self.local(net.now);
        let Some(endpoint) = &mut self.endpoint else {
            return;
        };
        let socket = self.sockets.get_mut(id.slot as usize).and_then(Option::as_mut);
        let Some(Socket {
            index, spoken, stuck, ..
        }) = socket.filter(|socket| socket.id == id)
        else {
            return;
        };
        let index = *index;
        *stuck = false;
        loop {
            match endpoint.socket_action(id) {
                SocketAction::Nothing => return,
                SocketAction::Shutdown => {
                    net.finish(index, self.role);
                    endpoint.shut_down(now, id);
                }
                SocketAction::Write => {
                    let Some(outbox) = endpoint.outbox(id) else {
                        return;
                    };
                    let room = net.room(index, self.role).min(outbox.len());
                    if room == 0 {
                        net.marks.hit(Mark::BackPressure);
                        net.conns[index].ends[self.role as usize].blocked = true;
                        *stuck = true;
                        return;
                    }
                    let mut take = room;
                    if net.decisions.chance(net.rates.split) {
                        net.marks.hit(Mark::Split);
                        take = 1 + net.decisions.below(room as u64) as usize;
                    }
                    spoken.said = now;
                    net.send(index, self.role, outbox.chunks(), take);
                    endpoint.wrote(id, take);
                }
            }
        }
    }

    fn arm(&self, net: &mut Net) {
        let deadline = self.endpoint.as_ref().and_then(Endpoint::next_deadline);
        net.timers[self.number] = deadline.map_or(NEVER, |deadline| {
            let after = match deadline.as_nanos() {
                after if self.clock == RIGHT => after,
                after => (after as f64 / self.clock).ceil() as Nanos,
            };
            self.started.saturating_add(after).max(net.now + 1)
        });
    }
}
