//! The life of a driver over TCP: data that comes with its FIN, draining, dialling, and ending.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::time::Duration;

use echosphere_core::DialError;
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::{Failure, Notice};
use echosphere_driver::Gone;
use echosphere_transport_tcp::{TcpConnector, TcpListener};
use support::{Bystander, Dialler, Framing, Peer, Relay, frame, localhost, patient, soon};
use tokio::net::{TcpSocket, TcpStream};

/// Long enough for all that is to happen before.
const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn a_message_that_comes_with_its_fin_is_handled() {
    for framing in [Framing::Length, Framing::Lines] {
        let relay = Relay::start(ConnectionConfig::default());
        let bystander = Bystander::join(&relay).await;
        // The runtime has one thread, which is here: the relay finds message and FIN together.
        let mut stream = std::net::TcpStream::connect(relay.addr).unwrap();
        stream.write_all(&frame(framing, "message last words")).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();

        relay.until(|endpoint| endpoint.counters().closed_by_peer == 1).await;
        bystander.leave().await;
        let endpoint = relay.finish().await;
        let counters = endpoint.machine().counters();
        assert_eq!((counters.messages, counters.abandoned), (2, 1));
    }
}

#[tokio::test]
async fn an_ok_that_comes_with_its_fin_counts() {
    let relay = Relay::start(ConnectionConfig::default());
    let bystander = Bystander::join(&relay).await;
    let mut peer = Peer::hello(relay.addr, Framing::Length).await;
    let (trip, message) = loop {
        let mut trip = Box::pin(bystander.round_trip());
        tokio::select! {
            biased;
            () = &mut trip => {}
            message = peer.receive() => break (trip, message.unwrap()),
        }
    };
    let ok = [b"ok ", message.strip_prefix(b"message ").unwrap()].concat();
    let mut stream = peer.stream.into_std().unwrap();
    stream.set_nonblocking(false).unwrap();
    stream.write_all(&frame(Framing::Length, ok)).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();

    trip.await;
    bystander.leave().await;
    let endpoint = relay.finish().await;
    assert_eq!(endpoint.machine().counters().reforwards, 0);
}

#[tokio::test]
async fn draining_lets_what_is_under_way_finish() {
    let relay = Relay::start(ConnectionConfig::default());
    let (mut originator, mut holder, x) = one_waits_for_the_other(&relay).await;
    let idle = Peer::hello(relay.addr, Framing::Lines).await;
    let mute = Peer::connect(relay.addr, Framing::Lines).await;
    relay
        .until(|endpoint| endpoint.connections() == 4 && endpoint.machine().counters().opened == 3)
        .await;

    relay.handle.drain(LONG).await.unwrap();
    for mut unneeded in [idle, mute] {
        assert_eq!(unneeded.error().await, "shutting-down");
        unneeded.end().await;
        unneeded.close().await;
    }
    let refused = TcpStream::connect(relay.addr).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);

    originator.send("message one more").await;
    assert_eq!(originator.error().await, "shutting-down");
    holder.send([b"ok ", &x[..]].concat()).await;
    assert_eq!(originator.receive().await, Some([b"ok ", &x[..]].concat()));
    for mut done in [originator, holder] {
        assert_eq!(done.error().await, "shutting-down");
        done.end().await;
        done.close().await;
    }
    let endpoint = relay.ended().await;
    let counters = endpoint.machine().counters();
    assert_eq!((counters.messages_refused, counters.abandoned), (1, 0));
}

#[tokio::test]
async fn draining_closes_what_does_not_finish() {
    let relay = Relay::start(ConnectionConfig::default());
    let (mut originator, mut holder, _) = one_waits_for_the_other(&relay).await;
    relay.handle.drain(Duration::from_millis(100)).await.unwrap();
    // When the holder is closed first, the originator is sent its own message before its turn comes.
    while let Some(payload) = originator.receive().await {
        assert!(payload.starts_with(b"message ") || payload.starts_with(b"error shutting-down "));
    }
    assert_eq!(holder.error().await, "shutting-down");
    holder.end().await;
    originator.close().await;
    holder.close().await;
    let endpoint = relay.ended().await;
    assert_eq!(endpoint.machine().counters().abandoned, 1);
}

