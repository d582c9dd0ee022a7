//! The sessions of a hub's client.

use std::time::Duration;

use bytes::Bytes;
use echosphere_core::hub::{Client, ClientConfig, ClientCounters, Command, Failure, Message, Notice, Reply, Request};
use echosphere_core::wire::ErrorCode;
use echosphere_core::{
    Action, Actions, CloseReason, ConnId, DialError, DialTarget, DialToken, Event, Machine, Opened, Time,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

pub(crate) struct Fixture {
    pub(crate) client: Client<ChaCha8Rng>,
    pub(crate) now: Time,
    /// All attempts, in order.
    pub(crate) dials: Vec<DialToken>,
}

pub(crate) type Did = Action<Message, Notice>;

pub(crate) const CONN: ConnId = ConnId { slot: 0, generation: 0 };

impl Fixture {
    fn new() -> Self {
        Self::with(ClientConfig::default())
    }

    pub(crate) fn with(config: ClientConfig) -> Self {
        Self {
            client: Client::new(config, ChaCha8Rng::seed_from_u64(1)),
            now: Time::ZERO,
            dials: Vec::new(),
        }
    }

    /// A client with session 1 connected.
    fn connected() -> Self {
        let mut fixture = Self::new();
        fixture.command(Command::Connect { session: 1 });
        fixture.open();
        fixture
    }

    pub(crate) fn handle(&mut self, event: Event<Message, Command>) -> Vec<Did> {
        let mut actions = Actions::new();
        self.client.handle(self.now, event, &mut actions);
        let actions: Vec<Did> = actions.drain().collect();
        for action in &actions {
            if let Action::Dial(token, _) = action {
                assert!(!self.dials.contains(token), "{token:?} is used again");
                self.dials.push(*token);
            }
        }
        actions
    }

    /// The latest attempt.
    pub(crate) fn dial(&self) -> DialToken {
        *self.dials.last().unwrap()
    }

    /// The latest attempt connects.
    pub(crate) fn open(&mut self) -> Vec<Did> {
        self.handle(opened(self.dial()))
    }

    pub(crate) fn command(&mut self, command: Command) -> Vec<Did> {
        self.handle(Event::Command(command))
    }

    pub(crate) fn ask(&mut self, ask: u64, request: Request) -> Vec<Did> {
        self.command(Command::Ask {
            session: 1,
            ask,
            request,
        })
    }

    pub(crate) fn hear(&mut self, reply: Reply) -> Vec<Did> {
        self.handle(Event::Received(CONN, Message::Reply(reply)))
    }

    pub(crate) fn expire(&mut self) -> Vec<Did> {
        self.now = self.client.next_deadline().unwrap();
        self.handle(Event::Deadline)
    }
}

fn opened(dial: DialToken) -> Event<Message, Command> {
    let dial = Some(dial);
    Event::Opened(
        CONN,
        Opened {
            dial,
            text: false,
            principal: None,
        },
    )
}

pub(crate) fn send(request: Request) -> Did {
    Action::Send(CONN, Message::Request(request))
}

fn answered(ask: u64, reply: Reply) -> Did {
    Action::Notify(Notice::Answered {
        session: 1,
        ask,
        reply,
        round_trip: Duration::ZERO,
    })
}

pub(crate) fn unanswered(ask: u64) -> Did {
    Action::Notify(Notice::Unanswered { session: 1, ask })
}

pub(crate) fn ended(failure: Option<Failure>) -> Did {
    Action::Notify(Notice::Ended { session: 1, failure })
}

#[test]
fn requests_before_the_connection_are_sent_once_it_opens() {
    let mut fixture = Fixture::new();
    let did = fixture.command(Command::Connect { session: 1 });
    assert_eq!(did, [Action::Dial(fixture.dial(), DialTarget::default())]);
    assert_eq!(fixture.ask(7, Request::Identity), []);
    let connected = Action::Notify(Notice::Connected { session: 1 });
    assert_eq!(fixture.open(), [connected, send(Request::Identity)]);
    assert_eq!(fixture.hear(Reply::Identity(5)), [answered(7, Reply::Identity(5))]);
}

#[test]
fn answers_match_requests_in_order() {
    let mut fixture = Fixture::connected();
    fixture.ask(1, Request::List);
    fixture.ask(2, Request::Echo(Bytes::from_static(b"x")));
    let body = Bytes::from_static(b"hi");
    let delivered = Action::Notify(Notice::Received {
        session: 1,
        from: 9,
        body: body.clone(),
    });
    assert_eq!(fixture.hear(Reply::Delivery { from: 9, body }), [delivered]);
    let list = Reply::List([2, 3].into_iter().collect());
    assert_eq!(fixture.hear(list.clone()), [answered(1, list)]);
    let error = Reply::Error(ErrorCode::BodyTooLong, Bytes::new());
    assert_eq!(fixture.hear(error.clone()), [answered(2, error)]);
}

#[test]
fn an_answer_to_something_else_ends_the_session() {
    let mut fixture = Fixture::connected();
    fixture.ask(1, Request::List);
    let close = Action::Close(CONN, CloseReason::Malformed(ErrorCode::UnknownRequest));
    let did = fixture.hear(Reply::Identity(1));
    assert_eq!(did, [close, unanswered(1), ended(Some(Failure::ProtocolViolation))]);
    assert!(fixture.client.is_zero());
    assert_eq!(fixture.ask(2, Request::List), [unanswered(2)]);
}

#[test]
fn a_session_ends_once_all_requests_are_answered() {
    let mut fixture = Fixture::connected();
    fixture.ask(1, Request::Identity);
    assert_eq!(fixture.command(Command::Leave { session: 1 }), []);
    assert_eq!(fixture.ask(2, Request::Identity), [unanswered(2)]);
    let close = Action::Close(CONN, CloseReason::Finished);
    let did = fixture.hear(Reply::Identity(1));
    assert_eq!(did, [answered(1, Reply::Identity(1)), close, ended(None)]);
    assert!(fixture.client.is_zero());
}

#[test]
fn without_an_answer_of_the_hub_the_session_ends() {
    let mut fixture = Fixture::connected();
    fixture.ask(1, Request::Identity);
    fixture.now = fixture.now + Duration::from_secs(10);
    fixture.ask(2, Request::List);
    let close = Action::Close(CONN, CloseReason::TimedOut);
    let did = fixture.expire();
    assert_eq!(fixture.now, Time::ZERO + ClientConfig::default().response_timeout);
    assert_eq!(
        did,
        [close, unanswered(1), unanswered(2), ended(Some(Failure::TimedOut))]
    );
    assert!(fixture.client.is_zero());
}

#[test]
fn a_loss_ends_the_session_with_the_hubs_last_error() {
    let mut fixture = Fixture::connected();
    fixture.ask(1, Request::Identity);
    let words = Bytes::from_static(b"later");
    assert_eq!(fixture.hear(Reply::Error(ErrorCode::ShuttingDown, words.clone())), []);
    let did = fixture.handle(Event::Closed(CONN, CloseReason::PeerClosed));
    let failure = Failure::Rejected(ErrorCode::ShuttingDown, words);
    assert_eq!(did, [unanswered(1), ended(Some(failure))]);
    assert!(fixture.client.is_zero());
}

#[test]
fn connecting_is_retried_until_the_time_limit() {
    let mut fixture = Fixture::new();
    fixture.command(Command::Connect { session: 1 });
    fixture.ask(1, Request::Identity);
    let mut longest = Duration::ZERO;
    let did = loop {
        let did = fixture.handle(Event::DialFailed(fixture.dial(), DialError::Refused));
        let [Action::Notify(Notice::Retrying { after, .. })] = did[..] else {
            break did;
        };
        longest = longest.max(after);
        assert_eq!(fixture.expire(), [Action::Dial(fixture.dial(), DialTarget::default())]);
    };
    assert!(fixture.dials.len() > 5, "{} attempts", fixture.dials.len());
    let first = ClientConfig::default().backoff.first;
    assert!(longest > first * 4, "pauses grow: {longest:?}");
    assert_eq!(did, [unanswered(1), ended(Some(Failure::Dial(DialError::Refused)))]);
    assert!(fixture.now <= Time::ZERO + ClientConfig::default().connect_timeout);
    assert!(fixture.client.is_zero());
}

#[test]
fn attempts_that_are_never_answered_are_given_up() {
    let mut fixture = Fixture::new();
    let config = ClientConfig::default();
    fixture.command(Command::Connect { session: 1 });
    let first = fixture.dial();
    let did = fixture.expire();
    assert_eq!(fixture.now, Time::ZERO + config.attempt_timeout);
    assert_eq!(did[0], Action::AbandonDial(first));
    assert_eq!(
        fixture.handle(opened(first)),
        [Action::Close(CONN, CloseReason::Finished)]
    );
    let did = loop {
        let did = fixture.expire();
        if let Some(Action::Notify(Notice::Ended { .. })) = did.last() {
            break did;
        }
    };
    assert_eq!(fixture.now, Time::ZERO + config.connect_timeout);
    let abandoned = Action::AbandonDial(fixture.dial());
    assert_eq!(did, [abandoned, ended(Some(Failure::TimedOut))]);
    assert!(fixture.client.is_zero());
}

#[test]
fn draining_waits_for_answers() {
    let mut fixture = Fixture::connected();
    fixture.command(Command::Connect { session: 2 });
    fixture.ask(1, Request::Identity);
    let second = fixture.dial();
    let did = fixture.handle(Event::Drain);
    let ended = Action::Notify(Notice::Ended {
        session: 2,
        failure: Some(Failure::ShuttingDown),
    });
    assert_eq!(did, [Action::AbandonDial(second), ended]);
    let did = fixture.hear(Reply::Identity(1));
    assert_eq!(did[1], Action::Close(CONN, CloseReason::Finished));
    assert!(fixture.client.is_zero());
}

#[test]
fn the_counters_count() {
    let mut fixture = Fixture::new();
    fixture.command(Command::Connect { session: 1 });
    fixture.ask(1, Request::Identity);
    assert!(!fixture.client.is_zero());
    fixture.open();
    fixture.ask(2, Request::List);
    fixture.ask(3, Request::List);
    fixture.hear(Reply::Identity(1));
    fixture.hear(Reply::Delivery {
        from: 2,
        body: Bytes::new(),
    });
    assert!(!fixture.client.is_zero());
    fixture.handle(Event::Closed(CONN, CloseReason::Reset));
    fixture.ask(4, Request::List);
    let expected = ClientCounters {
        sessions: 1,
        attempts: 1,
        asked: 3,
        answered: 1,
        unanswered: 3,
        delivered: 1,
        failed: 1,
    };
    assert_eq!(*fixture.client.counters(), expected);
}
