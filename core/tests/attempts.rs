//! How clients connect: pauses grow, only a proven connection resets them, and the time limit ends them.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use echosphere_core::attempts::{Attempts, Retry};
use echosphere_core::random::Backoff;
use echosphere_core::{Action, Actions, CloseReason, ConnId, DialError, DialToken, Time};
use proptest::prelude::*;
use proptest::sample::Index;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const FIRST: Duration = Duration::from_millis(100);
const RULE: Retry = Retry {
    backoff: Backoff {
        first: FIRST,
        max: Duration::from_secs(1),
    },
    attempt_timeout: Duration::from_secs(3),
    give_up_after: Some(Duration::from_secs(10)),
    retry_refused: true,
};

/// Attempts, with the connections that the test plays and the actions so far.
struct Fixture {
    attempts: Attempts<&'static str>,
    rng: ChaCha8Rng,
    now: Time,
    conns: u32,
    dialled: Vec<DialToken>,
    did: Vec<Action<(), ()>>,
}

impl Fixture {
    fn new(rule: Retry) -> Self {
        Self {
            attempts: Attempts::new(rule),
            rng: ChaCha8Rng::seed_from_u64(1),
            now: Time::ZERO,
            conns: 0,
            dialled: Vec::new(),
            did: Vec::new(),
        }
    }

