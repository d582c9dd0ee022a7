use std::time::Duration;

use echosphere_core::numbers::{Mode, Server, ServerConfig};
use echosphere_core::{Action, Actions, CloseReason, ConnId, Event, Machine, Opened, Time};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::fixture::{Fixture, IDLE_TIMEOUT, PERIOD, numbers};

#[test]
fn a_stream_triples_a_small_number_once_a_period_until_its_end() {
    let mut fixture = Fixture::new();
    let (conn, first) = fixture.open("START\n");
    let mut all = numbers(&first);
    assert!((1..=0xFF).contains(&all[0]), "{all:?}");
    fixture.pass(PERIOD - Duration::from_nanos(1));
    assert_eq!(fixture.read(conn), "");
    fixture.pass(Duration::from_nanos(1));
    all.extend(fixture.periods(conn, 49));
    assert_eq!(all.len(), 51);
    assert!(all.windows(2).all(|pair| pair[1] == pair[0].wrapping_mul(3)), "{all:?}");
    assert!(all.windows(2).any(|pair| pair[1] < pair[0]), "it wraps");

    assert_eq!(fixture.say(conn, "END\n"), "");
    assert!(fixture.is_closed(conn));
    fixture.fin(conn);
    fixture.pass(Duration::from_secs(10));
    assert!(fixture.endpoint.is_zero());
}

#[test]
fn every_first_number_occurs() {
    let mut fixture = Fixture::new();
    let mut seen = [false; 256];
    for _ in 0..5000 {
        let (conn, first) = fixture.open("START\n");
        seen[usize::try_from(numbers(&first)[0]).unwrap()] = true;
        fixture.cut(conn);
    }
    assert_eq!(seen.iter().filter(|seen| **seen).count(), 255);
    assert!(!seen[0]);
}

#[test]
fn a_stream_continues_on_another_connection_even_of_another_server() {
    let mut fixture = Fixture::new();
    let (conn, first) = fixture.open("CONTINUE 42\n");
    assert_eq!(first, "126\n");
    assert_eq!(fixture.periods(conn, 2), [378, 1134]);
    let (_, first) = fixture.open("CONTINUE 18446744073709551615\n");
    assert_eq!(first, "18446744073709551613\n");
}

#[test]
fn a_peer_that_has_finished_sending_still_gets_its_numbers() {
    let mut fixture = Fixture::new();
    let (conn, _) = fixture.open("CONTINUE 1\n");
    fixture.fin(conn);
    fixture.read(conn);
    assert_eq!(fixture.periods(conn, 20_000).len(), 20_000);
    assert!(PERIOD * 20_000 > IDLE_TIMEOUT, "silence is no wonder");
    fixture.cut(conn);
    assert!(fixture.endpoint.is_zero());
}

#[test]
fn a_peer_that_has_finished_sending_and_asked_for_nothing_is_closed() {
    let mut fixture = Fixture::new();
    let (conn, said) = fixture.open("CONTINUE 0\n");
    assert!(said.starts_with("error bad-number "), "{said}");
    fixture.fin(conn);
    assert!(fixture.is_closed(conn));
}

#[test]
fn a_stream_that_runs_is_not_started_again() {
    let mut fixture = Fixture::new();
    let (conn, _) = fixture.open("CONTINUE 1\n");
    let said = fixture.say(conn, "START\n");
    assert!(
        said.starts_with("error already-running server was already running"),
        "{said}"
    );
    assert_eq!(fixture.periods(conn, 1), [9]);
}

#[test]
fn the_error_of_a_stateful_server_names_what_it_expects() {
    let mut fixture = Fixture::with(ServerConfig {
        mode: Mode::Stateful,
        ..ServerConfig::default()
    });
    let (_, said) = fixture.open("START\nCONTINUE 3\n");
    assert!(
        said.lines()
            .all(|line| line.starts_with("error wrong-mode this server is stateful; ")),
        "{said}"
    );
    assert_eq!(said.lines().count(), 2);
}

#[test]
fn a_draining_server_ends_stateless_streams() {
    let mut fixture = Fixture::new();
    let (conn, _) = fixture.open("START\n");
    fixture.endpoint.drain(fixture.now);
    assert!(fixture.read(conn).starts_with("error shutting-down "));
    assert!(fixture.is_closed(conn));
}

#[test]
fn a_late_number_is_sent_once_and_delays_no_others() {
    let mut fixture = Fixture::new();
    let (conn, _) = fixture.open("CONTINUE 1\n");
    fixture.now = fixture.now + PERIOD + PERIOD / 4;
    fixture.endpoint.expire(fixture.now);
    assert_eq!(fixture.read(conn), "9\n");
    fixture.pass(PERIOD * 3 / 4);
    assert_eq!(fixture.read(conn), "27\n", "on time again");
    fixture.now = fixture.now + PERIOD * 5;
    fixture.endpoint.expire(fixture.now);
    assert_eq!(fixture.read(conn), "81\n", "not five at once");
    assert_eq!(fixture.periods(conn, 1), [243]);
}

#[test]
fn a_connection_that_opens_while_the_server_drains_is_closed() {
    let mut server = Server::new(ServerConfig::default(), ChaCha8Rng::seed_from_u64(1));
    let mut actions = Actions::new();
    server.handle(Time::ZERO, Event::Drain, &mut actions);
    let conn = ConnId { slot: 0, generation: 0 };
    let opened = Opened {
        dial: None,
        text: false,
        principal: None,
    };
    server.handle(Time::ZERO, Event::Opened(conn, opened), &mut actions);
    assert_eq!(actions.as_slice(), [Action::Close(conn, CloseReason::ShuttingDown)]);
    assert!(server.is_zero());
}
