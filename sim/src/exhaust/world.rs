//! One run of a schedule: hosts, connections, and the steps that are possible next.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use echosphere_core::Time;
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::{ClientConfig, Command, EchoCodec, MAX_MESSAGE};
use echosphere_core::random::{Backoff, Delay};

use super::hash::stir;
use super::steered::SteeredServer;
use super::wire::{Conn, Node, SERVER, Segment};
use super::{End, Scope, Search};
use crate::dice::{Purpose, rng};
use crate::hosts::{self, CLIENTS};
use crate::marks::Marks;
use crate::observe::{ActionOf, EventOf, Observed};
use crate::oracle::echo::{Echo, EchoOracle, Planned, SimClient, Words};
use crate::oracle::{Oracle, System};
use crate::role::Role;
use crate::run::LATE;
use crate::words::Whose;

/// A run that takes more steps than these never ends.
const MOST_STEPS: usize = 10_000;

/// Time-outs in the order in which they matter: the clients' own come first, silence is long.
const LINK: ConnectionConfig = ConnectionConfig {
    handshake_timeout: Duration::from_millis(2000),
    idle_timeout: Duration::from_millis(30_000),
    idle_timeout_text: Duration::from_millis(30_000),
    keepalive_interval: Duration::from_millis(10_000),
    linger: Duration::from_millis(1000),
    max_backlog: 1024,
    backlog_timeout: Duration::from_millis(1000),
    max_outbox: 1024 * 1024,
    max_partial_bytes: 1024 * 1024,
    max_connections: 1000,
};

type Observer = Box<dyn FnMut(&SimClient, &EventOf<SimClient>, &[ActionOf<SimClient>])>;
type ClientNode = Node<Observed<SimClient, Observer>>;

/// What all observers share.
pub(super) struct Watch {
    pub(super) oracle: EchoOracle,
    pub(super) broken: Option<String>,
    now: Duration,
}

impl Watch {
    pub(super) fn check(&mut self, result: Result<(), String>) {
        if let Err(rule) = result {
            self.broken.get_or_insert(rule);
        }
    }
}

/// Something that may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Next {
    /// A client is asked to send its message.
    Ask(usize),
    /// The first segment that this side of a connection sent reaches the other.
    Arrive(usize, Role),
    /// The earliest deadline of all comes.
    Deadline,
    /// A connection breaks, and both sides hear of it.
    Reset(usize),
    /// A client loses its state; its connections are reset.
    ClientCrash(usize),
    /// The same for the server.
    ServerCrash,
}

pub(super) struct World {
    pub(super) steps: usize,
    scope: Scope,
    search: Rc<RefCell<Search>>,
    echo: Echo,
    now: Time,
    server: Node<SteeredServer>,
    clients: Vec<ClientNode>,
    asked: Vec<Vec<Command>>,
    conns: Vec<Conn>,
    watch: Rc<RefCell<Watch>>,
    disturbances: u32,
}

impl World {
    pub(super) fn new(scope: Scope, search: Rc<RefCell<Search>>) -> Self {
        let messages = (0..scope.clients).map(|host| Planned {
            host,
            at: Duration::ZERO,
            x: format!("x{}", if scope.same_x { 0 } else { host }).into(),
        });
        let client = ClientConfig {
            response_timeout: Duration::from_millis(100),
            backoff: Backoff {
                first: Duration::from_millis(50),
                max: Duration::from_millis(50),
            },
            ..Echo::new(Delay::None, Vec::new()).client
        };
        let echo = Echo {
            client,
            ..Echo::new(Delay::None, messages.collect())
        };
        let watch = Rc::new(RefCell::new(Watch {
            oracle: echo.oracle(true, &Marks::default()),
            broken: None,
            now: Duration::ZERO,
        }));
        let server = new_server(&scope, &search, &watch, 0);
        let mut world = Self {
            steps: 0,
            scope,
            search,
            echo,
            now: Time::ZERO,
            server,
            clients: Vec::new(),
            asked: Vec::new(),
            conns: Vec::new(),
            watch,
            disturbances: scope.disturbances,
        };
        for client in 0..scope.clients {
            let (node, asked) = world.new_client(client, 0);
            world.clients.push(node);
            world.asked.push(asked);
        }
        world
    }

