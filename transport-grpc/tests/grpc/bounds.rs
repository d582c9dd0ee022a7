//! The bounds of connections, of calls, and of messages.

use std::time::Duration;

use echosphere_core::DialError;
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::numbers::{Failure, Message, Notice};
use echosphere_core::wire::ErrorCode;
use echosphere_transport_grpc::GrpcConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tonic::Code;

use crate::peer::{END_STREAM, GOAWAY, HEADERS, Peer, RST_STREAM, SETTINGS};
use crate::support::{
    HttpClient, ServerEndpoint, UUID, call, dial_error, get, message, path, replies, requests, session, start,
    start_with, wait, within,
};

fn at_most(max_connections: usize) -> GrpcConfig {
    GrpcConfig {
        connections: ConnectionConfig {
            max_connections,
            ..ConnectionConfig::default()
        },
        ..GrpcConfig::default()
    }
}

#[tokio::test]
async fn a_connection_over_the_bound_is_told_so_and_a_place_that_is_free_is_taken() {
    let running = start_with(ConnectionConfig::default(), at_most(2));
    let mut first = call(running.addr).await;
    first.write_all(&requests(&[Message::Start])).await.unwrap();
    // A silent connection has a place too.
    let silent = Peer::start(running.addr).await;
    let http = HttpClient::connect(running.addr).await;
    let told = http.post(&path(), &[], &[]).await;
    assert_eq!(told.code(), Code::Unavailable);
    // It is told to go.
    http.closed().await;

    assert_eq!(dial_error(running.addr).await, DialError::Unavailable);

    drop(silent);
    wait(async || {
        let http = HttpClient::connect(running.addr).await;
        http.post("/", &[], &[]).await.code() == Code::Unimplemented
    })
    .await;
    first.read_u8().await.unwrap();
    drop(first);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn when_too_many_are_told_others_are_closed_without_a_word() {
    let running = start_with(ConnectionConfig::default(), at_most(0));
    let mut told = Vec::new();
    for _ in 0..64 {
        told.push(Peer::connect(running.addr).await);
    }
    let mut one_more = Peer::connect(running.addr).await;
    assert_eq!(one_more.rest().await, []);
    let mut peer = told.pop().unwrap();
    peer.send(&crate::peer::preface()).await.unwrap();
    peer.call(1, &path()).await;
    let begun = Instant::now();
    let frames = peer.rest().await;
    // It need not answer the ping that comes with GOAWAY.
    assert!(begun.elapsed() <= ConnectionConfig::default().linger);
    let answered = frames
        .iter()
        .any(|frame| frame.kind == HEADERS && frame.flags & END_STREAM != 0);
    assert!(
        answered && frames.iter().any(|frame| frame.kind == GOAWAY),
        "{frames:?}"
    );
    drop(told);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn one_that_is_to_be_told_does_not_stay() {
    let running = start_with(ConnectionConfig::default(), at_most(0));
    let mut peer = Peer::start(running.addr).await;
    let begun = Instant::now();
    let frames = peer.rest().await;
    assert!(frames.iter().any(|frame| frame.kind == GOAWAY), "{frames:?}");
    let ConnectionConfig {
        handshake_timeout,
        linger,
        ..
    } = ConnectionConfig::default();
    assert!(begun.elapsed() <= handshake_timeout + linger);
    running.end().await;
}

#[tokio::test]
async fn a_call_over_the_bound_of_its_connection_is_refused() {
    let config = GrpcConfig {
        max_calls: 2,
        ..GrpcConfig::default()
    };
    let running = start_with(ConnectionConfig::default(), config);
    let mut peer = Peer::start(running.addr).await;
    let settings = peer.wait_for(SETTINGS).await;
    let announced = [0, 3, 0, 0, 0, 2];
    assert!(
        settings.payload.chunks(6).any(|setting| setting == announced),
        "{settings:?}"
    );
    for stream in [1, 3, 5] {
        peer.call(stream, &path()).await;
    }
    let refused = peer.wait_for(RST_STREAM).await;
    assert_eq!((refused.stream, refused.payload), (5, vec![0, 0, 0, 7]));
    running.wait_for_calls(2).await;
    drop(peer);
    running.end().await;
}

#[tokio::test]
async fn a_call_over_the_bound_of_its_driver_is_told_why() {
    let links = ConnectionConfig {
        max_connections: 1,
        ..ConnectionConfig::default()
    };
    let running = start_with(links, GrpcConfig::default());
    let mut first = call(running.addr).await;
    first.write_all(&requests(&[Message::Start])).await.unwrap();
    first.read_u8().await.unwrap();
    let told = get(running.addr, session(3, None), within(Duration::from_millis(400))).await;
    let why = |notice: &Notice| match notice {
        Notice::Retrying { failure: why, .. } | Notice::Failed { failure: why, .. } => why.clone(),
        other => panic!("{other:?}"),
    };
    assert!(
        told.iter()
            .all(|notice| matches!(why(notice), Failure::Rejected(ErrorCode::Full, _))),
        "{told:?}"
    );
    drop(first);
    running.end().await;
}

#[tokio::test]
async fn a_message_is_at_most_576_bytes_long() {
    let running = start();
    let http = HttpClient::connect(running.addr).await;
    for (length, code) in [(576_u32, ErrorCode::UnknownRequest), (577, ErrorCode::FrameTooLong)] {
        let message = [&[0][..], &length.to_be_bytes(), &vec![b'x'; length as usize]].concat();
        let told = http.post(&path(), &[], &message).await;
        assert_eq!(told.code(), Code::Ok);
        let replies = replies(&told.body);
        assert!(
            matches!(&replies[..], [Message::Error(told, _)] if *told == code),
            "{replies:?}"
        );
    }
    running.end().await;
}

#[tokio::test]
async fn a_request_to_health_or_reflection_is_at_most_4096_bytes_long() {
    let running = start();
    let http = HttpClient::connect(running.addr).await;
    for path in [
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ] {
        for (length, is_taken) in [(4096, true), (4097, false)] {
            // Field 1, a string, whose length takes two bytes.
            let name = length - 3;
            let request = [
                &[0x0a, (name % 128) as u8 | 128, (name / 128) as u8][..],
                &vec![b'x'; name],
            ]
            .concat();
            let answer = http.post(path, &[], &message(&request)).await;
            assert_eq!(answer.code() != Code::OutOfRange, is_taken, "{path} {length}");
        }
    }
    running.end().await;
}

#[test]
fn the_defaults_are_those_that_are_documented() {
    let config = GrpcConfig::default();
    assert_eq!((config.connections.max_connections, config.max_calls), (200_000, 1000));
}

#[tokio::test]
async fn half_sent_requests_are_bounded_and_the_oldest_of_equals_is_told_busy() {
    let links = ConnectionConfig {
        max_partial_bytes: 128,
        ..ConnectionConfig::default()
    };
    let running = start_with(links, GrpcConfig::default());
    let half = &requests(&[Message::StartSession { uuid: UUID, n: 1 }])[..30];
    let mut calls = Vec::new();
    for expected in [64, 128, 128] {
        let mut stream = call(running.addr).await;
        stream.write_all(half).await.unwrap();
        stream.flush().await.unwrap();
        calls.push(stream);
        let arrived = 30 * calls.len() as u64;
        let bytes = async || {
            let bytes = |endpoint: &ServerEndpoint| (endpoint.counters().bytes_in, endpoint.partial_bytes());
            running.handle.inspect(bytes).await.unwrap()
        };
        wait(async || bytes().await.0 == arrived).await;
        assert_eq!(bytes().await.1, expected);
    }
    let mut told = Vec::new();
    calls[0].read_to_end(&mut told).await.unwrap();
    assert!(matches!(replies(&told)[..], [Message::Error(ErrorCode::Busy, _)]));
    drop(calls);
    running.end().await;
}
