//! Users that reconnect after a loss.

use std::time::Duration;

use bytes::Bytes;
use echosphere_core::hub::{ClientConfig, Command, Failure, Notice, Reply, Request};
use echosphere_core::wire::ErrorCode;
use echosphere_core::{Action, CloseReason, DialError, Event, Machine, Time};

use crate::sessions::{CONN, Did, Fixture, ended, send, unanswered};

fn config() -> ClientConfig {
    ClientConfig {
        reconnect: true,
        ..ClientConfig::default()
    }
}

/// A client with session 1 connected and proven by an answer of the hub.
fn proven() -> Fixture {
    let mut fixture = Fixture::with(config());
    fixture.command(Command::Connect { session: 1 });
    fixture.open();
    fixture.ask(1, Request::Identity);
    fixture.hear(Reply::Identity(5));
    fixture
}

fn pause(did: &[Did]) -> (Failure, Duration) {
    match did {
        [
            ..,
            Action::Notify(Notice::Retrying {
                session: 1,
                failure: why,
                after,
            }),
        ] => (why.clone(), *after),
        other => panic!("{other:?}"),
    }
}

#[test]
fn after_a_loss_sent_requests_are_unanswered_and_new_ones_are_sent_later() {
    let mut fixture = proven();
    fixture.ask(2, Request::List);
    let did = fixture.handle(Event::Closed(CONN, CloseReason::Reset));
    assert_eq!(did[0], unanswered(2));
    assert_eq!(pause(&did).0, Failure::Closed(CloseReason::Reset));
    assert_eq!(fixture.ask(3, Request::Identity), []);
    fixture.expire();
    let connected = Action::Notify(Notice::Connected { session: 1 });
    assert_eq!(fixture.open(), [connected, send(Request::Identity)]);
}

#[test]
fn only_an_answer_or_delivery_resets_the_pauses() {
    let mut fixture = proven();
    let first = config().backoff.first;
    let (_, after) = pause(&fixture.handle(Event::Closed(CONN, CloseReason::PeerClosed)));
    assert!(after <= first);
    let mut longest = after;
    let did = loop {
        fixture.expire();
        fixture.open();
        fixture.ask(2, Request::Identity);
        // An error proves nothing.
        fixture.hear(Reply::Error(ErrorCode::Full, Bytes::new()));
        let did = fixture.handle(Event::Closed(CONN, CloseReason::PeerClosed));
        if let Some(Action::Notify(Notice::Ended { .. })) = did.last() {
            break did;
        }
        longest = longest.max(pause(&did).1);
    };
    assert!(longest > 8 * first, "{longest:?}");
    assert!(fixture.dials.len() < 30, "{} attempts", fixture.dials.len());
    assert!(fixture.now <= Time::ZERO + config().connect_timeout);
    let failure = Failure::Rejected(ErrorCode::Full, Bytes::new());
    assert_eq!(did, [unanswered(2), ended(Some(failure))]);
    assert!(fixture.client.is_zero());
}

#[test]
fn a_delivery_proves_a_hub() {
    let mut fixture = Fixture::with(config());
    fixture.command(Command::Connect { session: 1 });
    for _ in 0..8 {
        fixture.handle(Event::DialFailed(fixture.dial(), DialError::Unreachable));
        fixture.expire();
    }
    fixture.open();
    fixture.hear(Reply::Delivery {
        from: 9,
        body: Bytes::new(),
    });
    let (_, after) = pause(&fixture.handle(Event::Closed(CONN, CloseReason::Reset)));
    assert!(after <= config().backoff.first);
}

#[test]
fn without_an_answer_of_the_hub_the_client_gives_up_in_time() {
    let mut fixture = Fixture::with(ClientConfig {
        connect_timeout: Duration::from_secs(3),
        ..config()
    });
    fixture.command(Command::Connect { session: 1 });
    fixture.open();
    fixture.ask(1, Request::Identity);
    let did = fixture.expire();
    assert_eq!(
        fixture.now,
        Time::ZERO + Duration::from_secs(3),
        "sooner than the time for one answer"
    );
    let close = Action::Close(CONN, CloseReason::TimedOut);
    assert_eq!(did, [close, unanswered(1), ended(Some(Failure::TimedOut))]);
}

#[test]
fn a_request_on_an_idle_connection_has_its_full_time() {
    let mut fixture = Fixture::with(ClientConfig {
        connect_timeout: Duration::from_secs(3),
        ..config()
    });
    fixture.command(Command::Connect { session: 1 });
    fixture.open();
    assert_eq!(fixture.client.next_deadline(), None);
    fixture.now = Time::ZERO + Duration::from_secs(10);
    fixture.ask(1, Request::Identity);
    assert_eq!(
        fixture.client.next_deadline(),
        Some(fixture.now + config().response_timeout)
    );
}

#[test]
fn a_leaving_session_does_not_reconnect() {
    let mut fixture = proven();
    fixture.ask(2, Request::List);
    fixture.command(Command::Leave { session: 1 });
    let did = fixture.handle(Event::Closed(CONN, CloseReason::Reset));
    let failure = Failure::Closed(CloseReason::Reset);
    assert_eq!(did, [unanswered(2), ended(Some(failure))]);

    let mut fixture = proven();
    fixture.handle(Event::Closed(CONN, CloseReason::Reset));
    assert_eq!(fixture.command(Command::Leave { session: 1 }), [ended(None)]);
    assert!(fixture.client.is_zero());
}

#[test]
fn a_protocol_violation_is_not_retried() {
    let mut fixture = proven();
    fixture.ask(2, Request::List);
    let did = fixture.hear(Reply::Identity(5));
    assert_eq!(did.last(), Some(&ended(Some(Failure::ProtocolViolation))));
}

#[test]
fn without_retry_refused_a_first_refusal_is_final() {
    let mut fixture = Fixture::with(ClientConfig {
        retry_refused: false,
        ..config()
    });
    fixture.command(Command::Connect { session: 1 });
    let did = fixture.handle(Event::DialFailed(fixture.dial(), DialError::Refused));
    assert_eq!(did, [ended(Some(Failure::Dial(DialError::Refused)))]);
}
