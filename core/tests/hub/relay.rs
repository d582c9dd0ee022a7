//! Which users receive a relay.

use echosphere_core::CloseReason;
use echosphere_core::Machine;
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::hub::ServerCounters;

use crate::fixture::{Fixture, delivery, frame, relay};
use crate::support::Effects;

#[test]
fn ids_start_at_one_and_are_never_used_again() {
    let mut fixture = Fixture::new();
    let one = fixture.user();
    let two = fixture.user();
    fixture.fin(one);
    let three = fixture.user();
    assert_eq!(fixture.ask(two, &[1]), frame([0x81, 0, 0, 0, 0, 0, 0, 0, 2]));
    assert_eq!(fixture.ask(three, &[1]), frame([0x81, 0, 0, 0, 0, 0, 0, 0, 3]));
    assert_eq!(
        fixture.ask(three, &relay(&[1], b"x")),
        frame([0x84, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1])
    );
}

#[test]
fn a_connection_without_framing_is_not_a_user() {
    let mut fixture = Fixture::new();
    let one = fixture.user();
    let mute = fixture.accept();
    assert_eq!(fixture.ask(one, &[2]), frame([0x82]));
    fixture.feed(mute, &[0; 4]);
    assert_eq!(fixture.ask(one, &[2]), frame([0x82, 0, 0, 0, 0, 0, 0, 0, 2]));
}

#[test]
fn a_receiver_named_twice_gets_it_once_and_so_does_the_sender_that_names_itself() {
    let mut fixture = Fixture::new();
    let one = fixture.user();
    let two = fixture.user();
    let answer = fixture.ask(one, &relay(&[2, 1, 2, 1, 2], b"x"));
    assert_eq!(answer, [frame(delivery(1, b"x")), frame([0x84, 2])].concat());
    assert_eq!(fixture.read(two), frame(delivery(1, b"x")));
}

#[test]
fn bodies_of_one_sender_arrive_in_its_order() {
    let mut fixture = Fixture::new();
    let [one, two, three] = [fixture.user(), fixture.user(), fixture.user()];
    for n in 0..50 {
        fixture.feed(one, &frame(relay(&[3], &[1, n])));
        fixture.feed(two, &frame(relay(&[3], &[2, n])));
    }
    let expected: Vec<u8> = (0..50)
        .flat_map(|n| [frame(delivery(1, &[1, n])), frame(delivery(2, &[2, n]))].concat())
        .collect();
    assert_eq!(fixture.read(three), expected);
}

#[test]
fn a_slow_receiver_is_left_out_and_named_in_the_receipt() {
    let config = ConnectionConfig {
        max_backlog: 1000,
        ..ConnectionConfig::default()
    };
    let mut fixture = Fixture::with(config);
    let [one, slow, three] = [fixture.user(), fixture.user(), fixture.user()];
    assert_eq!(fixture.ask(one, &relay(&[2, 3], &[0; 1000])), frame([0x84, 2]));
    fixture.read(three);
    let receipt = fixture.ask(one, &relay(&[2, 3], b"more"));
    assert_eq!(receipt, frame([0x84, 1, 2, 0, 0, 0, 0, 0, 0, 0, 2]));
    assert!(fixture.read(three).ends_with(b"more"));

    // Once it reads on, it receives again. Its sender was notified of what it missed.
    assert!(!fixture.read(slow).ends_with(b"more"));
    assert_eq!(fixture.ask(one, &relay(&[2], b"again")), frame([0x84, 1]));
    assert_eq!(fixture.read(slow), frame(delivery(1, b"again")));
}

#[test]
fn a_slow_consumer_is_dropped_without_effect_on_others() {
    let config = ConnectionConfig {
        max_backlog: 1000,
        ..ConnectionConfig::default()
    };
    let mut fixture = Fixture::with(config);
    let [one, slow] = [fixture.user(), fixture.user()];
    fixture.ask(one, &relay(&[2], &[0; 1000]));
    let due = fixture.endpoint.next_deadline().unwrap();
    assert_eq!(due.as_nanos(), config.backlog_timeout.as_nanos() as u64);
    fixture.endpoint.expire(due);
    assert_eq!(
        Effects::of(&mut fixture.endpoint).release,
        [(slow, CloseReason::SlowConsumer)]
    );
    assert_eq!(fixture.ask(one, &[2]), frame([0x82]));
}

#[test]
fn the_counters_count() {
    let config = ConnectionConfig {
        max_backlog: 1000,
        ..ConnectionConfig::default()
    };
    let mut fixture = Fixture::with(config);
    let [one, two, _slow] = [fixture.user(), fixture.user(), fixture.user()];
    fixture.ask(one, &relay(&[3], &[0; 1000]));
    fixture.ask(one, &relay(&[2, 3, 9], b"x"));
    fixture.fin(two);
    for request in [&[1][..], &[1], &[2], &[2], &[3], &[3]] {
        fixture.ask(one, request);
    }
    let expected = ServerCounters {
        opened: 3,
        peak_users: 3,
        identities: 2,
        lists: 2,
        echoes: 2,
        relays: 2,
        deliveries: 2,
        unknown_receivers: 1,
        slow_receivers: 1,
    };
    assert_eq!(*fixture.endpoint.machine().counters(), expected);
}

#[test]
fn nothing_is_left_when_all_have_left() {
    let mut fixture = Fixture::new();
    let users = [fixture.user(), fixture.typist(), fixture.accept()];
    fixture.feed(users[0], &frame(relay(&[1, 2], b"x")));
    assert!(!fixture.endpoint.machine().is_zero());
    for user in users {
        fixture.read(user);
        fixture.fin(user);
        fixture.read(user);
        fixture.endpoint.shut_down(echosphere_core::Time::ZERO, user);
    }
    assert!(fixture.endpoint.is_zero());
}

#[test]
fn a_draining_hub_closes_all_connections() {
    let mut fixture = Fixture::new();
    let one = fixture.user();
    let typist = fixture.typist();
    fixture.feed(one, &frame(relay(&[2], b"last words")));
    fixture.endpoint.drain(echosphere_core::Time::ZERO);
    assert!(
        fixture
            .read_text(typist)
            .starts_with("from 1, 10 bytes:\nlast words\nerror shutting-down ")
    );
    assert!(fixture.read(one).ends_with(b"connect again later"));
    assert!(fixture.endpoint.accept(echosphere_core::Time::ZERO).is_err());
    assert_eq!(fixture.endpoint.machine().user_count(), 0);
}
