//! The cost of resuming a session of numbers, early and late in the session.
//!
//! `cargo bench -p bench --bench numbers`

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use echosphere_core::machine::Opened;
use echosphere_core::numbers::{Message, Sequence, Server, ServerConfig, Uuid};
use echosphere_core::{Actions, CloseReason, ConnId, Event, Machine, Time};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const UUID: Uuid = Uuid::from_u128(0x67e5_5044_10b1_426f_9247_bb68_0e5f_e0c8);
/// The number of numbers that were sent but not received before the connection was lost.
const LOST: u16 = 10;

struct Session {
    server: Server<ChaCha8Rng>,
    now: Time,
    generation: u32,
    actions: Actions<Message, std::convert::Infallible>,
}

impl Session {
    /// A session of which this many numbers were sent.
    fn at(place: u16) -> Self {
        let mut session = Self {
            server: Server::new(ServerConfig::default(), ChaCha8Rng::seed_from_u64(1)),
            now: Time::ZERO,
            generation: 0,
            actions: Actions::new(),
        };
        session.open(Message::StartSession {
            uuid: UUID,
            n: u16::MAX,
        });
        for _ in 1..place {
            session.now = session.server.next_deadline().expect("a number is due");
            session
                .server
                .handle(session.now, Event::Deadline, &mut session.actions);
        }
        session.close();
        session
    }

    const fn conn(&self) -> ConnId {
        ConnId {
            slot: 0,
            generation: self.generation,
        }
    }

    fn open(&mut self, request: Message) {
        let opened = Opened {
            dial: None,
            text: false,
            principal: None,
        };
        let conn = self.conn();
        self.server
            .handle(self.now, Event::Opened(conn, opened), &mut self.actions);
        self.server
            .handle(self.now, Event::Received(conn, request), &mut self.actions);
    }

    fn close(&mut self) {
        let closed = Event::Closed(self.conn(), CloseReason::Reset);
        self.server.handle(self.now, closed, &mut self.actions);
        self.generation += 1;
        drop(self.actions.drain());
    }
}

fn go_on(c: &mut Criterion) {
    let mut group = c.benchmark_group("numbers: go on");
    for place in [20, 1_000, 60_000] {
        let last = Sequence::new(UUID).after(place - LOST - 1).next().expect("a number");
        for count in [Some(place - LOST), None] {
            let name = if count.is_some() { "by count" } else { "by number" };
            let mut session = Session::at(place);
            group.bench_function(BenchmarkId::new(name, place), |bencher| {
                bencher.iter(|| {
                    session.open(Message::ContinueSession {
                        uuid: UUID,
                        last: last.into(),
                        count,
                    });
                    assert_eq!(session.actions.as_slice().len(), 3);
                    session.close();
                });
            });
        }
    }
    group.finish();
}

criterion_group!(benches, go_on);
criterion_main!(benches);
