//! What happens to messages when the connection is lost.

use std::time::Duration;

use bytes::Bytes;
use echosphere_core::chat::{ExchangeConfig, Failure, Message, Notice, ServerConfig};
use echosphere_core::wire::ErrorCode;
use echosphere_core::{Action, Actions, CloseReason, ConnId, Event, Machine, Opened, Time};
use proptest::prelude::*;

use crate::line::{Line, delivered, heard};

/// Another connection than the line's.
const LATE: ConnId = ConnId { slot: 1, generation: 0 };
const OPENED: Opened = Opened {
    dial: None,
    text: false,
    principal: None,
};

fn lost_and_found() -> Line {
    Line::connected(true, ExchangeConfig::default())
}

#[test]
fn messages_lost_in_transit_are_sent_again() {
    let mut line = lost_and_found();
    line.client_says(1, "to the server");
    line.server_says(1, "to the client");
    line.cut(true, true);
    line.recover();
    assert_eq!(heard(&line.server_told), ["to the server"]);
    assert_eq!(heard(&line.client_told), ["to the client"]);
    assert_eq!(
        (delivered(&line.client_told), delivered(&line.server_told)),
        (vec![1], vec![1])
    );
}

#[test]
fn a_message_whose_acknowledgement_was_lost_is_not_sent_again() {
    let mut line = lost_and_found();
    line.client_says(1, "once");
    assert!(line.step_to_server());
    line.cut(true, true);
    line.client_says(2, "twice");
    line.recover();
    assert_eq!(heard(&line.server_told), ["once", "twice"]);
    let none = Notice::Acknowledged {
        key: 1,
        id: 1,
        round_trip: None,
    };
    assert!(line.client_told.contains(&none), "{:?}", line.client_told);
}

#[test]
fn unread_messages_are_sent_again_and_not_reported_again() {
    let talk = ExchangeConfig {
        part: 2,
        ..ExchangeConfig::default()
    };
    let mut line = Line::connected(true, talk);
    line.reads = false;
    line.client_says(1, "abc");
    line.server_says(1, "xyz");
    line.settle();
    line.cut(true, true);
    line.recover();
    assert_eq!(
        (delivered(&line.client_told), delivered(&line.server_told)),
        (vec![], vec![])
    );
    line.server_reads(1);
    line.client_reads(1);
    line.settle();
    assert_eq!((heard(&line.server_told).len(), heard(&line.client_told).len()), (1, 1));
    assert_eq!(
        (delivered(&line.client_told), delivered(&line.server_told)),
        (vec![1], vec![1])
    );
}

#[test]
fn messages_read_during_a_loss_are_acknowledged_on_the_next_connection() {
    let mut line = lost_and_found();
    line.reads = false;
    line.client_says(1, "x");
    line.settle();
    line.cut(true, true);
    line.server_reads(1);
    line.recover();
    assert_eq!(delivered(&line.client_told), [1]);
    assert_eq!(line.server.counters().received, 1);
}

#[test]
fn a_session_is_resumed_before_its_loss_is_noticed() {
    let mut line = lost_and_found();
    line.client_says(1, "a");
    line.cut(true, false);
    line.recover();
    line.server_says(1, "b");
    line.settle();
    assert_eq!(heard(&line.server_told), ["a"]);
    assert_eq!(heard(&line.client_told), ["b"]);
}

#[test]
fn a_body_interrupted_between_its_parts_is_sent_again_whole() {
    let talk = ExchangeConfig {
        part: 3,
        ..ExchangeConfig::default()
    };
    let mut line = Line::connected(true, talk);
    line.client_says(1, "in many parts");
    line.step_to_server();
    line.step_to_server();
    line.cut(true, true);
    line.recover();
    assert_eq!(heard(&line.server_told), ["in many parts"]);
}

#[test]
fn a_lost_welcome_is_requested_again() {
    let mut line = Line::new(true, ExchangeConfig::default());
    line.client_says(1, "patience");
    line.connect();
    line.step_to_server();
    line.server_says(1, "hello");
    line.cut(true, true);
    line.recover();
    assert_eq!(heard(&line.server_told), ["patience"]);
    assert_eq!(heard(&line.client_told), ["hello"]);
    assert_eq!(line.server.counters().sessions, 1);
}

