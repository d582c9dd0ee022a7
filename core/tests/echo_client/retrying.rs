//! After a failed attempt: the next one after a pause, until retrying cannot help or the time limit passes.

use std::time::Duration;

use bytes::Bytes;
use echosphere_core::echo::{ClientConfig, Failure, Message, Notice};
use echosphere_core::random::Backoff;
use echosphere_core::wire::ErrorCode;
use echosphere_core::{Action, CloseReason, ConnId, DialError, Event, Machine};

use crate::fixture::{CONN, Fixture, Out, dialled, ok, pause};

const SECOND: Duration = Duration::from_secs(1);

fn config() -> ClientConfig {
    ClientConfig {
        response_timeout: 3 * SECOND,
        backoff: Backoff {
            first: SECOND / 10,
            max: SECOND,
        },
        give_up_after: None,
        ..ClientConfig::default()
    }
}

fn failure(actions: &[Out]) -> &Failure {
    match actions.last() {
        Some(Action::Notify(Notice::Retrying { failure, .. } | Notice::GaveUp { failure, .. })) => failure,
        _ => panic!("expected a failure, got {actions:?}"),
    }
}

fn error(code: ErrorCode) -> Message {
    Message::Error(code, Bytes::from_static(b"words"))
}

#[test]
fn without_an_ok_in_time_the_client_retries() {
    let mut fixture = Fixture::connected(config(), "x");
    let (passed, actions) = fixture.wait();
    assert_eq!(passed, 3 * SECOND);
    assert_eq!(actions[0], Action::Close(CONN, CloseReason::TimedOut));
    assert_eq!(*failure(&actions), Failure::TimedOut);
    assert_eq!(fixture.counters().timeouts, 1);

    let after = pause(&actions);
    let (waited, actions) = fixture.wait();
    assert_eq!(waited, after);
    let next = ConnId { generation: 1, ..CONN };
    let sent = fixture.open(next, dialled(&actions));
    assert!(matches!(&sent[..], [Action::Send(id, Message::Message(x))] if *id == next && x == "x"));
    match fixture.receive(next, ok("x")).last() {
        Some(Action::Notify(Notice::Acknowledged { retries, total, .. })) => {
            assert_eq!(*retries, 1);
            assert_eq!(*total, 3 * SECOND + after);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_pause_is_drawn_from_the_upper_half_of_a_step_that_doubles_up_to_the_maximum() {
    let steps = [100, 200, 400, 800, 1000, 1000, 1000].map(Duration::from_millis);
    let mut shortest = [Duration::MAX; 7];
    let mut longest = [Duration::ZERO; 7];
    for seed in 0..200 {
        let mut fixture = Fixture::seeded(config(), seed);
        let mut token = fixture.send(1, "x");
        for (n, step) in steps.into_iter().enumerate() {
            let after = pause(&fixture.handle(Event::DialFailed(token, DialError::Refused)));
            assert!(
                after >= step / 2 && after <= step,
                "retry {n}: {after:?}, step {step:?}"
            );
            shortest[n] = shortest[n].min(after);
            longest[n] = longest[n].max(after);
            let (waited, actions) = fixture.wait();
            assert_eq!(waited, after);
            token = dialled(&actions);
        }
    }
    for (n, step) in steps.into_iter().enumerate() {
        assert!(shortest[n] < step * 52 / 100, "retry {n} never waits half a step");
        assert!(longest[n] > step * 98 / 100, "retry {n} never waits a whole step");
    }
}

#[test]
fn a_failed_attempt_is_reported_and_retried() {
    for error in [DialError::Refused, DialError::Unreachable] {
        let mut fixture = Fixture::with(config());
        let token = fixture.send(1, "x");
        let actions = fixture.handle(Event::DialFailed(token, error));
        assert_eq!(actions.len(), 1, "nothing to abandon: {actions:?}");
        assert_eq!(*failure(&actions), Failure::Dial(error));
        dialled(&fixture.wait().1);
        assert_eq!(fixture.counters().retries, 1);
    }
}

#[test]
fn a_dial_that_takes_too_long_is_abandoned() {
    let mut fixture = Fixture::with(config());
    let token = fixture.send(1, "x");
    let (passed, actions) = fixture.wait();
    assert_eq!(passed, 3 * SECOND);
    assert_eq!(actions[0], Action::AbandonDial(token));
    assert_eq!(*failure(&actions), Failure::TimedOut);
}

#[test]
fn the_time_to_connect_counts_towards_the_response_timeout() {
    let mut fixture = Fixture::with(config());
    let token = fixture.send(1, "x");
    fixture.now = fixture.now + 2 * SECOND;
    fixture.open(CONN, token);
    assert_eq!(fixture.wait().0, SECOND);
}

#[test]
fn the_result_of_an_abandoned_attempt_is_not_taken_for_the_next() {
    let mut fixture = Fixture::with(config());
    let abandoned = fixture.send(1, "x");
    fixture.wait();
    let current = dialled(&fixture.wait().1);
    assert_ne!(abandoned, current);
    assert_eq!(
        fixture.open(CONN, abandoned),
        [Action::Close(CONN, CloseReason::Finished)]
    );
    assert_eq!(fixture.handle(Event::DialFailed(abandoned, DialError::Refused)), []);
    let next = ConnId { slot: 1, ..CONN };
    assert!(matches!(fixture.open(next, current)[..], [Action::Send(..)]));
}

#[test]
fn a_lost_connection_is_replaced() {
    let mut fixture = Fixture::connected(config(), "x");
    let actions = fixture.handle(Event::Closed(CONN, CloseReason::SlowConsumer));
    assert_eq!(actions.len(), 1, "it is closed already: {actions:?}");
    assert_eq!(*failure(&actions), Failure::Closed(CloseReason::SlowConsumer));
    dialled(&fixture.wait().1);
}

#[test]
fn it_gives_up_when_its_time_is_over() {
    for limit in [SECOND, 2 * SECOND, 10 * SECOND] {
        let mut fixture = Fixture::with(ClientConfig {
            give_up_after: Some(limit),
            ..config()
        });
        let mut token = fixture.send(1, "x");
        let attempts = loop {
            let mut actions = fixture.handle(Event::DialFailed(token, DialError::Refused));
            match actions.pop() {
                Some(Action::Notify(Notice::GaveUp { attempts, failure, .. })) => {
                    assert_eq!(failure, Failure::Dial(DialError::Refused));
                    break attempts;
                }
                _ => token = dialled(&fixture.wait().1),
            }
            assert!(fixture.now.since(echosphere_core::Time::ZERO) < limit);
        };
        assert_eq!(u64::from(attempts), fixture.counters().attempts);
        assert_eq!(fixture.counters().gave_up, 1);
        assert!(fixture.client.is_zero());
    }
}

#[test]
fn the_last_attempt_ends_when_its_time_is_over_and_not_later() {
    let mut fixture = Fixture::with(ClientConfig {
        give_up_after: Some(2 * SECOND),
        ..config()
    });
    let token = fixture.send(1, "x");
    fixture.open(CONN, token);
    let (passed, actions) = fixture.wait();
    assert_eq!(passed, 2 * SECOND);
    assert_eq!(actions[0], Action::Close(CONN, CloseReason::TimedOut));
    let notice = Notice::GaveUp {
        key: 1,
        failure: Failure::TimedOut,
        attempts: 1,
    };
    assert_eq!(actions[1..], [Action::Notify(notice)]);
    assert!(fixture.client.is_zero());
}

#[test]
fn a_temporary_error_is_retried_on_another_connection() {
    for code in [
        ErrorCode::ShuttingDown,
        ErrorCode::Full,
        ErrorCode::Busy,
        ErrorCode::TooManyWaiting,
        ErrorCode::HandshakeTimeout,
        ErrorCode::IdleTimeout,
        ErrorCode::Truncated,
    ] {
        let mut fixture = Fixture::connected(config(), "x");
        let actions = fixture.receive(CONN, error(code));
        assert_eq!(actions[0], Action::Close(CONN, CloseReason::Rejected(code)));
        assert_eq!(
            *failure(&actions),
            Failure::Rejected(code, Bytes::from_static(b"words"))
        );
        dialled(&fixture.wait().1);
    }
}

#[test]
fn a_permanent_error_is_not_retried() {
    for code in [
        ErrorCode::UnknownRequest,
        ErrorCode::FrameTooLong,
        ErrorCode::LineTooLong,
        ErrorCode::Unknown,
    ] {
        let mut fixture = Fixture::connected(config(), "x");
        let actions = fixture.receive(CONN, error(code));
        assert_eq!(actions[0], Action::Close(CONN, CloseReason::Rejected(code)));
        let notice = Notice::GaveUp {
            key: 1,
            failure: Failure::Rejected(code, Bytes::from_static(b"words")),
            attempts: 1,
        };
        assert_eq!(actions[1..], [Action::Notify(notice)]);
        assert!(fixture.client.is_zero());
    }
}

#[test]
fn not_held_does_not_end_the_wait_for_the_ok() {
    let mut fixture = Fixture::connected(config(), "x");
    assert_eq!(fixture.receive(CONN, error(ErrorCode::NotHeld)), []);
    assert_eq!(fixture.client.under_way(), 1);
    assert_eq!(fixture.counters().errors_received, 1);
}
