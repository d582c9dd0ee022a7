//! How connections end, by either side.

use std::convert::Infallible;
use std::time::Duration;

use bytes::BytesMut;
use echosphere_core::connection::{ConnectionConfig, SocketAction};
use echosphere_core::echo::{EchoCodec, MAX_MESSAGE, Message};
use echosphere_core::endpoint::Endpoint;
use echosphere_core::{Action, Actions, CloseReason, ConnId, Event, Machine, Time};

use crate::fixture::{Fixture, frame};

const LINGER: Duration = Duration::from_secs(5);

#[test]
fn after_the_peers_fin_what_was_queued_is_sent_then_fin() {
    let mut fixture = Fixture::new();
    let client = fixture.accept_length();
    fixture.feed(client, &frame("message x"));
    fixture.fin(client);
    assert_eq!(fixture.live(), 0, "forgotten at once");
    assert_eq!(fixture.endpoint.socket_action(client), SocketAction::Write);
    assert_eq!(fixture.read(client), frame("message x"));
    assert_eq!(fixture.released(), []);
    assert!(fixture.read_fin(client));
    assert_eq!(fixture.released(), [client]);
    assert_eq!(fixture.endpoint.counters().closed_by_peer, 1);
    assert!(fixture.endpoint.is_zero());
}

#[test]
fn bytes_and_fin_may_arrive_together() {
    let mut fixture = Fixture::new();
    let (originator, holder) = (fixture.accept_length(), fixture.accept_length());
    fixture.feed(originator, &frame("message x"));
    let held = fixture.endpoint.machine().flights().next().unwrap().holder;
    fixture.feed(held, &frame("ok x"));
    fixture.fin(held);
    assert!(fixture.read(originator).ends_with(&frame("ok x")));
    fixture.fin(originator);
    fixture.fin(holder);
    assert!(fixture.endpoint.machine().is_zero());
}

#[test]
fn fin_inside_a_message_is_answered_in_the_peers_framing() {
    let cases: [(&[u8], &[u8]); 4] = [
        (b"\0\0", b"error truncated "),
        (b"\0\0\0\0\0\0\0\x09messa", b"error truncated "),
        (b"messa", b"error truncated "),
        (b"\nmessage x\r", b"error truncated "),
    ];
    for (half, told) in cases {
        let mut fixture = Fixture::new();
        let client = fixture.accept();
        fixture.feed(client, half);
        fixture.fin(client);
        let bytes = fixture.read(client);
        if half[0] == 0 {
            assert_eq!(bytes, frame(&bytes[4..]));
            assert!(bytes[4..].starts_with(told));
        } else {
            assert!(bytes.starts_with(told) && bytes.ends_with(b"\n"));
        }
        assert!(fixture.read_fin(client));
        assert_eq!(fixture.released(), [client]);
        assert_eq!(fixture.endpoint.counters().malformed, 1);
        assert!(fixture.endpoint.is_zero());
    }
}

#[test]
fn a_peer_that_does_not_answer_fin_is_dropped_after_the_linger_time() {
    let mut fixture = Fixture::new();
    let client = fixture.accept_length();
    fixture.endpoint.close_all(fixture.now);
    fixture.read(client);
    assert!(fixture.read_fin(client));
    assert!(!fixture.read_fin(client), "FIN is sent once");
    fixture.pass(LINGER - Duration::from_nanos(1));
    assert_eq!(fixture.released(), []);
    assert!(!fixture.endpoint.is_zero());
    fixture.pass(Duration::from_nanos(1));
    assert_eq!(fixture.released(), [client]);
    assert_eq!(fixture.endpoint.counters().lingered, 1);
    assert!(fixture.endpoint.is_zero());
}

#[test]
fn a_peer_that_does_not_read_its_final_error_is_dropped_after_the_linger_time() {
    let mut fixture = Fixture::new();
    let client = fixture.accept_length();
    fixture.feed(client, &frame("message x"));
    fixture.fin(client);
    fixture.pass(LINGER);
    assert_eq!(fixture.released(), [client]);
    assert!(fixture.endpoint.is_zero());
}

#[test]
fn bytes_received_while_closing_are_discarded() {
    let mut fixture = Fixture::new();
    let client = fixture.accept_length();
    fixture.feed(client, b"\x7f\xff\xff\xff");
    fixture.read(client);
    fixture.feed(client, &frame("message x"));
    fixture.feed(client, b"\x7f\xff\xff\xff");
    assert_eq!(fixture.read(client), b"");
    assert_eq!(fixture.endpoint.machine().counters().messages, 0);
    assert!(fixture.read_fin(client));
    fixture.fin(client);
    assert_eq!(fixture.released(), [client]);
}

#[test]
fn bytes_after_an_undecodable_frame_are_discarded() {
    let mut fixture = Fixture::new();
    let client = fixture.accept();
    let then_a_message = [&b"\0\0\0\0\x7f\xff\xff\xff"[..], &frame("message x")].concat();
    fixture.feed(client, &then_a_message);
    assert_eq!(fixture.endpoint.machine().counters().messages, 0);
}