#[test]
fn the_round_trip_of_what_is_sent_again_begins_again() {
    let mut line = lost_and_found();
    line.client_says(1, "x");
    line.cut(true, true);
    line.client_expires();
    line.now = line.now + Duration::from_secs(3);
    line.connect();
    line.step_to_server();
    line.step_to_client();
    let sent = line.now;
    line.now = line.now + Duration::from_millis(7);
    line.settle();
    let round_trip = Some(line.now.since(sent));
    assert_eq!(round_trip, Some(Duration::from_millis(7)));
    let expected = Notice::Acknowledged {
        key: 1,
        id: 1,
        round_trip,
    };
    assert_eq!(line.client_told.last(), Some(&expected));
}

#[test]
fn a_lost_session_is_kept_for_its_time_and_then_unknown() {
    let mut line = lost_and_found();
    line.server_says(9, "are you there?");
    line.cut(true, true);
    line.now = line.server.next_deadline().unwrap();
    assert_eq!(line.now, Time::ZERO + ServerConfig::default().session_ttl);
    line.server(Event::Deadline);
    let failure = Some(Failure::TimedOut);
    assert!(
        line.server_told
            .ends_with(&[Notice::Unacknowledged { key: 9, sent: true }, Notice::Ended { failure }])
    );
    assert!(line.server.is_zero());

    line.client_says(1, "too late");
    line.recover();
    let [
        ..,
        undelivered,
        Notice::Ended {
            failure: Some(Failure::Rejected(code, _)),
        },
    ] = &line.client_told[..]
    else {
        panic!("{:?}", line.client_told);
    };
    assert_eq!(*undelivered, Notice::Unacknowledged { key: 1, sent: false });
    assert_eq!(*code, ErrorCode::UnknownSession);
    assert!(line.client.is_zero());
}

#[test]
fn a_client_that_does_not_reconnect_reports_unacknowledged_messages() {
    let mut line = Line::connected(false, ExchangeConfig::default());
    line.client_says(1, "x");
    line.cut(true, true);
    let failure = Some(Failure::Closed(CloseReason::Reset));
    assert!(line.client_told.ends_with(&[
        Notice::Unacknowledged { key: 1, sent: true },
        Notice::Ended {
            failure: failure.clone()
        }
    ]));
    assert_eq!(line.server_told.last(), Some(&Notice::Ended { failure }));
    assert!(line.client.is_zero() && line.server.is_zero());
}

#[test]
fn another_client_may_begin_while_a_lost_session_is_kept() {
    let mut line = lost_and_found();
    line.server_says(1, "x");
    line.cut(true, true);
    line.server(Event::Opened(LATE, OPENED));
    line.server(Event::Received(LATE, Message::Begin { session: 77 }));
    let failure = Some(Failure::Replaced);
    assert!(line.server_told.ends_with(&[
        Notice::Unacknowledged { key: 1, sent: true },
        Notice::Ended { failure },
        Notice::Connected { resumed: false }
    ]));
    assert_eq!(line.server.peer(), Some(LATE));
}

#[test]
fn a_delayed_begin_of_an_older_connection_changes_nothing() {
    // Seed 4864 of a campaign.
    let mut line = lost_and_found();
    line.client_says(1, "x");
    line.settle();
    line.server_says(1, "y");
    line.settle();
    let session = line.session_number();
    let told = line.server_told.len();
    for greeting in [Message::Begin { session }, Message::Resume { session, received: 0 }] {
        line.server(Event::Opened(LATE, OPENED));
        line.server(Event::Received(LATE, greeting));
    }
    assert_eq!(line.server_told.len(), told, "{:?}", line.server_told);
    line.client_says(2, "z");
    line.settle();
    assert_eq!(delivered(&line.client_told), [1, 2]);
}

