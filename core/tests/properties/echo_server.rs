//! An echo server with any events in any order, compared step by step with [`Reference`].

use std::convert::Infallible;

use bytes::Bytes;
use echosphere_core::echo::{Message, Server, ServerConfig};
use echosphere_core::wire::ErrorCode;
use echosphere_core::{Actions, CloseReason, ConnId, Event, Machine, Opened, Time};
use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::reference::Reference;

const SLOTS: u32 = 6;

/// Few bodies, so that equal ones meet. The last two do not fit into a line.
const XS: [&str; 5] = ["", "x", "yy", "a\nb", "a\r"];

/// An event on the connection of a slot. `age` 0 is the current one, 1 the one before.
#[derive(Clone, Debug)]
enum Step {
    Open { slot: u32, text: bool },
    Receive { slot: u32, age: u32, message: Message },
    Close { slot: u32, age: u32 },
    Drain,
    Deadline,
}

fn message() -> impl Strategy<Value = Message> {
    let x = || proptest::sample::select(&XS[..]).prop_map(|x| Bytes::from_static(x.as_bytes()));
    prop_oneof![
        10 => x().prop_map(Message::Message),
        10 => x().prop_map(Message::Ok),
        1 => Just(Message::Error(ErrorCode::Unknown, Bytes::new())),
    ]
}

fn step(drain: u32) -> impl Strategy<Value = Step> {
    let age = || prop_oneof![9 => Just(0_u32), 1 => Just(1)];
    prop_oneof![
        4 => (0..SLOTS, any::<bool>()).prop_map(|(slot, text)| Step::Open { slot, text }),
        12 => (0..SLOTS, age(), message()).prop_map(|(slot, age, message)| Step::Receive { slot, age, message }),
        2 => (0..SLOTS, age()).prop_map(|(slot, age)| Step::Close { slot, age }),
        drain => Just(Step::Drain),
        1 => Just(Step::Deadline),
    ]
}

fn bounds() -> impl Strategy<Value = ServerConfig> {
    let tight = (1..5_usize, 1..8_usize, 1..9_usize, 1..8_usize);
    let tight = tight.prop_map(
        |(max_waiting, max_waiting_bytes, max_flights, max_bytes)| ServerConfig {
            max_waiting,
            max_waiting_bytes,
            max_flights,
            max_bytes,
        },
    );
    prop_oneof![Just(ServerConfig::default()), tight]
}

struct World {
    server: Server<ChaCha8Rng>,
    reference: Reference,
    generations: [u32; SLOTS as usize],
}

impl World {
    fn new(config: &ServerConfig, seed: u64) -> Self {
        Self {
            server: Server::new(config.clone(), ChaCha8Rng::seed_from_u64(seed)),
            reference: Reference::new(config.clone()),
            generations: [0; SLOTS as usize],
        }
    }

    fn id(&self, slot: u32, age: u32) -> ConnId {
        let generation = self.generations[slot as usize].wrapping_sub(age);
        ConnId { slot, generation }
    }

    fn step(&mut self, step: Step) {
        let event = match step {
            Step::Open { slot, text } => {
                // On a slot in use this is a mistake of the driver; it must have no effect.
                let taken = self.reference.is_slot_taken(slot);
                self.generations[slot as usize] += u32::from(!taken);
                let generation = self.generations[slot as usize] + u32::from(taken);
                Event::Opened(
                    ConnId { slot, generation },
                    Opened {
                        dial: None,
                        text,
                        principal: None,
                    },
                )
            }
            Step::Receive { slot, age, message } => Event::Received(self.id(slot, age), message),
            Step::Close { slot, age } => Event::Closed(self.id(slot, age), CloseReason::PeerClosed),
            Step::Drain => Event::Drain,
            Step::Deadline => Event::Deadline,
        };
        self.handle(event);
    }

    fn handle(&mut self, event: Event<Message, Infallible>) {
        let mut actions = Actions::new();
        self.server.handle(Time::ZERO, event.clone(), &mut actions);
        self.reference.check(&event, actions.as_slice());
        self.reference.compare(&self.server);
    }

    fn close_all(&mut self) {
        for slot in 0..SLOTS {
            self.step(Step::Close { slot, age: 0 });
        }
    }
}

proptest! {
    #[test]
    fn the_server_does_what_the_rules_allow_and_reaches_zero(
        config in bounds(),
        seed: u64,
        steps in proptest::collection::vec(step(0), 0..150),
    ) {
        let mut world = World::new(&config, seed);
        for step in steps {
            world.step(step);
        }
        world.close_all();
        prop_assert!(world.server.is_zero());
    }

    #[test]
    fn draining_at_any_time_breaks_no_rule(
        config in bounds(),
        seed: u64,
        steps in proptest::collection::vec(step(1), 0..100),
    ) {
        let mut world = World::new(&config, seed);
        for step in steps {
            world.step(step);
        }
        world.step(Step::Drain);
        world.close_all();
        prop_assert!(world.server.is_zero());
    }
}
