//! Peers that stall, break, do not read, or are too many: dealt with, and nobody else notices.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io;
use std::time::Duration;

use async_trait::async_trait;
use echosphere_core::connection::ConnectionConfig;
use echosphere_driver as transport;
use echosphere_driver::{Incoming, Listener};
use socket2::SockRef;
use support::{Bystander, Framing, Peer, Relay, frame, localhost};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpSocket, TcpStream};

#[tokio::test]
async fn a_mute_connection() {
    let relay = Relay::start(impatient());
    let bystander = Bystander::join(&relay).await;
    // Nothing has shown which framing it reads, so it is told as people are.
    let mut peer = Peer::connect(relay.addr, Framing::Lines).await;
    relay.connections(2).await;
    for _ in 0..10 {
        bystander.round_trip().await;
    }
    assert_eq!(peer.error().await, "handshake-timeout");
    peer.end().await;
    bystander.round_trip().await;
    peer.close().await;
    bystander.leave().await;
    let endpoint = relay.finish().await;
    assert_eq!(endpoint.counters().handshake_timeouts, 1);
    assert_eq!(
        endpoint.machine().counters().opened,
        1,
        "nobody was forwarded to the mute one"
    );
}

#[tokio::test]
async fn half_a_frame_and_then_waiting() {
    for (framing, half) in [
        (Framing::Length, &b"\0\0"[..]),
        (Framing::Length, b"\0\0\0\x09message"),
        (Framing::Lines, b"message hel"),
    ] {
        let relay = Relay::start(impatient());
        let bystander = Bystander::join(&relay).await;
        let mut peer = Peer::connect(relay.addr, framing).await;
        peer.write(half).await;
        relay.connections(2).await;
        bystander.round_trip().await;
        assert_eq!(peer.error().await, "handshake-timeout");
        peer.end().await;
        bystander.round_trip().await;
        peer.close().await;
        bystander.leave().await;
        let endpoint = relay.finish().await;
        assert_eq!(endpoint.counters().handshake_timeouts, 1);
        assert_eq!(endpoint.machine().counters().messages, 3, "only the bystander's");
    }
}

#[tokio::test]
async fn half_a_line_and_then_silence_long_after_the_hello() {
    let relay = Relay::start(ConnectionConfig {
        idle_timeout_text: Duration::from_millis(500),
        ..ConnectionConfig::default()
    });
    let bystander = Bystander::join(&relay).await;
    let mut peer = Peer::connect(relay.addr, Framing::Lines).await;
    peer.round_trip("hello").await;
    let held = bystander.round_trip();
    peer.write("ok bystan").await;
    assert_eq!(idle_error(&mut peer).await, "idle-timeout");
    held.await;
    peer.close().await;
    bystander.leave().await;
    assert_eq!(relay.finish().await.counters().idle_timeouts, 1);
}

/// The error, after whatever it did not answer.
async fn idle_error(peer: &mut Peer) -> String {
    loop {
        let line = String::from_utf8(peer.receive().await.unwrap()).unwrap();
        if let Some(error) = line.strip_prefix("error ") {
            return error.split(' ').next().unwrap().to_owned();
        }
    }
}

#[tokio::test]
async fn a_peer_that_never_closes_its_side() {
    let config = ConnectionConfig {
        linger: Duration::from_millis(200),
        ..ConnectionConfig::default()
    };
    let relay = Relay::with_limit(config, 100);
    let bystander = Bystander::join(&relay).await;
    let mut peer = Peer::connect(relay.addr, Framing::Lines).await;
    peer.write("a line without an end ".repeat(10)).await;
    assert_eq!(peer.error().await, "line-too-long");
    peer.end().await;
    // It keeps its end open, and is forgotten all the same.
    relay.connections(1).await;
    bystander.leave().await;
    assert_eq!(relay.finish().await.counters().lingered, 1);
    drop(peer);
}

#[tokio::test]
async fn a_reset_in_mid_frame() {
    let relay = Relay::start(ConnectionConfig::default());
    let bystander = Bystander::join(&relay).await;
    let mut peer = Peer::connect(relay.addr, Framing::Length).await;
    peer.round_trip("hello").await;
    // Until one comes here, to be held when the connection breaks.
    let held = loop {
        let mut trip = Box::pin(bystander.round_trip());
        tokio::select! {
            biased;
            () = &mut trip => {}
            message = peer.receive() => {
                assert!(message.unwrap().starts_with(b"message bystander "));
                break trip;
            }
        }
    };
    peer.write(b"\0\0\0\x20ok bystander").await;
    peer.stream.set_zero_linger().unwrap();
    drop(peer);

    held.await;
    relay.connections(1).await;
    bystander.leave().await;
    let endpoint = relay.finish().await;
    assert_eq!((endpoint.counters().resets, endpoint.counters().malformed), (1, 0));
    let counters = endpoint.machine().counters();
    assert_eq!((counters.reforwards, counters.abandoned), (1, 0));
}

#[tokio::test]
async fn a_hundred_resets_at_once() {
    let relay = Relay::start(ConnectionConfig::default());
    let bystander = Bystander::join(&relay).await;
    for n in 0..100 {
        let mut peer = Peer::connect(relay.addr, Framing::Length).await;
        if n % 2 == 0 {
            peer.write(frame(Framing::Length, "message never acknowledged")).await;
        }
        peer.stream.set_zero_linger().unwrap();
    }
    relay.until(|endpoint| endpoint.counters().accepted == 101).await;
    relay.connections(1).await;
    bystander.leave().await;
    assert_eq!(relay.finish().await.counters().resets, 100);
}

