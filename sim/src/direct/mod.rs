//! The direct lane: the real machines, codecs and endpoints over modelled streams, in a loop over
//! events. It has no runtime and no sockets, so it is fast, and it injects faults that turmoil's
//! network cannot.

mod case;
mod conn;
mod decisions;
mod held;
pub mod history;
mod host;
mod injection;
mod net;
mod rules;
mod strangers;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use echosphere_core::{CloseReason, Event, Machine};

use self::case::nanos;
pub use self::case::{Case, Fault, NARROW, Rates};
pub use self::decisions::Decisions;
pub use self::held::{Held, server_after};
use self::history::History;
use self::host::{Host, Observer, Speech};
use self::net::{MILLISECOND, Nanos, Net, Scheduled};
use crate::dice::{Purpose, rng};
use crate::hosts::CLIENTS;
use crate::marks::{Mark, Marks};
use crate::oracle::{Oracle, System};
use crate::panics::caught;
use crate::role::Role;
use crate::run::{Failure, LATE};
use crate::trace::{Lines, Trace};
use crate::words::Whose;

/// How often it is asked whether all is done, once the network is healed.
const ASK_EVERY: Nanos = 20 * MILLISECOND;
/// How often it is looked at silences before that.
const LOOK_EVERY: Nanos = 100 * MILLISECOND;

/// Bytes that hosts have room for when they read.
const READ: usize = 4 * 1024;

/// What a run that broke no rule came to.
#[derive(Debug)]
pub struct DirectReport<O> {
    /// The hash of all events, in order, with their times.
    pub hash: u64,
    /// How many there were.
    pub events: u64,
    /// When everything was done and at zero.
    pub zero_at: Duration,
    /// What the run has been through.
    pub marks: Marks,
    /// The model, at the end.
    pub oracle: O,
}

/// What all observers share.
struct Watch<O> {
    now: Nanos,
    trace: Trace,
    oracle: O,
    broken: Option<String>,
    /// Only if the history is recorded.
    history: Option<History>,
}

impl<O> Watch<O> {
    /// Keeps the first rule that is broken. The connections that it names are those of `whose` host.
    fn check(&mut self, whose: Whose, result: Result<(), String>) {
        if let Err(rule) = result {
            self.broken.get_or_insert_with(|| whose.names_in(&rule));
            if let Some(history) = &mut self.history {
                history.broken();
            }
        }
    }
}

/// How a case is run.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Decisions taken from a record instead of the seed.
    pub decisions: Vec<u64>,
    /// Whether decisions are recorded.
    pub record: bool,
    /// Where the run writes its virtual time, in nanoseconds.
    pub clock: Option<Arc<AtomicU64>>,
}

/// The result of a run.
#[derive(Debug)]
pub struct Outcome<O> {
    /// Whether it broke a rule.
    pub result: Result<DirectReport<O>, Failure>,
    /// The decisions it made, if they were to be recorded.
    pub decisions: Vec<u64>,
}

/// Runs `case` with `system`'s machines on modelled connections. A run that breaks a rule is run again for the lines of
/// its trace; if that does another thing, that is the failure. With `SIM_TRACE=1` in the environment every event is printed to stderr.
pub fn run_direct<S: System>(case: &Case, system: &S, options: Options) -> Outcome<S::Oracle> {
    let again = options.clone();
    let (first, _) = run_once(case, system, options, Lines::None.or_print(), None);
    let Some(failure) = first
        .result
        .as_ref()
        .err()
        .filter(|_| Lines::None.or_print() == Lines::None)
    else {
        return first;
    };
    let second = run_once(case, system, again, Lines::Recent, None).0;
    let (hash, what) = match &second.result {
        Err(repeated) if repeated.hash == failure.hash => return second,
        Err(other) => (other.hash, other.rule.as_str()),
        Ok(report) => (report.hash, "passed"),
    };
    let parted = format!(
        "first {}, trace {:016x}; then {what}, trace {hash:016x}",
        failure.rule, failure.hash
    );
    let result = Err(Failure::nondeterminism(case.seed, failure.hash, &parted));
    Outcome { result, ..first }
}

