//! A numbers server behind gRPC, and clients of it: those of tonic's, and our own.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;
use std::time::Duration;

use echosphere_core::endpoint::Endpoint;
use echosphere_core::link::LinkConfig;
use echosphere_core::numbers::{
    Client, ClientConfig, Command, Failure, Message, Notice, Server, ServerConfig, Total, Uuid, Want,
};
use echosphere_core::wire::{ErrorCode, Protocol};
use echosphere_core::{DialError, DialToken};
use echosphere_driver::{Connector, Driver, Handle};
use echosphere_transport_grpc::numbers::{GetNumbers, NumbersGrpcCodec};
use echosphere_transport_grpc::{GrpcConfig, GrpcConnector, GrpcListener, Method, Serving};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const UUID: Uuid = Uuid::from_u128(7);

type ServerEndpoint = Endpoint<Server<ChaCha8Rng>, NumbersGrpcCodec>;

struct Running {
    addr: SocketAddr,
    handle: Handle<Server<ChaCha8Rng>, NumbersGrpcCodec>,
    driver: JoinHandle<ServerEndpoint>,
    serving: Serving,
}

/// A server that sends a number every millisecond.
async fn serve(links: LinkConfig) -> Running {
    let config = ServerConfig {
        period: Duration::from_millis(1),
        ..ServerConfig::default()
    };
    let server = Server::new(config, ChaCha8Rng::seed_from_u64(1));
    let endpoint = Endpoint::new(server, NumbersGrpcCodec::accepted(), links);
    let bound = GrpcListener::<GetNumbers>::bind(([127, 0, 0, 1], 0).into(), GrpcConfig::default());
    let (listener, serving) = bound.await.unwrap();
    let addr = listener.local_addr();
    let (driver, handle) = Driver::serve(endpoint, listener);
    Running {
        addr,
        handle,
        driver: tokio::spawn(driver.run()),
        serving,
    }
}

/// What our client is told until the stream is over.
async fn get(addr: SocketAddr, want: Want, give_up: Duration) -> Vec<Notice> {
    let config = ClientConfig {
        give_up,
        ..ClientConfig::default()
    };
    let client = Client::new(config, ChaCha8Rng::seed_from_u64(2));
    let endpoint = Endpoint::new(client, NumbersGrpcCodec::dialled(), LinkConfig::default());
    let (sender, mut notices) = mpsc::unbounded_channel();
    let connector = GrpcConnector::<GetNumbers>::new(addr).unwrap();
    let (driver, handle) = Driver::dial(endpoint, connector, move |notice| sender.send(notice).unwrap());
    handle.command(Command::Get { key: 1, want }).await.unwrap();
    drop(handle);
    driver.run().await;
    let mut all = Vec::new();
    while let Some(notice) = notices.recv().await {
        all.push(notice);
    }
    all
}

const fn session(n: u16, after: Option<u64>) -> Want {
    Want::Session { uuid: UUID, n, after }
}

/// gRPC's bytes of requests.
fn requests(requests: &[Message]) -> Vec<u8> {
    use echosphere_core::wire::{Codec, Outbox};
    let mut outbox = Outbox::new();
    for request in requests {
        NumbersGrpcCodec::dialled().encode(request, &mut outbox);
    }
    outbox.chunks().collect::<Vec<_>>().concat()
}

/// A call that is made by hand.
async fn call(addr: SocketAddr) -> echosphere_transport_grpc::GrpcStream {
    let connector = GrpcConnector::<GetNumbers>::new(addr).unwrap();
    connector.dial(DialToken(1)).await.unwrap()
}

/// The numbers and errors in gRPC's bytes.
fn replies(bytes: &[u8]) -> Vec<Message> {
    use echosphere_core::wire::{Codec, Decoded};
    let mut input = bytes::BytesMut::from(bytes);
    let mut all = Vec::new();
    while let Some(decoded) = NumbersGrpcCodec::dialled().decode(&mut input).unwrap() {
        let Decoded::Message(message) = decoded else {
            panic!("{decoded:?}")
        };
        all.push(message);
    }
    assert!(input.is_empty(), "{input:?}");
    all
}

async fn at_zero(running: Running) {
    running.handle.drain(Duration::from_secs(5)).await.unwrap();
    let endpoint = running.driver.await.unwrap();
    assert!(endpoint.is_zero(), "{endpoint:?}");
    running.serving.ended().await.unwrap();
}

