//! How connections end, whoever ends them.

use std::convert::Infallible;
use std::time::Duration;

use bytes::BytesMut;
use echosphere_core::echo::{EchoCodec, MAX_MESSAGE, Message};
use echosphere_core::endpoint::{Effects, Endpoint};
use echosphere_core::link::{LinkConfig, Want};
use echosphere_core::{Action, Actions, CloseReason, ConnId, Event, Machine, Time};

use crate::bench::{Bench, frame};

const LINGER: Duration = Duration::from_secs(5);

#[test]
fn after_the_peers_fin_what_was_queued_is_sent_then_fin() {
    let mut bench = Bench::new();
    let client = bench.accept_length();
    bench.feed(client, &frame("message x"));
    bench.fin(client);
    assert_eq!(bench.live(), 0, "forgotten at once");
    assert_eq!(bench.endpoint.want(client), Want::Write);
    assert_eq!(bench.read(client), frame("message x"));
    assert_eq!(bench.released(), []);
    assert!(bench.read_fin(client));
    assert_eq!(bench.released(), [client]);
    assert_eq!(bench.endpoint.counters().closed_by_peer, 1);
    assert!(bench.endpoint.is_zero());
}

#[test]
fn bytes_and_fin_may_come_together() {
    let mut bench = Bench::new();
    let (originator, holder) = (bench.accept_length(), bench.accept_length());
    bench.feed(originator, &frame("message x"));
    let held = bench.endpoint.machine().flights().next().unwrap().holder;
    bench.feed(held, &frame("ok x"));
    bench.fin(held);
    assert!(bench.read(originator).ends_with(&frame("ok x")));
    bench.fin(originator);
    bench.fin(holder);
    assert!(bench.endpoint.machine().is_zero());
}

#[test]
fn fin_inside_a_frame_or_line_is_told_in_the_peers_framing() {
    let cases: [(&[u8], &[u8]); 4] = [
        (b"\0\0", b"error truncated "),
        (b"\0\0\0\0\0\0\0\x09messa", b"error truncated "),
        (b"messa", b"error truncated "),
        (b"\nmessage x\r", b"error truncated "),
    ];
    for (half, told) in cases {
        let mut bench = Bench::new();
        let client = bench.accept();
        bench.feed(client, half);
        bench.fin(client);
        let bytes = bench.read(client);
        if half[0] == 0 {
            assert_eq!(bytes, frame(&bytes[4..]));
            assert!(bytes[4..].starts_with(told));
        } else {
            assert!(bytes.starts_with(told) && bytes.ends_with(b"\n"));
        }
        assert!(bench.read_fin(client));
        assert_eq!(bench.released(), [client]);
        assert_eq!(bench.endpoint.counters().malformed, 1);
        assert!(bench.endpoint.is_zero());
    }
}

#[test]
fn a_peer_that_does_not_answer_fin_is_dropped_after_the_linger_time() {
    let mut bench = Bench::new();
    let client = bench.accept_length();
    bench.endpoint.close_all(bench.now, &mut bench.effects);
    bench.read(client);
    assert!(bench.read_fin(client));
    assert!(!bench.read_fin(client), "FIN is sent once");
    bench.pass(LINGER - Duration::from_nanos(1));
    assert_eq!(bench.released(), []);
    assert!(!bench.endpoint.is_zero());
    bench.pass(Duration::from_nanos(1));
    assert_eq!(bench.released(), [client]);
    assert_eq!(bench.endpoint.counters().lingered, 1);
    assert!(bench.endpoint.is_zero());
}

#[test]
fn a_peer_that_does_not_read_its_last_words_is_dropped_after_the_linger_time() {
    let mut bench = Bench::new();
    let client = bench.accept_length();
    bench.feed(client, &frame("message x"));
    bench.fin(client);
    bench.pass(LINGER);
    assert_eq!(bench.released(), [client]);
    assert!(bench.endpoint.is_zero());
}

#[test]
fn what_comes_while_closing_is_discarded() {
    let mut bench = Bench::new();
    let client = bench.accept_length();
    bench.feed(client, b"\x7f\xff\xff\xff");
    bench.read(client);
    bench.feed(client, &frame("message x"));
    bench.feed(client, b"\x7f\xff\xff\xff");
    assert_eq!(bench.read(client), b"");
    assert_eq!(bench.endpoint.machine().counters().messages, 0);
    assert!(bench.read_fin(client));
    bench.fin(client);
    assert_eq!(bench.released(), [client]);
}

#[test]
fn what_follows_a_frame_that_cannot_be_read_on_from_is_discarded() {
    let mut bench = Bench::new();
    let client = bench.accept();
    let then_a_message = [&b"\0\0\0\0\x7f\xff\xff\xff"[..], &frame("message x")].concat();
    bench.feed(client, &then_a_message);
    assert_eq!(bench.endpoint.machine().counters().messages, 0);
}

