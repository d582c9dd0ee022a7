//! Relays messages through an endpoint of an echo server, without sockets and identically in each run, for counting
//! instructions:
//!
//! ```sh
//! cargo build --release -p bench --example relays
//! valgrind --tool=callgrind '--toggle-collect=relays::counted*' target/release/examples/relays 64
//! ```
//!
//! The argument is the length of a message in bytes. Each of 100 connections keeps 16 messages in flight, and every receiver
//! answers.

#![allow(clippy::print_stdout)]

use std::convert::Infallible;
use std::env;

use bytes::{Bytes, BytesMut};
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::{EchoCodec, MAX_MESSAGE, Message, Server, ServerConfig};
use echosphere_core::endpoint::{Effect, Endpoint};
use echosphere_core::wire::{Codec, Decoded, Outbox};
use echosphere_core::{ConnId, Time};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

const CONNECTIONS: usize = 100;
const WINDOW: usize = 16;
/// The number of times that every connection is read.
const TURNS: usize = 20;
/// The number of bytes in one read.
const READ: usize = 64 * 1024;

type Echo = Endpoint<Server<ChaCha8Rng>, EchoCodec>;

/// The other end of a connection.
struct Peer {
    id: ConnId,
    codec: EchoCodec,
    received: BytesMut,
    sending: Vec<u8>,
}

fn main() {
    let size = env::args()
        .nth(1)
        .map_or(64, |size| size.parse().expect("a number of bytes"));
    let server = Server::new(ServerConfig::default(), ChaCha8Rng::seed_from_u64(1));
    let mut endpoint = Endpoint::new(server, EchoCodec::accepted(MAX_MESSAGE), ConnectionConfig::default());
    let mut peers: Vec<Peer> = (0..CONNECTIONS).map(|_| connect(&mut endpoint)).collect();
    let mut input = BytesMut::new();
    let mut sent = 0;
    for peer in &mut peers {
        peer.send(&mut (0..WINDOW).map(|_| Message::Message(x(&mut sent, size))));
    }
    for _ in 0..TURNS {
        for peer in &mut peers {
            for bytes in peer.sending.chunks(READ) {
                input.clear();
                input.reserve(READ);
                input.extend_from_slice(bytes);
                counted_receive(&mut endpoint, peer.id, &mut input);
            }
            peer.sending.clear();
        }
        while let Some(effect) = counted_poll(&mut endpoint) {
            let Effect::Flush(id) = effect else {
                continue;
            };
            let outbox = endpoint.outbox(id).expect("a connection");
            let peer = &mut peers[id.slot as usize];
            outbox.chunks().for_each(|chunk| peer.received.extend_from_slice(chunk));
            let written = outbox.len();
            counted_wrote(&mut endpoint, id, written);
        }
        for peer in &mut peers {
            peer.answer(&mut sent, size);
        }
    }
    let counters = endpoint.machine().counters();
    println!("{} relays", counters.forwards + counters.oks_forwarded);
}

#[inline(never)]
fn counted_receive(endpoint: &mut Echo, id: ConnId, input: &mut BytesMut) {
    endpoint.receive(Time::ZERO, id, input);
}

#[inline(never)]
fn counted_poll(endpoint: &mut Echo) -> Option<Effect<Infallible>> {
    endpoint.poll_effect()
}

#[inline(never)]
fn counted_wrote(endpoint: &mut Echo, id: ConnId, written: usize) {
    endpoint.wrote(id, written);
}

/// The slot of a connection is its index.
fn connect(endpoint: &mut Echo) -> Peer {
    Peer {
        id: endpoint.accept(Time::ZERO).expect("there is room"),
        codec: EchoCodec::dialled(MAX_MESSAGE),
        received: BytesMut::with_capacity(READ),
        sending: Vec::new(),
    }
}

impl Peer {
    /// Answers each message with an ok, and each ok with a new message.
    fn answer(&mut self, sent: &mut u64, size: usize) {
        let mut received = self.received.split();
        let mut codec = self.codec.clone();
        let mut answers = Vec::new();
        while let Ok(Some(Decoded::Message(message))) = codec.decode(&mut received) {
            answers.push(match message {
                Message::Message(x) => Message::Ok(x),
                _ => Message::Message(x(sent, size)),
            });
        }
        assert!(received.is_empty(), "half a frame");
        self.send(&mut answers.into_iter());
    }

    fn send(&mut self, messages: &mut dyn Iterator<Item = Message>) {
        let mut outbox = Outbox::new();
        for message in messages {
            self.codec.encode(&message, &mut outbox);
        }
        self.sending.extend(outbox.chunks().flatten());
    }
}

/// An X that has not been sent before.
fn x(sent: &mut u64, size: usize) -> Bytes {
    *sent += 1;
    let mut x = vec![b'.'; size];
    x[..8].copy_from_slice(&sent.to_be_bytes());
    x.into()
}
