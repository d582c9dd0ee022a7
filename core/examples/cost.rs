//! Operations whose size a peer chooses. `.ci/cost` counts the instructions of each at a size and at eight times that
//! size, and fails if they are more than nine times as many.
//!
//!     cargo run --release -p echosphere-core --example cost OPERATION SIZE
//!
//! Without arguments it lists all operations and their sizes.
#![allow(clippy::print_stdout)]

use std::error::Error;
use std::hint::black_box;

use bytes::BytesMut;
use echosphere_core::connection::{ConnectionConfig, SocketAction};
use echosphere_core::endpoint::{Effect, Endpoint};
use echosphere_core::wire::Codec;
use echosphere_core::{ConnId, Machine, Time, chat, echo, hub, numbers};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Runs an operation of this size.
type Operation = fn(usize) -> Result<()>;

/// Each operation, and the smaller of its sizes.
const OPERATIONS: [(&str, usize, Operation); 13] = [
    ("echo-x-that-begin-alike", 500, x_that_begin_alike),
    ("echo-the-same-x", 2000, the_same_x),
    ("echo-x-left-by-its-holder", 1000, x_left_by_its_holder),
    ("line-byte-by-byte", 8000, line_byte_by_byte),
    ("frame-byte-by-byte", 8000, frame_byte_by_byte),
    ("lines-in-one-read", 2000, lines_in_one_read),
    ("connections-that-come-and-go", 1000, connections_that_come_and_go),
    ("connections-that-are-silent", 1000, connections_that_are_silent),
    ("half-frames", 500, half_frames),
    ("hub-relays", 500, hub_relays),
    ("hub-body-of-many-lines", 2000, hub_body_of_many_lines),
    ("chat-message-in-many-parts", 500, chat_message_in_many_parts),
    ("numbers-sessions", 500, numbers_sessions),
];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match &args[..] {
        [] => OPERATIONS.iter().for_each(|(name, size, _)| println!("{name} {size}")),
        [name, size] => {
            let operation = OPERATIONS.iter().find(|(known, ..)| known == name);
            let (.., run) = operation.ok_or("no such operation; without arguments all are printed")?;
            run(size.parse()?)?;
        }
        _ => return Err("expected OPERATION SIZE, or nothing".into()),
    }
    Ok(())
}

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes(), payload].concat()
}

/// A server whose peers read everything at once.
struct World<M: Machine, C: Codec<Message = M::Message>> {
    endpoint: Endpoint<M, C>,
    now: Time,
}

impl<M: Machine, C: Codec<Message = M::Message> + Clone> World<M, C> {
    fn new(machine: M, codec: C) -> Self {
        let links = ConnectionConfig {
            max_partial_bytes: usize::MAX,
            ..ConnectionConfig::default()
        };
        Self {
            endpoint: Endpoint::new(machine, codec, links),
            now: Time::ZERO,
        }
    }

    fn open(&mut self, hello: &[u8]) -> Result<ConnId> {
        let id = self.endpoint.accept(self.now).map_err(|refusal| refusal.text)?;
        self.feed(id, hello);
        Ok(id)
    }

    fn feed(&mut self, id: ConnId, bytes: &[u8]) {
        let mut input = BytesMut::from(bytes);
        self.endpoint.receive(self.now, id, &mut input);
        self.write();
    }

    fn close(&mut self, id: ConnId) {
        self.endpoint.peer_closed(self.now, id);
        self.write();
    }

    /// Writes all outboxes.
    fn write(&mut self) {
        while let Some(effect) = self.endpoint.poll_effect() {
            let Effect::Flush(id) = effect else {
                continue;
            };
            if let Some(outbox) = self.endpoint.outbox(id) {
                let length = outbox.len();
                self.endpoint.wrote(id, length);
            }
            if self.endpoint.socket_action(id) == SocketAction::Shutdown {
                self.endpoint.shut_down(self.now, id);
            }
        }
    }

    fn done(self) {
        black_box(self.endpoint.counters());
    }
}

fn echo() -> World<echo::Server<ChaCha8Rng>, echo::EchoCodec> {
    let server = echo::Server::new(echo::ServerConfig::default(), rng());
    World::new(server, echo::EchoCodec::accepted(echo::MAX_MESSAGE))
}

fn message(x: &[u8]) -> Vec<u8> {
    frame(&[b"message ", x].concat())
}

fn x_that_begin_alike(size: usize) -> Result<()> {
    let mut world = echo();
    let id = world.open(&frame(b""))?;
    for n in 0..size {
        world.feed(id, &message(format!("{}{n}", "x".repeat(1000)).as_bytes()));
    }
    world.done();
    Ok(())
}

