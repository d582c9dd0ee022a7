//! What the driver does with a connection that is still to be negotiated.
#![allow(clippy::unwrap_used)]

mod support;

use std::future::pending;
use std::io;
use std::time::Duration;

use echosphere_core::connection::ConnectionConfig;
use echosphere_core::{ConnId, Principal};
use echosphere_driver::{BoxStream, Incoming, Negotiated};
use support::{Server, frame, peer, read_frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::oneshot;
use tokio::time::Instant;

/// A negotiation that never ends, and what is told when it is dropped.
fn endless() -> (Incoming<BoxStream>, oneshot::Receiver<()>) {
    let (guard, dropped) = oneshot::channel::<()>();
    let negotiation = async move {
        let _guard = guard;
        pending::<io::Result<Negotiated<BoxStream>>>().await
    };
    (Incoming::negotiating(peer(), negotiation), dropped)
}

fn ready() -> (Incoming<BoxStream>, DuplexStream) {
    let (here, there) = duplex(4096);
    (Incoming::ready(peer(), there).boxed(), here)
}

async fn connections(server: &Server) -> usize {
    server.handle.inspect(|endpoint| endpoint.connections()).await.unwrap()
}

/// Waits until the server has accepted this number of connections.
async fn accepted(server: &Server, count: usize) {
    while connections(server).await < count {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_negotiation_delays_no_other_connection() {
    let mut server = Server::start(ConnectionConfig::default());
    let (stalled, _dropped) = endless();
    server.accept(stalled);
    let (incoming, mut client) = ready();
    server.accept(incoming);
    client.write_all(&frame("message x")).await.unwrap();
    assert_eq!(read_frame(&mut client).await, "message x");
    assert_eq!(server.opened.recv().await.unwrap().1, None);
    assert_eq!(connections(&server).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_negotiation_is_dropped_at_the_handshake_timeout() {
    let config = ConnectionConfig {
        handshake_timeout: Duration::from_secs(7),
        ..ConnectionConfig::default()
    };
    let server = Server::start(config);
    let (stalled, dropped) = endless();
    let begun = Instant::now();
    server.accept(stalled);
    dropped.await.unwrap_err();
    assert_eq!(begun.elapsed().as_secs(), 7, "not the linger time in addition");
    let counters = server.handle.inspect(|endpoint| *endpoint.counters()).await.unwrap();
    assert_eq!((counters.accepted, counters.handshake_timeouts), (1, 1));
    assert_eq!(connections(&server).await, 0);
}

#[tokio::test]
async fn a_negotiation_counts_as_a_connection() {
    let server = Server::start(ConnectionConfig {
        max_connections: 1,
        ..ConnectionConfig::default()
    });
    let (stalled, _dropped) = endless();
    server.accept(stalled);
    accepted(&server, 1).await;
    let (incoming, mut client) = ready();
    server.accept(incoming);
    let mut refusal = String::new();
    client.read_to_string(&mut refusal).await.unwrap();
    assert!(refusal.starts_with("error full "), "{refusal}");
    // What cannot be told before its negotiation is dropped.
    let (another, dropped) = endless();
    server.accept(another);
    dropped.await.unwrap_err();
    assert_eq!(connections(&server).await, 1);
}

#[tokio::test]
async fn a_failed_negotiation_is_counted_and_ends_the_connection() {
    let server = Server::start(ConnectionConfig::default());
    let failure = async { Err(io::ErrorKind::InvalidData.into()) };
    server.accept(Incoming::negotiating(peer(), failure));
    let failed = async || {
        let counters = server.handle.inspect(|endpoint| *endpoint.counters()).await.unwrap();
        counters.failed_negotiations
    };
    while failed().await == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(connections(&server).await, 0);
}

#[tokio::test]
async fn each_connection_has_its_own_principal() {
    let mut server = Server::start(ConnectionConfig::default());
    let names = [Some("a"), None, Some("b"), Some("c")];
    let (mut clients, mut finishers) = (Vec::new(), Vec::new());
    for name in names {
        let (here, there) = duplex(4096);
        let (finish, finished) = oneshot::channel::<()>();
        server.accept(Incoming::negotiating(peer(), async move {
            finished.await.unwrap();
            let mut peer = peer();
            peer.principal = name.map(Principal::new);
            Ok((peer, Box::new(there) as BoxStream))
        }));
        clients.push(here);
        finishers.push(finish);
    }
    accepted(&server, names.len()).await;
    // The last one ends its negotiation first.
    for (at, finish) in finishers.into_iter().enumerate().rev() {
        finish.send(()).unwrap();
        clients[at].write_all(&frame("message x")).await.unwrap();
        assert_eq!(read_frame(&mut clients[at]).await, "message x");
        let (id, principal) = server.opened.recv().await.unwrap();
        let expected = names[at].map(Principal::new);
        assert_eq!(principal, expected);
        let known = server
            .handle
            .inspect(move |endpoint| endpoint.principal(id).cloned())
            .await;
        assert_eq!(known.unwrap(), expected);
    }
}

#[tokio::test]
async fn a_connection_has_no_principal_of_an_earlier_one() {
    let mut server = Server::start(ConnectionConfig::default());
    let mut ids: Vec<ConnId> = Vec::new();
    for name in [Some("a"), None] {
        let (mut client, there) = duplex(4096);
        let mut peer = peer();
        peer.principal = name.map(Principal::new);
        server.accept(Incoming::negotiating(peer.clone(), async move {
            Ok((peer, Box::new(there) as BoxStream))
        }));
        client.write_all(&frame("message x")).await.unwrap();
        let (id, principal) = server.opened.recv().await.unwrap();
        assert_eq!(principal, name.map(Principal::new));
        ids.push(id);
        drop(client);
        while connections(&server).await > 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(ids[0].slot, ids[1].slot, "the place is used again");
    let kept = server
        .handle
        .inspect(move |endpoint| endpoint.principal(ids[0]).cloned())
        .await;
    assert_eq!(kept.unwrap(), None);
}

#[tokio::test(start_paused = true)]
async fn a_drain_drops_negotiations_at_once() {
    let server = Server::start(ConnectionConfig::default());
    let (stalled, dropped) = endless();
    server.accept(stalled);
    accepted(&server, 1).await;
    let begun = Instant::now();
    server.handle.drain(Duration::from_secs(60)).await.unwrap();
    dropped.await.unwrap_err();
    let endpoint = server.driver.await.unwrap();
    assert!(endpoint.is_zero());
    assert_eq!(begun.elapsed().as_secs(), 0);
}