    fn new_client(&self, client: usize, life: u32) -> (ClientNode, Vec<Command>) {
        let (player, words) = self.echo.client(client, rng(0, Purpose::Machine(client, life)));
        let watch = Rc::clone(&self.watch);
        let whose = whose(client, life);
        let observer: Observer = Box::new(move |machine, event, actions| {
            let watch = &mut *watch.borrow_mut();
            watch.oracle.time_is(watch.now);
            let result = watch.oracle.client_did(client, machine, event, actions);
            watch.check(whose.name_all(result));
        });
        let plan = self.watch.borrow_mut().oracle.client_starts(client);
        let asked = plan.into_iter().map(|(_, command)| command).collect();
        let machine = Observed::outside_turmoil(player, observer);
        (Node::new(client, life, machine, words, LINK), asked)
    }

    /// From the start to zero.
    pub(super) fn through(&mut self) -> Result<End, String> {
        while !self.is_over() {
            if self.steps == self.scope.depth {
                self.disturbances = 0;
                self.search.borrow_mut().in_turn = Some(0);
            }
            if self.steps > self.scope.depth + MOST_STEPS {
                return Err(format!("{LATE}the run does not end"));
            }
            let all = self.possible();
            let next = if self.steps >= self.scope.depth {
                all.first().copied()
            } else {
                let state = self.scope.merge.then(|| self.state());
                let chosen = self.search.borrow_mut().choose(all.len(), state);
                match chosen {
                    Ok(choice) => all.get(choice).copied(),
                    Err(schedules) => return Ok(End::Seen(schedules)),
                }
            };
            let Some(next) = next else {
                return Err(format!("{LATE}nothing is left to happen, and not everything is done"));
            };
            self.steps += 1;
            self.happen(next);
            if let Some(rule) = self.watch.borrow_mut().broken.take() {
                return Err(rule);
            }
        }
        self.watch.borrow().oracle.ends()?;
        Ok(End::AtZero)
    }

    fn is_over(&self) -> bool {
        self.asked.iter().all(Vec::is_empty)
            && self.conns.iter().all(Conn::is_quiet)
            && self.watch.borrow().oracle.unfinished().is_none()
            && self.server.endpoint.is_zero()
            && self.clients.iter().all(|client| client.endpoint.is_zero())
    }

    fn possible(&self) -> Vec<Next> {
        let asks = (0..self.asked.len()).filter(|client| !self.asked[*client].is_empty());
        let mut all: Vec<Next> = asks.map(Next::Ask).collect();
        for (at, conn) in self.conns.iter().enumerate() {
            let roles = Role::BOTH.into_iter().filter(|role| conn.has_under_way(*role));
            all.extend(roles.map(|role| Next::Arrive(at, role)));
        }
        let deadline = self.next_deadline().is_some();
        if deadline && (all.is_empty() || self.disturbances > 0) {
            all.push(Next::Deadline);
        }
        if self.disturbances > 0 {
            let alive = (0..self.conns.len()).filter(|at| self.conns[*at].can_break());
            all.extend(alive.map(Next::Reset));
            let busy = (0..self.clients.len()).filter(|client| !self.clients[*client].endpoint.is_zero());
            all.extend(busy.map(Next::ClientCrash));
            if !self.conns.is_empty() {
                all.push(Next::ServerCrash);
            }
        }
        all
    }

    /// When and to whom; the server last.
    fn next_deadline(&self) -> Option<(Time, usize)> {
        let clients = self.clients.iter().map(|client| client.endpoint.next_deadline());
        let all = clients.chain([self.server.endpoint.next_deadline()]);
        all.zip(0..).filter_map(|(at, who)| Some((at?, who))).min()
    }

    /// Everything that what follows depends on: each host's events, and what is in flight.
    fn state(&self) -> u128 {
        let drawn = self.search.borrow().drawn;
        let mut state = stir(stir(drawn, self.now.as_nanos()), self.disturbances.into());
        for (client, asked) in self.clients.iter().zip(&self.asked) {
            state = stir(state ^ client.history, asked.len() as u64);
        }
        // The state does not depend on the order in which they were made.
        let conns = self.conns.iter().map(Conn::state).fold(0, u128::wrapping_add);
        stir(state ^ self.server.history, self.scope.depth as u64) ^ conns
    }

    fn happen(&mut self, next: Next) {
        self.search.borrow_mut().say(|| self.words(next));
        match next {
            Next::Ask(client) => {
                if let Some(command) = self.asked[client].pop() {
                    let node = &mut self.clients[client];
                    node.note(1, None, self.now);
                    node.endpoint.command(self.now, command);
                }
            }
            Next::Arrive(at, from) => {
                let segment = self.conns[at].take(from);
                match (from, segment) {
                    (Role::Client, Some(segment)) => self.server.take(&mut self.conns, at, segment, self.now),
                    (Role::Server, Some(segment)) => {
                        let client = self.conns[at].client;
                        self.clients[client].take(&mut self.conns, at, segment, self.now);
                    }
                    (_, None) => {}
                }
            }
            Next::Deadline => self.deadline(),
            Next::Reset(at) => {
                self.disturbances -= 1;
                self.conns[at].break_off();
            }
            Next::ClientCrash(client) => self.client_crash(client),
            Next::ServerCrash => self.server_crash(),
        }
        self.settle();
    }