#[tokio::test]
async fn a_slow_consumer() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(localhost()).unwrap();
    let listener = SmallBuffers(socket.listen(16).unwrap());
    let addr = listener.0.local_addr().unwrap();
    let config = ConnectionConfig {
        max_outbox: 64 * 1024,
        ..ConnectionConfig::default()
    };
    let mut relay = Relay::over(listener, config, support::MAX_MESSAGE);
    relay.addr = addr;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut sloth = Peer::over(socket.connect(relay.addr).await.unwrap(), Framing::Length);
    sloth.send("").await;
    relay.until(|endpoint| endpoint.machine().counters().opened == 1).await;
    let only = relay.handle.inspect(|endpoint| endpoint.machine().connections().next());
    let sloths_id = only.await.unwrap().unwrap();
    // Enough of them that each can take its share of what the sloth leaves.
    let mut bystanders = Vec::new();
    for _ in 0..16 {
        bystanders.push(Bystander::join(&relay).await);
    }

    let mut trips = Vec::new();
    for bystander in bystanders.iter().cycle() {
        trips.push(bystander.long_round_trip(2000));
        let sent = trips.len() as u64;
        assert!(sent < 5000, "all that goes to a peer that does not read is kept");
        // Until nothing but what the sloth holds is under way.
        relay
            .until(move |endpoint| {
                let server = endpoint.machine();
                server.counters().messages == sent && server.flights().all(|flight| flight.holder == sloths_id)
            })
            .await;
        if relay
            .handle
            .inspect(|endpoint| endpoint.counters().slow_consumers)
            .await
            == Ok(1)
        {
            break;
        }
    }
    let sent = trips.len() as u64;
    for trip in trips {
        trip.await;
    }
    for bystander in bystanders {
        bystander.leave().await;
    }
    let endpoint = relay.finish().await;
    assert_eq!(endpoint.counters().slow_consumers, 1);
    let counters = endpoint.machine().counters();
    assert!(counters.reforwards > 0, "what it held went to others");
    assert_eq!((counters.oks, counters.abandoned), (sent + 16, 0));
    drop(sloth);
}

async fn receive_ok(peer: &mut Peer, x_bytes: usize) {
    let ok = peer.receive_answering().await.expect("the connection to stay");
    assert!(ok.starts_with(b"ok ") && ok.len() == 3 + x_bytes);
}

/// Accepts connections for which the kernel keeps little, so that what is not read soon waits in the relay.
struct SmallBuffers(TcpListener);

#[async_trait]
impl Listener for SmallBuffers {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<Incoming<TcpStream>> {
        let (stream, peer) = self.0.accept().await?;
        stream.set_nodelay(true)?;
        SockRef::from(&stream).set_send_buffer_size(4096)?;
        Ok(Incoming::ready(transport::Peer::new("tcp", Some(peer)), stream))
    }
}

#[tokio::test]
async fn a_leaver_that_held_much() {
    let relay = Relay::start(ConnectionConfig {
        max_backlog: 64 * 1024,
        ..ConnectionConfig::default()
    });
    let mut leaver = Peer::hello(relay.addr, Framing::Length).await;
    relay.until(|endpoint| endpoint.machine().counters().opened == 1).await;
    let mut sender = Peer::connect(relay.addr, Framing::Length).await;
    let mut held = 0;
    for n in 0.. {
        sender.send(message(n, 4096)).await;
        tokio::select! {
            biased;
            ok = sender.receive_answering() => assert!(ok.unwrap().starts_with(b"ok ")),
            message = leaver.receive() => {
                assert!(message.is_some());
                held += 1;
            }
        }
        if held == 64 {
            break;
        }
    }
    leaver.close().await;
    // It reads all that comes, and answers at once.
    for _ in 0..held {
        receive_ok(&mut sender, 4096).await;
    }
    sender.close().await;
    assert_eq!(relay.finish().await.counters().slow_consumers, 0);
}

/// A message with an X of that many bytes, of its own.
fn message(n: u64, bytes: usize) -> Vec<u8> {
    let mut x = format!("{n} ").into_bytes();
    x.resize(bytes, b'x');
    [b"message ", &x[..]].concat()
}

#[tokio::test]
async fn one_connection_too_many() {
    let relay = Relay::start(ConnectionConfig {
        max_connections: 2,
        ..ConnectionConfig::default()
    });
    let bystander = Bystander::join(&relay).await;
    let mut peer = Peer::connect(relay.addr, Framing::Length).await;
    peer.round_trip("hello").await;

    for _ in 0..10 {
        let mut third = Peer::connect(relay.addr, Framing::Lines).await;
        assert_eq!(third.error().await, "full");
        third.end().await;
        peer.answering(bystander.round_trip()).await;
    }

    peer.close().await;
    relay.connections(1).await;
    let mut fourth = Peer::connect(relay.addr, Framing::Lines).await;
    fourth.round_trip("there is room again").await;
    fourth.stream.shutdown().await.unwrap();
    fourth.end().await;
    bystander.leave().await;
    let endpoint = relay.finish().await;
    assert_eq!((endpoint.counters().accepted, endpoint.counters().refused), (3, 10));
}

fn impatient() -> ConnectionConfig {
    ConnectionConfig {
        handshake_timeout: Duration::from_secs(1),
        ..ConnectionConfig::default()
    }
}
