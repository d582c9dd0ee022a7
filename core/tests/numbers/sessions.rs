use std::time::Duration;

use echosphere_core::numbers::{Mode, ServerConfig, ServerCounters};

use crate::bench::{Bench, TTL, UUID, numbers, whole};

#[test]
fn a_session_is_its_numbers_one_a_period_then_their_checksum_then_the_end() {
    let mut bench = Bench::new();
    let (conn, first) = bench.open(&format!("START \"{UUID}\" 5\n"));
    let mut all = numbers(&first);
    all.extend(bench.periods(conn, 4));
    assert!(!bench.is_closed(conn));
    all.extend(bench.periods(conn, 1));
    assert_eq!(
        all,
        [
            884_115_364,
            984_080_323,
            2_820_519_488,
            1_474_247_489,
            1_847_739_336,
            12_528
        ]
    );
    assert!(bench.is_closed(conn));
    bench.fin(conn);
    assert!(!bench.endpoint.is_zero(), "the client may come back for the end");
    bench.pass(TTL);
    assert!(bench.endpoint.is_zero());
}

#[test]
fn one_that_was_sent_whole_can_be_gone_on_with_until_it_is_discarded() {
    let mut bench = Bench::new();
    let all = whole(UUID, 3);
    let (conn, _) = bench.open(&format!("START {UUID} 3\n"));
    bench.periods(conn, 3);
    bench.fin(conn);
    bench.pass(TTL - Duration::from_nanos(1));
    let (conn, said) = bench.open(&format!("CONTINUE {UUID} {}\n", all[2]));
    assert_eq!(
        numbers(&said),
        [3, all[3], all[3]],
        "the count, the checksum so far, and the rest"
    );
    assert!(bench.is_closed(conn));
    bench.fin(conn);
    bench.pass(TTL);
    let (_, said) = bench.open(&format!("CONTINUE {UUID} {}\n", all[2]));
    assert!(said.starts_with("error unknown-session "), "{said}");
    assert!(said.contains("30s"), "{said}");
}

/// A driver gives what has arrived before it expires what is due, however late it is.
#[test]
fn a_request_counts_that_is_read_before_the_session_expires() {
    for late in [Duration::ZERO, TTL] {
        let mut bench = Bench::new();
        let (conn, first) = bench.open(&format!("START {UUID} 3\n"));
        bench.cut(conn);
        bench.now = bench.now + TTL + late;
        assert!(bench.endpoint.must_settle(bench.now));
        let (conn, said) = bench.open(&format!("CONTINUE {UUID} {first}"));
        assert_eq!(numbers(&said)[0], 1);
        bench.endpoint.expire(bench.now, &mut bench.effects);
        bench.cut(conn);

        bench.pass(TTL);
        let (conn, said) = bench.open(&format!("CONTINUE {UUID} {first}"));
        assert!(said.starts_with("error unknown-session "), "{said}");
        bench.cut(conn);
        assert!(bench.endpoint.is_zero());
    }
}

#[test]
fn a_uuid_names_one_session() {
    let mut bench = Bench::new();
    let (one, first) = bench.open(&format!("START {UUID} 3\n"));
    let (other, said) = bench.open(&format!("START {UUID} 3\n"));
    assert!(said.starts_with("error uuid-taken uuid already taken"), "{said}");
    assert_eq!(bench.periods(one, 1).len(), 1, "the first is not disturbed");
    bench.cut(one);

    let said = bench.say(other, &format!("START {UUID} 4\n"));
    assert!(said.starts_with("error uuid-taken "), "another n: {said}");
    // Cut off before the first number came: there is nothing to go on from.
    let said = bench.say(other, &format!("START {UUID} 3\n"));
    assert_eq!(said, first);
    bench.cut(other);

    let (one, said) = bench.open(&format!("CONTINUE {UUID} {first}"));
    assert_eq!(numbers(&said)[0], 1);
    bench.cut(one);
    let (_, said) = bench.open(&format!("START {UUID} 3\n"));
    assert!(said.starts_with("error uuid-taken "), "some of it has come: {said}");
}