#[test]
fn a_broken_connection_is_released_at_once_and_replaced_as_holder() {
    let mut bench = Bench::new();
    let (originator, broken) = (bench.accept_length(), bench.accept_length());
    for n in 0..20 {
        bench.feed(originator, &frame(format!("message {n}")));
    }
    bench.fail(broken);
    assert_eq!(bench.released(), [broken]);
    assert_eq!(bench.endpoint.counters().resets, 1);
    assert!(bench.endpoint.machine().counters().reforwards > 0);
    assert!(
        bench
            .endpoint
            .machine()
            .flights()
            .all(|flight| flight.holder == originator)
    );
}

#[test]
fn a_reset_while_closing_only_releases() {
    let mut bench = Bench::new();
    let client = bench.accept_length();
    bench.fin(client);
    bench.fail(client);
    assert_eq!(bench.released(), [client]);
    assert_eq!(bench.endpoint.counters().resets, 0);
    assert_eq!(bench.endpoint.counters().closed_by_peer, 1);
}

#[test]
fn stale_ids_are_harmless() {
    let mut bench = Bench::new();
    let stale = bench.accept_length();
    bench.fail(stale);
    let next = bench.accept_length();
    assert_eq!(next.slot, stale.slot, "the slot is used again");
    bench.released();
    let unknown = ConnId {
        slot: 1000,
        generation: 0,
    };
    for id in [stale, unknown] {
        let mut input = BytesMut::from(&frame("message x")[..]);
        bench.endpoint.receive(bench.now, id, &mut input, &mut bench.effects);
        bench.endpoint.begin_flush(id);
        bench.endpoint.wrote(id, 100);
        bench.endpoint.shut_down(bench.now, id, &mut bench.effects);
        bench.fin(id);
        bench.fail(id);
        assert_eq!(bench.endpoint.want(id), Want::Nothing);
        assert!(bench.endpoint.outbox(id).is_none());
    }
    assert_eq!(bench.released(), []);
    assert_eq!(bench.endpoint.connections(), 1);
    assert_eq!(bench.endpoint.machine().counters().messages, 0);
    assert_eq!(bench.endpoint.counters().resets, 1);
    assert_eq!(bench.endpoint.counters().closed_by_peer, 0);
    bench.feed(next, &frame("message y"));
    assert_eq!(bench.read(next), frame("message y"));
}

#[test]
fn a_second_fin_changes_nothing() {
    let mut bench = Bench::new();
    let client = bench.accept_length();
    bench.fin(client);
    bench.fin(client);
    assert_eq!(bench.endpoint.counters().closed_by_peer, 1);
    assert!(bench.read_fin(client));
    assert_eq!(bench.released(), [client]);
}

#[test]
fn a_connection_is_named_for_flushing_once_until_flushing_begins() {
    let mut bench = Bench::new();
    let client = bench.accept_length();
    bench.feed(client, &frame("message x"));
    bench.feed(client, &frame("message y"));
    assert_eq!(bench.effects.flush, [client]);
    bench.effects.flush.clear();
    bench.endpoint.begin_flush(client);
    bench.feed(client, &frame("message z"));
    assert_eq!(bench.effects.flush, [client]);
}

#[test]
fn a_backlog_does_not_shorten_the_time_to_close_in_order() {
    let config = LinkConfig {
        max_backlog: 100,
        backlog_timeout: Duration::from_secs(1),
        linger: LINGER,
        ..LinkConfig::default()
    };
    let mut bench = Bench::with(config, MAX_MESSAGE);
    let client = bench.accept_length();
    for _ in 0..5 {
        bench.feed(client, &frame("nonsense"));
    }
    bench.fin(client);
    bench.pass(LINGER - Duration::from_nanos(1));
    assert_eq!(bench.released(), []);
    bench.pass(Duration::from_nanos(1));
    assert_eq!(bench.released(), [client]);
    assert_eq!(bench.endpoint.counters().slow_consumers, 0);
}

/// Wants no connection, and hears nothing but that they open.
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
fn the_first_message_of_a_connection_that_is_closed_as_it_opens_is_nobodys() {
    let mut endpoint = Endpoint::new(Unwilling, EchoCodec::accepted(MAX_MESSAGE), LinkConfig::default());
    let mut effects = Effects::default();
    let client = endpoint.accept(Time::ZERO).unwrap();
    let mut input = BytesMut::from("message x\nmessage y\n");
    endpoint.receive(Time::ZERO, client, &mut input, &mut effects);
    assert!(input.is_empty());
    assert_eq!(endpoint.want(client), Want::Shutdown);
}