#[test]
fn a_resumption_that_claims_more_than_was_sent_is_an_unknown_session() {
    // It belongs to another session with the same number, which has ended.
    let mut line = lost_and_found();
    line.client_says(1, "x");
    line.settle();
    let session = line.session_number();
    let mut actions = Actions::new();
    line.server.handle(line.now, Event::Opened(LATE, OPENED), &mut actions);
    let greeting = Message::Resume { session, received: 1 };
    line.server
        .handle(line.now, Event::Received(LATE, greeting), &mut actions);
    let [Action::Send(to, Message::Error(code, _)), Action::Close(closed, _)] = actions.as_slice() else {
        panic!("{actions:?}");
    };
    assert_eq!((*to, *code, *closed), (LATE, ErrorCode::UnknownSession, LATE));
    line.client_says(2, "y");
    line.settle();
    assert_eq!(delivered(&line.client_told), [1, 2]);
}

#[derive(Clone, Debug)]
enum Step {
    ClientSays(usize),
    ServerSays(usize),
    ToServer(usize),
    ToClient(usize),
    Reads(u64, u64),
    Cut(bool),
    Recover,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (0..40_usize).prop_map(Step::ClientSays),
        4 => (0..40_usize).prop_map(Step::ServerSays),
        6 => (1..6_usize).prop_map(Step::ToServer),
        6 => (1..6_usize).prop_map(Step::ToClient),
        3 => (0..40_u64, 0..40_u64).prop_map(|(client, server)| Step::Reads(client, server)),
        1 => any::<bool>().prop_map(Step::Cut),
        3 => Just(Step::Recover),
    ];
    prop::collection::vec(step, 1..150)
}

proptest! {
    #[test]
    fn whatever_is_said_is_heard_once_and_in_order(steps in steps()) {
        let talk = ExchangeConfig { part: 7, window: 150, ..ExchangeConfig::default() };
        let mut line = Line::connected(true, talk);
        line.reads = false;
        let mut said: [Vec<Bytes>; 2] = Default::default();
        // What each caller has read, the client's first.
        let mut reads = (0, 0);
        for step in steps {
            line.now = line.now + Duration::from_millis(1);
            match step {
                Step::ClientSays(size) | Step::ServerSays(size) => {
                    let from_client = matches!(step, Step::ClientSays(_));
                    let said = &mut said[usize::from(!from_client)];
                    let key = said.len() as u64;
                    let body = Bytes::from(vec![key as u8; size]);
                    said.push(body.clone());
                    if from_client { line.client_says(key, body) } else { line.server_says(key, body) }
                }
                Step::ToServer(count) => (0..count).for_each(|_| { line.step_to_server(); }),
                Step::ToClient(count) => (0..count).for_each(|_| { line.step_to_client(); }),
                Step::Reads(client, server) => {
                    line.client_reads(client);
                    line.server_reads(server);
                    let read = |told: &[Notice], id: u64| id.min(heard(told).len() as u64);
                    let (client, server) = (read(&line.client_told, client), read(&line.server_told, server));
                    reads = (reads.0.max(client), reads.1.max(server));
                }
                Step::Cut(server_notices) => line.cut(true, server_notices),
                Step::Recover => line.connect_again(),
            }
            prop_assert!(delivered(&line.client_told).len() as u64 <= reads.1, "delivered, and not read");
            prop_assert!(delivered(&line.server_told).len() as u64 <= reads.0, "delivered, and not read");
        }
        line.settle();
        line.recover();
        // The window holds back the rest until something is read.
        for id in 1..=said[0].len().max(said[1].len()) as u64 {
            line.client_reads(id);
            line.server_reads(id);
            line.settle();
        }
        prop_assert_eq!(&heard(&line.server_told), &said[0]);
        prop_assert_eq!(&heard(&line.client_told), &said[1]);
        let keys = |said: &Vec<Bytes>| (0..said.len() as u64).collect::<Vec<_>>();
        prop_assert_eq!(delivered(&line.client_told), keys(&said[0]));
        prop_assert_eq!(delivered(&line.server_told), keys(&said[1]));
    }
}
