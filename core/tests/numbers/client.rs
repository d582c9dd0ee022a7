use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use echosphere_core::machine::{Actions, DialError, Opened};
use echosphere_core::numbers::{
    Client, ClientConfig, ClientCounters, Command, Failure, Message, Notice, StreamSpec, Total, Uuid,
};
use echosphere_core::wire::ErrorCode;
use echosphere_core::{Action, CloseReason, ConnId, DialToken, Event, Machine, Time};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::fixture::{UUID, whole};

const KEY: u64 = 1;

/// A client with one stream. The test plays its connections.
struct Fixture {
    client: Client<ChaCha8Rng>,
    now: Time,
    conn: u32,
    /// All attempts.
    tokens: BTreeSet<DialToken>,
}

impl Fixture {
    fn new(stream: StreamSpec) -> (Self, Vec<Action<Message, Notice>>) {
        let mut fixture = Self {
            client: Client::new(ClientConfig::default(), ChaCha8Rng::seed_from_u64(1)),
            now: Time::ZERO,
            conn: 0,
            tokens: BTreeSet::new(),
        };
        let actions = fixture.event(Event::Command(Command::Get { key: KEY, stream }));
        (fixture, actions)
    }

    fn event(&mut self, event: Event<Message, Command>) -> Vec<Action<Message, Notice>> {
        let mut actions = Actions::new();
        self.client.handle(self.now, event, &mut actions);
        actions.drain().collect()
    }

    fn id(&self) -> ConnId {
        ConnId {
            slot: 0,
            generation: self.conn,
        }
    }

    /// The attempt in `actions` connects. Returns the request.
    fn connect(&mut self, actions: &[Action<Message, Notice>]) -> Message {
        let [Action::Dial(token, _)] = *actions else {
            panic!("{actions:?}")
        };
        assert!(self.tokens.insert(token), "{token:?} is used again");
        self.conn += 1;
        let dial = Some(token);
        let actions = self.event(Event::Opened(
            self.id(),
            Opened {
                dial,
                text: false,
                principal: None,
            },
        ));
        match actions.as_slice() {
            [Action::Send(conn, request)] if *conn == self.id() => request.clone(),
            other => panic!("{other:?}"),
        }
    }

    fn hear(&mut self, message: Message) -> Vec<Action<Message, Notice>> {
        self.event(Event::Received(self.id(), message))
    }

    fn number(&mut self, number: u64) -> Vec<Action<Message, Notice>> {
        self.hear(Message::Number(number))
    }

    fn error(&mut self, code: ErrorCode) -> Vec<Action<Message, Notice>> {
        self.hear(Message::Error(code, Bytes::from_static(b"why")))
    }

    fn break_connection(&mut self) -> Vec<Action<Message, Notice>> {
        self.event(Event::Closed(self.id(), CloseReason::Reset))
    }

    /// Waits for the next deadline.
    fn wait(&mut self) -> Vec<Action<Message, Notice>> {
        self.now = self.client.next_deadline().unwrap();
        self.event(Event::Deadline)
    }
}

fn session(n: u16, after: Option<u64>) -> StreamSpec {
    let uuid = Uuid::try_parse(UUID).unwrap();
    StreamSpec::Session { uuid, n, after }
}

fn number(place: u32, number: u64) -> Action<Message, Notice> {
    Action::Notify(Notice::Number {
        key: KEY,
        place,
        number,
    })
}

fn pause(actions: &[Action<Message, Notice>]) -> (Duration, Failure) {
    match actions {
        [
            ..,
            Action::Notify(Notice::Retrying {
                key: KEY,
                failure: why,
                after,
            }),
        ] => (*after, why.clone()),
        other => panic!("{other:?}"),
    }
}

