//! How much may be under way, and how much may wait.

use std::time::Duration;

use bytes::Bytes;
use echosphere_core::Event;
use echosphere_core::chat::{Command, Failure, Message, Notice, TalkConfig, Unsaid};

use crate::line::{Line, delivered, heard};

const KIB: usize = 1024;

fn bytes_of(message: &Message) -> usize {
    match message {
        Message::Part { body, .. } => body.len(),
        _ => 0,
    }
}

#[test]
fn an_acknowledgement_waits_behind_a_window_and_not_behind_a_body() {
    let mut line = Line::connected(false, TalkConfig::default());
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
    let mut line = Line::connected(false, TalkConfig::default());
    let bodies: Vec<Bytes> = (0..12).map(|n| Bytes::from(vec![n; KIB * KIB])).collect();
    for (key, body) in bodies.iter().enumerate() {
        line.client_says(key as u64, body.clone());
        line.server_says(key as u64, body.clone());
    }
    // The callers read what they are told.
    while line.step_to_server() || line.step_to_client() {
        line.client(Event::Command(Command::Read(KIB * KIB)));
        line.server(Event::Command(echosphere_core::chat::ServerCommand::Read(KIB * KIB)));
    }
    assert_eq!(heard(&line.server_told), bodies);
    assert_eq!(heard(&line.client_told), bodies);
}

#[test]
fn the_round_trip_begins_when_the_first_part_is_sent_and_not_when_it_was_said() {
    let talk = TalkConfig {
        window: 1,
        part: 2,
        ..TalkConfig::default()
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
            Notice::Delivered { round_trip, .. } => Some(*round_trip),
            _ => None,
        })
        .collect();
    assert_eq!(
        trips,
        [Some(Duration::from_millis(20)), Some(Duration::from_millis(10))]
    );
}

#[test]
fn too_much_said_at_once_is_refused() {
    let talk = TalkConfig {
        max_queued: 1000,
        max_body: 900,
        ..TalkConfig::default()
    };
    let mut line = Line::connected(false, talk);
    line.client_says(1, vec![0; 901]);
    line.client_says(2, vec![0; 500]);
    line.client_says(3, vec![0; 500]);
    line.client_says(4, vec![0; 436]);
    let refused = |key, why| Notice::Refused { key, why };
    assert_eq!(
        line.client_told[1..],
        [refused(1, Unsaid::TooLong), refused(3, Unsaid::QueueFull)]
    );
    line.settle();
    line.client_says(5, vec![0; 900]);
    line.settle();
    assert_eq!(delivered(&line.client_told), [2, 4, 5]);
}

#[test]
fn a_caller_that_does_not_read_holds_the_peer_up() {
    let talk = TalkConfig {
        max_unread: 200,
        window: 60,
        ..TalkConfig::default()
    };
    let mut line = Line::connected(false, talk);
    for key in 0..10 {
        line.server_says(key, vec![0; 20]);
    }
    line.settle();
    // With the fourth it is too much; the window lets one more come.
    assert_eq!(heard(&line.client_told).len(), 5);
    assert_eq!(delivered(&line.server_told), [0, 1, 2]);
    line.client(Event::Command(Command::Read(20)));
    line.settle();
    assert_eq!(delivered(&line.server_told), [0, 1, 2], "still too much");
    for _ in 0..9 {
        line.client(Event::Command(Command::Read(20)));
        line.settle();
    }
    assert_eq!(delivered(&line.server_told), (0..10).collect::<Vec<_>>());
}

#[test]
fn what_every_message_takes_beside_its_bytes_counts() {
    const OVERHEAD: usize = 32;
    let talk = TalkConfig {
        max_unread: 3 * OVERHEAD,
        window: 3 * OVERHEAD,
        ..TalkConfig::default()
    };
    let mut line = Line::connected(false, talk);
    for key in 0..4 {
        line.server_says(key, "");
    }
    assert_eq!(line.to_client.len(), 3, "the window");
    for id in 1..=3 {
        line.step_to_client();
        assert_eq!(line.to_server.len(), id, "as much as may be unread is answered");
    }
    line.to_client.clear();
    let part = |id, last| Message::Part {
        id,
        body: Bytes::new(),
        last,
    };
    line.to_client.extend([part(4, true), part(5, false)]);
    while line.step_to_client() {}
    assert_eq!(line.to_server.len(), 3, "more is not");
    assert!(
        !matches!(line.client_told.last(), Some(Notice::Ended { .. })),
        "twice as much"
    );
    line.to_client.push_back(part(5, false));
    line.step_to_client();
    let failure = Some(Failure::Confused);
    assert_eq!(line.client_told.last(), Some(&Notice::Ended { failure }));
}

#[test]
fn a_peer_that_does_not_wait_for_answers_is_closed() {
    let talk = TalkConfig {
        max_unread: 100,
        ..TalkConfig::default()
    };
    let mut line = Line::connected(false, talk);
    for id in 1..=5 {
        let body = Bytes::from_static(&[0; 20]);
        line.to_client.push_back(Message::Part { id, body, last: true });
    }
    line.settle();
    let failure = Some(Failure::Confused);
    assert_eq!(line.client_told.last(), Some(&Notice::Ended { failure }));
}
