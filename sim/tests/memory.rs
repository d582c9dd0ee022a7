//! Memory that servers hold in simulated runs, by what their allocator has given out: at zero, and while nothing is sent.
//! `SIM_SEEDS=3000` runs more of them.

use std::time::Duration;

use allocation_counter::measure;
use echosphere_core::numbers::{Mode, ServerConfig};
use echosphere_core::random::Delay;
use sim::direct::{Case, Held, Options, run_direct, server_after};
use sim::oracle::Workload;
use sim::oracle::chat::{self, Chat};
use sim::oracle::echo::{self, Echo};
use sim::oracle::hub::{self, Hub};
use sim::oracle::numbers::{self, Name, Numbers, Wanted};
use sim::seeds::seeds;

/// Runs of each system.
const SEEDS: u64 = 200;
/// How long after the last fault a server is weighed whose connections are idle: its time-outs have ended what they had to.
const IDLE: Duration = Duration::from_secs(10);

/// Bytes that a server at zero may hold: spare buffers to read into and to write from.
const BASE: i64 = 48 * 1024;
/// The same for each connection of those it had at once: entries in tables that have grown.
const EACH_AT_ONCE: i64 = 1024;

/// Connections, one group after another, in two runs; and the bytes that a server may hold more after the longer one. The
/// smallest entry for each past connection takes more.
const FEW: usize = 20;
const MANY: usize = 2000;
const MORE: i64 = 2 * 1024;
/// How long after a connection the next one begins. All of them are over by then.
const STEP: Duration = Duration::from_millis(300);

/// Bytes that an idle server may hold; for each of its connections; for each of those it had at once, with a spare buffer that
/// short messages were written from.
const IDLE_BASE: i64 = 8 * 1024;
const EACH_IDLE: i64 = 1024;
const EACH_SPARE: i64 = 8 * 1024;

/// How many bytes are freed with the server.
fn weigh(server: Held) -> i64 {
    let endpoint = server.endpoint;
    -measure(|| drop(endpoint)).bytes_current
}

fn drawn<W: Workload>(seed: u64) -> (Case, W) {
    let case = Case::draw(seed);
    let workload = W::draw(seed, case.hosts, case.safety, None);
    (case, workload)
}

fn check_zero<W: Workload>() {
    for seed in seeds(SEEDS) {
        let (case, workload) = drawn::<W>(seed);
        let server = server_after(&case, &workload, None).unwrap_or_else(|failure| panic!("{failure}"));
        let (connections, at_once) = server.connections;
        assert_eq!(connections, 0, "{} seed {seed}", W::NAME);
        let (held, most) = (weigh(server), BASE + at_once as i64 * EACH_AT_ONCE);
        assert!(
            held <= most,
            "{} seed {seed}: {held} bytes at zero, after {at_once} connections",
            W::NAME
        );
    }
}

/// A server at zero keeps no more than tables and buffers of what it had at once, however much it has been through.
#[test]
fn zero_is_little_memory() {
    check_zero::<Echo>();
    check_zero::<Hub>();
    check_zero::<Chat>();
    check_zero::<Numbers>();
}

fn check_past<W: Workload>(workload: impl Fn(usize) -> W) {
    let held = |count: usize| {
        let mut case = Case::calm(0, 1);
        case.safety = STEP * count as u32;
        let server = server_after(&case, &workload(count), None).unwrap_or_else(|failure| panic!("{failure}"));
        (server.connections, weigh(server))
    };
    let ((connections, few), (same, many)) = (held(FEW), held(MANY));
    assert_eq!(connections, same, "{}: the runs differ only in how often", W::NAME);
    assert!(
        many <= few + MORE,
        "{}: {many} bytes after {MANY} connections, {few} after {FEW}",
        W::NAME
    );
}

/// A server at zero keeps nothing of each connection that it has had.
#[test]
fn past_connections_take_no_memory() {
    let times = |count: usize| (0..count as u32).map(|number| STEP * number);
    let stays = STEP / 3;
    check_past(|count| {
        // An X is answered by another client, so two come at once.
        let messages = times(count / 2).flat_map(|at| [(at, "one"), (at, "other")]);
        let messages = messages.map(|(at, who)| echo::Planned {
            host: 0,
            at,
            x: format!("{who} {at:?}").into(),
        });
        Echo::new(Delay::None, messages.collect())
    });
    check_past(|count| {
        let sessions = (0..).zip(times(count)).map(|(session, at)| hub::Planned::Session {
            host: 0,
            session,
            at,
            leaves: at + stays,
        });
        Hub::new(sessions.collect())
    });
    check_past(|count| {
        let sessions = times(count).map(|at| chat::Planned::Session {
            host: 0,
            at,
            leaves: at + stays,
        });
        Chat::new(sessions.collect(), 1024)
    });
    check_past(|count| {
        let streams = (0..).zip(times(count)).map(|(number, at)| numbers::Planned::Get {
            host: 0,
            at,
            want: Wanted::Session {
                name: Name(number, 0),
                n: 1,
                after: None,
            },
        });
        let server = ServerConfig {
            mode: Mode::Both,
            period: Duration::from_millis(1),
            session_ttl: STEP,
            unacknowledged_ttl: STEP,
            max_sessions: 1000,
        };
        Numbers::new(streams.collect(), server, STEP, IDLE)
    });
}

fn check_idle<W: Workload>(is_held: bool) {
    let mut idle = 0;
    for seed in seeds(SEEDS) {
        let case = Case::draw(seed);
        let mut workload = W::draw_silent(seed, case.hosts, case.safety);
        let stop = Some(case.safety + IDLE);
        let server = server_after(&case, &workload, stop).unwrap_or_else(|failure| panic!("{failure}"));
        let (connections, at_once) = server.connections;
        idle += connections;
        let bodies: usize = workload.bodies().iter().map(|body| body.len()).sum();
        let bodies = if is_held { 2 * bodies } else { 0 };
        let most = IDLE_BASE + bodies as i64 + connections as i64 * EACH_IDLE + at_once as i64 * EACH_SPARE;
        let held = weigh(server);
        assert!(
            held <= most,
            "{} seed {seed}: {held} bytes with {connections} idle connections",
            W::NAME
        );
    }
    assert!(idle > 0, "no connection was idle");
}

/// An idle connection keeps nothing of what it has sent and received, halves of frames included. An echo server keeps each X
/// that waits for its `ok`, in a buffer of at most twice its length.
#[test]
fn an_idle_connection_is_little_memory() {
    check_idle::<Echo>(true);
    check_idle::<Hub>(false);
    check_idle::<Chat>(false);
    check_idle::<Numbers>(false);
}

fn check_lives<W: Workload>() {
    let run = |seed| {
        let (case, workload) = drawn::<W>(seed);
        let outcome = run_direct(&case, &workload, Options::default());
        outcome.result.unwrap_or_else(|failure| panic!("{failure}"));
    };
    // What a process has once.
    run(0);
    let grown = measure(|| seeds(SEEDS).into_iter().for_each(run));
    assert_eq!(
        (grown.bytes_current, grown.count_current),
        (0, 0),
        "{}: {grown:?}",
        W::NAME
    );
}

/// Nothing is left of machines and endpoints that were dropped: each run has several lives of a server and of its clients.
#[test]
fn nothing_is_left_of_ended_lives() {
    check_lives::<Echo>();
    check_lives::<Hub>();
    check_lives::<Chat>();
    check_lives::<Numbers>();
}
