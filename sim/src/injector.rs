//! The faults of the turmoil lane, and the code that injects them.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use turmoil::Sim;

use crate::hosts::{CLIENTS, SERVER, clients};
use crate::marks::{Mark, Marks};
use crate::net::Rules;
use crate::scenario::Scenario;

/// Which way a link is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Both.
    Both,
    /// What clients send is lost.
    ToServer,
    /// What the server sends is lost.
    ToClient,
}

/// Something done to a host of clients, by its number, or its link to the server, or to the server.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum TurmoilFault {
    /// Every segment takes this time.
    Latency(usize, Duration),
    /// Segments take as long as they do in this run.
    LatencyNormal(usize),
    /// The link keeps everything back.
    Hold(usize),
    /// The link lets go of what it kept back, and is sound.
    Release(usize),
    /// The link drops everything.
    Partition(usize, Way),
    /// The link is sound.
    Repair(usize, Way),
    /// How likely the link breaks with each segment.
    FailRate(usize, f64),
    /// The host loses all its state; `unnoticed` if its peers do not see its connections end, as when the power fails.
    CrashClient {
        /// The host.
        host: usize,
        /// Whether the ends of its connections are lost.
        unnoticed: bool,
    },
    /// The host drains within this time, and ends.
    DrainClient(usize, Duration),
    /// The host begins anew.
    RestartClient(usize),
    /// The server loses all its state, as above.
    CrashServer {
        /// Whether the ends of its connections are lost.
        unnoticed: bool,
    },
    /// The server drains within this time, and ends.
    DrainServer(Duration),
    /// The server begins anew.
    RestartServer,
    /// The host, or the server, is paused for this time; what arrives waits.
    Pause(Option<usize>, Duration),
}

/// In words, as a trace notes it.
impl fmt::Display for TurmoilFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = |way| match way {
            Way::Both => "both ways",
            Way::ToServer => "on the way to the server",
            Way::ToClient => "on the way from the server",
        };
        let unseen = |unnoticed| if unnoticed { "loses its power" } else { "crashes" };
        match *self {
            Self::Latency(host, latency) => write!(f, "client-{host}'s link takes {latency:?}"),
            Self::LatencyNormal(host) => write!(f, "client-{host}'s link is as fast as before"),
            Self::Hold(host) => write!(f, "client-{host}'s link holds everything back"),
            Self::Release(host) => write!(f, "client-{host}'s link delivers what it held back"),
            Self::Partition(host, cut) => write!(f, "client-{host} is cut off, {}", way(cut)),
            Self::Repair(host, cut) => write!(f, "client-{host} is no longer cut off, {}", way(cut)),
            Self::FailRate(host, rate) => {
                write!(
                    f,
                    "client-{host}'s link breaks at {:.2} % of the segments",
                    rate * 100.0
                )
            }
            Self::CrashClient { host, unnoticed } => write!(f, "client-{host} {}", unseen(unnoticed)),
            Self::DrainClient(host, within) => write!(f, "client-{host} drains, within {within:?}"),
            Self::RestartClient(host) => write!(f, "client-{host} starts again"),
            Self::CrashServer { unnoticed } => write!(f, "the server {}", unseen(unnoticed)),
            Self::DrainServer(within) => write!(f, "the server drains, within {within:?}"),
            Self::RestartServer => f.write_str("the server starts again"),
            Self::Pause(Some(host), lasts) => write!(f, "client-{host} is paused for {lasts:?}"),
            Self::Pause(None, lasts) => write!(f, "the server is paused for {lasts:?}"),
        }
    }
}

/// Injects faults into a simulation, and remembers what to undo.
pub(crate) struct Injector {
    hosts: usize,
    latency: (Duration, Duration),
    marks: Marks,
    rules: Arc<Rules>,
    down: BTreeSet<&'static str>,
    cut: BTreeSet<usize>,
    server_was_down: bool,
    refusals: u64,
}

impl Injector {
    pub(crate) const fn new(scenario: &Scenario, marks: Marks, rules: Arc<Rules>) -> Self {
        Self {
            hosts: scenario.hosts,
            latency: scenario.latency,
            marks,
            rules,
            down: BTreeSet::new(),
            cut: BTreeSet::new(),
            server_was_down: false,
            refusals: 0,
        }
    }

