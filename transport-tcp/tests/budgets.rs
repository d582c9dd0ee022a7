//! What exceeds a budget of one turn is done in later turns, although nothing wakes the driver or the thread again: in these
//! tests the peers send everything at once and are silent afterwards.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io::{self, Read, Write};
use std::net::TcpStream as StdStream;
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use echosphere_core::connection::ConnectionConfig;
use echosphere_driver::Budgets;
use echosphere_transport_tcp::ThreadedListener;
use support::{MAX_MESSAGE, Network, NetworkListener, Relay, Watched, localhost, soon};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::sync::mpsc;
use tokio::task::{spawn_blocking, unconstrained};

/// More than any default budget.
const MANY: usize = 3000;
/// Connections of a thread, more than its budgets in these tests.
const SOCKETS: usize = 150;
/// A frame that is too long: the server answers it and closes the connection.
const TOO_LONG: [u8; 4] = [0, 0xFF, 0xFF, 0xFF];

const BUDGETS: [Budgets; 3] = [each(1), each(2), each(256)];
const THREAD_BUDGETS: [Budgets; 3] = [each(1), each(2), each(SOCKETS / 2)];

const fn each(most: usize) -> Budgets {
    Budgets {
        keys: most,
        reads: most,
        accepts: most,
        requests: most,
        rounds: most,
    }
}

type Peer = Watched<DuplexStream>;

fn relay(budgets: Budgets, capacity: usize) -> (Network, Relay) {
    let (network, listener) = Network::new(capacity, true);
    (
        network,
        Relay::within(listener, ConnectionConfig::default(), MAX_MESSAGE, budgets),
    )
}

/// Writes without letting the driver run in between.
async fn write(peer: &mut Peer, bytes: &[u8]) {
    unconstrained(peer.write_all(bytes)).await.unwrap();
}

/// Each peer receives the error, and its connection ends.
async fn all_are_answered(peers: Vec<Peer>) {
    for mut peer in peers {
        let mut answer = Vec::new();
        soon(peer.read_to_end(&mut answer)).await.unwrap();
        assert_is_too_long(&answer);
    }
}

fn assert_is_too_long(answer: &[u8]) {
    assert!(answer.windows(14).any(|part| part == b"frame-too-long"), "{answer:?}");
}

#[tokio::test]
async fn connections_that_came_at_once_are_all_accepted() {
    for budgets in BUDGETS {
        let (network, relay) = relay(budgets, 4096);
        let mut peers: Vec<Peer> = (0..MANY).map(|_| network.connect()).collect();
        for peer in &mut peers {
            write(peer, &TOO_LONG).await;
        }
        all_are_answered(peers).await;
        relay.finish().await;
    }
}

#[tokio::test]
async fn connections_that_are_ready_at_once_are_all_read() {
    for budgets in BUDGETS {
        let (network, relay) = relay(budgets, 4096);
        let mut peers: Vec<Peer> = (0..MANY).map(|_| network.connect()).collect();
        for peer in &mut peers {
            write(peer, &[0; 4]).await;
        }
        relay
            .until(|endpoint| endpoint.machine().counters().opened == MANY as u64)
            .await;
        for peer in &mut peers {
            write(peer, &TOO_LONG).await;
        }
        all_are_answered(peers).await;
        relay.finish().await;
    }
}

#[tokio::test]
async fn much_that_came_on_one_connection_is_read_to_its_end() {
    for budgets in BUDGETS {
        let (network, relay) = relay(budgets, 4 * MAX_MESSAGE as usize);
        let mut peer = network.connect();
        for _ in 0..3 {
            let length = MAX_MESSAGE.to_be_bytes();
            write(&mut peer, &[&length[..], &vec![b'x'; MAX_MESSAGE as usize]].concat()).await;
        }
        write(&mut peer, &TOO_LONG).await;
        all_are_answered(vec![peer]).await;
        relay.finish().await;
    }
}

