//! The software of the simulated hosts: the real driver with an observed machine.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use echosphere_core::counters::ConnectionCounters;
use echosphere_core::endpoint::Endpoint;
use echosphere_core::machine::Machine;
use echosphere_core::wire::Codec;
use echosphere_core::{CloseReason, Event};
use echosphere_driver::{Driver, Handle};
use tokio::time::{sleep, timeout};

use crate::dice::{Dice, Purpose, rng};
use crate::marks::{Mark, Marks};
use crate::net::{Chopper, Connector, Listener, Rules, Thread};
use crate::observe::Observed;
use crate::oracle::{Oracle, System};
use crate::scenario::Scenario;
use crate::trace::{Lines, Trace};
use crate::words::Whose;

mod judging;
mod visits;

use self::judging::Judging;
pub(crate) use self::visits::STRANGERS;

/// The server's name.
pub const SERVER: &str = "server";
/// The names of the hosts of clients. turmoil's cost grows much faster than the number of hosts.
pub const CLIENTS: [&str; 4] = ["client-0", "client-1", "client-2", "client-3"];

/// The first `hosts` hosts of clients, with their numbers.
pub(crate) fn clients(hosts: usize) -> impl Iterator<Item = (usize, &'static str)> {
    CLIENTS.into_iter().enumerate().take(hosts)
}

/// How often a host is asked whether it is at zero.
const ASK_EVERY: Duration = Duration::from_millis(50);
/// What draining may take beyond the time that it was given and the linger time.
const DRAIN_SLACK: Duration = Duration::from_millis(20);

/// What the hosts and the runner know together.
pub(crate) struct Shared<S: System> {
    pub(crate) trace: Trace,
    pub(crate) oracle: S::Oracle,
    /// The first rule that was broken, and when.
    pub(crate) broken: Option<(Duration, String)>,
    /// Who was at zero when last asked.
    pub(crate) zero: BTreeMap<&'static str, bool>,
    /// Who shall drain, and how long what is under way there may take to finish.
    pub(crate) drain: BTreeMap<&'static str, Duration>,
    /// Whose driver has ended, with its counters.
    pub(crate) ended: BTreeMap<&'static str, ConnectionCounters>,
    lives: BTreeMap<&'static str, u32>,
    /// What the drivers run on.
    threads: BTreeMap<&'static str, Thread>,
    /// How often the server crashed.
    pub(crate) crashes: u32,
}

impl<S: System> Shared<S> {
    pub(crate) const fn new(oracle: S::Oracle, lines: Lines) -> Self {
        Self {
            trace: Trace::new(lines),
            oracle,
            broken: None,
            zero: BTreeMap::new(),
            drain: BTreeMap::new(),
            ended: BTreeMap::new(),
            lives: BTreeMap::new(),
            threads: BTreeMap::new(),
            crashes: 0,
        }
    }

    fn check(&mut self, at: Duration, result: Result<(), String>) {
        if let Err(rule) = result
            && self.broken.is_none()
        {
            self.broken = Some((at, rule));
        }
    }

    /// Differs whenever another server may be running, or none.
    fn server_life(&self) -> (u32, u32) {
        (self.lives.get(SERVER).copied().unwrap_or_default(), self.crashes)
    }

    /// Stops the server, or a host of clients.
    pub(crate) fn pause(&mut self, host: Option<usize>, now: Duration, until: Duration) {
        let name = host.map_or(SERVER, |host| CLIENTS[host]);
        if let Some(thread) = self.threads.get(name) {
            thread.stop(now, until);
        }
        if let Some(host) = host {
            self.oracle.pauses(host, until);
        }
    }

    /// A host's thread in its present life.
    fn thread(&mut self, host: &'static str) -> Thread {
        self.threads.entry(host).or_default().clone()
    }

    fn begin(&mut self, host: &'static str) -> u32 {
        self.zero.insert(host, false);
        self.drain.remove(host);
        self.ended.remove(host);
        self.threads.remove(host);
        let lives = self.lives.entry(host).or_default();
        *lives += 1;
        *lives
    }
}