    fn with<R>(
        &mut self,
        act: impl FnOnce(&mut Attempts<&'static str>, Time, &mut ChaCha8Rng, &mut Actions<(), ()>) -> R,
    ) -> R {
        let mut out = Actions::new();
        let result = act(&mut self.attempts, self.now, &mut self.rng, &mut out);
        for action in out.drain() {
            if let Action::Dial(token, _) = action {
                assert!(!self.dialled.contains(&token), "{token:?} is used again");
                self.dialled.push(token);
            }
            self.did.push(action);
        }
        result
    }

    fn begin(&mut self) -> u32 {
        self.with(|attempts, now, _, out| attempts.begin(now, "it", out))
    }

    /// The latest attempt connects.
    fn open(&mut self) -> ConnId {
        let (token, generation) = (*self.dialled.last().unwrap(), self.conns);
        self.conns += 1;
        let conn = ConnId { slot: 0, generation };
        let key = self.with(|attempts, _, _, out| attempts.opened(conn, Some(token), out));
        assert_eq!(self.attempts.conn(key.unwrap()), Some(conn));
        conn
    }

    /// The latest attempt is refused.
    fn refuse(&mut self) -> Option<Duration> {
        self.dial_fails(DialError::Refused)
    }

    /// The latest attempt fails.
    fn dial_fails(&mut self, error: DialError) -> Option<Duration> {
        let token = *self.dialled.last().unwrap();
        let key = self.attempts.dial_failed(token, error).unwrap();
        self.fail(key)
    }

    /// The connection ends.
    fn lose(&mut self, conn: ConnId) -> Option<Duration> {
        let key = self.attempts.closed(conn).unwrap();
        self.fail(key)
    }

    fn fail(&mut self, key: u32) -> Option<Duration> {
        self.with(|attempts, now, rng, out| attempts.failed(now, key, CloseReason::TimedOut, rng, out))
    }

    /// Waits for the next deadline. Returns the key whose attempt has timed out, if any.
    fn wait(&mut self) -> Option<u32> {
        self.now = self.attempts.next_deadline().unwrap();
        self.with(|attempts, now, _, out| attempts.pop_expired(now, out))
    }
}

fn is_step(after: Duration, step: Duration) -> bool {
    (step / 2..=step).contains(&after)
}

#[test]
fn pauses_double_up_to_the_longest_whatever_the_failure_is() {
    let mut fixture = Fixture::new(RULE);
    let key = fixture.begin();
    let steps = [100, 200, 400, 800, 1000, 1000].map(Duration::from_millis);
    for (number, step) in steps.into_iter().enumerate() {
        let after = match number % 3 {
            0 => fixture.refuse(),
            1 => {
                let conn = fixture.open();
                fixture.lose(conn)
            }
            _ => {
                let conn = fixture.open();
                fixture.fail(key).inspect(|_| {
                    let close = Action::Close(conn, CloseReason::TimedOut);
                    assert_eq!(fixture.did.last(), Some(&close));
                })
            }
        };
        assert!(is_step(after.unwrap(), step), "{after:?} of {step:?}");
        let before = fixture.now;
        assert_eq!(fixture.wait(), None);
        assert_eq!(fixture.now, before + after.unwrap());
        assert_eq!(fixture.dialled.len(), number + 2);
    }
    assert_eq!(fixture.attempts.attempts(key), 7);
    assert_eq!(fixture.attempts.total_attempts(), 7);
}

#[test]
fn an_unproven_connection_does_not_extend_the_time_limit() {
    let mut fixture = Fixture::new(RULE);
    let key = fixture.begin();
    loop {
        let conn = fixture.open();
        if fixture.lose(conn).is_none() {
            break;
        }
        fixture.wait();
    }
    let limit = Time::ZERO + RULE.give_up_after.unwrap();
    assert!(
        fixture.now <= limit && limit.since(fixture.now) <= RULE.backoff.max,
        "{:?}",
        fixture.now
    );
    assert!(
        (10..25).contains(&fixture.dialled.len()),
        "{} attempts",
        fixture.dialled.len()
    );
    let ended = fixture.with(|attempts, _, _, out| attempts.end(key, CloseReason::Finished, out));
    assert_eq!(ended, Some("it"));
    assert!(fixture.attempts.is_empty());
}

#[test]
fn the_loss_of_a_proven_connection_resets_pauses_and_time_limit() {
    let mut fixture = Fixture::new(RULE);
    let key = fixture.begin();
    for _ in 0..5 {
        fixture.refuse().unwrap();
        fixture.wait();
    }
    let conn = fixture.open();
    fixture.attempts.mark_proven(key);
    fixture.attempts.set_deadline(key, None);
    assert_eq!(fixture.attempts.next_deadline(), None, "for as long as it lasts");
    fixture.now = fixture.now + Duration::from_secs(1000);
    let lost = fixture.now;
    assert!(is_step(fixture.lose(conn).unwrap(), FIRST));
    assert!(!fixture.attempts.is_proven(key));
    assert_eq!(fixture.attempts.gives_up_at(key), lost + RULE.give_up_after.unwrap());
    fixture.wait();
    // The next connection is not proven either.
    let conn = fixture.open();
    assert!(is_step(fixture.lose(conn).unwrap(), 2 * FIRST));
}

#[test]
fn an_unanswered_attempt_is_abandoned_in_time() {
    let mut fixture = Fixture::new(RULE);
    let key = fixture.begin();
    let mut times = Vec::new();
    loop {
        assert_eq!(fixture.wait(), Some(key));
        times.push(fixture.now);
        let token = *fixture.dialled.last().unwrap();
        let again = fixture.fail(key);
        assert_eq!(fixture.did.last(), Some(&Action::AbandonDial(token)));
        assert_eq!(
            fixture.attempts.dial_failed(token, DialError::Refused),
            None,
            "it is forgotten"
        );
        if again.is_none() {
            break;
        }
        fixture.wait();
    }
    assert_eq!(times[0], Time::ZERO + RULE.attempt_timeout);
    assert_eq!(
        times.last(),
        Some(&(Time::ZERO + RULE.give_up_after.unwrap())),
        "no later"
    );
}

#[test]
fn without_retry_refused_the_first_refusal_is_final() {
    let rule = Retry {
        retry_refused: false,
        ..RULE
    };
    let mut fixture = Fixture::new(rule);
    fixture.begin();
    assert_eq!(fixture.refuse(), None);

    // A time-out is not a refusal, and after one connection has opened a refusal is not final.
    let mut fixture = Fixture::new(rule);
    let key = fixture.begin();
    fixture.wait();
    assert!(fixture.fail(key).is_some());
    fixture.wait();
    let conn = fixture.open();
    assert!(fixture.lose(conn).is_some());
    fixture.wait();
    assert!(fixture.refuse().is_some());
    // The next entry retries as well.
    fixture.begin();
    assert!(fixture.refuse().is_some());

    // So does one after a server that accepts no connections now.
    let mut fixture = Fixture::new(rule);
    fixture.begin();
    assert!(fixture.dial_fails(DialError::Unavailable).is_some());
    fixture.wait();
    assert!(fixture.refuse().is_some());
}

#[test]
fn a_connection_of_an_ended_entry_is_closed() {
    let mut fixture = Fixture::new(RULE);
    let key = fixture.begin();
    let token = fixture.dialled[0];
    fixture.with(|attempts, _, _, out| attempts.end(key, CloseReason::Finished, out));
    assert_eq!(fixture.did.last(), Some(&Action::AbandonDial(token)));
    let conn = ConnId { slot: 1, generation: 0 };
    // Another entry has the key by now.
    fixture.begin();
    assert_eq!(
        fixture.with(|attempts, _, _, out| attempts.opened(conn, Some(token), out)),
        None
    );
    assert_eq!(fixture.did.last(), Some(&Action::Close(conn, CloseReason::Finished)));
}

#[derive(Clone, Debug)]
enum Step {
    Begin,
    End(Index),
    Open(Index),
    Refuse(Index),
    Close(Index),
    Fail(Index),
    Prove(Index),
    Pass(Duration),
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Index>;
    prop_oneof![
        3 => Just(Step::Begin),
        1 => index().prop_map(Step::End),
        8 => index().prop_map(Step::Open),
        8 => index().prop_map(Step::Refuse),
        8 => index().prop_map(Step::Close),
        3 => index().prop_map(Step::Fail),
        3 => index().prop_map(Step::Prove),
        12 => (0..2500_u64).prop_map(|millis| Step::Pass(Duration::from_millis(millis))),
    ]
}

fn rule() -> impl Strategy<Value = Retry> {
    (any::<bool>(), any::<bool>()).prop_map(|(forever, retry_refused)| Retry {
        give_up_after: RULE.give_up_after.filter(|_| !forever),
        retry_refused,
        ..RULE
    })
}

/// The test's record of an entry.
#[derive(Debug, Default)]
struct Known {
    dialling: Option<DialToken>,
    conn: Option<ConnId>,
    dialled_at: Option<Time>,
    /// Since when no connection was proven.
    useless_since: Time,
    proven: bool,
    /// Whether the last failure ended it.
    over: bool,
}

struct World {
    fixture: Fixture,
    rule: Retry,
    known: BTreeMap<u32, Known>,
    slots: u32,
}

impl World {
    /// Records the actions.
    fn settle(&mut self) {
        let now = self.fixture.now;
        for action in std::mem::take(&mut self.fixture.did) {
            match action {
                Action::Dial(token, _) => {
                    let known = self.known.entry(token.0 as u32).or_default();
                    assert!(known.dialling.is_none() && known.conn.is_none(), "{known:?}");
                    if let Some(before) = known.dialled_at.replace(now) {
                        assert!(
                            now.since(before) >= FIRST / 2,
                            "a storm: {:?} after another",
                            now.since(before)
                        );
                    }
                    known.dialling = Some(token);
                }
                Action::AbandonDial(token) => {
                    let mut all = self.known.values_mut();
                    assert!(all.any(|known| known.dialling.take_if(|dial| *dial == token).is_some()));
                }
                Action::Close(conn, _) => {
                    let mut all = self.known.values_mut();
                    assert!(all.any(|known| known.conn.take_if(|held| *held == conn).is_some()));
                }
                other => panic!("{other:?}"),
            }
        }
        let keys: BTreeSet<u32> = self.fixture.attempts.iter().map(|(key, _)| key).collect();
        assert!(keys.iter().eq(self.known.keys()));
        for (key, known) in &self.known {
            assert_eq!(self.fixture.attempts.conn(*key), known.conn);
            assert_eq!(self.fixture.attempts.is_proven(*key), known.proven);
            if let Some(limit) = self.rule.give_up_after.filter(|_| known.conn.is_none() && !known.over) {
                assert!(now <= known.useless_since + limit, "it should have given up: {known:?}");
            }
        }
        for conn in self.known.values().filter_map(|known| known.conn) {
            assert!(self.fixture.attempts.key_of(conn).is_some());
        }
    }

