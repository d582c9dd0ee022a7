//! What one turn of a driver leaves over is done in the next, though nothing wakes it again: in these tests nothing else
//! happens once the peers have sent, and nobody asks the driver anything.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use echosphere_core::connection::ConnectionConfig;
use echosphere_driver::Budgets;
use support::{MAX_MESSAGE, Network, Relay, Watched, soon};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::unconstrained;

/// More than any budget by default.
const MANY: usize = 3000;
/// A frame that is too long: it is answered and its connection closed.
const TOO_LONG: [u8; 4] = [0, 0xFF, 0xFF, 0xFF];

const BUDGETS: [Budgets; 3] = [each(1), each(2), each(256)];

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

/// Each peer is told, and its connection ends.
async fn all_are_told(peers: Vec<Peer>) {
    for mut peer in peers {
        let mut told = Vec::new();
        soon(peer.read_to_end(&mut told)).await.unwrap();
        assert!(told.windows(14).any(|part| part == b"frame-too-long"), "{told:?}");
    }
}

#[tokio::test]
async fn connections_that_came_at_once_are_all_accepted() {
    for budgets in BUDGETS {
        let (network, relay) = relay(budgets, 4096);
        let mut peers: Vec<Peer> = (0..MANY).map(|_| network.connect()).collect();
        for peer in &mut peers {
            write(peer, &TOO_LONG).await;
        }
        all_are_told(peers).await;
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
        all_are_told(peers).await;
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
        all_are_told(vec![peer]).await;
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
