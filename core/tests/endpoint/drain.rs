//! Shutting down, with enough time and without.

use echosphere_core::CloseReason;
use echosphere_core::wire::ErrorCode;

use crate::fixture::{Fixture, frame};
use crate::support::Effects;

#[test]
fn idle_connections_are_closed_at_once() {
    let mut fixture = Fixture::new();
    let (mute, idle, person) = (fixture.accept(), fixture.accept_length(), fixture.accept_lines());
    fixture.endpoint.drain(fixture.now);
    assert!(fixture.read(idle)[4..].starts_with(b"error shutting-down "));
    for lines in [mute, person] {
        let told = fixture.read_text(lines);
        assert!(
            told.starts_with("error shutting-down ") && told.ends_with('\n'),
            "{told}"
        );
    }
    for id in [mute, idle, person] {
        assert!(fixture.read_fin(id));
        fixture.fin(id);
    }
    assert!(fixture.endpoint.is_zero());
}

#[test]
fn those_that_wait_are_closed_after_their_ok() {
    let mut fixture = Fixture::new();
    let client = fixture.accept_length();
    fixture.feed(client, &frame("message x"));
    fixture.endpoint.drain(fixture.now);
    assert!(!fixture.endpoint.is_zero());
    fixture.feed(client, &frame("ok x"));
    let told = fixture.read(client);
    let (oks, farewell) = told.split_at(frame("message x").len() + frame("ok x").len());
    assert_eq!(oks, [frame("message x"), frame("ok x")].concat());
    assert!(farewell[4..].starts_with(b"error shutting-down "));
    assert!(fixture.read_fin(client));
    fixture.fin(client);
    assert!(fixture.endpoint.is_zero());
}

#[test]
fn no_new_connection_is_accepted() {
    let mut fixture = Fixture::new();
    fixture.endpoint.drain(fixture.now);
    assert_eq!(
        fixture.endpoint.accept(fixture.now).unwrap_err().code,
        ErrorCode::ShuttingDown
    );
    assert_eq!(fixture.endpoint.counters().refused, 1);
}

#[test]
fn closing_all_closes_at_once() {
    let mut fixture = Fixture::new();
    let ids = [fixture.accept(), fixture.accept_length(), fixture.accept_length()];
    fixture.feed(ids[1], &frame("message x"));
    fixture.endpoint.close_all(fixture.now);
    assert_eq!(fixture.live(), 0);
    for id in ids {
        let told = fixture.read(id);
        assert!(
            String::from_utf8_lossy(&told).contains("error shutting-down "),
            "{told:?}"
        );
        assert!(fixture.read_fin(id));
        fixture.fin(id);
    }
    assert!(fixture.endpoint.is_zero());
    assert_eq!(fixture.endpoint.counters().closed_by_us, 3);
}

#[test]
fn those_that_do_not_close_are_dropped_and_counted() {
    let mut fixture = Fixture::new();
    let open = fixture.accept_length();
    fixture.endpoint.release_closing();
    assert!(
        Effects::of(&mut fixture.endpoint).release.is_empty(),
        "it is not closing"
    );
    fixture.endpoint.close_all(fixture.now);
    fixture.endpoint.release_closing();
    assert_eq!(
        Effects::of(&mut fixture.endpoint).release,
        [(open, CloseReason::ShuttingDown)]
    );
    assert!(fixture.endpoint.is_zero());
    assert_eq!(fixture.endpoint.counters().lingered, 1);
}

#[test]
fn closing_all_during_a_drain_sends_each_error_once() {
    let mut fixture = Fixture::new();
    let (originator, holder) = (fixture.accept_length(), fixture.accept_length());
    for n in 0..20 {
        fixture.feed(originator, &frame(format!("message {n}")));
    }
    fixture.endpoint.drain(fixture.now);
    fixture.endpoint.close_all(fixture.now);
    for id in [originator, holder] {
        let told = fixture.read(id);
        let told = String::from_utf8_lossy(&told);
        assert_eq!(told.matches("error shutting-down ").count(), 1, "{told}");
    }
    assert_eq!(fixture.endpoint.counters().closed_by_us, 2);
}
