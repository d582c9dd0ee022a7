//! How clients connect: pauses grow, only proven use begins them anew, and the time is over some day.

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

/// Attempts whose connections the test plays, and what was done.
struct Play {
    attempts: Attempts<&'static str>,
    rng: ChaCha8Rng,
    now: Time,
    conns: u32,
    dialled: Vec<DialToken>,
    did: Vec<Action<(), ()>>,
}

impl Play {
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
            if let Action::Dial(token) = action {
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

    /// The latest attempt succeeds.
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

    /// The next deadline comes. Returns whose attempt has timed out, if one has.
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
    let mut play = Play::new(RULE);
    let key = play.begin();
    let steps = [100, 200, 400, 800, 1000, 1000].map(Duration::from_millis);
    for (number, step) in steps.into_iter().enumerate() {
        let after = match number % 3 {
            0 => play.refuse(),
            1 => {
                let conn = play.open();
                play.lose(conn)
            }
            _ => {
                let conn = play.open();
                play.fail(key).inspect(|_| {
                    let close = Action::Close(conn, CloseReason::TimedOut);
                    assert_eq!(play.did.last(), Some(&close));
                })
            }
        };
        assert!(is_step(after.unwrap(), step), "{after:?} of {step:?}");
        let before = play.now;
        assert_eq!(play.wait(), None);
        assert_eq!(play.now, before + after.unwrap());
        assert_eq!(play.dialled.len(), number + 2);
    }
    assert_eq!(play.attempts.attempts(key), 7);
    assert_eq!(play.attempts.total_attempts(), 7);
}

#[test]
fn a_connection_alone_proves_nothing_and_the_time_is_over_some_day() {
    let mut play = Play::new(RULE);
    let key = play.begin();
    loop {
        let conn = play.open();
        if play.lose(conn).is_none() {
            break;
        }
        play.wait();
    }
    let limit = Time::ZERO + RULE.give_up_after.unwrap();
    assert!(
        play.now <= limit && limit.since(play.now) <= RULE.backoff.max,
        "{:?}",
        play.now
    );
    assert!(
        (10..25).contains(&play.dialled.len()),
        "{} attempts",
        play.dialled.len()
    );
    let ended = play.with(|attempts, _, _, out| attempts.end(key, CloseReason::Finished, out));
    assert_eq!(ended, Some("it"));
    assert!(play.attempts.is_empty());
}

#[test]
fn with_the_loss_of_a_connection_that_was_of_use_all_begins_anew() {
    let mut play = Play::new(RULE);
    let key = play.begin();
    for _ in 0..5 {
        play.refuse().unwrap();
        play.wait();
    }
    let conn = play.open();
    play.attempts.mark_proven(key);
    play.attempts.set_deadline(key, None);
    assert_eq!(play.attempts.next_deadline(), None, "for as long as it lasts");
    play.now = play.now + Duration::from_secs(1000);
    let lost = play.now;
    assert!(is_step(play.lose(conn).unwrap(), FIRST));
    assert!(!play.attempts.is_proven(key));
    assert_eq!(play.attempts.gives_up_at(key), lost + RULE.give_up_after.unwrap());
    play.wait();
    // The next one is of no use again.
    let conn = play.open();
    assert!(is_step(play.lose(conn).unwrap(), 2 * FIRST));
}

#[test]
fn an_attempt_that_nobody_answers_is_abandoned_in_time() {
    let mut play = Play::new(RULE);
    let key = play.begin();
    let mut times = Vec::new();
    loop {
        assert_eq!(play.wait(), Some(key));
        times.push(play.now);
        let token = *play.dialled.last().unwrap();
        let again = play.fail(key);
        assert_eq!(play.did.last(), Some(&Action::AbandonDial(token)));
        assert_eq!(
            play.attempts.dial_failed(token, DialError::Refused),
            None,
            "it is forgotten"
        );
        if again.is_none() {
            break;
        }
        play.wait();
    }
    assert_eq!(times[0], Time::ZERO + RULE.attempt_timeout);
    assert_eq!(
        times.last(),
        Some(&(Time::ZERO + RULE.give_up_after.unwrap())),
        "no later"
    );
}

#[test]
fn who_does_not_insist_takes_the_first_refusal_for_an_answer() {
    let rule = Retry {
        retry_refused: false,
        ..RULE
    };
    let mut play = Play::new(rule);
    play.begin();
    assert_eq!(play.refuse(), None);

    // That nobody answers is no refusal; that somebody did, once, is reason to insist.
    let mut play = Play::new(rule);
    let key = play.begin();
    play.wait();
    assert!(play.fail(key).is_some());
    play.wait();
    let conn = play.open();
    assert!(play.lose(conn).is_some());
    play.wait();
    assert!(play.refuse().is_some());
    // Whoever wants a connection there next insists as well.
    play.begin();
    assert!(play.refuse().is_some());

    // So is a server that is there, and takes no connections now.
    let mut play = Play::new(rule);
    play.begin();
    assert!(play.dial_fails(DialError::Unavailable).is_some());
    play.wait();
    assert!(play.refuse().is_some());
}

#[test]
fn a_connection_that_nobody_wants_any_more_is_closed() {
    let mut play = Play::new(RULE);
    let key = play.begin();
    let token = play.dialled[0];
    play.with(|attempts, _, _, out| attempts.end(key, CloseReason::Finished, out));
    assert_eq!(play.did.last(), Some(&Action::AbandonDial(token)));
    let conn = ConnId { slot: 1, generation: 0 };
    // Another has the key by now.
    play.begin();
    assert_eq!(
        play.with(|attempts, _, _, out| attempts.opened(conn, Some(token), out)),
        None
    );
    assert_eq!(play.did.last(), Some(&Action::Close(conn, CloseReason::Finished)));
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

/// What is known of each that wants a connection.
#[derive(Debug, Default)]
struct Known {
    dialling: Option<DialToken>,
    conn: Option<ConnId>,
    dialled_at: Option<Time>,
    /// Since when nothing has proven of use.
    useless_since: Time,
    proven: bool,
    /// What was returned when it failed last says that it is over.
    over: bool,
}

struct World {
    play: Play,
    rule: Retry,
    known: BTreeMap<u32, Known>,
    slots: u32,
}

impl World {
    /// Takes in what was done.
    fn settle(&mut self) {
        let now = self.play.now;
        for action in std::mem::take(&mut self.play.did) {
            match action {
                Action::Dial(token) => {
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
        let keys: BTreeSet<u32> = self.play.attempts.iter().map(|(key, _)| key).collect();
        assert!(keys.iter().eq(self.known.keys()));
        for (key, known) in &self.known {
            assert_eq!(self.play.attempts.conn(*key), known.conn);
            assert_eq!(self.play.attempts.is_proven(*key), known.proven);
            if let Some(limit) = self.rule.give_up_after.filter(|_| known.conn.is_none() && !known.over) {
                assert!(now <= known.useless_since + limit, "it should have given up: {known:?}");
            }
        }
        for conn in self.known.values().filter_map(|known| known.conn) {
            assert!(self.play.attempts.key_of(conn).is_some());
        }
    }

    fn failed(&mut self, key: u32) {
        let now = self.play.now;
        let known = self.known.get_mut(&key).unwrap();
        if std::mem::take(&mut known.proven) {
            known.useless_since = now;
        }
        known.over = self.play.fail(key).is_none();
        if known.over {
            self.settle();
            self.end(key);
        }
    }

    fn end(&mut self, key: u32) {
        let ended = self
            .play
            .with(|attempts, _, _, out| attempts.end(key, CloseReason::Finished, out));
        assert!(ended.is_some());
        let mut known = self.known.remove(&key).unwrap();
        for action in std::mem::take(&mut self.play.did) {
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
        let until = self.play.now + time;
        while let Some(due) = self.play.attempts.next_deadline().filter(|due| *due <= until) {
            assert!(due >= self.play.now, "a deadline was missed");
            if let Some(key) = self.play.wait() {
                self.settle();
                self.failed(key);
            }
            self.settle();
        }
        self.play.now = until;
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
                self.play.begin();
                let now = self.play.now;
                self.known.insert(
                    *self.play.dialled.last().map(|token| &token.0).unwrap() as u32,
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
                let opened = self.play.with(|attempts, _, _, out| attempts.opened(conn, dial, out));
                assert_eq!(opened, Some(key));
            }
            Step::Refuse(which) => {
                let key = self.pick(&which, |known| known.dialling.is_some())?;
                let token = self.known.get_mut(&key)?.dialling.take()?;
                assert_eq!(self.play.attempts.dial_failed(token, DialError::Refused), Some(key));
                self.failed(key);
            }
            Step::Close(which) => {
                let key = self.pick(&which, |known| known.conn.is_some())?;
                let conn = self.known.get_mut(&key)?.conn.take()?;
                assert_eq!(self.play.attempts.closed(conn), Some(key));
                self.failed(key);
            }
            Step::Fail(which) => {
                let key = self.pick(&which, |known| known.conn.is_some())?;
                self.failed(key);
            }
            Step::Prove(which) => {
                let key = self.pick(&which, |known| known.conn.is_some())?;
                self.play.attempts.mark_proven(key);
                self.play.attempts.set_deadline(key, None);
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
        let play = Play::new(rule);
        let mut world = World { play, rule, known: BTreeMap::new(), slots: 0 };
        for step in steps {
            let _ = world.step(step);
        }
        for key in world.known.keys().copied().collect::<Vec<_>>() {
            world.end(key);
        }
        prop_assert!(world.play.attempts.is_empty());
    }
}
