//! `message Y` is acknowledged by `ok Y`, at once or after a delay.

use std::time::Duration;

use echosphere_core::echo::ClientConfig;
use echosphere_core::random::Delay;
use echosphere_core::{Action, Event, Machine};

use crate::fixture::{CONN, Fixture, message, ok};

const SECOND: Duration = Duration::from_secs(1);

fn connected(ack_delay: Delay) -> Fixture {
    let config = ClientConfig {
        ack_delay,
        response_timeout: 10_000 * SECOND,
        give_up_after: None,
        ..ClientConfig::default()
    };
    Fixture::connected(config, "x")
}

/// The delays of the acknowledgements of many messages, shortest first.
fn delays(ack_delay: Delay) -> Vec<Duration> {
    let mut fixture = connected(ack_delay);
    let answer = [Action::Send(CONN, ok("y"))];
    let delays = (0..500).map(|_| {
        if fixture.receive(CONN, message("y")) == answer {
            return Duration::ZERO;
        }
        let (passed, answered) = fixture.wait();
        assert_eq!(answered, answer);
        passed
    });
    let mut delays: Vec<Duration> = delays.collect();
    delays.sort();
    delays
}

#[test]
fn at_once_without_a_delay() {
    let mut fixture = connected(Delay::None);
    for y in ["y", "", "x"] {
        assert_eq!(fixture.receive(CONN, message(y)), [Action::Send(CONN, ok(y))]);
    }
    assert_eq!(fixture.counters().answered, 3);
}

#[test]
fn after_a_constant_delay() {
    assert_eq!(delays(Delay::Constant(SECOND)), [SECOND; 500]);
}

#[test]
fn after_a_uniform_delay() {
    let delays = delays(Delay::Uniform(SECOND, 5 * SECOND));
    assert!(delays[0] >= SECOND && delays[0] < SECOND * 11 / 10, "{:?}", delays[0]);
    assert!(delays[499] < 5 * SECOND && delays[499] > SECOND * 49 / 10);
    assert!(delays[250] > SECOND * 27 / 10 && delays[250] < SECOND * 33 / 10);
}

#[test]
fn after_an_exponential_delay() {
    let delays = delays(Delay::Exponential(SECOND));
    let mean = delays.iter().sum::<Duration>() / 500;
    let median = delays[250];
    assert!(mean > SECOND * 8 / 10 && mean < SECOND * 12 / 10, "{mean:?}");
    // ln 2 times the mean. A uniform delay would have half the mean, a constant one all of it.
    assert!(median > SECOND * 6 / 10 && median < SECOND * 8 / 10, "{median:?}");
    assert!(delays[499] <= Delay::EXPONENTIAL_CUT * SECOND);
}

#[test]
fn each_acknowledgement_has_its_own_delay() {
    let mut fixture = connected(Delay::Constant(SECOND));
    fixture.receive(CONN, message("a"));
    fixture.now = fixture.now + SECOND / 4;
    fixture.receive(CONN, message("b"));
    fixture.receive(CONN, message("a"));
    assert_eq!(fixture.wait(), (SECOND * 3 / 4, vec![Action::Send(CONN, ok("a"))]));
    let both = vec![Action::Send(CONN, ok("b")), Action::Send(CONN, ok("a"))];
    assert_eq!(fixture.wait(), (SECOND / 4, both));
    assert_eq!(fixture.counters().answered, 3);
}

#[test]
fn an_acknowledgement_is_sent_before_the_own_ok_or_dropped_with_the_connection() {
    let mut fixture = connected(Delay::Constant(SECOND));
    fixture.receive(CONN, message("a"));
    fixture.receive(CONN, message("b"));
    fixture.receive(CONN, ok("x"));
    assert!(fixture.client.is_zero());
    assert_eq!(fixture.client.next_deadline(), None);
    fixture.now = fixture.now + 2 * SECOND;
    assert_eq!(fixture.handle(Event::Deadline), []);
}

#[test]
fn an_owed_acknowledgement_is_dropped_with_its_connection_after_another() {
    let mut fixture = connected(Delay::Constant(SECOND));
    fixture.receive(CONN, message("a"));
    fixture.now = fixture.now + SECOND / 2;
    fixture.receive(CONN, message("b"));
    fixture.wait();
    fixture.receive(CONN, ok("x"));
    assert!(fixture.client.is_zero());
}

#[test]
fn no_acknowledgement_is_owed_after_a_loss() {
    let mut fixture = connected(Delay::Constant(SECOND));
    fixture.receive(CONN, message("a"));
    fixture.close(CONN);
    let (_, next) = fixture.wait();
    assert!(matches!(next[..], [Action::Dial(_, _)]), "{next:?}");
    let (passed, _) = fixture.wait();
    assert_eq!(passed, 10_000 * SECOND, "nothing but the next ok is waited for");
    assert_eq!(fixture.counters().answered, 0);
}

#[test]
fn over_the_bound_answers_are_sent_at_once() {
    let config = ClientConfig {
        ack_delay: Delay::Constant(SECOND),
        max_delayed_acks: 2,
        ..ClientConfig::default()
    };
    let mut fixture = Fixture::connected(config, "x");
    assert_eq!(fixture.receive(CONN, message("a")), []);
    assert_eq!(fixture.receive(CONN, message("b")), []);
    assert_eq!(fixture.receive(CONN, message("c")), [Action::Send(CONN, ok("c"))]);
    fixture.wait();
    assert_eq!(fixture.receive(CONN, message("d")), []);
}
