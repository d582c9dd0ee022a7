//! How each client reacts to each error of PROTOCOL.md, in each of its states.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;

use bytes::Bytes;
use echosphere_core::wire::{CustomCode, ErrorClass, ErrorCode};
use echosphere_core::{
    Action, Actions, CloseReason, ConnId, DialToken, Event, Machine, Opened, Time, chat, echo, hub, numbers,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const PROTOCOL: &str = include_str!("../../docs/PROTOCOL.md");
const CONN: ConnId = ConnId { slot: 0, generation: 0 };

/// The reaction of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Retries,
    Ends,
    /// It stays connected and reports nothing.
    Ignores,
    /// It reports the error as the answer to its request and stays connected.
    Answers,
}
use Does::{Answers, Ends, Ignores, Retries};

/// The expected reaction of each client to an error, by state.
struct Row {
    echo: Does,
    hub_idle: Does,
    hub_asking: Does,
    chat_before_welcome: Does,
    chat_after_welcome: Does,
    numbers: Does,
}

const fn row(
    echo: Does,
    [hub_idle, hub_asking]: [Does; 2],
    [chat_before_welcome, chat_after_welcome]: [Does; 2],
    numbers: Does,
) -> Row {
    Row {
        echo,
        hub_idle,
        hub_asking,
        chat_before_welcome,
        chat_after_welcome,
        numbers,
    }
}

/// A code of each class.
static CUSTOM: [CustomCode; 4] = [
    custom(ErrorClass::Request),
    custom(ErrorClass::Temporary),
    custom(ErrorClass::Connection),
    custom(ErrorClass::Fatal),
];

const fn custom(class: ErrorClass) -> CustomCode {
    CustomCode {
        name: "custom",
        class,
        text: "",
    }
}

/// The match has no wildcard, so a new code does not compile without a row.
const fn expected(code: ErrorCode) -> Row {
    match code {
        ErrorCode::Truncated | ErrorCode::HandshakeTimeout | ErrorCode::IdleTimeout | ErrorCode::Full => {
            row(Retries, [Retries, Retries], [Retries, Retries], Retries)
        }
        // Before the welcome, the server has no session that it would lose.
        ErrorCode::ShuttingDown => row(Retries, [Retries, Retries], [Retries, Ends], Retries),
        // Before the welcome, another client has a session; after it, unfinished messages hold too much memory.
        ErrorCode::Busy => row(Retries, [Retries, Retries], [Ends, Retries], Retries),
        ErrorCode::TooManyWaiting | ErrorCode::TooManySessions | ErrorCode::TakenOver => {
            row(Retries, [Retries, Retries], [Ends, Ends], Retries)
        }
        ErrorCode::FrameTooLong
        | ErrorCode::LineTooLong
        | ErrorCode::TlsRequired
        | ErrorCode::TlsUnsupported
        | ErrorCode::WsRequired => row(Ends, [Ends, Ends], [Ends, Ends], Ends),
        ErrorCode::NotHeld => row(Ignores, [Ends, Answers], [Ends, Ends], Ends),
        // To a hub's client, an error about a request answers its request.
        ErrorCode::UnknownRequest
        | ErrorCode::NoReceivers
        | ErrorCode::TooManyReceivers
        | ErrorCode::BadReceiver
        | ErrorCode::BodyTooLong
        | ErrorCode::UnknownSession
        | ErrorCode::AlreadyRunning
        | ErrorCode::WrongMode
        | ErrorCode::InvalidUuid
        | ErrorCode::InvalidCount
        | ErrorCode::BadNumber
        | ErrorCode::UuidTaken
        | ErrorCode::Unknown => row(Ends, [Ends, Answers], [Ends, Ends], Ends),
        // As a code of the table of the same class.
        ErrorCode::Custom(code) => expected(match code.class {
            ErrorClass::Request => ErrorCode::Unknown,
            ErrorClass::Temporary => ErrorCode::TooManyWaiting,
            ErrorClass::Connection => ErrorCode::Full,
            ErrorClass::Fatal => ErrorCode::FrameTooLong,
        }),
    }
}

fn handle<M: Machine>(machine: &mut M, event: Event<M::Message, M::Command>) -> Vec<Action<M::Message, M::Notice>> {
    let mut out = Actions::default();
    machine.handle(Time::ZERO, event, &mut out);
    out.drain().collect()
}

/// Connects the client.
fn connected<M: Machine>(machine: &mut M, command: M::Command) {
    let token = handle(machine, Event::Command(command))
        .into_iter()
        .find_map(|action| match action {
            Action::Dial(token, _) => Some(token),
            _ => None,
        });
    let dial: Option<DialToken> = Some(token.unwrap());
    handle(
        machine,
        Event::Opened(
            CONN,
            Opened {
                dial,
                text: false,
                principal: None,
            },
        ),
    );
}

