//! `message X` is forwarded to one live connection that can be sent X.

use echosphere_core::echo::{Message, ServerConfig};
use echosphere_core::{Action, ConnId, Event, Machine};

use crate::bench::{Bench, acknowledge, forward};

#[test]
fn a_message_goes_to_exactly_one_live_connection() {
    let mut bench = Bench::new();
    let mut live: Vec<ConnId> = (0..5).map(|slot| bench.open(slot)).collect();
    let gone = live.remove(2);
    bench.close(gone);
    for n in 0..200 {
        let holder = bench.holder_of(live[n % live.len()], format!("{n}"));
        assert!(live.contains(&holder), "{holder:?} is not live");
    }
}

#[test]
fn who_is_alone_is_sent_its_own_message() {
    let mut bench = Bench::new();
    let alone = bench.open(0);
    assert_eq!(bench.message(alone, "x"), [forward(alone, "x")]);
    assert_eq!(bench.ok(alone, "x"), [acknowledge(alone, "x")]);
    assert_eq!(bench.counters().forwards_to_self, 1);
}

#[test]
fn an_empty_x_is_an_x_like_any_other() {
    let mut bench = Bench::new();
    let alone = bench.open(0);
    assert_eq!(bench.message(alone, ""), [forward(alone, "")]);
    assert_eq!(bench.ok(alone, ""), [acknowledge(alone, "")]);
}

#[test]
fn a_connection_that_speaks_lines_is_not_sent_what_a_line_cannot_carry() {
    let mut bench = Bench::new();
    let binary = bench.open(0);
    for slot in 1..5 {
        bench.open_text(slot);
    }
    for x in ["\n", "a\nb", "a\r\n", "a\r", "\r"] {
        for _ in 0..20 {
            assert_eq!(bench.holder_of(binary, x), binary, "{x:?}");
        }
    }
}

#[test]
fn a_connection_that_speaks_lines_is_sent_everything_else() {
    let mut bench = Bench::new();
    let (binary, text) = (bench.open(0), bench.open_text(1));
    for x in ["", "a b", "\ra", "a\rb", "\0", "\u{ff}"] {
        let chosen: Vec<ConnId> = (0..50).map(|_| bench.holder_of(binary, x)).collect();
        assert!(chosen.contains(&text), "{x:?} never went to the text connection");
    }
}

#[test]
fn what_a_line_cannot_carry_is_not_reforwarded_to_one_that_speaks_lines() {
    for seed in 0..20 {
        let mut bench = Bench::with(ServerConfig::default(), seed);
        let (originator, other) = (bench.open(0), bench.open(1));
        for slot in 2..10 {
            bench.open_text(slot);
        }
        bench.message(originator, "a\nb");
        let again = bench.close(other);
        assert!(again.is_empty() || again == [forward(originator, "a\nb")], "{again:?}");
    }
}

/// A line may end in CR CR LF, and then the X it brings cannot be sent in a line again: not to others, and its `ok` not
/// to the originator.
#[test]
fn an_x_that_its_own_sender_could_not_be_sent_is_refused() {
    let mut bench = Bench::new();
    let (text, _) = (bench.open_text(0), bench.open_text(1));
    match &bench.message(text, "a\r")[..] {
        [Action::Send(to, Message::Error(code, _))] => {
            assert_eq!(*to, text);
            assert!(
                !code.is_temporary(),
                "{code} would invite the sender to try the same again"
            );
        }
        other => panic!("not refused: {other:?}"),
    }
    assert_eq!(bench.server.flight_count(), 0);
    assert_eq!(bench.counters().messages_refused, 1);
}

#[test]
fn nothing_is_taken_from_connections_that_are_not_live() {
    let mut bench = Bench::new();
    let live = bench.open(0);
    let stale = ConnId { generation: 1, ..live };
    let unknown = ConnId { slot: 7, generation: 0 };
    for id in [stale, unknown] {
        assert_eq!(bench.message(id, "x"), []);
        assert_eq!(bench.ok(id, "x"), []);
        assert_eq!(bench.close(id), []);
    }
    assert_eq!(bench.server.flight_count(), 0);
    assert!(bench.server.connections().eq([live]));
}

#[test]
fn errors_from_clients_are_counted_and_not_answered() {
    let mut bench = Bench::new();
    let client = bench.open(0);
    let error = Message::Error(echosphere_core::wire::ErrorCode::Unknown, "whatever".into());
    assert_eq!(bench.handle(Event::Received(client, error)), []);
    assert_eq!(bench.counters().errors_received, 1);
}

#[test]
fn counters_tell_what_was_taken_forwarded_and_answered() {
    let (mut bench, originator, holder) = Bench::held_by_another("x");
    bench.ok(holder, "x");
    bench.close(holder);
    bench.message(originator, "y");
    bench.message(originator, "y");
    bench.ok(originator, "y");
    bench.message(originator, "z");
    bench.close(originator);

    let counters = bench.counters();
    assert_eq!(counters.opened, 2);
    assert_eq!(counters.peak_connections, 2);
    assert_eq!(counters.messages, 4);
    assert_eq!(counters.forwards, 4);
    assert_eq!(counters.forwards_to_self, 3);
    assert_eq!(counters.oks, 2);
    assert_eq!(counters.oks_forwarded, 3);
    assert_eq!(counters.abandoned, 1);
    assert_eq!(counters.reforwards, 0);
    assert!(bench.server.is_zero());
}
