//! Echo clients with any events in any order.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use echosphere_core::echo::{Client, ClientConfig, Command, Message, Notice};
use echosphere_core::random::{Backoff, Delay};
use echosphere_core::wire::ErrorCode;
use echosphere_core::{Action, Actions, CloseReason, ConnId, DialError, DialToken, Event, Machine, Opened, Time};
use proptest::prelude::*;
use proptest::sample::Index;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

#[derive(Clone, Debug)]
enum Step {
    Send(&'static str),
    /// An attempt connects: one in progress or, with `stale`, any earlier one.
    Open {
        which: Index,
        stale: bool,
    },
    DialFails {
        which: Index,
        stale: bool,
    },
    /// On any connection so far.
    Receive {
        which: Index,
        message: Message,
    },
    Close {
        which: Index,
    },
    Pass(Duration),
    Drain,
}

fn x() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&["", "x", "y"][..])
}

fn message() -> impl Strategy<Value = Message> {
    let code = proptest::sample::select(&[ErrorCode::NotHeld, ErrorCode::Busy, ErrorCode::UnknownRequest][..]);
    prop_oneof![
        4 => x().prop_map(|x| Message::Message(x.into())),
        4 => x().prop_map(|x| Message::Ok(x.into())),
        1 => code.prop_map(|code| Message::Error(code, Bytes::new())),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let stale = || prop_oneof![9 => Just(false), 1 => Just(true)];
    prop_oneof![
        20 => x().prop_map(Step::Send),
        20 => (any::<Index>(), stale()).prop_map(|(which, stale)| Step::Open { which, stale }),
        5 => (any::<Index>(), stale()).prop_map(|(which, stale)| Step::DialFails { which, stale }),
        40 => (any::<Index>(), message()).prop_map(|(which, message)| Step::Receive { which, message }),
        5 => any::<Index>().prop_map(|which| Step::Close { which }),
        20 => (0..2000_u64).prop_map(|millis| Step::Pass(Duration::from_millis(millis))),
        1 => Just(Step::Drain),
    ]
}

fn config() -> impl Strategy<Value = ClientConfig> {
    let millis = Duration::from_millis;
    let delay = prop_oneof![
        Just(Delay::None),
        Just(Delay::Constant(millis(300))),
        Just(Delay::Uniform(millis(0), millis(900))),
        Just(Delay::Exponential(millis(300))),
    ];
    let give_up_after = proptest::option::of(Just(millis(5000)));
    let all = (delay, give_up_after, 0..4_usize, any::<bool>());
    all.prop_map(
        move |(ack_delay, give_up_after, max_delayed_acks, retry_refused)| ClientConfig {
            response_timeout: millis(1500),
            backoff: Backoff {
                first: millis(100),
                max: millis(400),
            },
            give_up_after,
            retry_refused,
            ack_delay,
            max_delayed_acks,
        },
    )
}

struct World {
    client: Client<ChaCha8Rng>,
    now: Time,
    under_way: BTreeMap<u64, Bytes>,
    ended: BTreeSet<u64>,
    tokens: Vec<DialToken>,
    dialling: BTreeSet<DialToken>,
    conns: Vec<ConnId>,
    /// Live connections: whether the message was sent, and which acknowledgements are owed.
    open: BTreeMap<ConnId, (bool, Vec<Bytes>)>,
}

impl World {
    fn new(config: ClientConfig, seed: u64) -> Self {
        Self {
            client: Client::new(config, ChaCha8Rng::seed_from_u64(seed)),
            now: Time::ZERO,
            under_way: BTreeMap::new(),
            ended: BTreeSet::new(),
            tokens: Vec::new(),
            dialling: BTreeSet::new(),
            conns: Vec::new(),
            open: BTreeMap::new(),
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Send(x) => {
                let id = (self.under_way.len() + self.ended.len()) as u64;
                let x = Bytes::from_static(x.as_bytes());
                self.under_way.insert(id, x.clone());
                self.handle(Event::Command(Command::Send { key: id, x }));
            }
            Step::Open { which, stale } => {
                if let Some(token) = self.token(which, stale) {
                    let id = self.mint();
                    self.dialling.remove(&token);
                    self.open.insert(id, (false, Vec::new()));
                    let opened = Opened {
                        dial: Some(token),
                        text: false,
                        principal: None,
                    };
                    self.handle(Event::Opened(id, opened));
                }
            }
            Step::DialFails { which, stale } => {
                if let Some(token) = self.token(which, stale) {
                    self.dialling.remove(&token);
                    self.handle(Event::DialFailed(token, DialError::Refused));
                }
            }
            Step::Receive { which, message } => {
                if !self.conns.is_empty() {
                    let id = *which.get(&self.conns);
                    if let (Some((_, owed)), Message::Message(y)) = (self.open.get_mut(&id), &message) {
                        owed.push(y.clone());
                    }
                    self.handle(Event::Received(id, message));
                }
            }
            Step::Close { which } => {
                if !self.conns.is_empty() {
                    let id = *which.get(&self.conns);
                    self.open.remove(&id);
                    self.handle(Event::Closed(id, CloseReason::Reset));
                }
            }
            Step::Pass(time) => {
                let until = self.now + time;
                while let Some(due) = self.client.next_deadline().filter(|&due| due <= until) {
                    self.now = due;
                    self.handle(Event::Deadline);
                    assert!(self.client.next_deadline() > Some(due) || self.client.next_deadline().is_none());
                }
                self.now = until;
            }
            Step::Drain => self.handle(Event::Drain),
        }
    }

    fn token(&self, which: Index, stale: bool) -> Option<DialToken> {
        let tokens: Vec<DialToken> = if stale {
            self.tokens.clone()
        } else {
            self.dialling.iter().copied().collect()
        };
        (!tokens.is_empty()).then(|| *which.get(&tokens))
    }

    /// Reuses slots, as an endpoint does.
    fn mint(&mut self) -> ConnId {
        let slot = (0..).find(|slot| self.open.keys().all(|id| id.slot != *slot)).unwrap();
        let generation = self.conns.iter().filter(|id| id.slot == slot).count() as u32;
        let id = ConnId { slot, generation };
        self.conns.push(id);
        id
    }

    fn handle(&mut self, event: Event<Message, Command>) {
        let mut actions = Actions::new();
        self.client.handle(self.now, event.clone(), &mut actions);
        for action in actions.drain() {
            self.check(&event, action);
        }
        assert_eq!(self.client.under_way(), self.under_way.len());
        assert_eq!(self.client.is_zero(), self.under_way.is_empty());
        let unanswered = self.client.next_deadline().is_some();
        assert_eq!(unanswered, !self.under_way.is_empty(), "every message has a deadline");
        assert!(self.dialling.len() + self.open.len() <= self.under_way.len());
    }

    fn check(&mut self, event: &Event<Message, Command>, action: Action<Message, Notice>) {
        match action {
            Action::Dial(token, _) => {
                assert!(!self.tokens.contains(&token), "{token:?} was used before");
                self.tokens.push(token);
                self.dialling.insert(token);
            }
            Action::AbandonDial(token) => assert!(self.dialling.remove(&token), "{token:?} is not under way"),
            Action::Send(id, Message::Message(_)) => {
                let (sent, _) = self.open.get_mut(&id).unwrap();
                assert!(!std::mem::replace(sent, true), "sent twice on {id:?}");
            }
            Action::Send(id, Message::Ok(y)) => {
                let (_, owed) = self.open.get_mut(&id).unwrap();
                let at = owed.iter().position(|other| *other == y).unwrap();
                owed.remove(at);
            }
            Action::Send(_, Message::Error(..)) | Action::Finish(_) => {
                panic!("a client sends no errors, and finishes nothing")
            }
            Action::Close(id, _) => assert!(self.open.remove(&id).is_some(), "{id:?} is not live"),
            Action::Notify(Notice::Retrying { key: id, .. }) => assert!(self.under_way.contains_key(&id)),
            Action::Notify(Notice::GaveUp { key: id, .. }) => self.end(id, None),
            Action::Notify(Notice::Acknowledged { key: id, .. }) => match event {
                Event::Received(_, Message::Ok(x)) => self.end(id, Some(x)),
                other => panic!("{other:?} acknowledges nothing"),
            },
        }
    }

    fn end(&mut self, id: u64, answered: Option<&Bytes>) {
        let x = self.under_way.remove(&id).unwrap();
        assert!(answered.is_none_or(|ok| *ok == x), "{answered:?} acknowledged {x:?}");
        assert!(self.ended.insert(id), "ended twice");
    }
}

proptest! {
    #[test]
    fn every_message_ends_exactly_once_and_leaves_nothing(
        config in config(),
        seed: u64,
        steps in proptest::collection::vec(step(), 0..150),
    ) {
        let mut world = World::new(config, seed);
        for step in steps {
            world.step(step);
        }
        world.step(Step::Drain);
        world.step(Step::Pass(Duration::from_secs(10)));
        prop_assert!(world.client.is_zero());
        prop_assert!(world.dialling.is_empty() && world.open.is_empty());
        prop_assert_eq!(world.ended.len() as u64, world.client.counters().commands);
    }
}
