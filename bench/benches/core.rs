//! The throughput of the core without sockets: the echo server's machine, its codec, and an endpoint with both.
//!
//! `cargo bench -p bench`

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::{EchoCodec, MAX_MESSAGE, Message, Server, ServerConfig};
use echosphere_core::endpoint::Endpoint;
use echosphere_core::wire::{Codec, Outbox};
use echosphere_core::{Action, Actions, ConnId, Event, Machine, Opened, Time};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

/// Lengths of X in bytes.
const SIZES: [usize; 2] = [64, 1024];
/// The number of bytes in one read.
const READ: usize = 64 * 1024;

fn server() -> Server<ChaCha8Rng> {
    Server::new(ServerConfig::default(), ChaCha8Rng::seed_from_u64(1))
}

/// The n-th X.
fn x(n: u64, size: usize) -> Bytes {
    let mut x = vec![b'.'; size];
    x[..8].copy_from_slice(&n.to_be_bytes());
    x.into()
}

/// Forwards a message and returns its ok: two events.
fn machine(c: &mut Criterion) {
    let mut group = c.benchmark_group("machine");
    group.throughput(Throughput::Elements(2));
    for connections in [100, 1_000, 10_000, 100_000] {
        let mut server = server();
        let mut out = Actions::new();
        let id = |slot| ConnId { slot, generation: 0 };
        let opened = Opened {
            dial: None,
            text: false,
            principal: None,
        };
        for slot in 0..connections {
            server.handle(Time::ZERO, Event::Opened(id(slot), opened), &mut out);
        }
        let mut n = 0;
        group.bench_function(BenchmarkId::from_parameter(connections), |bencher| {
            bencher.iter(|| {
                n += 1;
                let from = id((n % u64::from(connections)) as u32);
                let message = Message::Message(x(n, 64));
                server.handle(Time::ZERO, Event::Received(from, message), &mut out);
                let Some(Action::Send(holder, Message::Message(x))) = out.drain().next() else {
                    panic!("not forwarded");
                };
                server.handle(Time::ZERO, Event::Received(holder, Message::Ok(x)), &mut out);
                assert_eq!(out.drain().count(), 1);
            });
        });
    }
    group.finish();
}

/// The number of frames in one read, and their bytes.
fn encoded(size: usize, message: fn(Bytes) -> Message) -> (u64, Vec<u8>) {
    let count = (READ / (size + 12)) as u64;
    let mut codec = EchoCodec::dialled(MAX_MESSAGE);
    let mut outbox = Outbox::new();
    for n in 0..count {
        codec.encode(&message(x(n, size)), &mut outbox);
    }
    (count, outbox.chunks().flatten().copied().collect())
}

fn codec(c: &mut Criterion) {
    let mut group = c.benchmark_group("codec");
    for size in SIZES {
        let (count, bytes) = encoded(size, Message::Message);
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(BenchmarkId::new("decode", size), |bencher| {
            let mut codec = EchoCodec::accepted(MAX_MESSAGE);
            let mut input = BytesMut::new();
            bencher.iter(|| {
                input.extend_from_slice(&bytes);
                while let Ok(Some(decoded)) = codec.decode(&mut input) {
                    black_box(decoded);
                }
                assert!(input.is_empty());
            });
        });
        let message = Message::Message(x(1, size));
        group.bench_function(BenchmarkId::new("encode", size), |bencher| {
            let mut codec = EchoCodec::dialled(MAX_MESSAGE);
            let mut outbox = Outbox::new();
            bencher.iter(|| {
                for _ in 0..count {
                    codec.encode(&message, &mut outbox);
                }
                outbox.advance(black_box(outbox.len()));
            });
        });
    }
    group.finish();
}

/// Receives one read of messages and writes them, then does the same for their oks. With a single connection, the receiver is
/// known.
fn endpoint(c: &mut Criterion) {
    let mut group = c.benchmark_group("endpoint");
    for size in SIZES {
        let (count, messages) = encoded(size, Message::Message);
        let (_, oks) = encoded(size, Message::Ok);
        let mut endpoint = Endpoint::new(server(), EchoCodec::accepted(MAX_MESSAGE), ConnectionConfig::default());
        let mut input = BytesMut::new();
        let id = endpoint.accept(Time::ZERO).expect("there is room");
        group.throughput(Throughput::Elements(2 * count));
        group.bench_function(BenchmarkId::new("relay", size), |bencher| {
            bencher.iter(|| {
                for bytes in [&messages, &oks] {
                    input.extend_from_slice(bytes);
                    endpoint.receive(Time::ZERO, id, &mut input);
                    while endpoint.poll_effect().is_some() {}
                    let written = endpoint.outbox(id).map_or(0, Outbox::len);
                    assert_eq!(written, bytes.len());
                    endpoint.wrote(id, written);
                }
            });
        });
        assert_eq!(endpoint.machine().flight_count(), 0);
    }
    group.finish();
}

criterion_group!(benches, machine, codec, endpoint);
criterion_main!(benches);