    fn failed(&mut self, key: u32) {
        let now = self.fixture.now;
        let known = self.known.get_mut(&key).unwrap();
        if std::mem::take(&mut known.proven) {
            known.useless_since = now;
        }
        known.over = self.fixture.fail(key).is_none();
        if known.over {
            self.settle();
            self.end(key);
        }
    }

    fn end(&mut self, key: u32) {
        let ended = self
            .fixture
            .with(|attempts, _, _, out| attempts.end(key, CloseReason::Finished, out));
        assert!(ended.is_some());
        let mut known = self.known.remove(&key).unwrap();
        for action in std::mem::take(&mut self.fixture.did) {
            let had = match action {
                Action::AbandonDial(token) => known.dialling.take_if(|dial| *dial == token).is_some(),
                Action::Close(conn, _) => known.conn.take_if(|held| *held == conn).is_some(),
                _ => false,
            };
            assert!(had, "{action:?}");
        }
        assert!(known.dialling.is_none() && known.conn.is_none(), "left: {known:?}");
    }

    fn pass(&mut self, time: Duration) {
        let until = self.fixture.now + time;
        while let Some(due) = self.fixture.attempts.next_deadline().filter(|due| *due <= until) {
            assert!(due >= self.fixture.now, "a deadline was missed");
            if let Some(key) = self.fixture.wait() {
                self.settle();
                self.failed(key);
            }
            self.settle();
        }
        self.fixture.now = until;
    }