fn failure(actions: &[Action<Message, Notice>]) -> Failure {
    match actions.last() {
        Some(Action::Notify(Notice::Failed { key: KEY, failure })) => failure.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stateless_stream_ends_with_its_sum_and_is_ended() {
    let (mut fixture, dial) = Fixture::new(StreamSpec::Stateless { n: 2, after: None });
    assert_eq!(fixture.connect(&dial), Message::Start);
    assert_eq!(fixture.number(u64::MAX), [number(1, u64::MAX)]);
    let total = Total::Sum(u128::from(u64::MAX) + u128::from(u64::MAX - 2));
    let conn = fixture.id();
    assert_eq!(
        fixture.number(u64::MAX - 2),
        [
            number(2, u64::MAX - 2),
            Action::Send(conn, Message::End),
            Action::Close(conn, CloseReason::Finished),
            Action::Notify(Notice::Done { key: KEY, total }),
        ]
    );
    assert!(fixture.client.is_zero());
}

#[test]
fn a_stateless_stream_continues_after_its_last_number() {
    let (mut fixture, dial) = Fixture::new(StreamSpec::Stateless { n: 3, after: None });
    fixture.connect(&dial);
    fixture.number(5);
    pause(&fixture.break_connection());
    let dial = fixture.wait();
    assert_eq!(fixture.connect(&dial), Message::Continue(5));
    let resumed = Action::Notify(Notice::Resumed { key: KEY, count: 1 });
    assert_eq!(fixture.number(15), [resumed, number(2, 15)]);
    assert_eq!(
        failure(&fixture.number(46)),
        Failure::ProtocolViolation,
        "not what comes after 15"
    );
}

#[test]
fn a_session_is_resumed_by_count_with_the_right_checksum() {
    let all = whole(UUID, 3);
    let (mut fixture, dial) = Fixture::new(session(3, None));
    assert!(matches!(fixture.connect(&dial), Message::StartSession { n: 3, .. }));
    fixture.number(all[0]);
    fixture.break_connection();
    let dial = fixture.wait();
    let request = fixture.connect(&dial);
    assert!(
        matches!(request, Message::ContinueSession { last, count: Some(1), .. } if last == all[0]),
        "{request:?}"
    );
    assert_eq!(fixture.number(1), []);
    assert_eq!(fixture.number(all[0] % 123_456), []);
    let resumed = Action::Notify(Notice::Resumed { key: KEY, count: 1 });
    assert_eq!(fixture.number(all[1]), [resumed, number(2, all[1])]);
    fixture.number(all[2]);
    let valid = Total::Checksum {
        value: all[3],
        valid: true,
    };
    let done = Notice::Done { key: KEY, total: valid };
    assert_eq!(fixture.number(all[3]).last(), Some(&Action::Notify(done)));
    assert!(fixture.client.is_zero());
}

#[test]
fn a_wrong_checksum_is_reported() {
    let all = whole(UUID, 1);
    let (mut fixture, dial) = Fixture::new(session(1, None));
    fixture.connect(&dial);
    fixture.number(all[0] ^ 1);
    let total = Total::Checksum {
        value: all[1],
        valid: false,
    };
    let done = Notice::Done { key: KEY, total };
    assert_eq!(fixture.number(all[1]).last(), Some(&Action::Notify(done)));
}

#[test]
fn a_wrong_count_or_checksum_so_far_is_reported() {
    for replies in [&[2][..], &[1, 0]] {
        let (mut fixture, dial) = Fixture::new(session(3, None));
        fixture.connect(&dial);
        fixture.number(7);
        fixture.break_connection();
        let dial = fixture.wait();
        fixture.connect(&dial);
        let told: Vec<_> = replies.iter().flat_map(|reply| fixture.number(*reply)).collect();
        assert_eq!(failure(&told), Failure::ProtocolViolation);
    }
    let (mut fixture, dial) = Fixture::new(session(3, Some(7)));
    fixture.connect(&dial);
    assert_eq!(
        failure(&fixture.number(4)),
        Failure::ProtocolViolation,
        "more than there are"
    );
}

#[test]
fn a_session_of_an_earlier_run_takes_its_count_and_checksum_from_the_server() {
    let all = whole(UUID, 3);
    let (mut fixture, dial) = Fixture::new(session(3, Some(all[1])));
    let request = fixture.connect(&dial);
    assert!(
        matches!(request, Message::ContinueSession { count: None, .. }),
        "{request:?}"
    );
    fixture.number(2);
    fixture.number((all[0] % 123_456 + all[1] % 123_456) % 123_456);
    assert_eq!(fixture.number(all[2]).last(), Some(&number(3, all[2])));
    let total = Total::Checksum {
        value: all[3],
        valid: true,
    };
    assert_eq!(
        fixture.number(all[3]).last(),
        Some(&Action::Notify(Notice::Done { key: KEY, total }))
    );
}

#[test]
fn a_client_without_a_number_detects_whether_its_session_exists() {
    let (mut fixture, dial) = Fixture::new(session(3, None));
    fixture.connect(&dial);
    fixture.break_connection();
    let dial = fixture.wait();
    let request = fixture.connect(&dial);
    assert!(
        matches!(
            request,
            Message::ContinueSession {
                last: 0,
                count: Some(0),
                ..
            }
        ),
        "{request:?}"
    );
    let instead = fixture.error(ErrorCode::UnknownSession);
    assert!(
        matches!(instead.as_slice(), [Action::Send(_, Message::StartSession { .. })]),
        "{instead:?}"
    );
    // Not again: another client has the uuid.
    assert!(matches!(
        failure(&fixture.error(ErrorCode::UuidTaken)),
        Failure::Rejected(ErrorCode::UuidTaken, _)
    ));
}

#[test]
fn an_unknown_session_ends() {
    let (mut fixture, dial) = Fixture::new(session(3, None));
    fixture.connect(&dial);
    fixture.number(7);
    fixture.break_connection();
    let dial = fixture.wait();
    fixture.connect(&dial);
    let failed = failure(&fixture.error(ErrorCode::UnknownSession));
    assert_eq!(
        failed,
        Failure::Rejected(ErrorCode::UnknownSession, Bytes::from_static(b"why"))
    );
    assert!(fixture.client.is_zero());
}

#[test]
fn pauses_double_and_a_reply_begins_them_anew() {
    let (mut fixture, mut dial) = Fixture::new(StreamSpec::Stateless { n: 9, after: None });
    let mut value = 1;
    for round in 0..2 {
        for retry in 0..4_u32 {
            let Some(Action::Dial(token, _)) = dial.first().cloned() else {
                panic!("{dial:?}")
            };
            let (after, why) = pause(&fixture.event(Event::DialFailed(token, DialError::Refused)));
            assert_eq!(why, Failure::Dial(DialError::Refused));
            let step = Duration::from_millis(500) * 2_u32.pow(retry + round);
            assert!(step / 2 <= after && after <= step, "{after:?} of {step:?}");
            dial = fixture.wait();
        }
        fixture.connect(&dial);
        fixture.number(value);
        value = value.wrapping_mul(3);
        // This is the first break after a reply.
        pause(&fixture.break_connection());
        dial = fixture.wait();
    }
}

#[test]
fn without_a_reply_in_time_it_gives_up() {
    let (mut fixture, mut actions) = Fixture::new(StreamSpec::Stateless { n: 9, after: None });
    loop {
        match actions.as_slice() {
            [Action::Dial(token, _)] => actions = fixture.event(Event::DialFailed(*token, DialError::Refused)),
            [Action::Notify(Notice::Retrying { .. })] => actions = fixture.wait(),
            other => {
                assert_eq!(failure(other), Failure::Dial(DialError::Refused));
                break;
            }
        }
    }
    assert!(fixture.now <= Time::ZERO + ClientConfig::default().give_up_after);
    assert!(fixture.now.since(Time::ZERO) > ClientConfig::default().give_up_after / 2);
    assert!(fixture.client.is_zero());
}

#[test]
fn a_stream_slower_than_the_timeout_is_resumed() {
    let (mut fixture, dial) = Fixture::new(StreamSpec::Stateless { n: 9, after: None });
    fixture.connect(&dial);
    fixture.number(5);
    fixture.now = fixture.now + 10 * ClientConfig::default().give_up_after;
    let (after, _) = pause(&fixture.break_connection());
    assert!(after <= ClientConfig::default().backoff.first);
    let dial = fixture.wait();
    assert_eq!(fixture.connect(&dial), Message::Continue(5));
}

#[test]
fn a_connection_on_which_nothing_is_answered_counts_as_lost() {
    let (mut fixture, dial) = Fixture::new(StreamSpec::Stateless { n: 9, after: None });
    fixture.connect(&dial);
    let actions = fixture.wait();
    assert!(actions.contains(&Action::Close(fixture.id(), CloseReason::TimedOut)));
    assert_eq!(pause(&actions).1, Failure::TimedOut);
    // Numbers may be as far apart as the server's period.
    let dial = fixture.wait();
    fixture.connect(&dial);
    fixture.number(3);
    assert_eq!(fixture.client.next_deadline(), None);
}

#[test]
fn an_unanswered_attempt_is_abandoned_and_retried() {
    let (mut fixture, dial) = Fixture::new(StreamSpec::Stateless { n: 9, after: None });
    let Some(Action::Dial(token, _)) = dial.first().cloned() else {
        panic!("{dial:?}")
    };
    let actions = fixture.wait();
    assert_eq!(actions[0], Action::AbandonDial(token));
    assert_eq!(pause(&actions).1, Failure::TimedOut);
    assert!(fixture.now.since(Time::ZERO) < ClientConfig::default().give_up_after / 2);
    let dial = fixture.wait();
    assert_eq!(fixture.connect(&dial), Message::Start);
}

#[test]
fn retryable_errors_are_retried_and_others_end_the_stream() {
    for code in [
        ErrorCode::Full,
        ErrorCode::ShuttingDown,
        ErrorCode::TooManySessions,
        ErrorCode::TakenOver,
    ] {
        let (mut fixture, dial) = Fixture::new(session(3, None));
        fixture.connect(&dial);
        let why = pause(&fixture.error(code)).1;
        assert_eq!(why, Failure::Rejected(code, Bytes::from_static(b"why")));
    }
    for code in [
        ErrorCode::WrongMode,
        ErrorCode::UuidTaken,
        ErrorCode::BadNumber,
        ErrorCode::Unknown,
    ] {
        let (mut fixture, dial) = Fixture::new(session(3, None));
        fixture.connect(&dial);
        failure(&fixture.error(code));
        assert!(fixture.client.is_zero());
    }
}

#[test]
fn a_draining_client_ends_its_streams() {
    let (mut fixture, dial) = Fixture::new(session(3, None));
    let [Action::Dial(DialToken(token), _)] = *dial else {
        panic!("{dial:?}")
    };
    let actions = fixture.event(Event::Drain);
    assert_eq!(actions[0], Action::AbandonDial(DialToken(token)));
    assert_eq!(failure(&actions), Failure::ShuttingDown);
    assert!(fixture.client.is_zero());
}

#[test]
fn the_counters_count() {
    let (mut fixture, dial) = Fixture::new(StreamSpec::Stateless { n: 2, after: None });
    assert!(!fixture.client.is_zero());
    fixture.connect(&dial);
    fixture.number(5);
    assert!(!fixture.client.is_zero());
    fixture.break_connection();
    let dial = fixture.wait();
    fixture.connect(&dial);
    fixture.number(15);
    let stream = StreamSpec::Stateless { n: 2, after: None };
    let dial = fixture.event(Event::Command(Command::Get { key: KEY, stream }));
    fixture.connect(&dial);
    fixture.error(ErrorCode::WrongMode);
    let expected = ClientCounters {
        asked: 2,
        attempts: 3,
        resumed: 1,
        numbers: 2,
        done: 1,
        failed: 1,
    };
    assert_eq!(*fixture.client.counters(), expected);
}
