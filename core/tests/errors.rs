//! What each client makes of each error that PROTOCOL.md lists, in each state: it tries again, or it ends.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;

use bytes::Bytes;
use echosphere_core::wire::ErrorCode;
use echosphere_core::{
    Action, Actions, CloseReason, ConnId, DialToken, Event, Machine, Opened, Time, chat, echo, numbers,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const PROTOCOL: &str = include_str!("../../docs/PROTOCOL.md");
const CONN: ConnId = ConnId { slot: 0, generation: 0 };

/// What a client does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Retries,
    Ends,
    /// It stays connected, as if nothing had been said.
    Ignores,
}
use Does::{Ends, Ignores, Retries};

/// Each code, and what an echo client does; a chat's that was not welcomed; one that was; and one of numbers.
const TABLE: [(&str, Does, Does, Does, Does); 24] = [
    ("frame-too-long", Ends, Ends, Ends, Ends),
    ("line-too-long", Ends, Ends, Ends, Ends),
    ("truncated", Retries, Retries, Retries, Retries),
    ("unknown-request", Ends, Ends, Ends, Ends),
    ("handshake-timeout", Retries, Retries, Retries, Retries),
    ("idle-timeout", Retries, Retries, Retries, Retries),
    // A server that ends has begun nothing with whom it has not welcomed.
    ("shutting-down", Retries, Retries, Ends, Retries),
    ("full", Retries, Retries, Retries, Retries),
    ("too-many-waiting", Retries, Ends, Ends, Retries),
    // Somebody else talks there; after the welcome it holds too much of half-received messages.
    ("busy", Retries, Ends, Retries, Retries),
    ("not-held", Ignores, Ends, Ends, Ends),
    ("no-receivers", Ends, Ends, Ends, Ends),
    ("too-many-receivers", Ends, Ends, Ends, Ends),
    ("bad-receiver", Ends, Ends, Ends, Ends),
    ("body-too-long", Ends, Ends, Ends, Ends),
    ("unknown-session", Ends, Ends, Ends, Ends),
    ("already-running", Ends, Ends, Ends, Ends),
    ("wrong-mode", Ends, Ends, Ends, Ends),
    ("invalid-uuid", Ends, Ends, Ends, Ends),
    ("invalid-n", Ends, Ends, Ends, Ends),
    ("bad-number", Ends, Ends, Ends, Ends),
    ("uuid-taken", Ends, Ends, Ends, Ends),
    ("too-many-sessions", Retries, Ends, Ends, Retries),
    ("taken-over", Retries, Ends, Ends, Retries),
];

fn handle<M: Machine>(machine: &mut M, event: Event<M::Message, M::Command>) -> Vec<Action<M::Message, M::Notice>> {
    let mut out = Actions::default();
    machine.handle(Time::ZERO, event, &mut out);
    out.drain().collect()
}

/// Has it connect.
fn connected<M: Machine>(machine: &mut M, command: M::Command) {
    let token = handle(machine, Event::Command(command))
        .into_iter()
        .find_map(|action| match action {
            Action::Dial(token) => Some(token),
            _ => None,
        });
    let dial: Option<DialToken> = Some(token.unwrap());
    handle(machine, Event::Opened(CONN, Opened { dial, text: false }));
}

fn echo_client(code: ErrorCode) -> Does {
    let mut client = echo::Client::new(echo::ClientConfig::default(), ChaCha8Rng::seed_from_u64(1));
    let x = Bytes::from_static(b"x");
    connected(&mut client, echo::Command::Send { id: 1, x });
    let did = handle(
        &mut client,
        Event::Received(CONN, echo::Message::Error(code, Bytes::new())),
    );
    let told = did.iter().find_map(|action| match action {
        Action::Notify(echo::Notice::Retrying { .. }) => Some(Retries),
        Action::Notify(echo::Notice::GaveUp { .. }) => Some(Ends),
        _ => None,
    });
    told.unwrap_or(Ignores)
}

fn chat_client(code: ErrorCode, welcomed: bool) -> Does {
    let config = chat::ClientConfig {
        reconnect: true,
        ..chat::ClientConfig::default()
    };
    let mut client = chat::Client::new(config, ChaCha8Rng::seed_from_u64(1));
    connected(&mut client, chat::Command::Connect);
    if welcomed {
        handle(
            &mut client,
            Event::Received(CONN, chat::Message::Welcome { received: 0 }),
        );
    }
    let mut did = handle(
        &mut client,
        Event::Received(CONN, chat::Message::Error(code, Bytes::new())),
    );
    did.extend(handle(&mut client, Event::Closed(CONN, CloseReason::PeerClosed)));
    let told = did.iter().find_map(|action| match action {
        Action::Notify(chat::Notice::Retrying { .. }) => Some(Retries),
        Action::Notify(chat::Notice::Ended { .. }) => Some(Ends),
        _ => None,
    });
    told.unwrap_or(Ignores)
}

fn numbers_client(code: ErrorCode) -> Does {
    let mut client = numbers::Client::new(numbers::ClientConfig::default(), ChaCha8Rng::seed_from_u64(1));
    let want = numbers::StreamSpec::Stateless { n: 3, after: None };
    connected(&mut client, numbers::Command::Get { key: 1, stream: want });
    let said = numbers::Message::Error(code, Bytes::new());
    let did = handle(&mut client, Event::Received(CONN, said));
    let told = did.iter().find_map(|action| match action {
        Action::Notify(numbers::Notice::Retrying { .. }) => Some(Retries),
        Action::Notify(numbers::Notice::Failed { .. }) => Some(Ends),
        _ => None,
    });
    told.unwrap_or(Ignores)
}

#[test]
fn each_client_tries_again_or_ends_as_each_code_says() {
    for (name, echo, greeting, open, numbers) in TABLE {
        let code = ErrorCode::parse(name.as_bytes());
        assert_eq!(code.as_str(), name);
        assert_eq!(echo_client(code), echo, "an echo client, told {name}");
        assert_eq!(
            chat_client(code, false),
            greeting,
            "a chat client that was not welcomed, told {name}"
        );
        assert_eq!(
            chat_client(code, true),
            open,
            "a chat client that was welcomed, told {name}"
        );
        assert_eq!(numbers_client(code), numbers, "a client of numbers, told {name}");
    }
}

#[test]
fn a_code_that_is_not_known_is_as_unknown_request() {
    let code = ErrorCode::parse(b"from-a-later-version");
    assert_eq!(
        (echo_client(code), chat_client(code, false), chat_client(code, true)),
        (Ends, Ends, Ends)
    );
}

#[test]
fn no_code_of_the_protocol_is_left_out() {
    let rows = PROTOCOL
        .lines()
        .skip_while(|line| !line.starts_with("| code | what was wrong"))
        .skip(2);
    let rows = rows.take_while(|line| line.starts_with("| `"));
    let listed: BTreeSet<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
    assert_eq!(listed, TABLE.iter().map(|(name, ..)| *name).collect());
}
