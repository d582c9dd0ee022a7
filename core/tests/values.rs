//! Small types as users see them.

#![allow(clippy::unwrap_used)]

use std::iter::successors;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use echosphere_core::echo::{Client, ClientConfig, Command};
use echosphere_core::failure::Failure;
use echosphere_core::wire::{ErrorCode, Framer, MAX_FRAME, Outbox, Protocol, WireError, detach};
use echosphere_core::{
    Action, Actions, CloseReason, ConnId, DialError, Event, Machine, Time, chat, echo, hub, numbers,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

#[test]
fn a_time_is_nanoseconds_and_saturates() {
    let time = Time::from_nanos(7) + Duration::from_secs(1);
    assert_eq!(time.as_nanos(), 1_000_000_007);
    assert_eq!(time.since(Time::from_nanos(7)), Duration::from_secs(1));
    assert_eq!(Time::ZERO.since(time), Duration::ZERO);
    assert_eq!((time + Duration::MAX).as_nanos(), u64::MAX);
}

#[test]
fn a_connection_is_named_by_slot_and_generation() {
    let id = ConnId { slot: 3, generation: 2 };
    assert_eq!(format!("{id:?}"), "c3.2");
}

#[test]
fn an_error_reads_as_on_the_wire() {
    let error = WireError::from(ErrorCode::Full);
    assert_eq!(error.to_string(), format!("full {}", ErrorCode::Full.describe()));
}

#[test]
fn short_bodies_are_copied_to_be_kept_and_long_ones_shared() {
    for (length, shared) in [(32 * 1024 - 1, false), (32 * 1024, true)] {
        let body = Bytes::from(vec![b'x'; length]);
        let kept = detach(&body);
        assert_eq!(kept, body);
        assert_eq!(kept.as_ptr() == body.as_ptr(), shared, "{length} bytes");
    }
}

#[test]
fn an_outbox_copies_short_bodies_and_shares_long_ones() {
    for (length, shared) in [(2 * 1024 - 1, false), (2 * 1024, true)] {
        let body = Bytes::from(vec![b'x'; length]);
        let mut outbox = Outbox::new();
        outbox.put_shared(&body);
        let chunk = outbox.chunks().next().unwrap();
        assert_eq!(chunk.as_ptr() == body.as_ptr(), shared, "{length} bytes");
    }
}

#[test]
fn limits_are_those_of_the_protocol() {
    const MIB: usize = 1_048_576;
    assert_eq!(echo::MAX_MESSAGE as usize, MIB);
    assert_eq!((hub::MAX_BODY, hub::MAX_RECEIVERS), (MIB, 255));
    assert_eq!((chat::MAX_BODY, chat::MAX_FRAME_BODY), (MIB, MIB));
    assert_eq!(numbers::MAX_LINE, 512);
}

#[test]
fn no_limit_is_over_that_of_any_frame() {
    let line = [&vec![b'x'; MAX_FRAME as usize + 1][..], b"\n"].concat();
    let read = Framer::accepted(u32::MAX).next(&mut BytesMut::from(&line[..]));
    assert_eq!(read.unwrap_err().code, ErrorCode::LineTooLong);
    let read = Framer::accepted(u32::MAX).next(&mut BytesMut::from(&line[1..]));
    assert_eq!(read.unwrap().unwrap().len(), MAX_FRAME as usize);
}

#[test]
fn a_framer_accepts_less_input_than_before() {
    let mut framer = Framer::accepted(9);
    assert_eq!(framer.next(&mut BytesMut::from("incomplete")), Ok(None));
    assert_eq!(framer.next(&mut BytesMut::from("less")), Ok(None));
    let line = framer.next(&mut BytesMut::from("less\n"));
    assert_eq!(line.unwrap().unwrap(), "less");
}

#[test]
fn a_client_counts_its_commands() {
    let mut client = Client::new(ClientConfig::default(), ChaCha8Rng::seed_from_u64(1));
    let mut actions = Actions::new();
    for id in 0..3 {
        let x = Bytes::from_static(b"x");
        client.handle(Time::ZERO, Event::Command(Command::Send { key: id, x }), &mut actions);
    }
    assert_eq!((client.counters().commands, client.under_way()), (3, 3));
    assert_eq!(client.counters().attempts, 3);

    client.handle(Time::ZERO, Event::Drain, &mut actions);
    let x = Bytes::from_static(b"too late");
    client.handle(Time::ZERO, Event::Command(Command::Send { key: 3, x }), &mut actions);
    assert_eq!((client.counters().gave_up, client.under_way()), (4, 0));
}

#[test]
fn actions_are_there_until_they_are_taken() {
    let mut actions = Actions::<(), ()>::new();
    assert!(actions.is_empty());
    actions.push(Action::Notify(()));
    assert!(!actions.is_empty());
    assert_eq!(actions.drain().count(), 1);
    assert!(actions.is_empty());
}

// Each function returns the value after another, so that `successors` lists them all. No match has a wildcard, so a new
// variant does not compile without its place.

fn after_dial_error(error: &DialError) -> Option<DialError> {
    Some(match error {
        DialError::Refused => DialError::Unavailable,
        DialError::Unavailable => DialError::Unreachable,
        DialError::Unreachable => DialError::NegotiationFailed,
        DialError::NegotiationFailed => DialError::OtherProtocol(None),
        DialError::OtherProtocol(None) => DialError::OtherProtocol(Some(Protocol::Hub)),
        DialError::OtherProtocol(Some(_)) => return None,
    })
}

fn after_close_reason(reason: &CloseReason) -> Option<CloseReason> {
    Some(match reason {
        CloseReason::Finished => CloseReason::PeerClosed,
        CloseReason::PeerClosed => CloseReason::Reset,
        CloseReason::Reset => CloseReason::Malformed(ErrorCode::LineTooLong),
        CloseReason::Malformed(_) => CloseReason::HandshakeTimeout,
        CloseReason::HandshakeTimeout => CloseReason::IdleTimeout,
        CloseReason::IdleTimeout => CloseReason::SlowConsumer,
        CloseReason::SlowConsumer => CloseReason::PartialLimit,
        CloseReason::PartialLimit => CloseReason::TimedOut,
        CloseReason::TimedOut => CloseReason::Rejected(ErrorCode::Busy),
        CloseReason::Rejected(_) => CloseReason::ShuttingDown,
        CloseReason::ShuttingDown => CloseReason::NegotiationFailed,
        CloseReason::NegotiationFailed => CloseReason::Answered,
        CloseReason::Answered => CloseReason::OtherProtocol(None),
        CloseReason::OtherProtocol(None) => CloseReason::OtherProtocol(Some(Protocol::Hub)),
        CloseReason::OtherProtocol(Some(_)) => return None,
    })
}

fn after_send_error(error: &chat::SendError) -> Option<chat::SendError> {
    Some(match error {
        chat::SendError::NoPeer => chat::SendError::Leaving,
        chat::SendError::Leaving => chat::SendError::QueueFull,
        chat::SendError::QueueFull => chat::SendError::TooLong,
        chat::SendError::TooLong => return None,
    })
}

/// Without the failures that are another error's.
fn after_failure(failure: &Failure) -> Option<Failure> {
    Some(match failure {
        Failure::Rejected(..) => Failure::TimedOut,
        Failure::TimedOut => Failure::ProtocolViolation,
        Failure::ProtocolViolation => Failure::ShuttingDown,
        Failure::ShuttingDown => Failure::Replaced,
        Failure::Replaced | Failure::Dial(_) | Failure::Closed(_) | Failure::OtherProtocol(_) => return None,
    })
}

#[test]
fn each_reason_to_fail_reads_as_a_sentence() {
    let mut texts = Vec::new();
    texts.extend(successors(Some(chat::SendError::NoPeer), after_send_error).map(|error| error.to_string()));
    let rejected = Failure::Rejected(ErrorCode::Full, Bytes::from_static(b"come back later"));
    texts.extend(successors(Some(rejected), after_failure).map(|failure| failure.to_string()));
    let dials = successors(Some(DialError::Refused), after_dial_error);
    let reasons = successors(Some(CloseReason::Finished), after_close_reason);
    for error in dials {
        texts.push(error.to_string());
        assert_eq!(Failure::from(error).to_string(), error.to_string());
    }
    for reason in reasons {
        texts.push(reason.to_string());
        let whole = Failure::from(reason).to_string();
        assert!(whole.ends_with(&reason.to_string()), "{whole}");
    }
    for text in &texts {
        assert!(text.contains(' '), "{text:?} is one word");
        // Names of variants have capitals inside.
        let derived = text.split(|char: char| !char.is_alphanumeric());
        let derived = derived.filter(|word| word.len() > 1 && word[1..].contains(char::is_uppercase));
        assert_eq!(derived.collect::<Vec<_>>(), Vec::<&str>::new(), "{text:?}");
    }
}

#[test]
fn the_text_of_a_servers_error_is_escaped() {
    let text = Bytes::from_static(b"it's \"full\"\x1b[2J\r\n\xff\xe2\x80\xae");
    let failure = Failure::Rejected(ErrorCode::Full, text);
    let expected = r#"the server answered with the error full: it's "full"\u{1b}[2J\r\n\xff\u{202e}"#;
    assert_eq!(failure.to_string(), expected);
}
