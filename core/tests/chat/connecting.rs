//! How a chat's client connects and gives up.

use std::time::Duration;

use echosphere_core::chat::{ClientConfig, ExchangeConfig, Failure, Message, Notice};
use echosphere_core::wire::ErrorCode;
use echosphere_core::{DialError, Event, Machine, Time};

use crate::line::Line;

const TWO_SECONDS: Duration = Duration::from_secs(2);

fn impatient(reconnect: bool) -> Line {
    Line::with(ClientConfig {
        reconnect,
        connect_timeout: TWO_SECONDS,
        ..ClientConfig::default()
    })
}

fn last_failure(line: &Line) -> Option<Failure> {
    match line.client_told.last() {
        Some(Notice::Ended { failure }) => failure.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn without_a_welcome_the_client_gives_up_in_time() {
    for reconnect in [false, true] {
        let mut line = impatient(reconnect);
        line.connect();
        line.client_expires();
        assert_eq!(line.now, Time::ZERO + TWO_SECONDS);
        assert_eq!(last_failure(&line), Some(Failure::TimedOut));
        assert!(line.client.is_zero());
    }
}

#[test]
fn the_pause_after_a_welcome_is_a_first_one_again() {
    let config = ClientConfig::default();
    let mut line = Line::new(true, ExchangeConfig::default());
    for _ in 0..6 {
        let token = line.dialling.take().unwrap();
        line.client(Event::DialFailed(token, DialError::Refused));
        line.client_expires();
    }
    let pause = |line: &Line| match line.client_told.last() {
        Some(Notice::Retrying { after, .. }) => *after,
        other => panic!("{other:?}"),
    };
    assert!(pause(&line) > 8 * config.backoff.first);
    line.connect();
    line.settle();
    line.cut(true, true);
    assert!(pause(&line) <= config.backoff.first);
    // Without a welcome, pauses keep growing.
    line.connect_again();
    line.cut(true, true);
    assert!(pause(&line) > config.backoff.first / 2);
    line.connect_again();
    line.cut(true, true);
    assert!(pause(&line) > config.backoff.first);
}

#[test]
fn a_client_without_a_welcome_retries_after_shutting_down() {
    let mut line = Line::new(true, ExchangeConfig::default());
    line.connect();
    line.to_server.clear();
    line.to_client
        .push_back(Message::Error(ErrorCode::ShuttingDown, "later".into()));
    line.settle();
    line.cut(true, true);
    assert!(matches!(
        line.client_told.last(),
        Some(Notice::Retrying {
            failure: Failure::Rejected(ErrorCode::ShuttingDown, _),
            ..
        })
    ));
    line.recover();
    assert_eq!(line.client_told.last(), Some(&Notice::Connected { resumed: false }));
}

#[test]
fn busy_ends_the_session_even_if_the_server_does_not_close() {
    let mut line = Line::new(true, ExchangeConfig::default());
    line.connect();
    line.to_server.clear();
    line.to_client.push_back(Message::Error(ErrorCode::Busy, "no".into()));
    line.settle();
    line.client_expires();
    assert_eq!(
        last_failure(&line),
        Some(Failure::Rejected(ErrorCode::Busy, "no".into()))
    );
    assert!(line.client.is_zero());
}

#[test]
fn without_retry_refused_a_first_refusal_is_final() {
    let mut line = Line::with(ClientConfig {
        retry_refused: false,
        ..ClientConfig::default()
    });
    let token = line.dialling.take().unwrap();
    line.client(Event::DialFailed(token, DialError::Refused));
    assert_eq!(last_failure(&line), Some(Failure::Dial(DialError::Refused)));
}