#[tokio::test]
async fn our_client_gets_a_session_and_another_goes_on_with_it() {
    let running = serve(LinkConfig::default()).await;
    let told = get(running.addr, session(300, None), Duration::from_secs(5)).await;
    assert_eq!(told.len(), 301);
    assert!(
        matches!(
            told[300],
            Notice::Done {
                total: Total::Checksum { valid: true, .. },
                ..
            }
        ),
        "{told:?}"
    );
    let Notice::Number { number, .. } = told[98] else {
        panic!("{told:?}")
    };
    let again = get(running.addr, session(300, Some(number)), Duration::from_secs(5)).await;
    assert_eq!(again[0], Notice::Resumed { key: 1, count: 99 });
    assert_eq!(again[1..], told[99..]);
    at_zero(running).await;
}

#[tokio::test]
async fn a_stateless_stream_is_ended_by_our_client() {
    let running = serve(LinkConfig::default()).await;
    let told = get(
        running.addr,
        Want::Plain { n: 3, after: Some(5) },
        Duration::from_secs(5),
    )
    .await;
    assert!(
        matches!(
            told.last(),
            Some(Notice::Done {
                total: Total::Sum(195),
                ..
            })
        ),
        "{told:?}"
    );
    at_zero(running).await;
}

#[tokio::test]
async fn a_caller_that_has_finished_sending_gets_its_session_and_status_ok() {
    let running = serve(LinkConfig::default()).await;
    let mut stream = call(running.addr).await;
    let start = Message::StartSession { uuid: UUID, n: 20 };
    stream.write_all(&requests(&[start])).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut bytes = Vec::new();
    // An error if the status is not OK.
    stream.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(replies(&bytes).len(), 21);
    at_zero(running).await;
}