#[test]
fn a_broken_connection_is_released_at_once_and_replaced_as_holder() {
    let mut fixture = Fixture::new();
    let (originator, broken) = (fixture.accept_length(), fixture.accept_length());
    for n in 0..20 {
        fixture.feed(originator, &frame(format!("message {n}")));
    }
    fixture.fail(broken);
    assert_eq!(fixture.released(), [broken]);
    assert_eq!(fixture.endpoint.counters().resets, 1);
    assert!(fixture.endpoint.machine().counters().reforwards > 0);
    assert!(
        fixture
            .endpoint
            .machine()
            .flights()
            .all(|flight| flight.holder == originator)
    );
}

#[test]
fn a_reset_while_closing_only_releases() {
    let mut fixture = Fixture::new();
    let client = fixture.accept_length();
    fixture.fin(client);
    fixture.fail(client);
    assert_eq!(fixture.released(), [client]);
    assert_eq!(fixture.endpoint.counters().resets, 0);
    assert_eq!(fixture.endpoint.counters().closed_by_peer, 1);
}

#[test]
fn stale_ids_are_harmless() {
    let mut fixture = Fixture::new();
    let stale = fixture.accept_length();
    fixture.fail(stale);
    assert_eq!(fixture.released(), [stale]);
    let next = fixture.accept_length();
    assert_eq!(next.slot, stale.slot, "the slot is used again");
    let unknown = ConnId {
        slot: 1000,
        generation: 0,
    };
    for id in [stale, unknown] {
        let mut input = BytesMut::from(&frame("message x")[..]);
        fixture.endpoint.receive(fixture.now, id, &mut input);
        fixture.endpoint.wrote(id, 100);
        fixture.endpoint.shut_down(fixture.now, id);
        fixture.fin(id);
        fixture.fail(id);
        assert_eq!(fixture.endpoint.socket_action(id), SocketAction::Nothing);
        assert!(fixture.endpoint.outbox(id).is_none());
    }
    assert_eq!(fixture.released(), []);
    assert_eq!(fixture.endpoint.connections(), 1);
    assert_eq!(fixture.endpoint.machine().counters().messages, 0);
    assert_eq!(fixture.endpoint.counters().resets, 1);
    assert_eq!(fixture.endpoint.counters().closed_by_peer, 0);
    fixture.feed(next, &frame("message y"));
    assert_eq!(fixture.read(next), frame("message y"));
}

#[test]
fn a_second_fin_changes_nothing() {
    let mut fixture = Fixture::new();
    let client = fixture.accept_length();
    fixture.fin(client);
    fixture.fin(client);
    assert_eq!(fixture.endpoint.counters().closed_by_peer, 1);
    assert!(fixture.read_fin(client));
    assert_eq!(fixture.released(), [client]);
}

#[test]
fn a_backlog_does_not_shorten_the_linger_time() {
    let config = ConnectionConfig {
        max_backlog: 100,
        backlog_timeout: Duration::from_secs(1),
        linger: LINGER,
        ..ConnectionConfig::default()
    };
    let mut fixture = Fixture::with(config, MAX_MESSAGE);
    let client = fixture.accept_length();
    for _ in 0..5 {
        fixture.feed(client, &frame("nonsense"));
    }
    fixture.fin(client);
    fixture.pass(LINGER - Duration::from_nanos(1));
    assert_eq!(fixture.released(), []);
    fixture.pass(Duration::from_nanos(1));
    assert_eq!(fixture.released(), [client]);
    assert_eq!(fixture.endpoint.counters().slow_consumers, 0);
}

/// A machine that closes each connection when it opens and expects no other event.
struct Unwilling;

impl Machine for Unwilling {
    type Message = Message;
    type Command = Infallible;
    type Notice = Infallible;

    fn handle(&mut self, _: Time, event: Event<Message, Infallible>, actions: &mut Actions<Message, Infallible>) {
        let Event::Opened(id, _) = event else {
            panic!("nothing follows for a connection that was closed: {event:?}");
        };
        actions.push(Action::Close(id, CloseReason::Finished));
    }

    fn next_deadline(&self) -> Option<Time> {
        None
    }

    fn is_zero(&self) -> bool {
        true
    }
}

#[test]
fn the_first_message_of_a_connection_that_is_closed_as_it_opens_is_ignored() {
    let mut endpoint = Endpoint::new(Unwilling, EchoCodec::accepted(MAX_MESSAGE), ConnectionConfig::default());
    let client = endpoint.accept(Time::ZERO).unwrap();
    let mut input = BytesMut::from("message x\nmessage y\n");
    endpoint.receive(Time::ZERO, client, &mut input);
    assert!(input.is_empty());
    assert_eq!(endpoint.socket_action(client), SocketAction::Shutdown);
}
