//! An endpoint with any bytes and operations in any order.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::BytesMut;
use echosphere_core::connection::{ConnectionConfig, SocketAction};
use echosphere_core::echo::{EchoCodec, Server, ServerConfig};
use echosphere_core::endpoint::Endpoint;
use echosphere_core::{ConnId, Time};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::support::Effects;

#[derive(Clone, Debug)]
enum Step {
    Accept,
    /// These concern any connection so far.
    Receive(Index, Vec<u8>),
    Fin(Index),
    Fail(Index),
    /// The driver performs the socket action; the socket takes at most this many bytes.
    Flush(Index, usize),
    Pass(Duration),
    Drain,
    CloseAll,
    ReleaseClosing,
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let fragments: [&[u8]; 14] = [
        b"\0\0\0\0",
        b"\0\0\0\x09message x",
        b"\0\0\0\x09message y",
        b"\0\0\0\x0bmessage a\nb",
        b"\0\0\0\x04ok x",
        b"\0\0\0\x04ok y",
        b"\0\0\0\x03???",
        b"\0\xff\xff\xff",
        b"message x\n",
        b"message a\r\r\n",
        b"ok x\r\n",
        b"\n",
        b"error busy\n",
        b"what\n",
    ];
    prop_oneof![
        12 => proptest::sample::select(fragments.to_vec()).prop_map(<[u8]>::to_vec),
        1 => vec(any::<u8>(), 0..12),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let seconds = prop_oneof![8 => 0..3_u64, 1 => 0..700_u64];
    prop_oneof![
        10 => Just(Step::Accept),
        40 => (any::<Index>(), bytes()).prop_map(|(which, bytes)| Step::Receive(which, bytes)),
        2 => any::<Index>().prop_map(Step::Fin),
        2 => any::<Index>().prop_map(Step::Fail),
        15 => (any::<Index>(), 0..200_usize).prop_map(|(which, most)| Step::Flush(which, most)),
        5 => seconds.prop_map(|seconds| Step::Pass(Duration::from_secs(seconds))),
        1 => Just(Step::Drain),
        1 => Just(Step::CloseAll),
        1 => Just(Step::ReleaseClosing),
    ]
}

struct World {
    endpoint: Endpoint<Server<ChaCha8Rng>, EchoCodec>,
    /// Connections to flush.
    flush: BTreeSet<ConnId>,
    now: Time,
    accepted: Vec<ConnId>,
    released: BTreeSet<ConnId>,
    /// Connections with full sockets: flushing has begun and continues when they take more.
    full: BTreeSet<ConnId>,
}

impl World {
    fn new(seed: u64, config: ConnectionConfig) -> Self {
        let server = Server::new(ServerConfig::default(), ChaCha8Rng::seed_from_u64(seed));
        Self {
            endpoint: Endpoint::new(server, EchoCodec::accepted(100), config),
            now: Time::ZERO,
            accepted: Vec::new(),
            released: BTreeSet::new(),
            flush: BTreeSet::new(),
            full: BTreeSet::new(),
        }
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Accept => {
                if let Ok(id) = self.endpoint.accept(self.now) {
                    assert!(!self.accepted.contains(&id), "{id:?} is used again");
                    self.accepted.push(id);
                }
            }
            Step::Receive(which, bytes) => self.with(which, |world, id| world.receive(id, bytes)),
            Step::Fin(which) => self.with(which, |world, id| {
                world.endpoint.peer_closed(world.now, id);
            }),
            Step::Fail(which) => self.with(which, |world, id| {
                world.endpoint.failed(world.now, id);
            }),
            Step::Flush(which, most) => self.with(which, |world, id| world.flush(id, *most)),
            Step::Pass(time) => {
                let until = self.now + *time;
                while let Some(due) = self.endpoint.next_deadline().filter(|&due| due <= until) {
                    self.now = due;
                    self.endpoint.expire(due);
                    assert!(self.endpoint.next_deadline() != Some(due), "time stands still");
                }
                self.now = until;
            }
            Step::Drain => self.endpoint.drain(self.now),
            Step::CloseAll => self.endpoint.close_all(self.now),
            Step::ReleaseClosing => self.endpoint.release_closing(),
        }
        self.check();
    }

