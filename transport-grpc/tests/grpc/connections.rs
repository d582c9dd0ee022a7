//! HTTP/2 connections: their handshake, their silence, and peers that mean harm.

use std::time::Duration;

use echosphere_core::connection::ConnectionConfig;
use echosphere_core::numbers::Message;
use echosphere_core::wire::ErrorCode;
use echosphere_transport_grpc::GrpcConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};
use tonic::Code;

use crate::peer::{
    ACK, CONTINUATION, DATA, END_HEADERS, Frame, GOAWAY, HEADERS, MAGIC, PING, Peer, SETTINGS, frame, header,
    header_block, preface,
};
use crate::support::{HttpClient, call, path, replies, requests, start, start_with};

const NO_ERROR: &[u8] = &[0, 0, 0, 0];
const PROTOCOL_ERROR: &[u8] = &[0, 0, 0, 1];

/// How a connection was left, by the payload of its last GOAWAY.
fn reason(frames: &[Frame]) -> Option<&[u8]> {
    let goaway = frames.iter().rfind(|frame| frame.kind == GOAWAY)?;
    goaway.payload.get(4..8)
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_complete_the_preface_in_time_is_closed() {
    let running = start();
    // These have shown it.
    let mut early = Peer::start(running.addr).await;
    let mut numbers = call(running.addr).await;
    numbers.write_all(&requests(&[Message::Start])).await.unwrap();
    let half = [MAGIC, &frame(SETTINGS, 0, 0, &[0; 6])[..10]].concat();
    let starts = [&b""[..], b"P", &MAGIC[..16], MAGIC, &half];
    let begun = Instant::now();
    let mut silent = Vec::new();
    for start in starts {
        let mut peer = Peer::connect(running.addr).await;
        peer.send(start).await.unwrap();
        silent.push(peer);
    }
    for peer in &mut silent {
        assert_eq!(peer.rest().await, []);
        assert!(begun.elapsed() >= ConnectionConfig::default().handshake_timeout);
    }
    early.call(1, &path()).await;
    early.wait_for(HEADERS).await;
    numbers.read_u8().await.unwrap();
    drop((early, numbers));
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_preface_that_drips_has_no_more_time_than_another() {
    let running = start();
    let mut peer = Peer::connect(running.addr).await;
    let begun = Instant::now();
    for byte in preface() {
        // Once it is closed, bytes may still be written, or not.
        let _ = peer.send(&[byte]).await;
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(peer.rest().await, []);
    assert!(begun.elapsed() < Duration::from_secs(60));
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_no_http2_is_told_that_this_is_and_closed_at_once() {
    let running = start();
    let begun = Instant::now();
    let too_long = [MAGIC, &[0xff, 0xff, 0xff, SETTINGS, 0, 0, 0, 0, 0]].concat();
    let no_settings = [MAGIC, &frame(PING, 0, 0, &[0; 8])].concat();
    for start in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\x16\x03\x01", &too_long, &no_settings] {
        let mut peer = Peer::connect(running.addr).await;
        peer.send(start).await.unwrap();
        let frames = peer.rest().await;
        let kinds: Vec<u8> = frames.iter().map(|frame| frame.kind).collect();
        assert_eq!(kinds, [SETTINGS, GOAWAY]);
        assert_eq!(reason(&frames), Some(PROTOCOL_ERROR));
    }
    assert!(begun.elapsed() < ConnectionConfig::default().handshake_timeout);
    running.end().await;
}

/// Connections without calls are closed sooner than they are pinged.
fn impatient() -> GrpcConfig {
    GrpcConfig {
        connections: ConnectionConfig {
            idle_timeout: Duration::from_secs(15),
            ..ConnectionConfig::default()
        },
        ..GrpcConfig::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_calls_is_told_to_go_and_closed() {
    let config = impatient();
    let running = start_with(ConnectionConfig::default(), config);
    let mut with_call = call(running.addr).await;
    with_call.write_all(&requests(&[Message::Start])).await.unwrap();
    let begun = Instant::now();
    let mut never = Peer::start(running.addr).await;
    assert_eq!(reason(&never.rest().await), Some(NO_ERROR));
    assert!(begun.elapsed() >= config.connections.idle_timeout);
    // It need not answer the ping that comes with GOAWAY.
    assert!(begun.elapsed() <= config.connections.idle_timeout + config.connections.linger);

    // The time begins when the last call ends.
    let http = HttpClient::connect(running.addr).await;
    let mut asking = http.ask(&path(), &[]).await;
    asking.send(&requests(&[Message::Continue(0)]), false);
    sleep(2 * config.connections.idle_timeout).await;
    asking.send(&requests(&[Message::End]), true);
    assert_eq!(asking.told().await.code(), Code::Ok);
    let unknown = http.post("/grpc.Comms/Other", &[], &[]).await;
    assert_eq!(unknown.code(), Code::Unimplemented);
    let begun = Instant::now();
    http.closed().await;
    assert!(begun.elapsed() >= config.connections.idle_timeout);

    with_call.read_u8().await.unwrap();
    drop(with_call);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn headers_that_do_not_end_count_as_no_call() {
    let running = start_with(ConnectionConfig::default(), impatient());
    let mut peer = Peer::start(running.addr).await;
    peer.send(&frame(HEADERS, 0, 1, &header_block(&path()))).await.unwrap();
    peer.rest().await;
    assert_eq!(running.calls().await, 0);
    running.end().await;
}

#[tokio::test]
async fn a_flood_of_continued_headers_is_cut_off() {
    let running = start();
    let mut peer = Peer::start(running.addr).await;
    peer.send(&frame(HEADERS, 0, 1, &header_block(&path()))).await.unwrap();
    let more = frame(CONTINUATION, 0, 1, &header("x-filler", &"x".repeat(100)).repeat(100));
    // However much the sockets' buffers take, it ends.
    while peer.send(&more).await.is_ok() {}
    assert_eq!(running.calls().await, 0);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_answers_no_pings_is_gone_and_one_that_does_is_not() {
    let running = start();
    let mut deaf = Peer::start(running.addr).await;
    deaf.call(1, &path()).await;
    let start = frame(DATA, 0, 1, &requests(&[Message::Start]));
    deaf.send(&start).await.unwrap();
    let mut live = call(running.addr).await;
    live.write_all(&requests(&[Message::Continue(0)])).await.unwrap();
    running.wait_for_calls(2).await;
    let frames = deaf.rest().await;
    assert!(frames.iter().any(|frame| frame.kind == PING && frame.flags & ACK == 0));
    running.wait_for_calls(1).await;
    sleep(2 * ConnectionConfig::default().idle_timeout).await;
    live.write_all(&requests(&[Message::Start])).await.unwrap();
    live.shutdown().await.unwrap();
    live.read_u8().await.unwrap();
    drop(live);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_reads_is_gone() {
    let running = start();
    let mut peer = Peer::start(running.addr).await;
    for stream in (1..200).step_by(2) {
        peer.call(stream, &path()).await;
        peer.send(&frame(DATA, 0, stream, &requests(&[Message::Start])))
            .await
            .unwrap();
    }
    running.wait_for_calls(100).await;
    running.wait_for_calls(0).await;
    drop(peer);
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_call_without_a_first_message_is_told_so_and_ended() {
    let running = start();
    let http = HttpClient::connect(running.addr).await;
    let whole = requests(&[Message::Start]);
    for sent in [&[][..], &whole[..3], &whole[..6]] {
        let mut asking = http.ask(&path(), &[]).await;
        asking.send(sent, false);
        let told = asking.told().await;
        assert_eq!(told.code(), Code::Ok);
        assert!(
            matches!(
                &replies(&told.body)[..],
                [Message::Error(ErrorCode::HandshakeTimeout, _)]
            ),
            "{told:?}"
        );
    }
    running.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_standard_call_without_a_request_is_ended() {
    let running = start();
    let http = HttpClient::connect(running.addr).await;
    for path in [
        "/grpc.health.v1.Health/Check",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    ] {
        let begun = Instant::now();
        let asking = http.ask(path, &[]).await;
        assert_eq!(asking.told().await.code(), Code::DeadlineExceeded, "{path}");
        assert!(begun.elapsed() <= ConnectionConfig::default().idle_timeout, "{path}");
    }
    running.end().await;
}

#[tokio::test]
async fn all_calls_of_a_connection_may_begin_at_once() {
    let running = start();
    let mut peer = Peer::start(running.addr).await;
    let calls = GrpcConfig::default().max_calls;
    let mut all = Vec::new();
    for stream in (1..2 * calls).step_by(2) {
        all.extend(frame(HEADERS, END_HEADERS, stream, &header_block(&path())));
        all.extend(frame(DATA, 0, stream, &requests(&[Message::Continue(0)])));
    }
    peer.send(&all).await.unwrap();
    running.wait_for_calls(calls as usize).await;
    drop(peer);
    running.end().await;
}

#[tokio::test]
async fn many_silent_peers_disturb_nobody() {
    let running = start();
    let mut silent = Vec::new();
    for _ in 0..500 {
        silent.push(Peer::connect(running.addr).await);
    }
    let mut numbers = call(running.addr).await;
    numbers.write_all(&requests(&[Message::Start])).await.unwrap();
    numbers.read_u8().await.unwrap();
    drop((numbers, silent));
    running.end().await;
}