#[tokio::test]
async fn requests_that_came_at_once_are_all_taken() {
    for budgets in BUDGETS {
        let (_network, relay) = relay(budgets, 64);
        let asked: Vec<_> = (0..MANY)
            .map(|_| {
                let handle = relay.handle.clone();
                tokio::spawn(async move { handle.inspect(|endpoint| endpoint.connections()).await })
            })
            .collect();
        for answer in asked {
            assert_eq!(soon(answer).await.unwrap(), Ok(0));
        }
        relay.finish().await;
    }
}

/// A peer that never stops sending empty frames, or that never sends anything.
struct Endless {
    sends: bool,
}

impl AsyncRead for Endless {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.sends {
            return Poll::Pending;
        }
        // Little, so that the many rounds of the largest budgets are short.
        buffer.put_slice(&[0; 4]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Endless {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_peer_that_never_stops_sending_does_not_delay_a_deadline_for_ever() {
    for budgets in BUDGETS {
        let (connect, connected) = mpsc::unbounded_channel();
        for sends in [true, false] {
            connect.send(Ok(Endless { sends })).unwrap();
        }
        let config = ConnectionConfig {
            handshake_timeout: Duration::from_millis(50),
            ..ConnectionConfig::default()
        };
        let relay = Relay::within(NetworkListener(connected), config, MAX_MESSAGE, budgets);
        relay
            .until(|endpoint| endpoint.counters().handshake_timeouts == 1)
            .await;
        relay.drain(Duration::ZERO).await;
    }
}

/// A relay whose sockets belong to one thread with these budgets, and connections to it.
fn threaded(budgets: Budgets, connections: usize) -> (Relay, Vec<StdStream>) {
    let listener = ThreadedListener::bind_within(localhost(), NonZeroUsize::MIN, budgets).unwrap();
    let addr = listener.local_addr();
    let peers = (0..connections).map(|_| StdStream::connect(addr).unwrap()).collect();
    (Relay::over(listener, ConnectionConfig::default(), MAX_MESSAGE), peers)
}

/// All peers send the same bytes. Then each receives the error, and its connection ends.
async fn all_send_and_are_answered(mut peers: Vec<StdStream>, bytes: Vec<u8>) {
    let exchange = spawn_blocking(move || {
        for peer in &mut peers {
            peer.write_all(&bytes).unwrap();
        }
        for mut peer in peers {
            let mut answer = Vec::new();
            peer.read_to_end(&mut answer).unwrap();
            assert_is_too_long(&answer);
        }
    });
    soon(exchange).await.unwrap();
}

#[tokio::test]
async fn a_thread_accepts_all_connections_that_came_at_once() {
    for budgets in THREAD_BUDGETS {
        let (relay, peers) = threaded(budgets, SOCKETS);
        all_send_and_are_answered(peers, TOO_LONG.to_vec()).await;
        relay.finish().await;
    }
}

#[tokio::test]
async fn a_thread_reads_all_sockets_that_are_ready_at_once() {
    for budgets in THREAD_BUDGETS {
        let (relay, mut peers) = threaded(budgets, SOCKETS);
        for peer in &mut peers {
            peer.write_all(&[0; 4]).unwrap();
        }
        relay
            .until(|endpoint| endpoint.machine().counters().opened == SOCKETS as u64)
            .await;
        all_send_and_are_answered(peers, TOO_LONG.to_vec()).await;
        relay.finish().await;
    }
}

#[tokio::test]
async fn a_thread_reads_a_socket_to_its_end() {
    for budgets in THREAD_BUDGETS {
        let (relay, peers) = threaded(budgets, 1);
        let long = [&MAX_MESSAGE.to_be_bytes()[..], &vec![b'x'; MAX_MESSAGE as usize]].concat();
        all_send_and_are_answered(peers, [&long[..], &long, &long, &TOO_LONG].concat()).await;
        relay.finish().await;
    }
}