    fn receive(&mut self, id: ConnId, bytes: &[u8]) {
        let mut input = BytesMut::from(bytes);
        self.endpoint.receive(self.now, id, &mut input);
        assert!(input.is_empty(), "all input is taken");
    }

    fn flush(&mut self, id: ConnId, most: usize) {
        self.flush.remove(&id);
        let waiting = self.endpoint.outbox(id).map_or(0, |outbox| outbox.len());
        self.endpoint.wrote(id, waiting.min(most));
        if self.endpoint.socket_action(id) == SocketAction::Shutdown {
            self.endpoint.shut_down(self.now, id);
        }
        if self.endpoint.socket_action(id) == SocketAction::Nothing {
            self.full.remove(&id);
        } else {
            self.full.insert(id);
        }
    }

    fn with(&mut self, which: &Index, act: impl FnOnce(&mut Self, ConnId)) {
        if !self.accepted.is_empty() {
            let id = *which.get(&self.accepted);
            act(self, id);
        }
    }

    fn check(&mut self) {
        let effects = Effects::of(&mut self.endpoint);
        self.flush.extend(effects.flush);
        for (id, _) in effects.release {
            assert!(self.released.insert(id), "{id:?} was released twice");
        }
        let held = self.accepted.len() - self.released.len();
        assert_eq!(self.endpoint.connections(), held);
        assert_eq!(self.endpoint.timers(), held, "each connection has one timer");
        assert!(held <= MAX_CONNECTIONS);
        for id in &self.accepted {
            let idle = self.endpoint.socket_action(*id) == SocketAction::Nothing;
            let known = self.flush.contains(id) || self.full.contains(id);
            assert!(idle || known, "nobody was told to flush {id:?}");
        }
        self.endpoint.machine().audit().unwrap();
        for id in self.endpoint.machine().connections() {
            let waiting = self.endpoint.outbox(id).unwrap().len();
            assert!(waiting <= MAX_OUTBOX, "{waiting} bytes wait for {id:?}");
        }
    }
}

const MAX_OUTBOX: usize = 300;
const MAX_CONNECTIONS: usize = 6;

proptest! {
    #[test]
    fn every_connection_ends_once_and_nothing_is_left(seed: u64, steps in vec(step(), 0..150)) {
        let config = ConnectionConfig {
            max_outbox: MAX_OUTBOX,
            max_connections: MAX_CONNECTIONS,
            ..ConnectionConfig::default()
        };
        let mut world = World::new(seed, config);
        for step in &steps {
            world.step(step);
        }
        // No peer sends anything any more.
        world.step(&Step::Pass(Duration::from_secs(3600)));
        prop_assert!(world.endpoint.is_zero());
        prop_assert_eq!(world.released.len(), world.accepted.len());

        let counters = world.endpoint.counters();
        let ends = [
            counters.closed_by_peer,
            counters.resets,
            counters.closed_by_us,
            counters.handshake_timeouts,
            counters.idle_timeouts,
            counters.slow_consumers,
            counters.malformed,
        ];
        prop_assert_eq!(ends.iter().sum::<u64>(), counters.accepted, "each end is counted once: {:?}", ends);
    }

    #[test]
    fn however_the_bytes_are_cut_the_same_is_answered(
        pieces in vec(bytes(), 0..20),
        cuts in vec(1..8_usize, 0..60),
    ) {
        let stream = pieces.concat();
        let answers = |sizes: &mut dyn Iterator<Item = usize>| {
            let mut world = World::new(1, ConnectionConfig::default());
            let id = world.endpoint.accept(world.now).unwrap();
            let mut left = &stream[..];
            while !left.is_empty() {
                let size = sizes.next().unwrap_or(left.len()).min(left.len());
                world.receive(id, &left[..size]);
                left = &left[size..];
            }
            let outbox = world.endpoint.outbox(id).unwrap();
            let answers = outbox.chunks().collect::<Vec<_>>().concat();
            (answers, *world.endpoint.counters())
        };
        prop_assert_eq!(answers(&mut cuts.into_iter()), answers(&mut std::iter::empty()));
    }
}
