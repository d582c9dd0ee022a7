//! Many connections at once over TCP.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::ClientConfig;
use echosphere_core::random::Delay;
use echosphere_transport_tcp::TcpConnector;
use rustix::process::{Resource, getrlimit, setrlimit};
use support::{Dialler, Framing, Peer, Relay, frame, patient, soon};
use tokio::sync::Barrier;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_thousand_clients_that_take_their_time_to_answer() {
    const CLIENTS: u64 = 2000;

    allow_files();
    let relay = Relay::start(ConnectionConfig::default());
    let config = ClientConfig {
        ack_delay: Delay::Uniform(Duration::ZERO, Duration::from_millis(200)),
        ..patient()
    };
    let mut clients = Dialler::start(TcpConnector::new(relay.addr), config);
    for id in 0..CLIENTS {
        // Some have the same to say.
        clients.send(id, format!("x {}", id % 1500)).await;
    }
    clients.acknowledged(CLIENTS).await;
    let clients = clients.finish().await;
    assert_eq!(clients.machine().counters().acknowledged, CLIENTS);
    let relay = relay.finish().await;
    let counters = relay.machine().counters();
    assert!(
        counters.opened >= CLIENTS && counters.peak_connections > 1,
        "{counters:?}"
    );
    assert!(counters.oks_forwarded >= CLIENTS, "{counters:?}");
    assert_eq!(counters.oks_unexpected, 0, "{counters:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_hundred_connections_with_many_messages_under_way() {
    const PEERS: usize = 200;
    const MESSAGES: usize = 500;

    let relay = Relay::start(ConnectionConfig::default());
    let all_there = Arc::new(Barrier::new(PEERS));
    let all_done = Arc::new(Barrier::new(PEERS));
    let talks: Vec<_> = (0..PEERS)
        .map(|peer| {
            let framing = if peer % 4 == 0 { Framing::Lines } else { Framing::Length };
            tokio::spawn(talk(
                relay.addr,
                peer,
                framing,
                MESSAGES,
                all_there.clone(),
                all_done.clone(),
            ))
        })
        .collect();
    for talk in talks {
        soon(talk).await.unwrap();
    }
    let relay = relay.finish().await;
    let counters = relay.machine().counters();
    let all = (PEERS * MESSAGES) as u64;
    assert_eq!(
        (counters.messages, counters.oks, counters.oks_forwarded),
        (all, all, all)
    );
    assert_eq!(
        (counters.reforwards, counters.abandoned, counters.oks_unexpected),
        (0, 0, 0)
    );
    assert_eq!(relay.counters().closed_by_peer, PEERS as u64);
}

/// Sends all its messages at once, answers everybody, and closes when all have had all their oks.
async fn talk(
    addr: std::net::SocketAddr,
    name: usize,
    framing: Framing,
    messages: usize,
    all_there: Arc<Barrier>,
    all_done: Arc<Barrier>,
) {
    let mut peer = Peer::connect(addr, framing).await;
    all_there.wait().await;
    let mut waiting: BTreeSet<String> = (0..messages).map(|n| format!("{n} of {name}")).collect();
    let burst: Vec<u8> = waiting
        .iter()
        .flat_map(|x| frame(framing, format!("message {x}")))
        .collect();
    peer.write(burst).await;
    while !waiting.is_empty() {
        let ok = String::from_utf8(peer.receive_answering().await.unwrap()).unwrap();
        let x = ok.strip_prefix("ok ").expect("an ok");
        assert!(waiting.remove(x), "{x:?} is of somebody else, or came twice");
    }
    peer.answering(all_done.wait()).await;
    peer.close().await;
}

/// A process may have fewer files open than it could have.
fn allow_files() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}