    fn deadline(&mut self) {
        let quiet = self.asked.iter().all(Vec::is_empty) && self.conns.iter().all(Conn::is_quiet);
        if !quiet {
            self.disturbances -= 1;
        }
        let Some((at, who)) = self.next_deadline() else {
            return;
        };
        self.now = self.now.max(at);
        self.watch.borrow_mut().now = Duration::from_nanos(self.now.as_nanos());
        match self.clients.get_mut(who) {
            Some(client) => {
                client.note(2, None, self.now);
                client.endpoint.expire(self.now);
            }
            None => {
                self.server.note(2, None, self.now);
                self.server.endpoint.expire(self.now);
            }
        }
    }

    fn client_crash(&mut self, client: usize) {
        self.disturbances -= 1;
        let (history, life) = (self.clients[client].history, self.clients[client].life + 1);
        let (node, asked) = self.new_client(client, life);
        self.clients[client] = node;
        self.clients[client].history = history;
        self.clients[client].note(3, None, self.now);
        self.asked[client] = asked;
        let its = self.conns.iter_mut().filter(|conn| conn.client == client);
        its.for_each(|conn| conn.lose(Role::Client));
    }

    fn server_crash(&mut self) {
        self.disturbances -= 1;
        let (history, life) = (self.server.history, self.server.life + 1);
        self.server = new_server(&self.scope, &self.search, &self.watch, life);
        self.server.history = history;
        self.server.note(3, None, self.now);
        self.conns.iter_mut().for_each(|conn| conn.lose(Role::Server));
    }

    fn settle(&mut self) {
        self.server.settle(&mut self.conns, self.now);
        for client in &mut self.clients {
            let number = client.number;
            for notice in client.settle(&mut self.conns, self.now) {
                let watch = &mut *self.watch.borrow_mut();
                let result = watch.oracle.client_told(number, &notice);
                watch.check(whose(number, client.life).name_all(result));
            }
        }
    }

    fn words(&self, next: Next) -> String {
        let conn = |at: usize| {
            let Conn { client, token, .. } = &self.conns[at];
            format!("connection {} of client {client}", token.0)
        };
        let what = match next {
            Next::Ask(client) => format!("client {client} is asked to send its message"),
            Next::Arrive(at, from) => {
                let to = if from == Role::Client { "server" } else { "client" };
                let first = self.conns[at].first(from);
                format!(
                    "{} reaches the {to}: {}",
                    conn(at),
                    first.map_or_else(String::new, Segment::words)
                )
            }
            Next::Deadline => "the earliest deadline comes".to_owned(),
            Next::Reset(at) => format!("{} breaks", conn(at)),
            Next::ClientCrash(client) => format!("client {client} crashes"),
            Next::ServerCrash => "the server crashes".to_owned(),
        };
        format!(
            "{:>8.3} s  {what}",
            Duration::from_nanos(self.now.as_nanos()).as_secs_f64()
        )
    }
}

/// Whose connections a client's are.
fn whose(client: usize, life: u32) -> Whose {
    Whose {
        host: CLIENTS.get(client).unwrap_or(&"client"),
        life: life + 1,
    }
}

fn new_server(
    scope: &Scope,
    search: &Rc<RefCell<Search>>,
    watch: &Rc<RefCell<Watch>>,
    life: u32,
) -> Node<SteeredServer> {
    watch.borrow_mut().oracle.server_starts();
    let (watch, also) = (Rc::clone(watch), scope.also);
    let whose = Whose {
        host: hosts::SERVER,
        life: life + 1,
    };
    let observer = Box::new(move |server: &_, event: &_, actions: &[_]| {
        let watch = &mut *watch.borrow_mut();
        let result = watch.oracle.any_server_did(server, event, actions);
        watch.check(whose.name_all(result));
        watch.check(also.map_or(Ok(()), |also| also((event, actions))));
    });
    let machine = SteeredServer::new(Rc::clone(search), observer);
    let words = Words::Real(EchoCodec::accepted(MAX_MESSAGE));
    Node::new(SERVER, life, machine, words, LINK)
}