    fn pick(&self, which: &Index, wanted: impl Fn(&Known) -> bool) -> Option<u32> {
        let keys: Vec<u32> = self
            .known
            .iter()
            .filter(|(_, known)| wanted(known))
            .map(|(key, _)| *key)
            .collect();
        (!keys.is_empty()).then(|| *which.get(&keys))
    }

    fn step(&mut self, step: Step) -> Option<()> {
        match step {
            Step::Begin => {
                self.fixture.begin();
                let now = self.fixture.now;
                self.known.insert(
                    *self.fixture.dialled.last().map(|token| &token.0).unwrap() as u32,
                    Known {
                        useless_since: now,
                        ..Known::default()
                    },
                );
            }
            Step::End(which) => self.end(self.pick(&which, |_| true)?),
            Step::Open(which) => {
                let key = self.pick(&which, |known| known.dialling.is_some())?;
                let conn = ConnId {
                    slot: self.slots,
                    generation: 0,
                };
                self.slots += 1;
                let known = self.known.get_mut(&key)?;
                let dial = known.dialling.take();
                known.conn = Some(conn);
                let opened = self
                    .fixture
                    .with(|attempts, _, _, out| attempts.opened(conn, dial, out));
                assert_eq!(opened, Some(key));
            }
            Step::Refuse(which) => {
                let key = self.pick(&which, |known| known.dialling.is_some())?;
                let token = self.known.get_mut(&key)?.dialling.take()?;
                assert_eq!(self.fixture.attempts.dial_failed(token, DialError::Refused), Some(key));
                self.failed(key);
            }
            Step::Close(which) => {
                let key = self.pick(&which, |known| known.conn.is_some())?;
                let conn = self.known.get_mut(&key)?.conn.take()?;
                assert_eq!(self.fixture.attempts.closed(conn), Some(key));
                self.failed(key);
            }
            Step::Fail(which) => {
                let key = self.pick(&which, |known| known.conn.is_some())?;
                self.failed(key);
            }
            Step::Prove(which) => {
                let key = self.pick(&which, |known| known.conn.is_some())?;
                self.fixture.attempts.mark_proven(key);
                self.fixture.attempts.set_deadline(key, None);
                self.known.get_mut(&key)?.proven = true;
            }
            Step::Pass(time) => self.pass(time),
        }
        self.settle();
        Some(())
    }
}

proptest! {
    #[test]
    fn there_is_never_a_storm_and_nothing_is_left(
        rule in rule(),
        steps in proptest::collection::vec(step(), 0..200),
    ) {
        let fixture = Fixture::new(rule);
        let mut world = World { fixture, rule, known: BTreeMap::new(), slots: 0 };
        for step in steps {
            let _ = world.step(step);
        }
        for key in world.known.keys().copied().collect::<Vec<_>>() {
            world.end(key);
        }
        prop_assert!(world.fixture.attempts.is_empty());
    }
}
