//! `message X` is forwarded to one live connection to which X can be sent.

use echosphere_core::echo::{Message, ServerConfig};
use echosphere_core::{Action, ConnId, Event, Machine};

use crate::fixture::{Fixture, acknowledge, forward};

#[test]
fn a_message_goes_to_exactly_one_live_connection() {
    let mut fixture = Fixture::new();
    let mut live: Vec<ConnId> = (0..5).map(|slot| fixture.open(slot)).collect();
    let gone = live.remove(2);
    fixture.close(gone);
    for n in 0..200 {
        let holder = fixture.holder_of(live[n % live.len()], format!("{n}"));
        assert!(live.contains(&holder), "{holder:?} is not live");
    }
}

#[test]
fn a_lone_connection_gets_its_own_message() {
    let mut fixture = Fixture::new();
    let alone = fixture.open(0);
    assert_eq!(fixture.message(alone, "x"), [forward(alone, "x")]);
    assert_eq!(fixture.ok(alone, "x"), [acknowledge(alone, "x")]);
    assert_eq!(fixture.counters().forwards_to_self, 1);
}

#[test]
fn an_empty_x_is_an_x_like_any_other() {
    let mut fixture = Fixture::new();
    let alone = fixture.open(0);
    assert_eq!(fixture.message(alone, ""), [forward(alone, "")]);
    assert_eq!(fixture.ok(alone, ""), [acknowledge(alone, "")]);
}

#[test]
fn a_body_with_line_breaks_is_not_sent_in_a_line() {
    let mut fixture = Fixture::new();
    let binary = fixture.open(0);
    for slot in 1..5 {
        fixture.open_text(slot);
    }
    for x in ["\n", "a\nb", "a\r\n", "a\r", "\r"] {
        for _ in 0..20 {
            assert_eq!(fixture.holder_of(binary, x), binary, "{x:?}");
        }
    }
}

#[test]
fn any_other_body_is_sent_in_a_line() {
    let mut fixture = Fixture::new();
    let (binary, text) = (fixture.open(0), fixture.open_text(1));
    for x in ["", "a b", "\ra", "a\rb", "\0", "\u{ff}"] {
        let chosen: Vec<ConnId> = (0..50).map(|_| fixture.holder_of(binary, x)).collect();
        assert!(chosen.contains(&text), "{x:?} never went to the text connection");
    }
}

#[test]
fn a_body_with_line_breaks_is_not_reforwarded_in_a_line() {
    for seed in 0..20 {
        let mut fixture = Fixture::with(ServerConfig::default(), seed);
        let (originator, other) = (fixture.open(0), fixture.open(1));
        for slot in 2..10 {
            fixture.open_text(slot);
        }
        fixture.message(originator, "a\nb");
        let again = fixture.close(other);
        assert!(again.is_empty() || again == [forward(originator, "a\nb")], "{again:?}");
    }
}

/// A line may end in CR CR LF. Its X cannot be sent in a line again: not to others, and its `ok` not to the originator.
#[test]
fn an_x_that_its_own_sender_could_not_be_sent_is_refused() {
    let mut fixture = Fixture::new();
    let (text, _) = (fixture.open_text(0), fixture.open_text(1));
    match &fixture.message(text, "a\r")[..] {
        [Action::Send(to, Message::Error(code, _))] => {
            assert_eq!(*to, text);
            assert!(
                !code.is_retryable(),
                "{code} would invite the sender to try the same again"
            );
        }
        other => panic!("not refused: {other:?}"),
    }
    assert_eq!(fixture.server.flight_count(), 0);
    assert_eq!(fixture.counters().messages_refused, 1);
}

#[test]
fn nothing_is_taken_from_connections_that_are_not_live() {
    let mut fixture = Fixture::new();
    let live = fixture.open(0);
    let stale = ConnId { generation: 1, ..live };
    let unknown = ConnId { slot: 7, generation: 0 };
    for id in [stale, unknown] {
        assert_eq!(fixture.message(id, "x"), []);
        assert_eq!(fixture.ok(id, "x"), []);
        assert_eq!(fixture.close(id), []);
    }
    assert_eq!(fixture.server.flight_count(), 0);
    assert!(fixture.server.connections().eq([live]));
}

#[test]
fn errors_from_clients_are_counted_and_not_answered() {
    let mut fixture = Fixture::new();
    let client = fixture.open(0);
    let error = Message::Error(echosphere_core::wire::ErrorCode::Unknown, "whatever".into());
    assert_eq!(fixture.handle(Event::Received(client, error)), []);
    assert_eq!(fixture.counters().errors_received, 1);
}

#[test]
fn counters_count_accepted_forwarded_and_acknowledged_messages() {
    let (mut fixture, originator, holder) = Fixture::held_by_another("x");
    fixture.ok(holder, "x");
    fixture.close(holder);
    fixture.message(originator, "y");
    fixture.message(originator, "y");
    fixture.ok(originator, "y");
    fixture.message(originator, "z");
    fixture.close(originator);

    let counters = fixture.counters();
    assert_eq!(counters.opened, 2);
    assert_eq!(counters.peak_connections, 2);
    assert_eq!(counters.messages, 4);
    assert_eq!(counters.forwards, 4);
    assert_eq!(counters.forwards_to_self, 3);
    assert_eq!(counters.oks, 2);
    assert_eq!(counters.oks_forwarded, 3);
    assert_eq!(counters.abandoned, 1);
    assert_eq!(counters.reforwards, 0);
    assert!(fixture.server.is_zero());
}
