//! Seeded simulation of Echosphere, with everything going wrong that a seed says, and every step checked against a model
//! of the protocol that shares no logic with it. It has two lanes:
//!
//! - **turmoil** ([`run`](fn@run)): the real machines in the real driver, on turmoil's network. It proves the driver.
//! - **direct** ([`direct::run_direct`]): the real machines, codecs and endpoints over modelled streams, without a runtime.
//!   It is several times as fast, and does to connections what turmoil cannot: resets, half-open connections, lost ends
//!   of stream, pauses, slow readers, narrow links, clock skew. Campaigns, recorded runs and shrinking are built on it.
//!
//! # Contract
//!
//! - A run is a function of its [`Scenario`] and its messages, and those that are drawn are functions of one `u64`. The
//!   same seed gives the same events at the same virtual times, in any process; their hash is in the [`Report`].
//! - A run has a safety phase, in which faults come and go; then all faults end at once; then a liveness phase, within
//!   which everything must be acknowledged, and server and clients must be at zero. How long that may take is derived
//!   in [`scenario::patience`].
//! - The first broken rule ends the run, as a [`Failure`] with the rule, the seed, the virtual time and the last events.
//!   So does a panic, wherever it is.
//! - A crash of the server takes all its state: the clients notice, and try again. Whoever is drained, server or clients, must end
//!   in the time it was given, and at zero, whoever is connected. A crash of a host of clients takes
//!   the host's state; whoever asked it to send has kept what was not acknowledged, and asks again when the host
//!   is back.
//!
//! # Map
//!
//! | module | what it holds |
//! |---|---|
//! | [`scenario`] | a run's plan, drawn from a seed; the time-outs; the bound on liveness |
//! | [`injector`] | what can be done to the network and the hosts |
//! | [`run`](mod@run) | one run from start to zero, and what comes of it |
//! | [`hosts`] | what the simulated hosts run |
//! | [`strangers`] | those who speak no protocol: what they say, and what they must be told |
//! | [`net`] | turmoil's sockets for the driver, as awkward as real ones |
//! | [`observe`] | machines that are looked over their shoulder |
//! | [`direct`] | the direct lane: its plan, its network, its hosts |
//! | [`plan`], [`campaign`], [`shrink`](mod@shrink), [`record`] | which run a seed stands for; many of them; making a failing one small; one as a file |
//! | [`exhaust`] | every schedule of a few clients, up to a depth |
//! | [`oracle`] | what a system brings along to be run and checked; [`oracle::echo`] is echo's |
//! | [`trace`] | events as lines, and their hash |
//! | [`draw`] | a picture of a run, in one page of HTML, and a log for ShiViz |
//! | [`marks`] | what runs have been through, so that a campaign that misses something fails |
//! | [`dice`] | seeded draws |
//! | [`panics`] | panics of what is run, which are failures of the run |
//! | [`fairness`] | whether random choices are uniform, over a whole campaign |
//! | [`seeds`] | `SIM_SEED` and `SIM_SEEDS` |
//!
//! # Use
//!
//! | | |
//! |---|---|
//! | `cargo test -p sim` | everything |
//! | `SIM_SEED=7 cargo test -p sim echo_under_faults` | one seed, as the message of a failure says |
//! | `SIM_SEED=7 SIM_TRACE=1 cargo test -p sim echo_under_faults` | the same, with every event |
//! | `SIM_SEEDS=10000 cargo test --release -p sim echo_under_faults` | more seeds |
//! | `cargo run --release -p sim -- campaign --seeds 10000` | many seeds on the direct lane, on all cores |
//! | `cargo run --release -p sim -- replay 7 --trace` | one of them again, with every event |
//! | `cargo run --release -p sim -- shrink SEED -o failing.json` | one that fails made small; `replay failing.json` runs it |
//! | `cargo run --release -p sim -- draw 7 -o run.html` | one as a page for the browser; `--shiviz run.log` for ShiViz |
//! | `cargo run --release -p sim -- crowd --clients 100000 --faults` | a great many clients in one run on the direct lane |
//! | `cargo run --release -p sim -- exhaust --clients 2` | every schedule of two clients |
//! | `cargo run --release -p sim --example crowd` | 100,000 clients over a minute, on turmoil |
//! | `cargo run --release -p sim -- mutants` | applies each planted bug of `sim/mutants/` to a copy of the workspace, and says what catches it: `docs/PLANTED-BUGS.md`; `--slice` takes three |
//!
//! A seed means the same as long as the code that draws does. One that found something is added to `FOUND` in
//! `tests/faults.rs`, with what it found.
//!
//! # How turmoil's network differs from a real one
//!
//! What both lanes' networks have in common with TCP, `tests/fidelity/` checks, and `docs/FIDELITY.md` tells.
//!
//! | turmoil 0.7.2 | what we do about it |
//! |---|---|
//! | nothing is sent again: a lost segment leaves a hole for ever, and what comes after it is never read, though it could be written | time-outs end such connections, as they end half-open ones; the bound on liveness starts with the idle time-out for that reason |
//! | an attempt to connect over a cut link is refused at once, and its socket leaks; so does that of an attempt given up | clients pause before each retry; 64,512 ports a host; zero is asked of the endpoints and never of turmoil's count of sockets |
//! | the answer to a SYN takes no time and passes every cut | nothing is concluded from a connection that opened: the server waits for a frame, the client for its ok |
//! | a crash closes the host's connections in order | every crash also comes unnoticed, as a power failure: the links are cut first and mended once the host is back |
//! | a link that breaks by itself does not tell | it is inferred from refusals that nothing else explains, so that the mark means something |
//! | more SYNs in one step than the window has segments is a panic, and so is the end of the ports | both are set, far above what a scenario can need |
//! | who waits for room to write is not woken by a reset, nor by a peer that never reads on behind a hole | [`net::Chopped`] gives up a connection whose peer has finished sending, after a time, as a host's system would |
//! | the window counts segments, of any size, and FIN needs room but takes none: behind a full window it is lost | that is a lost FIN, for which there are the idle and the linger time-outs |
//! | writes are whole, not vectored; a socket is never spuriously unready | [`net::Chopped`] splits, shortens, stalls and gathers |
//! | what arrives wakes its reader at once | [`net::Thread`] tells a driver of a few streams at a time, as a reactor does, and of none while it is paused |
//! | latencies are whole milliseconds; no bandwidth, duplication, corruption, clock skew, pauses | in the direct lane: narrow links, clocks; in both: pauses, and strangers, who say what is wrong; TCP neither duplicates nor corrupts |
//! | its RNG takes one `u64`, its clock starts at the wall clock's time | drawn from the seed; set to the epoch |

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
