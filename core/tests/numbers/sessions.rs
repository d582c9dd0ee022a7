use std::time::Duration;

use echosphere_core::numbers::{Mode, ServerConfig, ServerCounters};

use crate::fixture::{Fixture, TTL, UUID, numbers, whole};

#[test]
fn a_session_is_one_number_per_period_then_the_checksum_then_the_end() {
    let mut fixture = Fixture::new();
    let (conn, first) = fixture.open(&format!("START \"{UUID}\" 5\n"));
    let mut all = numbers(&first);
    all.extend(fixture.periods(conn, 4));
    assert!(!fixture.is_closed(conn));
    all.extend(fixture.periods(conn, 1));
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
    assert!(fixture.is_closed(conn));
    fixture.fin(conn);
    assert!(!fixture.endpoint.is_zero(), "the client may come back for the end");
    fixture.pass(TTL);
    assert!(fixture.endpoint.is_zero());
}

#[test]
fn a_session_that_was_sent_whole_can_be_resumed_until_it_is_discarded() {
    let mut fixture = Fixture::new();
    let all = whole(UUID, 3);
    let (conn, _) = fixture.open(&format!("START {UUID} 3\n"));
    fixture.periods(conn, 3);
    fixture.fin(conn);
    fixture.pass(TTL - Duration::from_nanos(1));
    let (conn, said) = fixture.open(&format!("CONTINUE {UUID} {}\n", all[2]));
    assert_eq!(
        numbers(&said),
        [3, all[3], all[3]],
        "the count, the checksum so far, and the rest"
    );
    assert!(fixture.is_closed(conn));
    fixture.fin(conn);
    fixture.pass(TTL);
    let (_, said) = fixture.open(&format!("CONTINUE {UUID} {}\n", all[2]));
    assert!(said.starts_with("error unknown-session "), "{said}");
    assert!(said.contains("30 s"), "{said}");
}

/// A driver passes on what has arrived before it expires what is due, however late it is.
#[test]
fn a_request_counts_that_is_read_before_the_session_expires() {
    for late in [Duration::ZERO, TTL] {
        let mut fixture = Fixture::new();
        let (conn, first) = fixture.open(&format!("START {UUID} 3\n"));
        fixture.cut(conn);
        fixture.now = fixture.now + TTL + late;
        assert!(fixture.endpoint.must_settle(fixture.now));
        let (conn, said) = fixture.open(&format!("CONTINUE {UUID} {first}"));
        assert_eq!(numbers(&said)[0], 1);
        fixture.endpoint.expire(fixture.now);
        fixture.cut(conn);

        fixture.pass(TTL);
        let (conn, said) = fixture.open(&format!("CONTINUE {UUID} {first}"));
        assert!(said.starts_with("error unknown-session "), "{said}");
        fixture.cut(conn);
        assert!(fixture.endpoint.is_zero());
    }
}

#[test]
fn a_uuid_names_one_session() {
    let mut fixture = Fixture::new();
    let (one, first) = fixture.open(&format!("START {UUID} 3\n"));
    let (other, said) = fixture.open(&format!("START {UUID} 3\n"));
    assert!(said.starts_with("error uuid-taken uuid already taken"), "{said}");
    assert_eq!(fixture.periods(one, 1).len(), 1, "the first is not disturbed");
    fixture.cut(one);

    let said = fixture.say(other, &format!("START {UUID} 4\n"));
    assert!(said.starts_with("error uuid-taken "), "another n: {said}");
    // The connection broke before the first number: there is nothing to resume.
    let said = fixture.say(other, &format!("START {UUID} 3\n"));
    assert_eq!(said, first);
    fixture.cut(other);

    let (one, said) = fixture.open(&format!("CONTINUE {UUID} {first}"));
    assert_eq!(numbers(&said)[0], 1);
    fixture.cut(one);
    let (_, said) = fixture.open(&format!("START {UUID} 3\n"));
    assert!(said.starts_with("error uuid-taken "), "some of it has come: {said}");
}

