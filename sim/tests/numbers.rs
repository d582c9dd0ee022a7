//! Numbers on modelled streams, and as files.

use std::path::PathBuf;
use std::time::Duration;

use echosphere_core::numbers::{Mode, ServerConfig};
use sim::campaign::Campaign;
use sim::direct::{Case, Options, run_direct};
use sim::marks::Mark;
use sim::oracle::Workload;
use sim::oracle::numbers::{Name, Numbers, Planned, Wanted};
use sim::plan::Plan;
use sim::record::Record;
use sim::seeds::seeds;

/// Seeds of one run of the tests.
const SEEDS: u64 = 300;

fn drawn(seed: u64) -> (Case, Numbers) {
    Plan::default().draw(seed)
}

#[test]
fn numbers_on_modelled_streams() {
    for seed in seeds(SEEDS) {
        let (case, numbers) = drawn(seed);
        if let Err(failure) = run_direct(&case, &numbers, Options::default()).result {
            panic!("{}", failure.in_test("numbers_on_modelled_streams"));
        }
    }
}

#[test]
fn a_recorded_run_of_numbers_replays_from_its_file() {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("numbers.json");
    for seed in 0..40 {
        let (case, numbers) = drawn(seed);
        let (record, outcome) = Record::of(&case, &numbers);
        let hash = outcome.result.expect("a run that passes").hash;
        record.write(&path).expect("a file");
        let read = Record::read(&path).expect("the same file");
        let again = read.replay::<Numbers>().expect("a run of numbers").result;
        assert_eq!(again.expect("passes again").hash, hash, "seed {seed}");
    }
}

#[test]
fn what_is_left_out_of_a_plan_is_not_asked_for() {
    let (case, numbers) = (0..)
        .map(drawn)
        .find(|(_, numbers)| numbers.len() > 4)
        .expect("there are");
    for at in 0..numbers.len() {
        let kept = numbers.keep(&|other| other != at);
        assert_eq!(kept.len(), numbers.len() - 1);
        assert!(!kept.planned.contains(&numbers.planned[at]), "all are different");
        let outcome = run_direct(&case, &kept, Options::default());
        outcome.result.unwrap_or_else(|failure| panic!("{failure}"));
    }
}

/// If all segments take the same time, a client can resume a session at the very nanosecond of its expiry.
#[test]
fn a_session_and_a_request_for_it_meet_at_the_moment_of_its_expiry() {
    let template = drawn(0).1;
    let server = ServerConfig {
        mode: Mode::Both,
        max_sessions: 10,
        ..template.server.clone()
    };
    let n = 3;
    let at = Duration::from_millis(100);
    let case = Case::calm(1, 1);
    // The session is kept from when its client has closed: the end must reach it, and its FIN come back.
    let acknowledged = at + u32::from(n) * server.period + 2 * case.latency.0;
    let over = acknowledged + server.session_ttl;
    let get = |at, after| {
        let name = Name(1, 2);
        let want = Wanted::Session { name, n, after };
        Planned::Get { host: 0, at, want }
    };
    let mut early = 0;
    for late in [-1_i64, 0, 1] {
        let back = Duration::from_nanos((over.as_nanos() as i64 + late) as u64);
        let numbers = Numbers {
            server: server.clone(),
            planned: vec![get(at, None), get(back, Some(n))],
            ..template.clone()
        };
        let report = run_direct(&case, &numbers, Options::default()).result;
        let marks = report.unwrap_or_else(|failure| panic!("{failure}")).marks;
        assert_eq!(marks.count(Mark::InTimeThoughOver), u64::from(late == 0), "{late} ns");
        early += marks.count(Mark::JustInTime);
    }
    assert_eq!(early, 1, "a nanosecond before");
}

#[test]
fn a_campaign_of_numbers_sees_that_first_numbers_are_uniform() {
    let campaign = Campaign {
        seeds: 0..60,
        plan: Plan::default(),
        until: None,
        jobs: 2,
        stop_at_first: false,
        hang: Duration::from_secs(60),
        stop: std::sync::Arc::default(),
    };
    let tally = campaign.run::<Numbers>(|_| {}, |tally| panic!("{:?}", tally.groups()));
    assert_eq!((tally.seeds, tally.failures.len()), (60, 0), "{:?}", tally.groups());
    assert!(tally.marks.count(Mark::FirstDrawn) > 20);
    assert_eq!(tally.fairness.check(), Ok(()));
}
