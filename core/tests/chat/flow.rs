//! How much may be in flight, and how much may wait.

use std::time::Duration;

use bytes::Bytes;
use echosphere_core::chat::{Command, ExchangeConfig, Failure, Message, Notice, SendError};
use echosphere_core::wire::ErrorCode;
use echosphere_core::{Event, Machine};

use crate::line::{Line, delivered, heard};

const KIB: usize = 1024;

fn bytes_of(message: &Message) -> usize {
    match message {
        Message::Part { body, .. } => body.len(),
        _ => 0,
    }
}

#[test]
fn an_acknowledgement_waits_behind_a_window_at_most() {
    let mut line = Line::connected(false, ExchangeConfig::default());
    line.server_says(1, vec![1; KIB * KIB]);
    let waiting: usize = line.to_client.iter().map(bytes_of).sum();
    assert_eq!(waiting, 4 * 64 * KIB, "the window, in parts");
    line.client_says(1, "and you?");
    line.step_to_server();
    assert!(matches!(
        line.to_client.back(),
        Some(Message::Taken { id: 1, last: true })
    ));
    line.settle();
    assert_eq!(heard(&line.client_told), [Bytes::from(vec![1; KIB * KIB])]);
    assert_eq!(delivered(&line.server_told), [1]);
}

#[test]
fn both_sides_may_send_all_they_have_at_once() {
    let mut line = Line::connected(false, ExchangeConfig::default());
    let bodies: Vec<Bytes> = (0..12).map(|n| Bytes::from(vec![n; KIB * KIB])).collect();
    for (key, body) in bodies.iter().enumerate() {
        line.client_says(key as u64, body.clone());
        line.server_says(key as u64, body.clone());
    }
    line.settle();
    assert_eq!(heard(&line.server_told), bodies);
    assert_eq!(heard(&line.client_told), bodies);
}

#[test]
fn the_round_trip_begins_when_the_first_part_is_sent() {
    let talk = ExchangeConfig {
        window: 1,
        part: 2,
        ..ExchangeConfig::default()
    };
    let mut line = Line::connected(false, talk);
    line.client_says(1, "abc");
    line.client_says(2, "d");
    for _ in 0..3 {
        line.now = line.now + Duration::from_millis(10);
        line.step_to_server();
        line.step_to_client();
    }
    let trips: Vec<Option<Duration>> = line
        .client_told
        .iter()
        .filter_map(|notice| match notice {
            Notice::Acknowledged { round_trip, .. } => Some(*round_trip),
            _ => None,
        })
        .collect();
    assert_eq!(
        trips,
        [Some(Duration::from_millis(20)), Some(Duration::from_millis(10))]
    );
}

#[test]
fn a_message_over_the_queue_limit_is_refused() {
    let talk = ExchangeConfig {
        max_queued: 1000,
        max_body: 900,
        ..ExchangeConfig::default()
    };
    let mut line = Line::connected(false, talk);
    line.client_says(1, vec![0; 901]);
    line.client_says(2, vec![0; 500]);
    line.client_says(3, vec![0; 500]);
    line.client_says(4, vec![0; 436]);
    let refused = |key, why| Notice::Refused { key, why };
    assert_eq!(
        line.client_told[1..],
        [refused(1, SendError::TooLong), refused(3, SendError::QueueFull)]
    );
    line.settle();
    line.client_says(5, vec![0; 900]);
    line.settle();
    assert_eq!(delivered(&line.client_told), [2, 4, 5]);
}

#[test]
fn a_message_is_acknowledged_when_the_caller_has_read_it() {
    let mut line = Line::connected(false, ExchangeConfig::default());
    line.reads = false;
    for key in 0..3 {
        line.client_says(key, "to be written");
    }
    line.settle();
    assert_eq!(heard(&line.server_told).len(), 3);
    assert_eq!(delivered(&line.client_told), []);
    line.server_reads(2);
    line.settle();
    assert_eq!(delivered(&line.client_told), [0, 1]);
    // A caller that cannot read on ends the session.
    line.server(Event::Drain);
    line.client(Event::Command(Command::HangUp));
    let undelivered = Notice::Unacknowledged { key: 2, sent: true };
    assert!(line.client_told.contains(&undelivered), "{:?}", line.client_told);
}

#[test]
fn messages_are_acknowledged_on_receipt_if_so_configured() {
    let talk = ExchangeConfig {
        acknowledge_on_receipt: true,
        ..ExchangeConfig::default()
    };
    let mut line = Line::connected(false, talk);
    line.reads = false;
    line.client_says(1, "x");
    line.settle();
    assert_eq!(delivered(&line.client_told), [1]);
}

