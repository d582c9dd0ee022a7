//! When a driver does what has a time, in memory and with paused time. A driver that never sleeps would stop the time.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::time::Duration;

use echosphere_core::connection::ConnectionConfig;
use echosphere_driver::Listener;
use echosphere_transport_tcp::{TcpListener, ThreadedListener};
use support::{Framing, MAX_MESSAGE, Network, Relay, frame, localhost, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

#[tokio::test(start_paused = true)]
async fn a_deadline_is_met_when_nothing_else_happens() {
    let (network, listener) = Network::new(4096, true);
    let config = ConnectionConfig::default();
    let relay = Relay::over(listener, config, MAX_MESSAGE);
    let mut silent = network.connect();
    let begun = Instant::now();
    let mut answer = Vec::new();
    silent.read_to_end(&mut answer).await.unwrap();
    assert!(
        answer.windows(17).any(|part| part == b"handshake-timeout"),
        "{answer:?}"
    );
    let elapsed = begun.elapsed();
    assert!(elapsed >= config.handshake_timeout && elapsed < config.handshake_timeout + config.linger);
    drop(silent);
    relay.finish().await;
}

#[tokio::test(start_paused = true)]
async fn of_two_drains_the_shorter_one_counts() {
    const LONG: Duration = Duration::from_secs(600);
    for times in [[LONG, Duration::ZERO], [Duration::ZERO, LONG]] {
        let (network, listener) = Network::new(4096, true);
        let relay = Relay::over(listener, ConnectionConfig::default(), MAX_MESSAGE);
        let mut peer = network.connect();
        // It is sent its own message and never answers.
        peer.write_all(&frame(Framing::Length, "message x")).await.unwrap();
        relay
            .until(|endpoint| endpoint.machine().counters().messages == 1)
            .await;
        let begun = Instant::now();
        let [one, other] = times.map(|within| relay.handle.drain(within));
        let (one, other) = tokio::join!(one, other);
        one.and(other).unwrap();
        relay.ended().await;
        assert!(begun.elapsed() < LONG / 10, "{times:?}");
    }
}

/// The address that `listener` gives its next connection, and the one that it has.
async fn peer_of(mut listener: impl Listener, addr: std::net::SocketAddr) {
    let peer = TcpStream::connect(addr).await.unwrap();
    let incoming = soon(listener.accept()).await.unwrap();
    assert_eq!(incoming.peer().addr, Some(peer.local_addr().unwrap()));
}

#[tokio::test]
async fn listeners_name_their_peers() {
    let listener = TcpListener::bind(localhost()).unwrap();
    let addr = listener.local_addr().unwrap();
    peer_of(listener, addr).await;
    let listener = ThreadedListener::bind(localhost(), std::num::NonZeroUsize::MIN).unwrap();
    let addr = listener.local_addr();
    peer_of(listener, addr).await;
}