fn echo_client(code: ErrorCode) -> Does {
    let mut client = echo::Client::new(echo::ClientConfig::default(), ChaCha8Rng::seed_from_u64(1));
    let x = Bytes::from_static(b"x");
    connected(&mut client, echo::Command::Send { key: 1, x });
    let did = handle(
        &mut client,
        Event::Received(CONN, echo::Message::Error(code, Bytes::new())),
    );
    let reported = did.iter().find_map(|action| match action {
        Action::Notify(echo::Notice::Retrying { .. }) => Some(Retries),
        Action::Notify(echo::Notice::GaveUp { .. }) => Some(Ends),
        _ => None,
    });
    reported.unwrap_or(Ignores)
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
    let reported = did.iter().find_map(|action| match action {
        Action::Notify(chat::Notice::Retrying { .. }) => Some(Retries),
        Action::Notify(chat::Notice::Ended { .. }) => Some(Ends),
        _ => None,
    });
    reported.unwrap_or(Ignores)
}

/// A client of the hub, with a request in progress or without.
fn hub_client(code: ErrorCode, asking: bool, reconnect: bool) -> Does {
    let config = hub::ClientConfig {
        reconnect,
        ..hub::ClientConfig::default()
    };
    let mut client = hub::Client::new(config, ChaCha8Rng::seed_from_u64(1));
    connected(&mut client, hub::Command::Connect { session: 1 });
    if asking {
        let ask = hub::Command::Ask {
            session: 1,
            ask: 1,
            request: hub::Request::Identity,
        };
        handle(&mut client, Event::Command(ask));
    }
    let error = hub::Message::Reply(hub::Reply::Error(code, Bytes::new()));
    let mut did = handle(&mut client, Event::Received(CONN, error));
    if did.is_empty() {
        did = handle(&mut client, Event::Closed(CONN, CloseReason::PeerClosed));
    }
    let reported = did.iter().find_map(|action| match action {
        Action::Notify(hub::Notice::Retrying { .. }) => Some(Retries),
        Action::Notify(hub::Notice::Ended { .. }) => Some(Ends),
        Action::Notify(hub::Notice::Answered { reply, .. }) => {
            assert_eq!(*reply, hub::Reply::Error(code, Bytes::new()));
            Some(Answers)
        }
        _ => None,
    });
    reported.unwrap_or(Ignores)
}

/// A client of numbers, before its first number or after it.
fn numbers_client(code: ErrorCode, after_a_number: bool) -> Does {
    let mut client = numbers::Client::new(numbers::ClientConfig::default(), ChaCha8Rng::seed_from_u64(1));
    let stream = numbers::StreamSpec::Stateless { n: 3, after: None };
    connected(&mut client, numbers::Command::Get { key: 1, stream });
    if after_a_number {
        handle(&mut client, Event::Received(CONN, numbers::Message::Number(5)));
    }
    let error = numbers::Message::Error(code, Bytes::new());
    let did = handle(&mut client, Event::Received(CONN, error));
    let reported = did.iter().find_map(|action| match action {
        Action::Notify(numbers::Notice::Retrying { .. }) => Some(Retries),
        Action::Notify(numbers::Notice::Failed { .. }) => Some(Ends),
        _ => None,
    });
    reported.unwrap_or(Ignores)
}

#[test]
fn each_client_reacts_to_each_code_as_specified() {
    let custom = CUSTOM.iter().map(ErrorCode::Custom);
    for code in ErrorCode::ALL.iter().copied().chain([ErrorCode::Unknown]).chain(custom) {
        let row = expected(code);
        assert_eq!(echo_client(code), row.echo, "echo, {code}");
        assert_eq!(
            hub_client(code, false, true),
            row.hub_idle,
            "hub without a request, {code}"
        );
        assert_eq!(
            hub_client(code, true, true),
            row.hub_asking,
            "hub with a request, {code}"
        );
        assert_eq!(
            chat_client(code, false),
            row.chat_before_welcome,
            "chat before the welcome, {code}"
        );
        assert_eq!(
            chat_client(code, true),
            row.chat_after_welcome,
            "chat after the welcome, {code}"
        );
        for after_a_number in [false, true] {
            assert_eq!(numbers_client(code, after_a_number), row.numbers, "numbers, {code}");
        }
        // A user that does not reconnect ends where others retry.
        for (asking, reaction) in [(false, row.hub_idle), (true, row.hub_asking)] {
            let reaction = if reaction == Retries { Ends } else { reaction };
            assert_eq!(
                hub_client(code, asking, false),
                reaction,
                "hub without reconnect, {code}"
            );
        }
    }
}

#[test]
fn codes_are_parsed_as_themselves_and_others_as_unknown() {
    assert_eq!(ErrorCode::parse(b"from-a-later-version"), ErrorCode::Unknown);
    for &code in ErrorCode::ALL {
        assert_eq!(ErrorCode::parse(code.as_str().as_bytes()), code);
    }
}

#[test]
fn the_protocol_lists_each_code() {
    let rows = PROTOCOL
        .lines()
        .skip_while(|line| !line.starts_with("| code | what was wrong"))
        .skip(2);
    let rows = rows.take_while(|line| line.starts_with("| `"));
    let listed: BTreeSet<&str> = rows.filter_map(|row| row.split('`').nth(1)).collect();
    assert_eq!(listed, ErrorCode::ALL.iter().map(|code| code.as_str()).collect());
}