#[test]
fn the_connection_that_claims_a_session_last_has_it_and_the_other_is_told() {
    let mut bench = Bench::new();
    let all = whole(UUID, 6);
    let (one, _) = bench.open(&format!("START {UUID} 6\n"));
    bench.periods(one, 2);
    let (other, said) = bench.open(&format!("CONTINUE {UUID} {}\n", all[1]));
    assert_eq!(numbers(&said)[0], 2);
    assert_eq!(numbers(&said)[2], all[2]);
    assert!(bench.read(one).starts_with("error taken-over "));
    assert!(bench.is_closed(one));

    // A request that was under way for long: behind what the session has reached, and so is nothing lost.
    let (late, said) = bench.open(&format!("CONTINUE {UUID} {} 1\n", all[0]));
    assert_eq!(numbers(&said)[2], all[1]);
    bench.cut(late);
    bench.cut(other);
    let (conn, said) = bench.open(&format!("CONTINUE {UUID} {} 3\n", all[2]));
    assert_eq!(numbers(&said)[0], 3);
    let rest = bench.periods(conn, 3);
    assert_eq!([&numbers(&said)[2..], &rest].concat(), all[3..]);
}

#[test]
fn an_end_discards_the_session() {
    let mut bench = Bench::new();
    let (conn, _) = bench.open(&format!("START {UUID} 6\n"));
    bench.say(conn, "END\n");
    assert!(bench.is_closed(conn));
    bench.fin(conn);
    assert!(bench.endpoint.is_zero());
}

#[test]
fn a_peer_that_has_finished_sending_gets_its_session_to_the_end() {
    let mut bench = Bench::new();
    let (conn, first) = bench.open(&format!("START {UUID} 3\n"));
    bench.fin(conn);
    let rest = bench.periods(conn, 3);
    assert_eq!([numbers(&first), rest].concat(), whole(UUID, 3));
    assert!(bench.is_closed(conn));
}

#[test]
fn a_stateless_server_says_what_it_expects_instead() {
    let mut bench = Bench::with(ServerConfig {
        mode: Mode::Stateless,
        ..ServerConfig::default()
    });
    let (_, said) = bench.open(&format!("START {UUID} 5\nCONTINUE {UUID} 5\n"));
    assert!(
        said.lines()
            .all(|line| line.starts_with("error wrong-mode this server is stateless; ")),
        "{said}"
    );
    assert_eq!(said.lines().count(), 2);
}

#[test]
fn a_server_that_drains_finishes_sessions_that_are_being_sent_and_keeps_no_others() {
    let mut bench = Bench::new();
    let (lost, _) = bench.open(&format!("START {UUID} 5\n"));
    bench.cut(lost);
    let other = "00000000-0000-4000-8000-000000000000";
    let (conn, _) = bench.open(&format!("START {other} 2\n"));
    bench.endpoint.drain(bench.now, &mut bench.effects);
    assert_eq!(bench.endpoint.machine().sessions(), 1);
    assert_eq!(bench.periods(conn, 2).len(), 2);
    assert!(bench.is_closed(conn));
    bench.fin(conn);
    assert!(bench.endpoint.is_zero());
}

#[test]
fn what_is_done_is_counted() {
    let mut bench = Bench::new();
    let all = whole(UUID, 2);
    let (one, _) = bench.open(&format!("START {UUID} 2\n"));
    let (other, _) = bench.open(&format!("CONTINUE {UUID} {}\n", all[0]));
    bench.read(one);
    bench.periods(other, 1);
    assert!(bench.is_closed(other));
    bench.fin(other);
    bench.pass(TTL);
    let (plain, _) = bench.open("START\nnonsense\nSTART\nCONTINUE 3\n");
    bench.say(plain, "END\n");
    bench.open("CONTINUE 3\n");
    let expected = ServerCounters {
        streams: 2,
        sessions: 1,
        resumed: 1,
        taken_over: 1,
        finished: 1,
        expired: 1,
        numbers: 5,
        held_back: 0,
        refused: 2,
    };
    assert_eq!(*bench.endpoint.machine().counters(), expected);
}