/// The same, and everything that was seen of it.
pub fn run_with_history<S: System>(case: &Case, system: &S, options: Options) -> (Outcome<S::Oracle>, History) {
    run_once(
        case,
        system,
        options,
        Lines::Recent.or_print(),
        Some(History::default()),
    )
}

fn run_once<S: System>(
    case: &Case,
    system: &S,
    options: Options,
    lines: Lines,
    history: Option<History>,
) -> (Outcome<S::Oracle>, History) {
    let told = history.is_some();
    let marks = Marks::default();
    let mut world = World::new(case, system, options, (lines, history), marks.clone());
    world.net.ends = told.then(Vec::new);
    let result = caught(|| world.through());
    let at = Duration::from_nanos(world.net.now);
    let World {
        watch,
        server,
        clients,
        net,
        ..
    } = world;
    drop((server, clients));
    let watch = Rc::into_inner(watch).map(RefCell::into_inner);
    let watch = watch.expect("the hosts are gone and all observers with them");
    let mut history = watch.history.unwrap_or_default();
    history.ends = net.ends.unwrap_or_default();
    let result = match result {
        Ok(()) => Ok(DirectReport {
            hash: watch.trace.hash(),
            events: watch.trace.events(),
            zero_at: at,
            marks,
            oracle: watch.oracle,
        }),
        Err(rule) => Err(Failure::new(case.seed, rule, at, &watch.trace)),
    };
    let outcome = Outcome {
        result,
        decisions: net.decisions.into_record(),
    };
    (outcome, history)
}

struct World<'a, S: System> {
    case: &'a Case,
    system: &'a S,
    server: Host<S::Server, S::Codec>,
    clients: Vec<Host<S::Client, S::Codec>>,
    net: Net,
    watch: Rc<RefCell<Watch<S::Oracle>>>,
    input: BytesMut,
    notices: Vec<<S::Client as Machine>::Notice>,
    /// Which faults have begun and not ended.
    lasting: Vec<bool>,
    /// When the run is stopped, though it has not come to its end.
    stop: Option<Nanos>,
    clock: Option<Arc<AtomicU64>>,
}

impl<'a, S: System> World<'a, S> {
    fn new(
        case: &'a Case,
        system: &'a S,
        options: Options,
        (lines, history): (Lines, Option<History>),
        marks: Marks,
    ) -> Self {
        let watch = Watch {
            now: 0,
            trace: Trace::new(lines),
            oracle: system.oracle(case.deep, &marks),
            broken: None,
            history,
        };
        let decisions = Decisions::new(case.seed, options.decisions, options.record);
        let clients = (0..case.hosts).map(|host| Host::new(host, Role::Client, case.clocks[host]));
        Self {
            case,
            system,
            server: Host::new(case.hosts, Role::Server, case.clocks[case.hosts]),
            clients: clients.collect(),
            net: Net::new(
                case.hosts,
                case.latency_nanos(),
                system.rates(case.rates),
                decisions,
                marks,
            ),
            watch: Rc::new(RefCell::new(watch)),
            input: BytesMut::with_capacity(READ),
            notices: Vec::new(),
            lasting: vec![false; case.faults.len()],
            stop: None,
            clock: options.clock,
        }
    }
}