fn the_same_x(size: usize) -> Result<()> {
    let mut world = echo();
    let id = world.open(&frame(b""))?;
    (0..size).for_each(|_| world.feed(id, &message(b"the same")));
    (0..size).for_each(|_| world.feed(id, &frame(b"ok the same")));
    world.done();
    Ok(())
}

fn x_left_by_its_holder(size: usize) -> Result<()> {
    let mut world = echo();
    let holder = world.open(&frame(b""))?;
    let sender = world.open(&frame(b""))?;
    (0..size).for_each(|n| world.feed(sender, &message(n.to_string().as_bytes())));
    world.close(holder);
    world.close(sender);
    world.done();
    Ok(())
}

fn line_byte_by_byte(size: usize) -> Result<()> {
    let mut world = echo();
    let id = world.open(b"\n")?;
    world.feed(id, b"message ");
    (0..size).for_each(|_| world.feed(id, b"x"));
    world.feed(id, b"\n");
    world.done();
    Ok(())
}

fn frame_byte_by_byte(size: usize) -> Result<()> {
    let mut world = echo();
    let id = world.open(&frame(b""))?;
    for byte in message(&vec![b'x'; size]) {
        world.feed(id, &[byte]);
    }
    world.done();
    Ok(())
}

fn lines_in_one_read(size: usize) -> Result<()> {
    let mut world = echo();
    let id = world.open(b"\n")?;
    world.feed(id, &b"ok nothing\n".repeat(size));
    world.done();
    Ok(())
}

fn connections_that_come_and_go(size: usize) -> Result<()> {
    let mut world = echo();
    let ids: Vec<_> = (0..size).map(|_| world.open(&frame(b""))).collect::<Result<_>>()?;
    ids.into_iter().for_each(|id| world.close(id));
    world.done();
    Ok(())
}

/// The server times them out.
fn connections_that_are_silent(size: usize) -> Result<()> {
    let mut world = echo();
    for _ in 0..size {
        world.open(&frame(b""))?;
    }
    while let Some(due) = world.endpoint.next_deadline() {
        world.now = due;
        world.endpoint.expire(due);
        world.write();
    }
    world.done();
    Ok(())
}

/// Each connection has sent half a frame, then sends the rest.
fn half_frames(size: usize) -> Result<()> {
    let mut world = echo();
    let half = &message(&[b'x'; 1000])[..500];
    let ids: Vec<_> = (0..size).map(|_| world.open(half)).collect::<Result<_>>()?;
    ids.iter().for_each(|id| world.feed(*id, &[b'x'; 100]));
    ids.into_iter().for_each(|id| world.close(id));
    world.done();
    Ok(())
}

fn hub() -> World<hub::Server, hub::HubCodec> {
    World::new(hub::Server::new(), hub::HubCodec::accepted())
}

/// Each user relays to the first one.
fn hub_relays(size: usize) -> Result<()> {
    let mut world = hub();
    let ids: Vec<_> = (0..size).map(|_| world.open(&frame(b""))).collect::<Result<_>>()?;
    let relay = frame(&[&[4, 1][..], &1_u64.to_be_bytes(), b"body"].concat());
    ids.into_iter().for_each(|id| world.feed(id, &relay));
    world.done();
    Ok(())
}

fn hub_body_of_many_lines(size: usize) -> Result<()> {
    let mut world = hub();
    let id = world.open(b"\n")?;
    world.feed(id, b"relay\n1\n");
    (0..size).for_each(|_| world.feed(id, b"a line\n"));
    world.feed(id, b"\n\n");
    world.done();
    Ok(())
}

fn chat_message_in_many_parts(size: usize) -> Result<()> {
    let mut world = World::new(
        chat::Server::new(chat::ServerConfig::default()),
        chat::ChatCodec::accepted(),
    );
    let id = world.open(&frame(&[&[1][..], &[0; 8]].concat()))?;
    let part = frame(&[&[4, 1][..], &[b'x'; 100]].concat());
    (0..size).for_each(|_| world.feed(id, &part));
    world.feed(id, &frame(&[5, 1]));
    world.done();
    Ok(())
}

fn numbers_sessions(size: usize) -> Result<()> {
    let server = numbers::Server::new(numbers::ServerConfig::default(), rng());
    let mut world = World::new(server, numbers::NumbersCodec::accepted());
    for n in 0..size {
        let start = format!("START 67e55044-10b1-426f-9247-{n:012x} 1000\n");
        world.open(start.as_bytes())?;
    }
    world.done();
    Ok(())
}
