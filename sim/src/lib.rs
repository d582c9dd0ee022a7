//! Seeded simulation of Echosphere. A seed decides which faults happen, and every step is checked against a model of the
//! protocol that shares no code with it. There are two lanes:
//!
//! - **turmoil** ([`run`](fn@run)): the real machines in the real driver, on turmoil's network. It tests the driver.
//! - **direct** ([`direct::run_direct`]): the real machines, codecs and endpoints over modelled streams, without a runtime.
//!   It is several times as fast, and injects faults that turmoil cannot: resets, half-open connections, lost ends of
//!   stream, slow readers, narrow links, clock skew. Campaigns, recorded runs and shrinking use it.
//!
//! # Contract
//!
//! - A run is a function of its [`Scenario`] and its workload, and those that are drawn are functions of one `u64`. The
//!   same seed gives the same events at the same virtual times in any process; their hash is in the [`Report`].
//! - In the safety phase of a run, faults begin and end. Then all faults end at once. In the liveness phase, everything
//!   must be acknowledged, and server and clients must be at zero, within the bound of [`scenario::patience`].
//! - The first broken rule ends the run as a [`Failure`] with the rule, the seed, the virtual time and the last events.
//!   So does a panic.
//! - A crash of the server loses all its state; clients notice and retry. A drained server or client must end in the
//!   given time and at zero, even with connected clients. A crash of a host of clients loses the host's state; the workload
//!   keeps what was not acknowledged, and requests it again when the host is back.
//!
//! # Map
//!
//! | module | what it holds |
//! |---|---|
//! | [`scenario`] | the plan of a turmoil run, drawn from a seed; the time-outs; the bound on liveness |
//! | [`injector`] | the faults of the turmoil lane |
//! | [`run`](mod@run) | one run of the turmoil lane and its result |
//! | [`hosts`] | the software of the simulated hosts |
//! | [`strangers`] | peers that speak no protocol: what they send, and what they must receive |
//! | [`net`] | turmoil's sockets for the driver, as awkward as real ones |
//! | [`observe`] | observed machines |
//! | [`direct`] | the direct lane: its plan, its network, its hosts |
//! | [`plan`], [`campaign`], [`shrink`](mod@shrink), [`record`] | the run of a seed; many runs; shrinking a failing one; a run as a file |
//! | [`exhaust`] | every schedule of a few clients, up to a depth |
//! | [`oracle`] | what a system provides to be simulated and checked; [`oracle::echo`] is echo's |
//! | [`trace`] | events as lines, and their hash |
//! | [`draw`] | a picture of a run as one HTML page, and a log for ShiViz |
//! | [`marks`] | counters of what happened, so that a campaign that misses something fails |
//! | [`dice`] | seeded draws |
//! | [`panics`] | panics inside a run, which are failures of the run |
//! | [`fairness`] | whether random choices are uniform, over a whole campaign |
//! | [`seeds`] | `SIM_SEED` and `SIM_SEEDS` |
//! | `main.rs`, `commands/` | the command line: a file for each command |
//! | `mutants.rs`, `mutants/` | the command that plants bugs and records what catches them |
//!
//! # Use
//!
//! `docs/SIMULATION.md` has the commands. The tests also read variables:
//!
//! | command | what it does |
//! |---|---|
//! | `cargo test -p sim` | all tests |
//! | `SIM_SEED=7 cargo test -p sim echo_under_faults` | one seed, as the message of a failure shows |
//! | `SIM_SEED=7 SIM_TRACE=1 cargo test -p sim echo_under_faults` | the same with every event |
//! | `SIM_SEEDS=10000 cargo test --release -p sim echo_under_faults` | more seeds |
//! | `cargo run --release -p sim --example crowd` | 100,000 clients over a minute, on turmoil |
//!
//! A seed means the same as long as the code that draws does. A seed that found something is added to `FOUND` in
//! `tests/faults.rs`, with what it found.
//!
//! # How turmoil's network differs from a real one
//!
//! `tests/fidelity/` compares both lanes' networks with TCP; see `docs/FIDELITY.md`.
//!
//! | turmoil 0.7.2 | what the simulator does about it |
//! |---|---|
//! | it retransmits nothing: after a lost segment nothing is read any more, though writes succeed | time-outs end such connections, as they end half-open ones; so the bound on liveness starts with the idle time-out |
//! | an attempt to connect over a cut link is refused at once, and leaks its socket; so does an abandoned attempt | clients pause before each retry; 64,512 ports per host; zero is asked of the endpoints, never of turmoil's count of sockets |
//! | the answer to a SYN takes no time and passes every cut | an open connection proves nothing: the server waits for a frame, the client for its ok |
//! | a crash closes the host's connections cleanly | every crash also comes unnoticed, as a power failure: the links are cut first and repaired once the host is back |
//! | a link that breaks by itself is not reported | it is inferred from refusals that nothing else explains |
//! | more SYNs in one step than the window has segments is a panic, and so is running out of ports | both are set far above what a scenario needs |
//! | a task that waits for room to write is not woken by a reset, nor by a peer that never reads on after a hole | [`net::Chopped`] gives up a connection whose peer has finished sending, after a time, as a host's system would |
//! | the window counts segments of any size; FIN needs room but takes none, so behind a full window it is lost | that is a lost FIN, which the idle and the linger time-outs handle |
//! | writes are whole, not vectored; a socket is never spuriously unready | [`net::Chopped`] splits, shortens, stalls and gathers |
//! | what arrives wakes its reader at once | [`net::Thread`] reports a few streams at a time to a driver, as a reactor does, and none while it is paused |
//! | latencies are whole milliseconds; no bandwidth, duplication, corruption, clock skew or pauses | the direct lane has narrow links and clocks; both lanes have pauses and strangers; TCP neither duplicates nor corrupts |
//! | its RNG takes one `u64`, its clock starts at the wall clock's time | both are set: drawn from the seed, and the epoch |

pub mod campaign;
pub mod dice;
pub mod direct;
pub mod draw;
pub mod exhaust;
pub mod fairness;
pub mod hosts;
pub mod injector;
pub mod marks;
pub mod net;
pub mod observe;
pub mod oracle;
pub mod panics;
pub mod plan;
pub mod record;
mod role;
pub mod run;
pub mod scenario;
pub mod seeds;
pub mod shrink;
pub mod strangers;
pub mod trace;
mod words;

pub use run::{Failure, FailureKind, Report, run};
pub use scenario::Scenario;
