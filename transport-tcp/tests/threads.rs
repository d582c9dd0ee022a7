//! Connections whose sockets belong to other threads: nothing is lost, bounded or ended otherwise than without.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::num::NonZeroUsize;
use std::time::Duration;

use echosphere_core::connection::ConnectionConfig;
use echosphere_driver::Listener;
use echosphere_transport_tcp::{TcpConnector, TcpListener, ThreadedListener, ThreadedStream};
use rand_chacha::rand_core::Rng;
use support::{Bystander, Dialler, Framing, MAX_MESSAGE, Peer, Relay, frame, localhost, patient, rng, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

const TWO: NonZeroUsize = NonZeroUsize::new(2).unwrap();
/// More than a pipe and the kernel take of a connection that nobody reads.
const MUCH: usize = 64 * 1024 * 1024;

#[tokio::test]
async fn every_connection_of_every_thread_is_one_to_the_machine() {
    let relay = Relay::threaded(ConnectionConfig::default(), 2);
    let mut peers = Vec::new();
    for n in 0..32 {
        let framing = if n % 2 == 0 { Framing::Length } else { Framing::Lines };
        peers.push(Peer::hello(relay.addr, framing).await);
    }
    relay.until(|endpoint| endpoint.machine().counters().opened == 32).await;
    let bystander = Bystander::join(&relay).await;
    let answer = async |mut peer: Peer| {
        while let Some(payload) = peer.receive().await {
            assert_eq!(peer.answer(payload).await, None);
        }
    };
    let answering: Vec<_> = peers.into_iter().map(|peer| tokio::spawn(answer(peer))).collect();
    for bytes in 0..200 {
        bystander.long_round_trip(bytes).await;
    }
    let accepted = relay.handle.inspect(|endpoint| endpoint.counters().accepted);
    assert_eq!(accepted.await, Ok(33));
    relay.handle.drain(Duration::from_secs(60)).await.unwrap();
    drop((bystander, answering));
}

#[tokio::test]
async fn mebibytes_pass_both_ways() {
    let relay = Relay::threaded(ConnectionConfig::default(), 2);
    let mut clients = Dialler::start(TcpConnector::new(relay.addr), patient());
    let mut rng = rng(1);
    for id in 0..20 {
        let mut x = vec![0; MAX_MESSAGE as usize];
        rng.fill_bytes(&mut x);
        clients.send(id, x).await;
    }
    clients.acknowledged(20).await;
    assert_eq!(clients.finish().await.machine().counters().oks_unexpected, 0);
    let relay = relay.finish().await;
    assert_eq!(
        (
            relay.machine().counters().oks,
            relay.machine().counters().oks_unexpected
        ),
        (20, 0)
    );
}

#[tokio::test]
async fn a_message_that_comes_with_its_fin_is_handled() {
    for framing in [Framing::Length, Framing::Lines] {
        let relay = Relay::threaded(ConnectionConfig::default(), 2);
        let bystander = Bystander::join(&relay).await;
        let mut stream = std::net::TcpStream::connect(relay.addr).unwrap();
        stream.write_all(&frame(framing, "message last words")).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        relay.until(|endpoint| endpoint.counters().closed_by_peer == 1).await;
        bystander.leave().await;
        let endpoint = relay.finish().await;
        let counters = endpoint.machine().counters();
        // A thread may read the message before the FIN is there: then the bystander may have answered it.
        let settled = counters.abandoned + counters.oks_forwarded;
        assert_eq!((counters.messages, settled), (2, 2));
    }
}

#[tokio::test]
async fn resets_are_noticed() {
    let relay = Relay::threaded(ConnectionConfig::default(), 2);
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
async fn a_slow_consumer_is_dropped() {
    let config = ConnectionConfig {
        max_backlog: 256 * 1024,
        // What the sloth held comes to the bystander at once, and a busy machine may keep that from reading for a while.
        backlog_timeout: Duration::from_secs(2),
        ..ConnectionConfig::default()
    };
    let relay = Relay::threaded(config, 2);
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut sloth = Peer::over(socket.connect(relay.addr).await.unwrap(), Framing::Length);
    sloth.send("").await;
    relay.until(|endpoint| endpoint.machine().counters().opened == 1).await;
    let only = relay.handle.inspect(|endpoint| endpoint.machine().connections().next());
    let sloths_id = only.await.unwrap().unwrap();
    let bystander = Bystander::join(&relay).await;
    let mut trips = Vec::new();
    // Twice what a pipe and the kernel take, half of it for the sloth.
    for sent in 1..=400 {
        trips.push(bystander.long_round_trip(100_000));
        // Until nothing but what the sloth holds is under way.
        relay
            .until(move |endpoint| {
                let server = endpoint.machine();
                server.counters().messages == sent && server.flights().all(|flight| flight.holder == sloths_id)
            })
            .await;
    }
    relay.until(|endpoint| endpoint.counters().slow_consumers == 1).await;
    for trip in trips {
        trip.await;
    }
    bystander.leave().await;
    let endpoint = relay.finish().await;
    assert_eq!(endpoint.machine().counters().abandoned, 0);
    drop(sloth);
}

#[tokio::test]
async fn one_connection_too_many_is_told_so() {
    let config = ConnectionConfig {
        max_connections: 1,
        ..ConnectionConfig::default()
    };
    let relay = Relay::threaded(config, 2);
    let bystander = Bystander::join(&relay).await;
    for _ in 0..10 {
        let mut second = Peer::connect(relay.addr, Framing::Lines).await;
        assert_eq!(second.error().await, "full");
        second.end().await;
    }
    bystander.leave().await;
    assert_eq!(relay.finish().await.counters().refused, 10);
}

#[tokio::test]
async fn what_nobody_reads_waits_with_its_sender() {
    let (_listener, mut peer, mut stream) = one_connection().await;
    let sent = vec![1; MUCH];
    let mut written = 0;
    let filled = timeout(Duration::from_millis(500), async {
        while written < MUCH {
            written += peer.write(&sent[written..]).await.unwrap();
        }
    });
    assert!(filled.await.is_err(), "64 MiB were taken");
    let mut received = vec![0; written];
    soon(stream.read_exact(&mut received)).await.unwrap();
    assert!(received == sent[..written]);
    peer.shutdown().await.unwrap();
    assert_eq!(soon(stream.read(&mut received)).await.unwrap(), 0);
}

#[tokio::test]
async fn the_end_comes_after_all_that_was_written() {
    let (_listener, mut peer, mut stream) = one_connection().await;
    let mut sent = vec![0; 10_000_000];
    rng(2).fill_bytes(&mut sent);
    let expected = sent.clone();
    let writing = tokio::spawn(async move {
        stream.write_all(&sent).await.unwrap();
        stream.shutdown().await.unwrap();
        // Dropped with nothing left to be written.
        drop(stream);
    });
    let mut received = Vec::new();
    soon(peer.read_to_end(&mut received)).await.unwrap();
    assert!(received == expected);
    soon(writing).await.unwrap();
}

#[tokio::test]
async fn each_side_can_end_first() {
    let (_listener, mut peer, mut stream) = one_connection().await;
    let mut end = Vec::new();
    peer.shutdown().await.unwrap();
    soon(stream.read_to_end(&mut end)).await.unwrap();
    stream.write_all(b"still").await.unwrap();
    stream.shutdown().await.unwrap();
    assert_eq!(
        stream.write(b"no more").await.unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
    soon(peer.read_to_end(&mut end)).await.unwrap();
    assert_eq!(end, b"still");

    let (_listener, mut peer, mut stream) = one_connection().await;
    stream.shutdown().await.unwrap();
    assert_eq!(soon(peer.read(&mut [0])).await.unwrap(), 0);
    peer.write_all(b"still").await.unwrap();
    peer.shutdown().await.unwrap();
    end.clear();
    soon(stream.read_to_end(&mut end)).await.unwrap();
    assert_eq!(end, b"still");
}

#[tokio::test]
async fn a_dropped_stream_is_reset() {
    let (_listener, mut peer, stream) = one_connection().await;
    drop(stream);
    let reset = soon(peer.read(&mut [0])).await.unwrap_err();
    assert_eq!(reset.kind(), ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_dropped_listener_does_not_listen_and_its_connections_go_on() {
    let (listener, mut peer, mut stream) = one_connection().await;
    let addr = listener.local_addr();
    drop(listener);
    let refused = async {
        // What is in the kernel's queue as the listener closes is reset.
        while let Ok(mut stream) = TcpStream::connect(addr).await {
            let _ = stream.read(&mut [0]).await;
        }
    };
    soon(refused).await;
    stream.write_all(b"here").await.unwrap();
    let mut word = [0; 4];
    soon(peer.read_exact(&mut word)).await.unwrap();
    peer.write_all(&word).await.unwrap();
    soon(stream.read_exact(&mut word)).await.unwrap();
    assert_eq!(&word, b"here");
}

#[tokio::test]
async fn an_address_is_shared_with_nobody() {
    let listener = ThreadedListener::bind(localhost(), TWO).unwrap();
    let in_use = ThreadedListener::bind(listener.local_addr(), TWO).unwrap_err();
    assert_eq!(in_use.kind(), ErrorKind::AddrInUse);
    let in_use = TcpListener::bind(listener.local_addr()).unwrap_err();
    assert_eq!(in_use.kind(), ErrorKind::AddrInUse);

    let other = TcpListener::bind(localhost()).unwrap();
    let in_use = ThreadedListener::bind(other.local_addr().unwrap(), TWO).unwrap_err();
    assert_eq!(in_use.kind(), ErrorKind::AddrInUse);
}

#[tokio::test]
async fn what_was_open_before_the_threads_is_not_kept_open_by_them() {
    let other = tokio::net::TcpListener::bind(localhost()).await.unwrap();
    let mut peer = TcpStream::connect(other.local_addr().unwrap()).await.unwrap();
    let (stream, _) = other.accept().await.unwrap();
    let _listener = ThreadedListener::bind(localhost(), TWO).unwrap();
    drop(stream);
    assert_eq!(soon(peer.read(&mut [0])).await.unwrap(), 0);
}

async fn one_connection() -> (ThreadedListener, TcpStream, ThreadedStream) {
    let mut listener = ThreadedListener::bind(localhost(), TWO).unwrap();
    let peer = TcpStream::connect(listener.local_addr()).await.unwrap();
    let (_, stream) = soon(listener.accept()).await.unwrap().finish().await.unwrap();
    (listener, peer, stream)
}