#[tokio::test]
async fn draining_does_not_wait_for_a_peer_that_never_closes() {
    let relay = Relay::start(ConnectionConfig {
        linger: Duration::from_millis(100),
        ..ConnectionConfig::default()
    });
    let (originator, holder, _) = one_waits_for_the_other(&relay).await;
    let endpoint = relay.drain(Duration::ZERO).await;
    assert_eq!(endpoint.counters().lingered, 2);
    drop((originator, holder));
}

/// Two peers, the second of which was forwarded a message of the first, and that message.
async fn one_waits_for_the_other(relay: &Relay) -> (Peer, Peer, Vec<u8>) {
    let mut originator = Peer::hello(relay.addr, Framing::Length).await;
    let mut holder = Peer::hello(relay.addr, Framing::Length).await;
    relay.until(|endpoint| endpoint.machine().counters().opened == 2).await;
    for n in 0.. {
        originator.send(format!("message {n}")).await;
        tokio::select! {
            biased;
            ok = originator.receive_answering() => assert!(ok.unwrap().starts_with(b"ok ")),
            message = holder.receive() => {
                let x = message.unwrap().strip_prefix(b"message ").unwrap().to_vec();
                return (originator, holder, x);
            }
        }
    }
    unreachable!("one of them is the second's")
}

#[tokio::test]
async fn requests_made_before_the_driver_noticed_the_drain_are_answered() {
    let relay = Relay::start(ConnectionConfig::default());
    let bystander = Bystander::join(&relay).await;
    bystander.leave().await;
    relay.connections(0).await;
    // None of these waits for the driver's next turn.
    relay.handle.drain(LONG).await.unwrap();
    assert_eq!(
        relay.handle.inspect(|endpoint| endpoint.counters().accepted).await,
        Ok(1)
    );
    let handle = relay.handle.clone();
    relay.ended().await;
    assert_eq!(handle.inspect(|_| ()).await, Err(Gone));
    assert_eq!(handle.drain(LONG).await, Err(Gone));
}

#[tokio::test]
async fn a_command_that_was_taken_is_answered_even_when_draining() {
    let relay = Relay::start(ConnectionConfig::default());
    let mut dialler = Dialler::start(TcpConnector::new(relay.addr), patient());
    dialler.handle.drain(LONG).await.unwrap();
    dialler.send(5, "too late").await;
    let gave_up = Notice::GaveUp {
        key: 5,
        failure: Failure::ShuttingDown,
        attempts: 0,
    };
    assert_eq!(dialler.notice().await, gave_up);
    dialler.finish().await;
    relay.finish().await;
}

#[tokio::test]
async fn no_keepalive_interval_is_too_short() {
    let relay = Relay::start(ConnectionConfig {
        keepalive_interval: Duration::ZERO,
        ..ConnectionConfig::default()
    });
    let mut peer = Peer::hello(relay.addr, Framing::Length).await;
    relay.until(|endpoint| endpoint.counters().keepalives >= 3).await;
    peer.round_trip("between keepalives").await;
    peer.close().await;
    relay.finish().await;
}

#[tokio::test]
async fn a_server_needs_no_handle_to_serve() {
    let Relay { addr, handle, driver } = Relay::start(ConnectionConfig::default());
    let second = handle.clone();
    drop(handle);
    let mut peer = Peer::connect(addr, Framing::Length).await;
    peer.round_trip("through the second handle's server").await;
    assert_eq!(second.inspect(|endpoint| endpoint.connections()).await, Ok(1));
    drop(second);
    peer.round_trip("without any handle").await;
    peer.close().await;
    Peer::connect(addr, Framing::Lines).await.round_trip("and anew").await;
    driver.abort();
}