impl<S: System> World<'_, S> {
    fn through(&mut self) -> Result<(), String> {
        let liveness = self.case.liveness + self.system.patience();
        let (safety, liveness) = (nanos(self.case.safety), nanos(liveness));
        if self.case.clocks.iter().any(|&clock| clock != 1.0) {
            self.net.marks.hit(Mark::ClockSkew);
        }
        if self.case.latency.0 < self.case.latency.1 {
            self.net.marks.hit(Mark::LatencyRange);
        }
        self.start_server();
        for host in 0..self.case.hosts {
            self.start_client(host);
        }
        for (at, (when, _)) in self.case.faults.iter().enumerate() {
            self.net.at(nanos(*when), Scheduled::Fault(at as u32));
        }
        let mut ask = 0;
        while ask < safety {
            ask = safety.min(ask + LOOK_EVERY);
            self.until(ask)?;
            self.net.now = ask;
            self.check_silence()?;
        }
        self.heal();
        // An hour has too many of the shorter intervals.
        let every = if self.system.silence().is_zero() {
            ASK_EVERY
        } else {
            LOOK_EVERY
        };
        let mut ask = safety;
        loop {
            if self.stop.is_some_and(|stop| ask >= stop) {
                return Ok(());
            }
            ask += every;
            self.until(ask)?;
            self.check_silence()?;
            let unfinished = self.watch.borrow().oracle.unfinished();
            let left = unfinished.or_else(|| self.not_at_zero());
            match left {
                None => break,
                Some(left) if ask > safety + liveness => {
                    let left = self.watch.borrow().oracle.spelled(&left);
                    return Err(format!("{LATE}{left}"));
                }
                Some(_) => {}
            }
        }
        let open = self.net.open(None).len();
        if open > 0 {
            return Err(format!("both sides are at zero, and {open} connections are open"));
        }
        self.count_links();
        self.watch.borrow().oracle.ends()
    }

    /// Marks that the connections' own counters know of, in each host's last life.
    fn count_links(&self) {
        let hosts = self.clients.iter().filter_map(Host::counters);
        for links in hosts.chain(self.server.counters()) {
            self.net.marks.add(Mark::Lingered, links.lingered);
            self.net.marks.add(Mark::SlowConsumer, links.slow_consumers);
            self.net.marks.add(Mark::HandshakeTimeout, links.handshake_timeouts);
        }
    }

    /// Does everything that happens up to `end`.
    fn until(&mut self, end: Nanos) -> Result<(), String> {
        while let Some(what) = self.net.next(end) {
            self.watch.borrow_mut().now = self.net.now;
            if let Some(clock) = &self.clock {
                clock.store(self.net.now, Ordering::Relaxed);
            }
            self.happen(what);
            let mut watch = self.watch.borrow_mut();
            if let Some(rule) = watch.broken.take() {
                return Err(rule);
            }
            drop(watch);
            self.broken()?;
        }
        Ok(())
    }

    fn happen(&mut self, what: Scheduled) {
        match what {
            Scheduled::Arrive(index, serial, from_server) => {
                let Some(conn) = self.net.get(index, serial) else {
                    return;
                };
                let host = conn.host;
                if from_server && conn.stranger.is_some() {
                    self.stranger(index as usize, what);
                } else if from_server {
                    self.client(host, what, |client, net, input| {
                        client.arrive(net, index as usize, input)
                    });
                } else {
                    self.server(what, |server, net, input| server.arrive(net, index as usize, input));
                }
            }
            Scheduled::Writable(index, serial, server) => {
                let Some(host) = self.net.get(index, serial).map(|conn| conn.host) else {
                    return;
                };
                if server {
                    self.server(what, |server, net, _| server.writable(net, index as usize));
                } else {
                    self.client(host, what, |client, net, _| client.writable(net, index as usize));
                }
            }
            Scheduled::Syn(index, serial) => {
                if self.net.get(index, serial).is_some() {
                    self.server(what, |server, net, _| server.accept(net, index as usize));
                }
            }
            Scheduled::Answer(index, serial, yes) => {
                let Some(conn) = self.net.get(index, serial) else {
                    return;
                };
                let host = conn.host;
                if conn.stranger.is_some() {
                    self.stranger(index as usize, what);
                } else {
                    self.client(host, what, |client, net, _| client.answered(net, index as usize, yes));
                }
            }
            Scheduled::Wake(host) if host as usize == self.case.hosts => {
                self.server(what, |server, net, _| server.wake(net))
            }
            Scheduled::Wake(host) => self.client(host as usize, what, |client, net, _| client.wake(net)),
            Scheduled::Command(host, life) => {
                let host = host as usize;
                if life == self.clients[host].life {
                    self.client(host, what, |client, net, _| {
                        client.command(net);
                        client.plan_next(net);
                    });
                }
            }
            Scheduled::Fault(at) => self.begin(at as usize),
            Scheduled::End(at) => self.end(at as usize),
        }
    }

    /// Has the server do something now, or when its pause is over.
    fn server(&mut self, what: Scheduled, act: impl FnOnce(&mut Host<S::Server, S::Codec>, &mut Net, &mut BytesMut)) {
        if self.server.paused_until > self.net.now {
            self.net.put_off(self.server.paused_until, what);
            return;
        }
        act(&mut self.server, &mut self.net, &mut self.input);
        self.server.settle(&mut self.net, &mut Vec::new());
    }

    /// Has a host of clients do something now, or when its pause is over.
    fn client(
        &mut self,
        host: usize,
        what: Scheduled,
        act: impl FnOnce(&mut Host<S::Client, S::Codec>, &mut Net, &mut BytesMut),
    ) {
        let client = &mut self.clients[host];
        if client.paused_until > self.net.now {
            self.net.put_off(client.paused_until, what);
            return;
        }
        act(client, &mut self.net, &mut self.input);
        client.settle(&mut self.net, &mut self.notices);
        self.pass_on(host);
    }

    fn drain_client(&mut self, host: usize) {
        self.clients[host].drain(&mut self.net, &mut self.notices);
        self.pass_on(host);
    }

    /// Tells callers what a host's machine had to tell.
    fn pass_on(&mut self, host: usize) {
        if !self.notices.is_empty() {
            let whose = self.clients[host].whose();
            let mut watch = self.watch.borrow_mut();
            for notice in self.notices.drain(..) {
                let result = watch.oracle.client_told(host, &notice);
                watch.check(whose, result);
            }
        }
    }

    fn start_server(&mut self) {
        self.server.life += 1;
        let number = CLIENTS.len();
        let random = rng(self.case.seed, Purpose::Machine(number, self.server.life));
        let (machine, codec) = self.system.server(random);
        self.watch.borrow_mut().oracle.server_starts();
        let (watch, marks) = (Rc::clone(&self.watch), self.net.marks.clone());
        let me = (self.server.number, self.server.life);
        let whose = self.server.whose();
        let observer: Observer<S::Server> = Box::new(move |machine, event, actions| {
            match event {
                Event::Closed(_, CloseReason::IdleTimeout) => marks.hit(Mark::ServerIdleTimeout),
                Event::Closed(_, CloseReason::Reset) => marks.hit(Mark::ServerReset),
                _ => {}
            }
            let watch = &mut *watch.borrow_mut();
            let now = Duration::from_nanos(watch.now);
            watch.trace.step(now, whose, event, actions);
            if let Some(history) = &mut watch.history {
                history.step(now, me, event, actions);
                history.known(whose, S::facts(machine));
            }
            let result = watch.oracle.server_did(machine, event, actions);
            watch.check(whose, result);
        });
        self.server.calm = self.case.is_calm() && self.system.is_roomy();
        self.server.bodies_of_lines = S::bodies_of_lines();
        let config = (self.system.link(self.case.link()), Speech::of_server::<S>());
        self.server.start(self.net.now, machine, codec, config, observer);
    }

    fn start_client(&mut self, host: usize) {
        let client = &mut self.clients[host];
        client.life += 1;
        let random = rng(self.case.seed, Purpose::Machine(host, client.life));
        let (machine, codec) = self.system.client(host, random);
        let plan = self.watch.borrow_mut().oracle.client_starts(host);
        client.plan = plan.into_iter().map(|(at, command)| (nanos(at), command)).collect();
        let (watch, marks) = (Rc::clone(&self.watch), self.net.marks.clone());
        let me = (host, client.life);
        let whose = client.whose();
        let observer: Observer<S::Client> = Box::new(move |machine, event, actions| {
            if matches!(event, Event::Closed(_, CloseReason::Reset)) {
                marks.hit(Mark::ClientReset);
            }
            let watch = &mut *watch.borrow_mut();
            let now = Duration::from_nanos(watch.now);
            watch.trace.step(now, whose, event, actions);
            if let Some(history) = &mut watch.history {
                history.step(now, me, event, actions);
            }
            watch.oracle.time_is(now);
            let result = watch.oracle.client_did(host, machine, event, actions);
            watch.check(whose, result);
        });
        client.calm = self.case.is_calm() && self.system.is_roomy();
        client.bodies_of_lines = S::bodies_of_lines();
        let config = (self.system.client_link(self.case.link()), Speech::of_client::<S>());
        client.start(self.net.now, machine, codec, config, observer);
        client.plan_next(&mut self.net);
    }
}
