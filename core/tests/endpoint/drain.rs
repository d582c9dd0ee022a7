//! Shutting down in order, and when patience ends.

use echosphere_core::CloseReason;
use echosphere_core::wire::ErrorCode;

use crate::bench::{Bench, frame};

#[test]
fn those_with_nothing_to_wait_for_are_told_and_closed_at_once() {
    let mut bench = Bench::new();
    let (mute, idle, person) = (bench.accept(), bench.accept_length(), bench.accept_lines());
    bench.endpoint.drain(bench.now, &mut bench.effects);
    assert!(bench.read(idle)[4..].starts_with(b"error shutting-down "));
    for lines in [mute, person] {
        let told = bench.read_text(lines);
        assert!(
            told.starts_with("error shutting-down ") && told.ends_with('\n'),
            "{told}"
        );
    }
    for id in [mute, idle, person] {
        assert!(bench.read_fin(id));
        bench.fin(id);
    }
    assert!(bench.endpoint.is_zero());
}

#[test]
fn those_that_wait_are_closed_after_their_ok() {
    let mut bench = Bench::new();
    let client = bench.accept_length();
    bench.feed(client, &frame("message x"));
    bench.endpoint.drain(bench.now, &mut bench.effects);
    assert!(!bench.endpoint.is_zero());
    bench.feed(client, &frame("ok x"));
    let told = bench.read(client);
    let (oks, farewell) = told.split_at(frame("message x").len() + frame("ok x").len());
    assert_eq!(oks, [frame("message x"), frame("ok x")].concat());
    assert!(farewell[4..].starts_with(b"error shutting-down "));
    assert!(bench.read_fin(client));
    bench.fin(client);
    assert!(bench.endpoint.is_zero());
}

#[test]
fn nobody_new_is_accepted() {
    let mut bench = Bench::new();
    bench.endpoint.drain(bench.now, &mut bench.effects);
    assert_eq!(
        bench.endpoint.accept(bench.now).unwrap_err().code,
        ErrorCode::ShuttingDown
    );
    assert_eq!(bench.endpoint.counters().refused, 1);
}

#[test]
fn closing_all_tells_everybody_and_waits_for_nothing() {
    let mut bench = Bench::new();
    let ids = [bench.accept(), bench.accept_length(), bench.accept_length()];
    bench.feed(ids[1], &frame("message x"));
    bench.endpoint.close_all(bench.now, &mut bench.effects);
    assert_eq!(bench.live(), 0);
    for id in ids {
        let told = bench.read(id);
        assert!(
            String::from_utf8_lossy(&told).contains("error shutting-down "),
            "{told:?}"
        );
        assert!(bench.read_fin(id));
        bench.fin(id);
    }
    assert!(bench.endpoint.is_zero());
    assert_eq!(bench.endpoint.counters().closed_by_us, 3);
}

#[test]
fn those_that_do_not_close_are_dropped_and_counted() {
    let mut bench = Bench::new();
    let open = bench.accept_length();
    bench.endpoint.release_closing(&mut bench.effects);
    assert!(bench.effects.release.is_empty(), "it is not closing");
    bench.endpoint.close_all(bench.now, &mut bench.effects);
    bench.endpoint.release_closing(&mut bench.effects);
    assert_eq!(bench.effects.release, [(open, CloseReason::ShuttingDown)]);
    assert!(bench.endpoint.is_zero());
    assert_eq!(bench.endpoint.counters().lingered, 1);
}

#[test]
fn closing_all_during_a_drain_tells_everybody_once() {
    let mut bench = Bench::new();
    let (originator, holder) = (bench.accept_length(), bench.accept_length());
    for n in 0..20 {
        bench.feed(originator, &frame(format!("message {n}")));
    }
    bench.endpoint.drain(bench.now, &mut bench.effects);
    bench.endpoint.close_all(bench.now, &mut bench.effects);
    for id in [originator, holder] {
        let told = bench.read(id);
        let told = String::from_utf8_lossy(&told);
        assert_eq!(told.matches("error shutting-down ").count(), 1, "{told}");
    }
    assert_eq!(bench.endpoint.counters().closed_by_us, 2);
}
