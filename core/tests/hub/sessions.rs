//! The hub's users, as their caller sees them.

use std::time::Duration;

use bytes::Bytes;
use echosphere_core::hub::{Client, ClientConfig, ClientCounters, Command, Failure, Message, Notice, Reply, Request};
use echosphere_core::wire::ErrorCode;
use echosphere_core::{Action, Actions, CloseReason, ConnId, DialError, DialToken, Event, Machine, Opened, Time};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

pub(crate) struct Bench {
    pub(crate) client: Client<ChaCha8Rng>,
    pub(crate) now: Time,
    /// Of the attempts, in order.
    pub(crate) dials: Vec<DialToken>,
}

pub(crate) type Did = Action<Message, Notice>;

pub(crate) const CONN: ConnId = ConnId { slot: 0, generation: 0 };

impl Bench {
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

    /// With session 1 connected.
    fn connected() -> Self {
        let mut bench = Self::new();
        bench.command(Command::Connect { session: 1 });
        bench.open();
        bench
    }

    pub(crate) fn handle(&mut self, event: Event<Message, Command>) -> Vec<Did> {
        let mut actions = Actions::new();
        self.client.handle(self.now, event, &mut actions);
        let actions: Vec<Did> = actions.drain().collect();
        for action in &actions {
            if let Action::Dial(token) = action {
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

    /// The latest attempt succeeds.
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
    Event::Opened(CONN, Opened { dial, text: false })
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
fn what_is_asked_before_the_connection_is_sent_once_it_is_there() {
    let mut bench = Bench::new();
    let did = bench.command(Command::Connect { session: 1 });
    assert_eq!(did, [Action::Dial(bench.dial())]);
    assert_eq!(bench.ask(7, Request::Identity), []);
    let connected = Action::Notify(Notice::Connected { session: 1 });
    assert_eq!(bench.open(), [connected, send(Request::Identity)]);
    assert_eq!(bench.hear(Reply::Identity(5)), [answered(7, Reply::Identity(5))]);
}

#[test]
fn answers_belong_to_the_requests_in_order_and_deliveries_to_none() {
    let mut bench = Bench::connected();
    bench.ask(1, Request::List);
    bench.ask(2, Request::Echo(Bytes::from_static(b"x")));
    let body = Bytes::from_static(b"hi");
    let delivered = Action::Notify(Notice::Delivered {
        session: 1,
        from: 9,
        body: body.clone(),
    });
    assert_eq!(bench.hear(Reply::Delivery { from: 9, body }), [delivered]);
    let list = Reply::List([2, 3].into_iter().collect());
    assert_eq!(bench.hear(list.clone()), [answered(1, list)]);
    let error = Reply::Error(ErrorCode::BodyTooLong, Bytes::new());
    assert_eq!(bench.hear(error.clone()), [answered(2, error)]);
}

#[test]
fn an_answer_to_something_else_ends_the_session() {
    let mut bench = Bench::connected();
    bench.ask(1, Request::List);
    let close = Action::Close(CONN, CloseReason::Malformed(ErrorCode::UnknownRequest));
    let did = bench.hear(Reply::Identity(1));
    assert_eq!(did, [close, unanswered(1), ended(Some(Failure::Confused))]);
    assert!(bench.client.is_zero());
    assert_eq!(bench.ask(2, Request::List), [unanswered(2)]);
}

#[test]
fn a_session_leaves_once_all_is_answered() {
    let mut bench = Bench::connected();
    bench.ask(1, Request::Identity);
    assert_eq!(bench.command(Command::Leave { session: 1 }), []);
    assert_eq!(bench.ask(2, Request::Identity), [unanswered(2)]);
    let close = Action::Close(CONN, CloseReason::Finished);
    let did = bench.hear(Reply::Identity(1));
    assert_eq!(did, [answered(1, Reply::Identity(1)), close, ended(None)]);
    assert!(bench.client.is_zero());
}

#[test]
fn a_hub_that_does_not_answer_is_left() {
    let mut bench = Bench::connected();
    bench.ask(1, Request::Identity);
    bench.now = bench.now + Duration::from_secs(10);
    bench.ask(2, Request::List);
    let close = Action::Close(CONN, CloseReason::TimedOut);
    let did = bench.expire();
    assert_eq!(bench.now, Time::ZERO + ClientConfig::default().response_timeout);
    assert_eq!(
        did,
        [close, unanswered(1), unanswered(2), ended(Some(Failure::TimedOut))]
    );
    assert!(bench.client.is_zero());
}

#[test]
fn a_lost_connection_ends_the_session_with_the_hubs_last_words() {
    let mut bench = Bench::connected();
    bench.ask(1, Request::Identity);
    let words = Bytes::from_static(b"later");
    assert_eq!(bench.hear(Reply::Error(ErrorCode::ShuttingDown, words.clone())), []);
    let did = bench.handle(Event::Closed(CONN, CloseReason::PeerClosed));
    let failure = Failure::Rejected(ErrorCode::ShuttingDown, words);
    assert_eq!(did, [unanswered(1), ended(Some(failure))]);
    assert!(bench.client.is_zero());
}

#[test]
fn connecting_is_tried_again_until_its_time_is_over() {
    let mut bench = Bench::new();
    bench.command(Command::Connect { session: 1 });
    bench.ask(1, Request::Identity);
    let mut longest = Duration::ZERO;
    let did = loop {
        let did = bench.handle(Event::DialFailed(bench.dial(), DialError::Refused));
        let [Action::Notify(Notice::Retrying { after, .. })] = did[..] else {
            break did;
        };
        longest = longest.max(after);
        assert_eq!(bench.expire(), [Action::Dial(bench.dial())]);
    };
    assert!(bench.dials.len() > 5, "{} attempts", bench.dials.len());
    let first = ClientConfig::default().backoff.first;
    assert!(longest > first * 4, "pauses grow: {longest:?}");
    assert_eq!(did, [unanswered(1), ended(Some(Failure::Dial(DialError::Refused)))]);
    assert!(bench.now <= Time::ZERO + ClientConfig::default().connect_timeout);
    assert!(bench.client.is_zero());
}

#[test]
fn attempts_that_are_never_answered_are_given_up() {
    let mut bench = Bench::new();
    let config = ClientConfig::default();
    bench.command(Command::Connect { session: 1 });
    let first = bench.dial();
    let did = bench.expire();
    assert_eq!(bench.now, Time::ZERO + config.attempt_timeout);
    assert_eq!(did[0], Action::AbandonDial(first));
    assert_eq!(
        bench.handle(opened(first)),
        [Action::Close(CONN, CloseReason::Finished)]
    );
    let did = loop {
        let did = bench.expire();
        if let Some(Action::Notify(Notice::Ended { .. })) = did.last() {
            break did;
        }
    };
    assert_eq!(bench.now, Time::ZERO + config.connect_timeout);
    let abandoned = Action::AbandonDial(bench.dial());
    assert_eq!(did, [abandoned, ended(Some(Failure::TimedOut))]);
    assert!(bench.client.is_zero());
}

#[test]
fn draining_lets_what_was_asked_be_answered() {
    let mut bench = Bench::connected();
    bench.command(Command::Connect { session: 2 });
    bench.ask(1, Request::Identity);
    let second = bench.dial();
    let did = bench.handle(Event::Drain);
    let ended = Action::Notify(Notice::Ended {
        session: 2,
        failure: Some(Failure::ShuttingDown),
    });
    assert_eq!(did, [Action::AbandonDial(second), ended]);
    let did = bench.hear(Reply::Identity(1));
    assert_eq!(did[1], Action::Close(CONN, CloseReason::Finished));
    assert!(bench.client.is_zero());
}

#[test]
fn what_is_done_is_counted() {
    let mut bench = Bench::new();
    bench.command(Command::Connect { session: 1 });
    bench.ask(1, Request::Identity);
    assert!(!bench.client.is_zero());
    bench.open();
    bench.ask(2, Request::List);
    bench.ask(3, Request::List);
    bench.hear(Reply::Identity(1));
    bench.hear(Reply::Delivery {
        from: 2,
        body: Bytes::new(),
    });
    assert!(!bench.client.is_zero());
    bench.handle(Event::Closed(CONN, CloseReason::Reset));
    bench.ask(4, Request::List);
    let expected = ClientCounters {
        sessions: 1,
        attempts: 1,
        asked: 3,
        answered: 1,
        unanswered: 3,
        delivered: 1,
        failed: 1,
    };
    assert_eq!(*bench.client.counters(), expected);
}
