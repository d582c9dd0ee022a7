//! A server that is kept from running while a session's time ends: whoever came back by then is in time.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::net::TcpStream;
use std::thread;
use std::time::Duration;

use echosphere_core::connection::ConnectionConfig;
use echosphere_core::endpoint::Endpoint;
use echosphere_core::numbers::{Message, Server, ServerConfig, Uuid};
use echosphere_core::wire::{Codec, Outbox};
use echosphere_driver::{Connector, Driver};
use echosphere_transport_grpc::numbers::{GetNumbers, NumbersGrpcCodec};
use echosphere_transport_grpc::{GrpcConfig, GrpcConnector, GrpcListener};
use echosphere_transport_tcp::{TcpConnector, TcpListener};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const TTL: Duration = Duration::from_secs(2);
/// As many as may wait to be accepted on any host.
const SESSIONS: u128 = 100;

/// gRPC's bytes of a request.
fn request(request: &Message) -> Vec<u8> {
    let mut outbox = Outbox::new();
    NumbersGrpcCodec::dialled().encode(request, &mut outbox);
    outbox.chunks().collect::<Vec<_>>().concat()
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = &(payload.len() as u32).to_be_bytes()[1..];
    [length, &[kind, flags, 0, 0, 0, stream], payload].concat()
}

/// All that a client says on a new connection that calls the method with one request, all of it at once.
fn call(request: &[u8]) -> Vec<u8> {
    let literal = |index: &[u8], value: &[u8]| [index, &[value.len() as u8], value].concat();
    let headers = [
        // POST over http, as HPACK's static table has it.
        vec![0x83, 0x86],
        literal(&[0x04], b"/grpc.Comms/GetNumbers"),
        literal(&[0x01], b"localhost"),
        literal(&[0x0F, 0x10], b"application/grpc"),
        literal(&[0x00, 0x02, b't', b'e'], b"trailers"),
    ];
    [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, b""),
        frame(1, 4, 1, &headers.concat()),
        frame(0, 0, 1, request),
    ]
    .concat()
}

#[tokio::test]
async fn sessions_are_gone_on_with_by_calls_that_came_in_a_stall() {
    let config = ServerConfig {
        session_ttl: TTL,
        ..ServerConfig::default()
    };
    let server = Server::new(config, ChaCha8Rng::seed_from_u64(1));
    let endpoint = Endpoint::new(server, NumbersGrpcCodec::accepted(), ConnectionConfig::default());
    let tcp = TcpListener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = tcp.local_addr().unwrap();
    let (listener, serving) = GrpcListener::<GetNumbers>::over(tcp, GrpcConfig::default()).unwrap();
    let (driver, handle) = Driver::new(endpoint);
    let driver = driver.listen(listener);
    let driver = tokio::spawn(driver.run());

    let connector = GrpcConnector::<GetNumbers, _>::over(TcpConnector::new(addr), addr.to_string());
    for uuid in 0..SESSIONS {
        let (_, mut stream) = connector.dial().await.unwrap();
        let uuid = Uuid::from_u128(uuid);
        let begin = Message::StartSession { uuid, n: 1000 };
        stream.write_all(&request(&begin)).await.unwrap();
        stream.read_u8().await.unwrap();
    }
    while handle.inspect(Endpoint::connections).await.unwrap() > 0 {
        tokio::task::yield_now().await;
    }

    // The runtime has one thread, which is here.
    let come_back = |uuid| {
        let mut back = TcpStream::connect(addr).unwrap();
        let uuid = Uuid::from_u128(uuid);
        let (last, count) = (0, Some(0));
        let go_on = Message::ContinueSession { uuid, last, count };
        back.write_all(&call(&request(&go_on))).unwrap();
        back
    };
    thread::sleep(TTL / 2);
    let back: Vec<TcpStream> = (0..SESSIONS).map(come_back).collect();
    thread::sleep(TTL);

    let counters = loop {
        let counters = handle.inspect(|endpoint| *endpoint.machine().counters());
        let counters = counters.await.unwrap();
        if counters.resumed + counters.expired >= SESSIONS as u64 {
            break counters;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!((counters.resumed, counters.expired), (SESSIONS as u64, 0));
    drop(back);
    handle.drain(Duration::ZERO).await.unwrap();
    assert!(driver.await.unwrap().is_zero());
    serving.ended().await;
}