#[tokio::test]
async fn dropping_the_driver_resets_its_sockets() {
    let relay = Relay::start(ConnectionConfig::default());
    let (mut originator, mut holder, _) = one_waits_for_the_other(&relay).await;
    relay.driver.abort();
    assert!(soon(relay.driver).await.unwrap_err().is_cancelled());
    for peer in [&mut originator, &mut holder] {
        assert_eq!(peer.lost().await, ErrorKind::ConnectionReset);
    }
    assert_eq!(relay.handle.inspect(|_| ()).await, Err(Gone));
    TcpListener::bind(relay.addr).expect("the port is free again");
}

#[tokio::test]
async fn a_dialling_driver_ends_when_its_last_handle_is_gone_and_all_is_done() {
    let relay = Relay::start(ConnectionConfig::default());
    let mut dialler = Dialler::start(TcpConnector::new(relay.addr), patient());
    for id in 0..10 {
        dialler.send(id, format!("x {id}")).await;
    }
    let second = dialler.handle.clone();
    drop(dialler.handle);
    dialler.handle = second;
    dialler.acknowledged(10).await;
    assert!(!dialler.driver.is_finished(), "a handle may still ask for something");
    dialler.send(10, "one more").await;

    // What was asked for is done all the same.
    drop(dialler.handle);
    let endpoint = soon(dialler.driver).await.unwrap();
    assert!(endpoint.is_zero());
    assert_eq!(endpoint.machine().counters().acknowledged, 11);
    relay.finish().await;
}

#[tokio::test]
async fn a_refused_dial_is_tried_again_until_a_server_appears() {
    // Bound and not listening: the port is ours, and refuses.
    let reserved = TcpSocket::new_v4().unwrap();
    reserved.set_reuseaddr(true).unwrap();
    reserved.bind(localhost()).unwrap();
    let addr = reserved.local_addr().unwrap();

    let mut dialler = Dialler::start(TcpConnector::new(addr), patient());
    dialler.send(0, "is anybody there?").await;
    for _ in 0..3 {
        match dialler.notice().await {
            Notice::Retrying { key: 0, failure, .. } => assert_eq!(failure, Failure::Dial(DialError::Refused)),
            other => panic!("{other:?}"),
        }
    }
    let mut relay = Relay::over(
        TcpListener::bind(addr).unwrap(),
        ConnectionConfig::default(),
        support::MAX_MESSAGE,
    );
    relay.addr = addr;
    dialler.acknowledged(1).await;
    let endpoint = dialler.finish().await;
    assert!(endpoint.counters().dials_failed >= 3);
    assert_eq!(endpoint.counters().dialled, 1);
    relay.finish().await;
}

#[tokio::test]
async fn a_client_too_many_gets_in_once_there_is_room() {
    let relay = Relay::start(ConnectionConfig {
        max_connections: 1,
        ..ConnectionConfig::default()
    });
    let mut peer = Peer::connect(relay.addr, Framing::Length).await;
    peer.round_trip("the only one").await;
    let mut dialler = Dialler::start(TcpConnector::new(relay.addr), patient());
    dialler.send(0, "let me in").await;
    for _ in 0..3 {
        assert!(matches!(dialler.notice().await, Notice::Retrying { key: 0, .. }));
    }
    peer.close().await;
    dialler.acknowledged(1).await;
    dialler.finish().await;
    assert!(relay.finish().await.counters().refused >= 3);
}

/// Other systems have one loopback address only.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn clients_take_their_source_addresses_in_turn() {
    use std::net::IpAddr;

    use echosphere_driver::Connector;

    let relay = Relay::start(ConnectionConfig::default());
    let from = [[127, 0, 0, 2], [127, 0, 0, 3]].map(IpAddr::from);
    let connector = TcpConnector::from_addresses(relay.addr, from.to_vec());
    for attempt in 0..4 {
        let stream = connector.dial().await.unwrap().1;
        assert_eq!(stream.socket().local_addr().unwrap().ip(), from[attempt as usize % 2]);
        Peer::over(stream, Framing::Length).close().await;
    }
    relay.finish().await;
}
