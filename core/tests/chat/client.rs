//! The chat's client, apart from connecting and resuming.

use echosphere_core::chat::{ChatCounters, Command, ExchangeConfig, Failure, Message, Notice, SendError};
use echosphere_core::wire::ErrorCode;
use echosphere_core::{CloseReason, DialError, Event, Machine};

use crate::line::{Line, delivered, heard};

fn ended(failure: Option<Failure>) -> Notice {
    Notice::Ended { failure }
}

#[test]
fn messages_before_the_connection_are_sent_after_the_welcome() {
    let mut line = Line::new(false, ExchangeConfig::default());
    line.client_says(1, "early");
    line.connect();
    assert_eq!(line.to_server, [Message::Begin { session: 0 }]);
    line.settle();
    assert_eq!(heard(&line.server_told), ["early"]);
}

#[test]
fn leaving_waits_for_the_acknowledgements() {
    let mut line = Line::connected(false, ExchangeConfig::default());
    line.client_says(1, "x");
    line.client(Event::Command(Command::Leave));
    line.client_says(2, "y");
    let why = SendError::Leaving;
    assert_eq!(line.client_told.last(), Some(&Notice::Refused { key: 2, why }));
    line.settle();
    assert_eq!(delivered(&line.client_told), [1]);
    assert_eq!(line.client_told.last(), Some(&ended(None)));
    assert_eq!(line.server_told.last(), Some(&ended(None)));
    assert!(line.client.is_zero() && line.server.is_zero());
}

#[test]
fn hanging_up_ends_the_session_at_once() {
    let mut line = Line::connected(true, ExchangeConfig::default());
    line.client_says(1, "x");
    line.client(Event::Command(Command::HangUp));
    let undelivered = Notice::Unacknowledged { key: 1, sent: true };
    assert!(line.client_told.ends_with(&[undelivered, ended(None)]));
    assert_eq!(
        line.server_told.last(),
        Some(&ended(None)),
        "the server heard the goodbye"
    );
    assert!(line.server.is_zero());
}

#[test]
fn attempts_continue_until_the_time_limit() {
    let mut line = Line::new(true, ExchangeConfig::default());
    let mut retries = 0;
    while let Some(token) = line.dialling.take() {
        line.client(Event::DialFailed(token, DialError::Refused));
        retries += 1;
        line.client_expires();
    }
    assert!((10..100).contains(&retries), "{retries} attempts in a minute");
    assert!(line.now.as_nanos() <= 60_000_000_000);
    assert_eq!(
        line.client_told.last(),
        Some(&ended(Some(Failure::Dial(DialError::Refused))))
    );
}

#[test]
fn the_servers_last_error_is_reported() {
    let mut line = Line::connected(true, ExchangeConfig::default());
    let words = Message::Error(ErrorCode::ShuttingDown, "bye".into());
    line.to_client.push_back(words);
    line.settle();
    line.cut(true, true);
    let failure = Failure::Rejected(ErrorCode::ShuttingDown, "bye".into());
    assert_eq!(line.client_told.last(), Some(&ended(Some(failure))));
}

#[test]
fn a_connection_that_was_idle_for_too_long_is_a_loss_and_no_end() {
    let mut line = Line::connected(true, ExchangeConfig::default());
    line.to_client
        .push_back(Message::Error(ErrorCode::IdleTimeout, "gone?".into()));
    line.settle();
    line.cut(true, true);
    let [.., Notice::Lost(CloseReason::Reset), Notice::Retrying { .. }] = line.client_told[..] else {
        panic!("{:?}", line.client_told)
    };
    line.recover();
    assert_eq!(line.client_told.last(), Some(&Notice::Connected { resumed: true }));
}

#[test]
fn without_a_welcome_the_client_retries() {
    let mut line = Line::new(true, ExchangeConfig::default());
    line.connect();
    line.to_server.clear();
    line.client_expires();
    line.recover();
    assert_eq!(line.client_told.last(), Some(&Notice::Connected { resumed: false }));
}

#[test]
fn draining_leaves() {
    let mut line = Line::connected(false, ExchangeConfig::default());
    line.client_says(1, "x");
    line.client(Event::Drain);
    line.settle();
    assert_eq!(line.client_told.last(), Some(&ended(None)));
    line.client(Event::Command(Command::Connect));
    assert_eq!(line.client_told.last(), Some(&ended(Some(Failure::ShuttingDown))));
    assert!(line.client.is_zero());
}

#[test]
fn a_draining_client_does_not_reconnect() {
    let mut line = Line::connected(true, ExchangeConfig::default());
    line.client_says(1, "x");
    line.client(Event::Drain);
    line.cut(true, true);
    let undelivered = Notice::Unacknowledged { key: 1, sent: true };
    let failure = Some(Failure::Closed(CloseReason::Reset));
    assert!(line.client_told.ends_with(&[undelivered, ended(failure)]));
    assert!(line.client.is_zero());
}

#[test]
fn a_message_out_of_order_ends_the_session() {
    let part = Message::Part {
        id: 1,
        body: "x".into(),
        last: true,
    };
    for message in [part, Message::Taken { id: 1, last: true }] {
        let mut line = Line::new(false, ExchangeConfig::default());
        line.client_says(1, "x");
        line.connect();
        line.to_client.push_back(message);
        line.step_to_client();
        let undelivered = Notice::Unacknowledged { key: 1, sent: false };
        let expected = [undelivered, ended(Some(Failure::ProtocolViolation))];
        assert_eq!(line.client_told, expected, "before the welcome");
    }
    let mut line = Line::connected(false, ExchangeConfig::default());
    line.to_client.push_back(Message::Welcome { received: 0 });
    line.step_to_client();
    assert_eq!(line.client_told.last(), Some(&ended(Some(Failure::ProtocolViolation))));
}

#[test]
fn the_counters_count() {
    let talk = ExchangeConfig {
        window: 1,
        ..ExchangeConfig::default()
    };
    let mut line = Line::connected(true, talk);
    line.client_says(1, "a");
    line.server_says(1, "b");
    line.settle();
    line.cut(true, true);
    assert!(!line.client.is_zero() && !line.server.is_zero());
    line.recover();
    assert!(!line.client.is_zero() && !line.server.is_zero());
    line.client_says(2, "sent");
    line.client_says(3, "waits");
    line.server_says(2, "sent");
    line.server_says(3, "waits");
    line.client(Event::Command(Command::HangUp));
    line.client_says(4, "to nobody");
    line.server_says(4, "to nobody");
    let client = ChatCounters {
        sessions: 1,
        lost: 1,
        resumed: 1,
        peers_refused: 0,
        queued: 3,
        acknowledged: 1,
        unacknowledged: 2,
        refused: 1,
        received: 1,
    };
    assert_eq!(*line.client.counters(), client);
    assert_eq!(*line.server.counters(), ChatCounters { received: 2, ..client });
    for told in [&line.client_told, &line.server_told] {
        let left: Vec<bool> = told.iter().filter_map(sent_and_undelivered).collect();
        assert_eq!(left, [true, false]);
    }
}

const fn sent_and_undelivered(notice: &Notice) -> Option<bool> {
    match notice {
        Notice::Unacknowledged { sent, .. } => Some(*sent),
        _ => None,
    }
}
