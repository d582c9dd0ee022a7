//! One run of the turmoil lane: faults, healing, liveness, zero.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use echosphere_core::counters::ConnectionCounters;
use turmoil::{Builder, Sim};

use crate::dice::{Dice, Purpose};
use crate::hosts::{CLIENTS, Hosts, SERVER, STRANGERS, Shared, clients};
use crate::injector::{Injector, TurmoilFault};
use crate::marks::{Mark, Marks};
use crate::net::Rules;
use crate::oracle::{Oracle, System};
use crate::panics;
use crate::scenario::Scenario;
use crate::trace::{Lines, Trace};

/// How long drivers at zero may take to drain.
const DRAIN: Duration = Duration::from_secs(1);

/// What a run that broke no rule came to.
#[derive(Debug)]
pub struct Report<O> {
    /// The hash of all events, in order, with their times.
    pub hash: u64,
    /// How many there were.
    pub events: u64,
    /// When everything was done and at zero.
    pub zero_at: Duration,
    /// What the run has been through.
    pub marks: Marks,
    /// What each host's connections did in the host's last life.
    pub links: BTreeMap<&'static str, ConnectionCounters>,
    /// The model, at the end.
    pub oracle: O,
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Correctness => "a rule was broken",
            Self::Liveness => "not done in time",
            Self::Crash => "a panic",
            Self::Nondeterminism => "one seed did two different things",
        })
    }
}

/// What kind of thing went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    /// Something happened that must not.
    Correctness,
    /// Something did not happen in time.
    Liveness,
    /// Something panicked.
    Crash,
    /// The same seed did two different things.
    Nondeterminism,
}

impl FailureKind {
    /// The kind of a broken rule, by its words.
    #[must_use]
    pub fn of(rule: &str) -> Self {
        if rule.starts_with(LATE) {
            Self::Liveness
        } else if rule.starts_with(PANIC) {
            Self::Crash
        } else {
            Self::Correctness
        }
    }
}

/// How the rule of a [`FailureKind::Liveness`] begins.
pub(crate) const LATE: &str = "not in time: ";
/// How the rule of a [`FailureKind::Crash`] begins.
pub(crate) const PANIC: &str = "panic: ";

/// A rule that was broken.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What kind of rule.
    pub kind: FailureKind,
    /// The seed of the run.
    pub seed: u64,
    /// Which rule.
    pub rule: String,
    /// When, in virtual time.
    pub at: Duration,
    /// The last lines of the trace.
    pub trace: Vec<String>,
    /// The hash of the trace up to then.
    pub hash: u64,
}

impl Failure {
    pub(crate) fn new(seed: u64, rule: String, at: Duration, trace: &Trace) -> Self {
        Self {
            kind: FailureKind::of(&rule),
            seed,
            rule,
            at,
            trace: trace.recent().map(str::to_owned).collect(),
            hash: trace.hash(),
        }
    }

    /// `seed` did one thing and then another, which `where_they_part` describes; `hash` is that of the first.
    #[must_use]
    pub fn nondeterminism(seed: u64, hash: u64, where_they_part: &str) -> Self {
        Self {
            kind: FailureKind::Nondeterminism,
            hash,
            ..Self::outside(seed, format!("one seed did two different things: {where_they_part}"))
        }
    }

    /// The run of `seed` has taken longer than `limit` of real time, and still runs.
    #[must_use]
    pub fn hung(seed: u64, limit: Duration) -> Self {
        Self::outside(seed, format!("{LATE}still running after {limit:?} of real time"))
    }

    /// What only those see who look at a run from outside.
    fn outside(seed: u64, rule: String) -> Self {
        Self {
            kind: FailureKind::of(&rule),
            seed,
            rule,
            at: Duration::ZERO,
            trace: Vec::new(),
            hash: 0,
        }
    }

    /// The kind, and the rule without numbers, names and quotes: the same for all failures of one rule, and for one
    /// whose run is made smaller.
    #[must_use]
    pub fn shape(&self) -> (FailureKind, String) {
        // Behind a long body comes how long it is, in brackets.
        let unquoted = self.rule.split('"').step_by(2).map(|part| match part.split_once(')') {
            Some((length, rest)) if length.starts_with("…(") => rest,
            _ => part,
        });
        let mut shape: Vec<&str> = Vec::new();
        for word in unquoted.flat_map(str::split_whitespace) {
            let word = word.trim_matches(|c: char| c.is_ascii_punctuation());
            // A rule about one thing or several is the same rule.
            if !word.contains(|c: char| c.is_ascii_digit()) && !shape.contains(&word) {
                shape.push(word);
            }
        }
        (self.kind, shape.join(" "))
    }

