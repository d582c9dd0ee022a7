use std::time::Duration;

use echosphere_core::numbers::{Mode, Server, ServerConfig};
use echosphere_core::{Action, Actions, CloseReason, ConnId, Event, Machine, Opened, Time};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::bench::{Bench, IDLE_TIMEOUT, PERIOD, numbers};

#[test]
fn a_stream_triples_a_small_number_once_a_period_until_its_end() {
    let mut bench = Bench::new();
    let (conn, first) = bench.open("START\n");
    let mut all = numbers(&first);
    assert!((1..=0xFF).contains(&all[0]), "{all:?}");
    bench.pass(PERIOD - Duration::from_nanos(1));
    assert_eq!(bench.read(conn), "");
    bench.pass(Duration::from_nanos(1));
    all.extend(bench.periods(conn, 49));
    assert_eq!(all.len(), 51);
    assert!(all.windows(2).all(|pair| pair[1] == pair[0].wrapping_mul(3)), "{all:?}");
    assert!(all.windows(2).any(|pair| pair[1] < pair[0]), "it wraps");

    assert_eq!(bench.say(conn, "END\n"), "");
    assert!(bench.is_closed(conn));
    bench.fin(conn);
    bench.pass(Duration::from_secs(10));
    assert!(bench.endpoint.is_zero());
}

#[test]
fn every_first_number_occurs() {
    let mut bench = Bench::new();
    let mut seen = [false; 256];
    for _ in 0..5000 {
        let (conn, first) = bench.open("START\n");
        seen[usize::try_from(numbers(&first)[0]).unwrap()] = true;
        bench.cut(conn);
    }
    assert_eq!(seen.iter().filter(|seen| **seen).count(), 255);
    assert!(!seen[0]);
}

#[test]
fn it_goes_on_after_the_last_number_on_another_connection_even_of_another_server() {
    let mut bench = Bench::new();
    let (conn, first) = bench.open("CONTINUE 42\n");
    assert_eq!(first, "126\n");
    assert_eq!(bench.periods(conn, 2), [378, 1134]);
    let (_, first) = bench.open("CONTINUE 18446744073709551615\n");
    assert_eq!(first, "18446744073709551613\n");
}

#[test]
fn a_peer_that_has_finished_sending_still_gets_its_numbers() {
    let mut bench = Bench::new();
    let (conn, _) = bench.open("CONTINUE 1\n");
    bench.fin(conn);
    bench.read(conn);
    assert_eq!(bench.periods(conn, 20_000).len(), 20_000);
    assert!(PERIOD * 20_000 > IDLE_TIMEOUT, "silence is no wonder");
    bench.cut(conn);
    assert!(bench.endpoint.is_zero());
}

#[test]
fn a_peer_that_has_finished_sending_and_asked_for_nothing_is_closed() {
    let mut bench = Bench::new();
    let (conn, said) = bench.open("CONTINUE 0\n");
    assert!(said.starts_with("error bad-number "), "{said}");
    bench.fin(conn);
    assert!(bench.is_closed(conn));
}

#[test]
fn a_stream_that_runs_is_not_started_again() {
    let mut bench = Bench::new();
    let (conn, _) = bench.open("CONTINUE 1\n");
    let said = bench.say(conn, "START\n");
    assert!(
        said.starts_with("error already-running server was already running"),
        "{said}"
    );
    assert_eq!(bench.periods(conn, 1), [9]);
}

#[test]
fn a_stateful_server_says_what_it_expects_instead() {
    let mut bench = Bench::with(ServerConfig {
        mode: Mode::Stateful,
        ..ServerConfig::default()
    });
    let (_, said) = bench.open("START\nCONTINUE 3\n");
    assert!(
        said.lines()
            .all(|line| line.starts_with("error wrong-mode this server is stateful; ")),
        "{said}"
    );
    assert_eq!(said.lines().count(), 2);
}

#[test]
fn a_server_that_drains_ends_streams_that_have_no_end() {
    let mut bench = Bench::new();
    let (conn, _) = bench.open("START\n");
    bench.endpoint.drain(bench.now, &mut bench.effects);
    assert!(bench.read(conn).starts_with("error shutting-down "));
    assert!(bench.is_closed(conn));
}

#[test]
fn a_number_that_comes_late_is_one_and_does_not_delay_those_after_it() {
    let mut bench = Bench::new();
    let (conn, _) = bench.open("CONTINUE 1\n");
    bench.now = bench.now + PERIOD + PERIOD / 4;
    bench.endpoint.expire(bench.now, &mut bench.effects);
    assert_eq!(bench.read(conn), "9\n");
    bench.pass(PERIOD * 3 / 4);
    assert_eq!(bench.read(conn), "27\n", "on time again");
    bench.now = bench.now + PERIOD * 5;
    bench.endpoint.expire(bench.now, &mut bench.effects);
    assert_eq!(bench.read(conn), "81\n", "not five at once");
    assert_eq!(bench.periods(conn, 1), [243]);
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
    };
    server.handle(Time::ZERO, Event::Opened(conn, opened), &mut actions);
    assert_eq!(actions.as_slice(), [Action::Close(conn, CloseReason::ShuttingDown)]);
    assert!(server.is_zero());
}