#[test]
fn the_parts_of_a_message_are_answered_at_once_and_in_order() {
    let talk = ExchangeConfig {
        part: 2,
        ..ExchangeConfig::default()
    };
    let mut line = Line::connected(false, talk);
    line.reads = false;
    line.client_says(1, "abcde");
    line.client_says(2, "xyz");
    while line.step_to_server() {}
    let taken = |id, last| Message::Taken { id, last };
    assert_eq!(line.to_client, [taken(1, false), taken(1, false)]);
    line.server_reads(1);
    let all = [taken(1, false), taken(1, false), taken(1, true), taken(2, false)];
    assert_eq!(line.to_client, all, "the last one waits again");
}

#[test]
fn a_caller_that_does_not_read_stops_the_peer() {
    let talk = ExchangeConfig {
        window: 60,
        ..ExchangeConfig::default()
    };
    let mut line = Line::connected(false, talk);
    line.reads = false;
    for key in 0..10 {
        line.server_says(key, vec![0; 20]);
    }
    line.settle();
    assert_eq!(heard(&line.client_told).len(), 2, "the window");
    for id in 1..=10 {
        line.client_reads(id);
        line.settle();
        assert_eq!(delivered(&line.server_told).len() as u64, id);
    }
}

#[test]
fn leaving_waits_for_received_messages_to_be_read() {
    let mut line = Line::connected(false, ExchangeConfig::default());
    line.reads = false;
    line.server_says(1, "before");
    line.settle();
    line.client(Event::Command(Command::Leave));
    assert!(!line.client.is_zero(), "it is not read yet");
    line.server_says(2, "after");
    line.step_to_client();
    line.client_reads(1);
    line.settle();
    assert!(line.client.is_zero());
    assert_eq!(delivered(&line.server_told), [1]);
    assert_eq!(line.server_told.last(), Some(&Notice::Ended { failure: None }));
}

#[test]
fn reading_messages_of_an_ended_session_acknowledges_nothing() {
    let mut line = Line::connected(false, ExchangeConfig::default());
    line.reads = false;
    line.server_says(1, "x");
    line.settle();
    line.client(Event::Command(Command::HangUp));
    line.client(Event::Command(Command::Connect));
    line.connect();
    line.settle();
    line.server_says(2, "y");
    line.settle();
    line.client_reads(1);
    line.settle();
    assert_eq!(delivered(&line.server_told), []);
    line.client(Event::Command(Command::Read { session: 2, id: 1 }));
    line.settle();
    assert_eq!(delivered(&line.server_told), [2]);
}

#[test]
fn no_new_session_begins_before_everything_is_read() {
    let mut line = Line::connected(false, ExchangeConfig::default());
    line.reads = false;
    line.client_says(1, "x");
    line.settle();
    line.client(Event::Command(Command::HangUp));
    line.client(Event::Command(Command::Connect));
    line.connect();
    line.settle();
    let Some(Notice::Ended {
        failure: Some(Failure::Rejected(code, _)),
    }) = line.client_told.last()
    else {
        panic!("{:?}", line.client_told);
    };
    assert_eq!(*code, ErrorCode::Busy);
    assert!(!line.server.is_zero(), "something is not read");
    line.server_reads(1);
    assert!(line.server.is_zero());
    line.client(Event::Command(Command::Connect));
    line.connect();
    line.settle();
    assert_eq!(line.client_told.last(), Some(&Notice::Connected { resumed: false }));
}

#[test]
fn the_overhead_of_every_message_counts() {
    const OVERHEAD: usize = 32;
    let talk = ExchangeConfig {
        max_unread: 3 * OVERHEAD,
        ..ExchangeConfig::default()
    };
    let mut line = Line::connected(false, talk);
    line.reads = false;
    for key in 0..4 {
        line.server_says(key, "");
    }
    for _ in 0..3 {
        line.step_to_client();
    }
    assert_eq!(heard(&line.client_told).len(), 3);
    line.step_to_client();
    let failure = Some(Failure::ProtocolViolation);
    assert_eq!(line.client_told.last(), Some(&Notice::Ended { failure }));
}

#[test]
fn a_peer_that_does_not_wait_for_answers_is_closed() {
    let talk = ExchangeConfig {
        max_unread: 200,
        ..ExchangeConfig::default()
    };
    let mut line = Line::connected(false, talk);
    line.reads = false;
    for id in 1..=4 {
        let body = Bytes::from_static(&[0; 20]);
        line.to_client.push_back(Message::Part { id, body, last: true });
    }
    line.settle();
    assert_eq!(heard(&line.client_told).len(), 3, "20 and 32 each");
    let failure = Some(Failure::ProtocolViolation);
    assert_eq!(line.client_told.last(), Some(&Notice::Ended { failure }));
}
