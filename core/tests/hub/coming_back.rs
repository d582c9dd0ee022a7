//! Users who come back when their connection is lost.

use std::time::Duration;

use bytes::Bytes;
use echosphere_core::hub::{ClientConfig, Command, Failure, Notice, Reply, Request};
use echosphere_core::wire::ErrorCode;
use echosphere_core::{Action, CloseReason, DialError, Event, Machine, Time};

use crate::sessions::{Bench, CONN, Did, ended, send, unanswered};

fn config() -> ClientConfig {
    ClientConfig {
        reconnect: true,
        ..ClientConfig::default()
    }
}

/// With session 1 connected, to which the hub has said who it is.
fn proven() -> Bench {
    let mut bench = Bench::with(config());
    bench.command(Command::Connect { session: 1 });
    bench.open();
    bench.ask(1, Request::Identity);
    bench.hear(Reply::Identity(5));
    bench
}

fn pause(did: &[Did]) -> (Failure, Duration) {
    match did {
        [.., Action::Notify(Notice::Retrying { session: 1, why, after })] => (why.clone(), *after),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_was_asked_is_told_as_unanswered_and_what_is_asked_meanwhile_is_sent_later() {
    let mut bench = proven();
    bench.ask(2, Request::List);
    let did = bench.handle(Event::Closed(CONN, CloseReason::Reset));
    assert_eq!(did[0], unanswered(2));
    assert_eq!(pause(&did).0, Failure::Closed(CloseReason::Reset));
    assert_eq!(bench.ask(3, Request::Identity), []);
    bench.expire();
    let connected = Action::Notify(Notice::Connected { session: 1 });
    assert_eq!(bench.open(), [connected, send(Request::Identity)]);
}

#[test]
fn only_what_a_hub_says_begins_pauses_anew() {
    let mut bench = proven();
    let first = config().backoff.first;
    let (_, after) = pause(&bench.handle(Event::Closed(CONN, CloseReason::PeerClosed)));
    assert!(after <= first);
    let mut longest = after;
    let did = loop {
        bench.expire();
        bench.open();
        bench.ask(2, Request::Identity);
        // An error proves nothing.
        bench.hear(Reply::Error(ErrorCode::Full, Bytes::new()));
        let did = bench.handle(Event::Closed(CONN, CloseReason::PeerClosed));
        if let Some(Action::Notify(Notice::Ended { .. })) = did.last() {
            break did;
        }
        longest = longest.max(pause(&did).1);
    };
    assert!(longest > 8 * first, "{longest:?}");
    assert!(bench.dials.len() < 30, "{} attempts", bench.dials.len());
    assert!(bench.now <= Time::ZERO + config().connect_timeout);
    let failure = Failure::Rejected(ErrorCode::Full, Bytes::new());
    assert_eq!(did, [unanswered(2), ended(Some(failure))]);
    assert!(bench.client.is_zero());
}

#[test]
fn a_delivery_proves_a_hub() {
    let mut bench = Bench::with(config());
    bench.command(Command::Connect { session: 1 });
    for _ in 0..8 {
        bench.handle(Event::DialFailed(bench.dial(), DialError::Unreachable));
        bench.expire();
    }
    bench.open();
    bench.hear(Reply::Delivery {
        from: 9,
        body: Bytes::new(),
    });
    let (_, after) = pause(&bench.handle(Event::Closed(CONN, CloseReason::Reset)));
    assert!(after <= config().backoff.first);
}

#[test]
fn a_hub_that_never_answers_is_given_up_in_time_whatever_it_does() {
    let mut bench = Bench::with(ClientConfig {
        connect_timeout: Duration::from_secs(3),
        ..config()
    });
    bench.command(Command::Connect { session: 1 });
    bench.open();
    bench.ask(1, Request::Identity);
    let did = bench.expire();
    assert_eq!(
        bench.now,
        Time::ZERO + Duration::from_secs(3),
        "sooner than the time for one answer"
    );
    let close = Action::Close(CONN, CloseReason::TimedOut);
    assert_eq!(did, [close, unanswered(1), ended(Some(Failure::TimedOut))]);
}

#[test]
fn what_is_asked_on_a_connection_that_was_idle_has_its_time() {
    let mut bench = Bench::with(ClientConfig {
        connect_timeout: Duration::from_secs(3),
        ..config()
    });
    bench.command(Command::Connect { session: 1 });
    bench.open();
    assert_eq!(bench.client.next_deadline(), None);
    bench.now = Time::ZERO + Duration::from_secs(10);
    bench.ask(1, Request::Identity);
    assert_eq!(
        bench.client.next_deadline(),
        Some(bench.now + config().response_timeout)
    );
}

#[test]
fn who_is_to_leave_does_not_come_back() {
    let mut bench = proven();
    bench.ask(2, Request::List);
    bench.command(Command::Leave { session: 1 });
    let did = bench.handle(Event::Closed(CONN, CloseReason::Reset));
    let failure = Failure::Closed(CloseReason::Reset);
    assert_eq!(did, [unanswered(2), ended(Some(failure))]);

    let mut bench = proven();
    bench.handle(Event::Closed(CONN, CloseReason::Reset));
    assert_eq!(bench.command(Command::Leave { session: 1 }), [ended(None)]);
    assert!(bench.client.is_zero());
}

#[test]
fn an_answer_that_makes_no_sense_is_no_reason_to_come_back() {
    let mut bench = proven();
    bench.ask(2, Request::List);
    let did = bench.hear(Reply::Identity(5));
    assert_eq!(did.last(), Some(&ended(Some(Failure::Confused))));
}

#[test]
fn who_does_not_insist_takes_a_first_refusal_for_an_answer() {
    let mut bench = Bench::with(ClientConfig {
        retry_refused: false,
        ..config()
    });
    bench.command(Command::Connect { session: 1 });
    let did = bench.handle(Event::DialFailed(bench.dial(), DialError::Refused));
    assert_eq!(did, [ended(Some(Failure::Dial(DialError::Refused)))]);
}
