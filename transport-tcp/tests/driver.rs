//! The life of a driver over TCP: data that comes with its FIN, draining, dialling, and ending.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::time::Duration;

use echosphere_core::DialError;
use echosphere_core::echo::{Failure, Notice};
use echosphere_core::link::LinkConfig;
use echosphere_transport_tcp::{Gone, TcpConnector, TcpListener};
use support::{Bystander, Dialler, Framing, Peer, Relay, frame, localhost, patient, soon};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpSocket, TcpStream};

/// Long enough for all that is to happen before.
const LONG: Duration = Duration::from_secs(600);

#[tokio::test]
async fn a_message_that_comes_with_its_fin_is_handled() {
    for framing in [Framing::Length, Framing::Lines] {
        let relay = Relay::start(LinkConfig::default());
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
    let relay = Relay::start(LinkConfig::default());
    let bystander = Bystander::join(&relay).await;
    let mut peer = Peer::hello(relay.addr, Framing::Length).await;
    let (trip, message) = loop {
        let mut trip = Box::pin(bystander.round_trip());
        tokio::select! {
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
    let relay = Relay::start(LinkConfig::default());
    let mut idle = Peer::hello(relay.addr, Framing::Lines).await;
    relay.connections(1).await;
    let mute = Peer::connect(relay.addr, Framing::Lines).await;
    relay.connections(2).await;
    let (mut originator, mut holder, x) = one_waits_for_the_other(&relay).await;

    let addr = relay.addr;
    relay.handle.drain(LONG).await.unwrap();
    for mut unneeded in [idle_of(&mut idle).await, mute] {
        assert_eq!(unneeded.error().await, "shutting-down");
        unneeded.end().await;
        unneeded.close().await;
    }
    let refused = TcpStream::connect(addr).await.unwrap_err();
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
    assert_eq!(endpoint.machine().counters().messages_refused, 1);
    assert_eq!(endpoint.machine().counters().abandoned, 0);
}