/// Waits until the server has so many connections. There is one session all the time.
async fn until_connections(running: &Running, count: usize) {
    loop {
        let (connections, sessions) = running
            .handle
            .inspect(|endpoint| (endpoint.connections(), endpoint.machine().sessions()))
            .await
            .unwrap();
        assert_eq!(sessions, 1);
        if connections == count {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_caller_acknowledges_the_end_of_its_session_by_closing() {
    for closes_in_order in [true, false] {
        let running = serve(LinkConfig::default()).await;
        let mut stream = call(running.addr).await;
        let start = Message::StartSession { uuid: UUID, n: 3 };
        stream.write_all(&requests(&[start])).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        assert_eq!(replies(&bytes).len(), 4, "all numbers, the checksum, and status OK");
        // Nothing that the server could see has happened: it waits.
        until_connections(&running, 1).await;
        if closes_in_order {
            stream.shutdown().await.unwrap();
            until_connections(&running, 0).await;
        }
        drop(stream);
        until_connections(&running, 0).await;
        at_zero(running).await;
    }
}

#[tokio::test]
async fn a_caller_that_finishes_without_asking_is_ended() {
    let running = serve(LinkConfig::default()).await;
    let mut stream = call(running.addr).await;
    stream.write_all(&requests(&[Message::Continue(0)])).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    assert!(
        matches!(replies(&bytes)[..], [Message::Error(ErrorCode::BadNumber, _)]),
        "{bytes:?}"
    );
    at_zero(running).await;
}

#[tokio::test]
async fn what_is_no_message_is_told_and_ends_the_call() {
    let running = serve(LinkConfig::default()).await;
    for (bytes, code) in [
        (&b"\x01\0\0\0\x01x"[..], ErrorCode::UnknownRequest),
        (b"\0\xFF\0\0\0", ErrorCode::FrameTooLong),
    ] {
        let mut stream = call(running.addr).await;
        stream.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        assert!(
            matches!(&replies(&answer)[..], [Message::Error(told, _)] if *told == code),
            "{answer:?}"
        );
    }
    at_zero(running).await;
}

#[tokio::test]
async fn one_that_is_too_many_is_told_why() {
    let links = LinkConfig {
        max_connections: 1,
        ..LinkConfig::default()
    };
    let running = serve(links).await;
    let mut first = call(running.addr).await;
    first.write_all(&requests(&[Message::Start])).await.unwrap();
    first.read_u8().await.unwrap();
    let told = get(running.addr, session(3, None), Duration::from_millis(400)).await;
    let why = |notice: &Notice| match notice {
        Notice::Retrying { why, .. } | Notice::Failed { failure: why, .. } => why.clone(),
        other => panic!("{other:?}"),
    };
    assert!(
        told.iter()
            .all(|notice| matches!(why(notice), Failure::Rejected(ErrorCode::Full, _))),
        "{told:?}"
    );
    drop(first);
    at_zero(running).await;
}

#[tokio::test]
async fn a_call_that_is_cancelled_leaves_its_session_for_later() {
    let running = serve(LinkConfig::default()).await;
    let mut stream = call(running.addr).await;
    let start = Message::StartSession {
        uuid: UUID,
        n: u16::MAX,
    };
    stream.write_all(&requests(&[start])).await.unwrap();
    stream.read_u8().await.unwrap();
    drop(stream);
    until_connections(&running, 0).await;
    at_zero(running).await;
}

#[tokio::test]
async fn a_drain_is_told_by_the_health_service_and_by_new_calls() {
    let running = serve(LinkConfig::default()).await;
    let mut kept = call(running.addr).await;
    let start = Message::StartSession {
        uuid: UUID,
        n: u16::MAX,
    };
    kept.write_all(&requests(&[start])).await.unwrap();
    kept.read_u8().await.unwrap();

    let channel = Channel::from_shared(format!("http://{}", running.addr)).unwrap();
    let mut health = HealthClient::new(channel.connect().await.unwrap());
    let ask = HealthCheckRequest {
        service: GetNumbers::SERVICE.to_owned(),
    };
    let mut watch = health.watch(ask.clone()).await.unwrap().into_inner();
    let status = |reply: tonic_health::pb::HealthCheckResponse| reply.status();
    assert_eq!(watch.message().await.unwrap().map(status), Some(ServingStatus::Serving));
    assert_eq!(
        status(health.check(ask).await.unwrap().into_inner()),
        ServingStatus::Serving
    );

    running.handle.drain(Duration::from_millis(300)).await.unwrap();
    assert_eq!(
        watch.message().await.unwrap().map(status),
        Some(ServingStatus::NotServing)
    );
    drop((watch, health));
    let mut rest = Vec::new();
    kept.read_to_end(&mut rest).await.unwrap();
    // The first byte was read above.
    let told = replies(&[&[0], &rest[..]].concat());
    assert!(
        matches!(told.last(), Some(Message::Error(ErrorCode::ShuttingDown, _))),
        "{:?}",
        told.last()
    );
    drop(kept);
    assert!(running.driver.await.unwrap().is_zero());
    running.serving.ended().await.unwrap();
}

#[tokio::test]
async fn where_nobody_listens_or_speaks_grpc_is_told_apart() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = free.local_addr().unwrap();
    drop(free);
    let told = get(addr, session(3, None), Duration::ZERO).await;
    assert_eq!(told.len(), 1);
    let refused = Failure::Dial(DialError::Refused);
    assert_eq!(
        told[0],
        Notice::Failed {
            key: 1,
            failure: refused
        }
    );

    let deaf = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = deaf.local_addr().unwrap();
    let hangs_up = tokio::spawn(async move {
        loop {
            drop(deaf.accept().await.unwrap());
        }
    });
    let told = get(addr, session(3, None), Duration::from_millis(1)).await;
    let unreachable = Failure::Dial(DialError::Unreachable);
    assert_eq!(
        told,
        [Notice::Failed {
            key: 1,
            failure: unreachable
        }]
    );
    hangs_up.abort();
}

/// The address of a server that answers the first that it reads by this.
async fn answering(words: &'static [u8]) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            stream.read_u8().await.unwrap();
            stream.write_all(words).await.unwrap();
            // Until the client has enough of it.
            let _ = stream.read_to_end(&mut Vec::new()).await;
        }
    });
    addr
}

async fn takes_for(addr: SocketAddr) -> Option<Protocol> {
    let told = get(addr, session(3, None), Duration::from_secs(60)).await;
    match told[..] {
        [
            Notice::Failed {
                failure: Failure::OtherProtocol(protocol),
                ..
            },
        ] => protocol,
        _ => panic!("{told:?}"),
    }
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_known_by_its_first_words() {
    for (words, protocol) in [
        (
            &b"error unknown-request expected `message X` or `ok X`: the word\n"[..],
            Some(Protocol::Echo),
        ),
        (b"ok 1\nok 2\n", Some(Protocol::Chat)),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", Some(Protocol::Http1)),
        (b"220 mail.example.org ESMTP\r\n", None),
    ] {
        assert_eq!(
            takes_for(answering(words).await).await,
            protocol,
            "{}",
            words.escape_ascii()
        );
    }
}

#[tokio::test]
async fn a_grpc_server_without_the_method_is_another_server() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (_, health) = tonic_health::server::health_reporter();
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(health)
            .serve_with_incoming(incoming),
    );
    assert_eq!(takes_for(addr).await, Some(Protocol::Http2));
}
