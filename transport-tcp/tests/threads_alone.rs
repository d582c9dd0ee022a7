//! What a listener's threads have for themselves, in a process with nothing else in it.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;

use echosphere_core::connection::ConnectionConfig;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{Framing, Peer, Relay, soon};

#[tokio::test]
async fn each_has_its_own_descriptors_and_all_end_when_the_last_connection_has() {
    const FILES: u64 = 256;
    const PEERS: usize = 200;
    let limit = Rlimit {
        current: Some(FILES),
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let threads = || fs::read_dir("/proc/self/task").unwrap().count();
    let files = || fs::read_dir("/proc/self/fd").unwrap().count();
    let (threads_before, files_before) = (threads(), files());

    // Twice as many sockets as a process may have files.
    let relay = Relay::threaded(ConnectionConfig::default(), 4);
    let mut peers = Vec::new();
    for _ in 0..PEERS {
        peers.push(Peer::hello(relay.addr, Framing::Length).await);
    }
    relay
        .until(|endpoint| endpoint.machine().counters().opened == PEERS as u64)
        .await;
    assert!(threads() >= threads_before + 4);
    for peer in peers {
        peer.close().await;
    }
    relay.finish().await;
    soon(async {
        while threads() > threads_before || files() > files_before {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