/// One run's hosts: all that their software needs, for each of their lives.
pub(crate) struct Hosts<S: System> {
    pub(crate) scenario: Scenario,
    pub(crate) system: Arc<S>,
    pub(crate) marks: Marks,
    /// Whether streams are left alone from now on.
    pub(crate) healed: Arc<AtomicBool>,
    /// What drivers owe their streams.
    pub(crate) rules: Arc<Rules>,
    pub(crate) shared: Arc<Mutex<Shared<S>>>,
}

impl<S: System> Clone for Hosts<S> {
    fn clone(&self) -> Self {
        Self {
            scenario: self.scenario.clone(),
            system: Arc::clone(&self.system),
            marks: self.marks.clone(),
            healed: Arc::clone(&self.healed),
            rules: Arc::clone(&self.rules),
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<S: System> Hosts<S> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Shared<S>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn chopper(&self, number: usize, life: u32, thread: &Thread) -> Chopper {
        let dice = Dice::new(self.scenario.seed, Purpose::Chop(number, life));
        let healed = Arc::clone(&self.healed);
        let rules = Arc::clone(&self.rules);
        Chopper::new(self.scenario.chop, healed, dice, self.marks.clone(), rules).on(thread, self.scenario.events)
    }

    /// What the server's host runs.
    pub(crate) async fn serve(self) -> turmoil::Result {
        let number = CLIENTS.len();
        let (life, thread) = {
            let mut shared = self.lock();
            shared.oracle.server_starts();
            (shared.begin(SERVER), shared.thread(SERVER))
        };
        let listener = Listener::bind(self.chopper(number, life, &thread)).await?;
        let whose = Whose { host: SERVER, life };
        let (machine, codec) = self
            .system
            .server(rng(self.scenario.seed, Purpose::Machine(number, life)));
        let (watch, marks) = (Arc::clone(&self.shared), self.marks.clone());
        let mut judging = Judging::new(&thread);
        let machine = Observed::new(machine, move |machine: &S::Server, event: &_, actions: &[_]| {
            let judged = judging.check(machine, event);
            match event {
                Event::Closed(_, CloseReason::IdleTimeout) => marks.hit(Mark::ServerIdleTimeout),
                Event::Closed(_, CloseReason::Reset) => marks.hit(Mark::ServerReset),
                _ => {}
            }
            let at = now();
            let mut shared = watch.lock().unwrap_or_else(PoisonError::into_inner);
            shared.trace.step(at, whose, event, actions);
            let result = shared.oracle.server_did(machine, event, actions);
            shared.check(at, whose.name_all(judged.and(result)));
        })
        .ticking(self.scenario.ticks);
        let endpoint = Endpoint::new(machine, codec, self.system.link(self.scenario.link));
        let (driver, handle) = Driver::new(endpoint);
        let driver = driver.listen(listener);
        let driver = driver.with_budgets(self.scenario.budgets);
        self.attend(SERVER, thread, driver.run(), handle).await
    }

    /// What the host of clients with this number runs.
    pub(crate) async fn dial(self, number: usize) -> turmoil::Result {
        let name = CLIENTS[number];
        let (plan, life, thread) = {
            let mut shared = self.lock();
            let plan = shared.oracle.client_starts(number);
            (plan, shared.begin(name), shared.thread(name))
        };
        let whose = Whose { host: name, life };
        let (machine, codec) = self
            .system
            .client(number, rng(self.scenario.seed, Purpose::Machine(number, life)));
        let (watch, marks) = (Arc::clone(&self.shared), self.marks.clone());
        let mut judging = Judging::new(&thread);
        let machine = Observed::new(machine, move |machine: &S::Client, event: &_, actions: &[_]| {
            let judged = judging.check(machine, event);
            if matches!(event, Event::Closed(_, CloseReason::Reset)) {
                marks.hit(Mark::ClientReset);
            }
            let at = now();
            let mut shared = watch.lock().unwrap_or_else(PoisonError::into_inner);
            shared.trace.step(at, whose, event, actions);
            let result = shared.oracle.client_did(number, machine, event, actions);
            shared.check(at, whose.name_all(judged.and(result)));
        })
        .ticking(self.scenario.ticks);
        let endpoint = Endpoint::new(machine, codec, self.system.client_link(self.scenario.link));
        let listen = Arc::clone(&self.shared);
        let notify = move |notice: <S::Client as Machine>::Notice| {
            let mut shared = listen.lock().unwrap_or_else(PoisonError::into_inner);
            let result = shared.oracle.client_told(number, &notice);
            shared.check(now(), whose.name_all(result));
        };
        let connector = Connector::new(SERVER, self.chopper(number, life, &thread));
        let (driver, handle) = Driver::new(endpoint);
        let driver = driver.connect(connector).with_notices(notify);
        let driver = driver.with_budgets(self.scenario.budgets);

        let caller = handle.clone();
        tokio::task::spawn_local(async move {
            for (at, command) in plan {
                sleep(at.saturating_sub(now())).await;
                if caller.command(command).await.is_err() {
                    return;
                }
            }
        });
        self.attend(name, thread, driver.run(), handle).await
    }

    /// Runs a driver, asks it regularly whether it is at zero, and drains it when the run requests that.
    async fn attend<M, C>(
        self,
        name: &'static str,
        thread: Thread,
        run: impl Future<Output = Endpoint<M, C>> + 'static,
        handle: Handle<M, C>,
    ) -> turmoil::Result
    where
        M: Machine + 'static,
        C: Codec<Message = M::Message> + Clone + 'static,
    {
        let (idle, marks) = (self.scenario.link.idle_timeout, self.marks.clone());
        let resumed = move |stopped, arrived| {
            if arrived && stopped >= idle {
                marks.hit(Mark::HeardAfterPause);
            }
        };
        let run = thread.clone().run(run, self.scenario.events, resumed);
        let mut running = tokio::task::spawn_local(run);
        let mut limit = Duration::ZERO;
        let link = self.system.link(self.scenario.link);
        loop {
            sleep(ASK_EVERY).await;
            if running.is_finished() {
                break;
            }
            let drain = self.lock().drain.get(name).copied();
            if let Some(within) = drain {
                handle.drain(within).await?;
                limit = within + self.system.lag() + DRAIN_SLACK;
                break;
            }
            let held =
                handle.inspect(|endpoint| (endpoint.is_zero(), endpoint.connections(), endpoint.partial_bytes()));
            let (zero, connections, partial) = held.await?;
            let mut shared = self.lock();
            shared.zero.insert(name, zero);
            if name == SERVER && connections > link.max_connections {
                shared.check(now(), Err(format!("the server has {connections} connections")));
            }
            if name == SERVER && partial > link.max_partial_bytes {
                shared.check(
                    now(),
                    Err(format!("the server holds {partial} bytes of half-received messages")),
                );
            }
        }
        let mut until = now() + limit;
        let endpoint = loop {
            if let Ok(endpoint) = timeout(until.saturating_sub(now()), &mut running).await {
                break endpoint?;
            }
            // A paused host has its time again.
            let again = thread.stopped_until() + limit;
            if again <= until {
                self.lock().check(now(), Err(format!("{name} has not drained in time")));
                return Ok(());
            }
            until = again;
        };
        let mut shared = self.lock();
        if !shared.drain.contains_key(name) {
            shared.check(now(), Err(format!("the driver of {name} ended without a drain")));
        }
        if !endpoint.is_zero() {
            shared.check(now(), Err(format!("the driver of {name} ended, not at zero")));
        }
        shared.ended.insert(name, *endpoint.counters());
        drop(shared);
        Ok(())
    }
}

fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}