    /// The message of a test of this name: what happened, and the line that makes it happen again.
    #[must_use]
    pub fn in_test(&self, test: &str) -> String {
        let seed = self.seed;
        format!("{self}\n\nReplay it with:\n\nSIM_SEED={seed} cargo test -p sim {test}\n")
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            seed, rule, at, hash, ..
        } = self;
        write!(f, "seed {seed}, at {at:?} of virtual time, trace {hash:016x}: {rule}")?;
        if !self.trace.is_empty() {
            f.write_str("\nThe last events:")?;
        }
        for line in &self.trace {
            write!(f, "\n  {line}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Failure {}

/// Runs `scenario` with `system`'s machines in the real drivers. With `SIM_TRACE=1` in the environment every event is
/// printed to stderr.
///
/// # Errors
///
/// The first rule that was broken; a panic in a host or in turmoil is one too.
pub fn run<S: System>(scenario: &Scenario, system: S) -> Result<Report<S::Oracle>, Failure> {
    let marks = Marks::default();
    let oracle = system.oracle(scenario.deep, &marks);
    let tight = system.link(scenario.link).max_outbox < scenario.link.max_outbox;
    let hosts = Hosts {
        scenario: scenario.clone(),
        system: Arc::new(system),
        marks: marks.clone(),
        healed: Arc::default(),
        rules: Arc::new(Rules::new(scenario.link.linger, S::keeps_open_after_fin(), tight)),
        shared: Arc::new(Mutex::new(Shared::new(oracle, Lines::Recent.or_print()))),
    };
    let mut run = Run {
        sim: build(scenario),
        injector: Injector::new(scenario, marks.clone(), Arc::clone(&hosts.rules)),
        hosts: hosts.clone(),
    };
    let result = catch_unwind(AssertUnwindSafe(|| run.through()));
    let at = run.sim.elapsed();
    // What hosts do while they are torn down is no part of the run.
    let (trace, hash) = {
        let shared = hosts.lock();
        (shared.trace.recent().map(str::to_owned).collect(), shared.trace.hash())
    };
    hosts.rules.tearing_down(|| drop(run));

    let (at, rule) = match result {
        Ok(Ok(zero_at)) => {
            let Hosts { shared, .. } = hosts;
            let shared = Arc::into_inner(shared).expect("the simulation is gone and all its hosts with it");
            let shared = shared.into_inner().expect("nothing panicked");
            return Ok(Report {
                hash: shared.trace.hash(),
                events: shared.trace.events(),
                zero_at,
                marks,
                links: shared.ended,
                oracle: shared.oracle,
            });
        }
        Ok(Err(broken)) => broken,
        Err(panic) => (at, format!("{PANIC}{}", panics::text(&*panic))),
    };
    Err(Failure {
        kind: FailureKind::of(&rule),
        seed: scenario.seed,
        rule,
        at,
        trace,
        hash,
    })
}

fn build(scenario: &Scenario) -> Sim<'static> {
    let mut builder = Builder::new();
    builder
        .epoch(std::time::UNIX_EPOCH)
        .rng_seed(Dice::new(scenario.seed, Purpose::Network).number())
        .tick_duration(scenario.tick)
        // The phases have bounds of their own.
        .simulation_duration(Duration::MAX)
        .min_message_latency(scenario.latency.0)
        .max_message_latency(scenario.latency.1)
        .repair_rate(scenario.repair_rate)
        .tcp_capacity(scenario.tcp_capacity)
        .ephemeral_ports(1024..=u16::MAX);
    builder.build()
}

type BrokenRule = (Duration, String);

struct Run<S: System> {
    sim: Sim<'static>,
    injector: Injector,
    hosts: Hosts<S>,
}

impl<S: System> Run<S> {
    fn through(&mut self) -> Result<Duration, BrokenRule> {
        let server = self.hosts.clone();
        self.sim.host(SERVER, move || server.clone().serve());
        for (number, name) in clients(self.hosts.scenario.hosts) {
            let client = self.hosts.clone();
            self.sim.host(name, move || client.clone().dial(number));
        }
        if !self.hosts.scenario.strangers.is_empty() {
            let strangers = self.hosts.clone();
            self.sim.host(STRANGERS, move || strangers.clone().visit());
        }
        if self.hosts.scenario.latency.0 < self.hosts.scenario.latency.1 {
            self.hosts.marks.hit(Mark::LatencyRange);
        }

        self.faults()?;
        let heal = self.sim.elapsed();
        let liveness = self.hosts.scenario.liveness + self.hosts.system.patience();
        self.note("all faults end");
        self.hosts.healed.store(true, Ordering::Relaxed);
        self.injector.heal(&mut self.sim);
        self.until(heal + liveness, |shared| shared.oracle.unfinished())?;
        self.hosts.lock().zero.values_mut().for_each(|zero| *zero = false);
        self.until(heal + liveness, |shared| {
            let mut others = shared.zero.iter().filter(|(_, zero)| !**zero);
            others.next().map(|(host, _)| format!("{host} is not at zero"))
        })?;
        let zero_at = self.sim.elapsed();

        self.note("drain");
        let mut shared = self.hosts.lock();
        shared.drain = shared.zero.keys().map(|host| (*host, Duration::ZERO)).collect();
        drop(shared);
        self.until(zero_at + DRAIN, |shared| {
            let mut hosts = shared.zero.keys();
            let running = hosts.find(|host| !shared.ended.contains_key(*host))?;
            Some(format!("the driver of {running} has not ended"))
        })?;
        let shared = self.hosts.lock();
        let ends = shared.oracle.ends();
        ends.map_err(|rule| (self.sim.elapsed(), rule))?;
        for links in shared.ended.values() {
            self.hosts.marks.add(Mark::Lingered, links.lingered);
            self.hosts.marks.add(Mark::HandshakeTimeout, links.handshake_timeouts);
        }
        Ok(zero_at)
    }

    fn faults(&mut self) -> Result<(), BrokenRule> {
        let faults = self.hosts.scenario.faults.clone();
        let mut faults = faults.into_iter().peekable();
        while self.sim.elapsed() < self.hosts.scenario.safety {
            let now = self.sim.elapsed();
            while let Some((_, fault)) = faults.next_if(|(at, _)| *at <= now) {
                self.note(&fault.to_string());
                let mut shared = self.hosts.lock();
                match fault {
                    TurmoilFault::DrainServer(within) => _ = shared.drain.insert(SERVER, within),
                    TurmoilFault::DrainClient(host, within) => _ = shared.drain.insert(CLIENTS[host], within),
                    TurmoilFault::CrashServer { .. } => shared.crashes += 1,
                    TurmoilFault::Pause(host, lasts) => shared.pause(host, now, now + lasts),
                    _ => {}
                }
                drop(shared);
                self.injector.apply(&mut self.sim, fault);
            }
            self.step()?;
        }
        Ok(())
    }

    /// Runs until `open` returns nothing, which must be before `deadline`.
    fn until(&mut self, deadline: Duration, open: impl Fn(&Shared<S>) -> Option<String>) -> Result<(), BrokenRule> {
        loop {
            let left = open(&self.hosts.lock());
            let Some(left) = left else {
                return Ok(());
            };
            let now = self.sim.elapsed();
            if now >= deadline {
                let left = self.hosts.lock().oracle.spelled(&left);
                return Err((now, format!("{LATE}{left}")));
            }
            self.step()?;
        }
    }

    fn step(&mut self) -> Result<(), BrokenRule> {
        let stepped = self.sim.step();
        self.injector.notice_broken_links();
        let broken = self.hosts.lock().broken.clone();
        if let Some(broken) = broken {
            return Err(broken);
        }
        if let Some(rule) = self.hosts.rules.broken() {
            return Err((self.sim.elapsed(), rule));
        }
        stepped.map_err(|error| (self.sim.elapsed(), format!("a host failed: {error}")))?;
        Ok(())
    }

    fn note(&self, what: &str) {
        self.hosts.lock().trace.note(self.sim.elapsed(), what);
    }
}
