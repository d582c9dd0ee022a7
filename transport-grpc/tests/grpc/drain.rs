//! What is told while the server drains, and after.

use std::time::Duration;

use echosphere_core::connection::ConnectionConfig;
use echosphere_core::numbers::Message;
use echosphere_core::wire::ErrorCode;
use echosphere_driver::Listener;
use echosphere_transport_grpc::numbers::GetNumbers;
use echosphere_transport_grpc::{GrpcConfig, GrpcListener, Method};
use echosphere_transport_tcp::TcpListener;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::HealthCheckResponse;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::peer::{DATA, GOAWAY, MAGIC, Peer, SETTINGS, frame};
use crate::support::{
    HttpClient, Running, UUID, call, channel, path, replies, requests, soon, start, start_with, wait,
};

#[tokio::test(start_paused = true)]
async fn a_drain_is_told_by_health_and_to_new_calls_and_connections() {
    let running = start();
    let mut kept = call(running.addr).await;
    let session = Message::StartSession {
        uuid: UUID,
        n: u16::MAX,
    };
    kept.write_all(&requests(&[session])).await.unwrap();
    kept.read_u8().await.unwrap();
    let mut health = HealthClient::new(channel(running.addr).await);
    let http = HttpClient::connect(running.addr).await;
    let status = |reply: HealthCheckResponse| reply.status();
    let mut watches = Vec::new();
    for service in ["", GetNumbers::SERVICE] {
        let service = service.to_owned();
        let mut watch = health.watch(HealthCheckRequest { service }).await.unwrap().into_inner();
        assert_eq!(watch.message().await.unwrap().map(status), Some(ServingStatus::Serving));
        watches.push(watch);
    }

    running.handle.drain(Duration::from_millis(300)).await.unwrap();
    for watch in &mut watches {
        let next = soon(watch.message()).await.unwrap();
        assert_eq!(next.map(status), Some(ServingStatus::NotServing));
    }
    for service in ["", GetNumbers::SERVICE] {
        let service = service.to_owned();
        let checked = health.check(HealthCheckRequest { service }).await.unwrap();
        assert_eq!(status(checked.into_inner()), ServingStatus::NotServing);
    }
    let told = http.post(&path(), &[], &[]).await;
    assert_eq!(told.code(), Code::Unavailable);
    // Whoever calls is told to go elsewhere.
    let begun = Instant::now();
    http.closed().await;
    assert!(begun.elapsed() < ConnectionConfig::default().idle_timeout);
    assert!(TcpStream::connect(running.addr).await.is_err());

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
    let (mut one, mut other) = (watches.pop().unwrap(), watches.pop().unwrap());
    let (one, other, ()) = tokio::join!(one.message(), other.message(), running.serving.ended());
    for end in [one, other] {
        assert_eq!(end.unwrap_err().code(), Code::Unavailable);
    }
}

#[tokio::test]
async fn a_watch_that_begins_in_a_drain_is_told_so_first() {
    let running = start();
    let mut kept = call(running.addr).await;
    kept.write_all(&requests(&[Message::StartSession { uuid: UUID, n: 9 }]))
        .await
        .unwrap();
    kept.read_u8().await.unwrap();
    let mut health = HealthClient::new(channel(running.addr).await);
    running.handle.drain(Duration::from_secs(5)).await.unwrap();
    wait(async || TcpStream::connect(running.addr).await.is_err()).await;
    let watch = health.watch(HealthCheckRequest::default()).await;
    let first = watch.unwrap().into_inner().message().await.unwrap();
    assert_eq!(first.map(|reply| reply.status()), Some(ServingStatus::NotServing));
    drop((kept, health));
    assert!(running.driver.await.unwrap().is_zero());
    running.serving.ended().await;
}

#[tokio::test]
async fn calls_that_were_not_taken_when_the_drain_begins_are_told_so() {
    let tcp = TcpListener::bind(([127, 0, 0, 1], 0).into()).unwrap();
    let addr = tcp.local_addr().unwrap();
    let (mut listener, serving) = GrpcListener::<GetNumbers>::over(tcp, GrpcConfig::default()).unwrap();
    let http = HttpClient::connect(addr).await;
    let first = http.ask(&path(), &[]).await;
    let second = http.ask(&path(), &[]).await;
    let taken = listener.accept().await.unwrap();
    // When this is answered, the second has come too.
    http.post("/", &[], &[]).await;
    drop(listener);
    assert_eq!(second.told().await.code(), Code::Unavailable);
    drop(taken);
    assert_eq!(first.told().await.code(), Code::Aborted);
    serving.ended().await;
}

#[tokio::test]
async fn whoever_does_not_wait_for_the_end_does_not_bring_it_about() {
    let Running {
        addr,
        handle,
        driver,
        serving,
    } = start();
    drop(serving);
    let http = HttpClient::connect(addr).await;
    for _ in 0..3 {
        let told = http.post(&path(), &[], &requests(&[Message::End])).await;
        assert_eq!(told.code(), Code::Ok);
    }
    handle.drain(Duration::ZERO).await.unwrap();
    assert!(driver.await.unwrap().is_zero());
    http.closed().await;
}

#[tokio::test(start_paused = true)]
async fn whoever_stays_when_the_server_has_ended_is_closed() {
    let running = start_with(ConnectionConfig::default(), GrpcConfig::default());
    let mut idle = Peer::start(running.addr).await;
    let http = HttpClient::connect(running.addr).await;
    let reflection = http
        .ask("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", &[])
        .await;
    // What is sent to it waits for a window that never opens.
    let no_window = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let mut unread = Peer::connect(running.addr).await;
    unread.send(&[MAGIC, &no_window].concat()).await.unwrap();
    unread.call(1, &path()).await;
    let start = frame(DATA, 0, 1, &requests(&[Message::Start]));
    unread.send(&start).await.unwrap();
    running.wait_for_calls(1).await;
    running.handle.drain(Duration::ZERO).await.unwrap();
    running.driver.await.unwrap();
    let begun = Instant::now();
    let (frames, told, ()) = tokio::join!(idle.rest(), reflection.told(), running.serving.ended());
    assert!(begun.elapsed() <= ConnectionConfig::default().linger);
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY), "{frames:?}");
    assert_eq!(told.code(), Code::Unavailable);
}