#[test]
fn the_latest_connection_takes_over_a_session() {
    let mut fixture = Fixture::new();
    let all = whole(UUID, 6);
    let (one, _) = fixture.open(&format!("START {UUID} 6\n"));
    fixture.periods(one, 2);
    let (other, said) = fixture.open(&format!("CONTINUE {UUID} {}\n", all[1]));
    assert_eq!(numbers(&said)[0], 2);
    assert_eq!(numbers(&said)[2], all[2]);
    assert!(fixture.read(one).starts_with("error taken-over "));
    assert!(fixture.is_closed(one));

    // A delayed request, behind what the session has reached. Nothing is lost.
    let (late, said) = fixture.open(&format!("CONTINUE {UUID} {} 1\n", all[0]));
    assert_eq!(numbers(&said)[2], all[1]);
    fixture.cut(late);
    fixture.cut(other);
    let (conn, said) = fixture.open(&format!("CONTINUE {UUID} {} 3\n", all[2]));
    assert_eq!(numbers(&said)[0], 3);
    let rest = fixture.periods(conn, 3);
    assert_eq!([&numbers(&said)[2..], &rest].concat(), all[3..]);
}

#[test]
fn an_end_discards_the_session() {
    let mut fixture = Fixture::new();
    let (conn, _) = fixture.open(&format!("START {UUID} 6\n"));
    fixture.say(conn, "END\n");
    assert!(fixture.is_closed(conn));
    fixture.fin(conn);
    assert!(fixture.endpoint.is_zero());
}

#[test]
fn a_peer_that_has_finished_sending_gets_its_session_to_the_end() {
    let mut fixture = Fixture::new();
    let (conn, first) = fixture.open(&format!("START {UUID} 3\n"));
    fixture.fin(conn);
    let rest = fixture.periods(conn, 3);
    assert_eq!([numbers(&first), rest].concat(), whole(UUID, 3));
    assert!(fixture.is_closed(conn));
}

#[test]
fn the_error_of_a_stateless_server_names_what_it_expects() {
    let mut fixture = Fixture::with(ServerConfig {
        mode: Mode::Stateless,
        ..ServerConfig::default()
    });
    let (_, said) = fixture.open(&format!("START {UUID} 5\nCONTINUE {UUID} 5\n"));
    assert!(
        said.lines()
            .all(|line| line.starts_with("error wrong-mode this server is stateless; ")),
        "{said}"
    );
    assert_eq!(said.lines().count(), 2);
}

#[test]
fn a_draining_server_completes_attached_sessions_and_discards_others() {
    let mut fixture = Fixture::new();
    let (lost, _) = fixture.open(&format!("START {UUID} 5\n"));
    fixture.cut(lost);
    let other = "00000000-0000-4000-8000-000000000000";
    let (conn, _) = fixture.open(&format!("START {other} 2\n"));
    fixture.endpoint.drain(fixture.now);
    assert_eq!(fixture.endpoint.machine().sessions(), 1);
    assert_eq!(fixture.periods(conn, 2).len(), 2);
    assert!(fixture.is_closed(conn));
    fixture.fin(conn);
    assert!(fixture.endpoint.is_zero());
}

#[test]
fn the_counters_count() {
    let mut fixture = Fixture::new();
    let all = whole(UUID, 2);
    let (one, _) = fixture.open(&format!("START {UUID} 2\n"));
    let (other, _) = fixture.open(&format!("CONTINUE {UUID} {}\n", all[0]));
    fixture.read(one);
    fixture.periods(other, 1);
    assert!(fixture.is_closed(other));
    fixture.fin(other);
    fixture.pass(TTL);
    let (plain, _) = fixture.open("START\nnonsense\nSTART\nCONTINUE 3\n");
    fixture.say(plain, "END\n");
    fixture.open("CONTINUE 3\n");
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
    assert_eq!(*fixture.endpoint.machine().counters(), expected);
}