    pub(crate) fn apply(&mut self, sim: &mut Sim<'_>, fault: TurmoilFault) {
        match fault {
            TurmoilFault::Latency(host, latency) => {
                self.marks.hit(Mark::LatencySpike);
                sim.set_link_latency(SERVER, CLIENTS[host], latency);
            }
            TurmoilFault::LatencyNormal(host) => {
                // Sets both bounds, then the upper one.
                sim.set_link_latency(SERVER, CLIENTS[host], self.latency.0);
                sim.set_link_max_message_latency(SERVER, CLIENTS[host], self.latency.1);
            }
            TurmoilFault::Hold(host) => {
                self.marks.hit(Mark::Hold);
                self.cut.remove(&host);
                sim.hold(SERVER, CLIENTS[host]);
            }
            TurmoilFault::Release(host) => {
                self.marks.hit(Mark::Release);
                self.cut.remove(&host);
                sim.release(SERVER, CLIENTS[host]);
            }
            TurmoilFault::Partition(host, way) => self.partition(sim, host, way),
            TurmoilFault::Repair(host, way) => self.repair(sim, host, way),
            TurmoilFault::FailRate(host, rate) => sim.set_link_fail_rate(SERVER, CLIENTS[host], rate),
            TurmoilFault::CrashClient { host, unnoticed } => self.crash_client(sim, host, unnoticed),
            TurmoilFault::DrainClient(host, _) => {
                // The host's driver drains, see `run.rs`.
                if self.down.insert(CLIENTS[host]) {
                    self.marks.hit(Mark::ClientDrain);
                }
            }
            TurmoilFault::RestartClient(host) => {
                if self.down.remove(CLIENTS[host]) {
                    self.rules.tearing_down(|| sim.bounce(CLIENTS[host]));
                    self.repair(sim, host, Way::Both);
                }
            }
            TurmoilFault::CrashServer { unnoticed } => self.crash_server(sim, unnoticed),
            TurmoilFault::DrainServer(_) => {
                // The same.
                if self.down.insert(SERVER) {
                    self.marks.hit(Mark::ServerDrain);
                    self.server_was_down = true;
                }
            }
            // The host pauses itself, see `run.rs`.
            TurmoilFault::Pause(..) => self.marks.hit(Mark::Pause),
            TurmoilFault::RestartServer => {
                if self.down.remove(SERVER) {
                    self.rules.tearing_down(|| sim.bounce(SERVER));
                    for host in 0..self.hosts {
                        self.repair(sim, host, Way::Both);
                    }
                }
            }
        }
    }

    fn partition(&mut self, sim: &Sim<'_>, host: usize, way: Way) {
        self.cut.insert(host);
        match way {
            Way::Both => {
                self.marks.hit(Mark::Partition);
                sim.partition(SERVER, CLIENTS[host]);
            }
            Way::ToServer => {
                self.marks.hit(Mark::PartitionToServer);
                sim.partition_oneway(CLIENTS[host], SERVER);
            }
            Way::ToClient => {
                self.marks.hit(Mark::PartitionToClient);
                sim.partition_oneway(SERVER, CLIENTS[host]);
            }
        }
    }

    fn repair(&mut self, sim: &Sim<'_>, host: usize, way: Way) {
        match way {
            Way::Both => {
                self.cut.remove(&host);
                sim.repair(SERVER, CLIENTS[host]);
            }
            Way::ToServer => sim.repair_oneway(CLIENTS[host], SERVER),
            Way::ToClient => sim.repair_oneway(SERVER, CLIENTS[host]),
        }
    }

    fn crash_client(&mut self, sim: &mut Sim<'_>, host: usize, unnoticed: bool) {
        if !self.down.insert(CLIENTS[host]) {
            return;
        }
        if unnoticed {
            self.marks.hit(Mark::ClientPowerLoss);
            self.cut.insert(host);
            sim.partition(SERVER, CLIENTS[host]);
        } else {
            self.marks.hit(Mark::ClientCrash);
        }
        self.rules.tearing_down(|| sim.crash(CLIENTS[host]));
    }

    fn crash_server(&mut self, sim: &mut Sim<'_>, unnoticed: bool) {
        if !self.down.insert(SERVER) {
            return;
        }
        self.server_was_down = true;
        if unnoticed {
            self.marks.hit(Mark::ServerPowerLoss);
            for (host, name) in clients(self.hosts) {
                self.cut.insert(host);
                sim.partition(SERVER, name);
            }
        } else {
            self.marks.hit(Mark::ServerCrash);
        }
        self.rules.tearing_down(|| sim.crash(SERVER));
    }

    /// Ends every fault: all hosts run, all links are sound, what was kept back is under way.
    pub(crate) fn heal(&mut self, sim: &mut Sim<'_>) {
        for (host, name) in clients(self.hosts) {
            self.apply(sim, TurmoilFault::FailRate(host, 0.0));
            self.apply(sim, TurmoilFault::LatencyNormal(host));
            self.cut.remove(&host);
            // Mends partitions too, those that turmoil made by itself included, which `repair` does as well; but
            // `repair` leaves what was kept back where it is.
            sim.release(SERVER, name);
            self.apply(sim, TurmoilFault::RestartClient(host));
        }
        self.apply(sim, TurmoilFault::RestartServer);
    }

    /// To be called after each step. turmoil does not say when it breaks a link. But while one is broken, a client that
    /// connects over it is refused at once; and if no fault of ours explains a refusal, that does.
    pub(crate) fn notice_broken_links(&mut self) {
        let refusals = self.marks.count(Mark::DialRefused);
        if refusals > self.refusals && self.cut.is_empty() && !self.server_was_down {
            self.marks.hit(Mark::LinkFailure);
        }
        self.refusals = refusals;
    }
}
