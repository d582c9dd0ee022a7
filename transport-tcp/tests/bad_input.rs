//! What peers must not send: each is told what was wrong, nobody else notices, and nothing is left behind.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use echosphere_core::connection::ConnectionConfig;
use echosphere_transport_tcp::TcpListener;
use support::{Bystander, Framing, Peer, Relay, frame, localhost};
use tokio::io::AsyncWriteExt;

/// The longest X in tests of limits, and the longest payload.
const SMALL_X: u32 = 100;
const SMALL_PAYLOAD: usize = 108;

const BOTH: [Framing; 2] = [Framing::Length, Framing::Lines];

#[tokio::test]
async fn a_frame_longer_than_the_limit() {
    let relay = Relay::with_limit(ConnectionConfig::default(), SMALL_X);
    let bystander = Bystander::join(&relay).await;
    let mut peer = Peer::connect(relay.addr, Framing::Length).await;
    peer.round_trip([b'x'; SMALL_X as usize]).await;
    // The header says it all: nothing of the rest need ever come.
    peer.write((SMALL_PAYLOAD as u32 + 1).to_be_bytes()).await;

    assert_eq!(peer.error().await, "frame-too-long");
    peer.end().await;
    bystander.round_trip().await;
    peer.close().await;
    bystander.leave().await;
    assert_eq!(relay.finish().await.counters().malformed, 1);
}

#[tokio::test]
async fn a_first_frame_longer_than_any_limit() {
    let relay = Relay::start(ConnectionConfig::default());
    let bystander = Bystander::join(&relay).await;
    let mut peer = Peer::connect(relay.addr, Framing::Length).await;
    peer.write(b"\0\xff\xff\xffand all the rest of it").await;

    assert_eq!(peer.error().await, "frame-too-long");
    peer.end().await;
    bystander.round_trip().await;
    peer.close().await;
    bystander.leave().await;
    let endpoint = relay.finish().await;
    assert_eq!(endpoint.counters().malformed, 1);
    assert_eq!(endpoint.machine().counters().opened, 1, "only the bystander");
}

#[tokio::test]
async fn a_line_longer_than_the_limit() {
    for end in ["", "\n"] {
        let relay = Relay::with_limit(ConnectionConfig::default(), SMALL_X);
        let bystander = Bystander::join(&relay).await;
        let mut peer = Peer::connect(relay.addr, Framing::Lines).await;
        peer.round_trip([b'x'; SMALL_X as usize]).await;
        let line = "m".repeat(SMALL_PAYLOAD + 2) + end;
        peer.write(&line).await;

        assert_eq!(peer.error().await, "line-too-long");
        peer.end().await;
        bystander.round_trip().await;
        peer.close().await;
        bystander.leave().await;
        assert_eq!(relay.finish().await.counters().malformed, 1);
    }
}

#[tokio::test]
async fn a_stream_cut_short_by_a_close() {
    for (framing, cut_short) in [
        (Framing::Length, &b"\0"[..]),
        (Framing::Length, b"\0\0\0\x0amessage"),
        (Framing::Lines, b"message without an end"),
    ] {
        let relay = Relay::start(ConnectionConfig::default());
        let bystander = Bystander::join(&relay).await;
        let mut peer = Peer::connect(relay.addr, framing).await;
        peer.write(cut_short).await;
        peer.stream.shutdown().await.unwrap();

        assert_eq!(peer.error().await, "truncated");
        peer.end().await;
        bystander.leave().await;
        let endpoint = relay.finish().await;
        assert_eq!(endpoint.counters().malformed, 1);
        assert_eq!(endpoint.machine().counters().messages, 1, "only the bystander's");
    }
}

#[tokio::test]
async fn not_a_request() {
    let nonsense = [
        "messagehello",
        "message",
        "ok",
        "okay then",
        "MESSAGE hello",
        " message hello",
        "GET / HTTP/1.1",
    ];
    for framing in BOTH {
        let relay = Relay::start(ConnectionConfig::default());
        let bystander = Bystander::join(&relay).await;
        let mut peer = Peer::connect(relay.addr, framing).await;
        for payload in nonsense {
            peer.send(payload).await;
            assert_eq!(peer.error().await, "unknown-request", "{payload:?}");
            peer.answering(bystander.round_trip()).await;
        }
        peer.send(b"\xff\0\xfe").await;
        assert_eq!(peer.error().await, "unknown-request");
        peer.round_trip("hello").await;
        peer.close().await;
        bystander.leave().await;
        let endpoint = relay.finish().await;
        assert_eq!(endpoint.counters().invalid, nonsense.len() as u64 + 1);
        assert_eq!(endpoint.counters().closed_by_peer, 2);
    }
}

#[tokio::test]
async fn an_error_is_not_answered() {
    let relay = Relay::start(ConnectionConfig::default());
    let bystander = Bystander::join(&relay).await;
    let mut peer = Peer::connect(relay.addr, Framing::Length).await;
    peer.send("error unknown-request I did not understand that").await;
    peer.round_trip("the next answer is to this").await;
    peer.close().await;
    bystander.leave().await;
    let endpoint = relay.finish().await;
    assert_eq!(endpoint.machine().counters().errors_received, 1);
}

#[tokio::test]
async fn any_bytes_that_the_framing_can_carry_are_an_x() {
    for (framing, x) in [
        (Framing::Length, &b""[..]),
        (Framing::Lines, b""),
        (Framing::Length, b"\xff\xfe\xc3\x28 \x80"),
        (Framing::Lines, b"\xff\xfe\xc3\x28 \x80"),
        (Framing::Lines, b"  a\rb\0c  "),
        (Framing::Length, b"\n"),
        (Framing::Length, b"line\nline\r\n\0\0\0\0\n\0"),
        (Framing::Length, b"message ok error"),
    ] {
        let relay = Relay::start(ConnectionConfig::default());
        let bystander = Bystander::join(&relay).await;
        let mut peer = Peer::connect(relay.addr, framing).await;
        // So often that it surely goes to both.
        for _ in 0..20 {
            peer.round_trip(x).await;
        }
        peer.answering(bystander.round_trip()).await;
        peer.close().await;
        bystander.leave().await;
        let endpoint = relay.finish().await;
        assert_eq!(endpoint.counters().invalid, 0);
        assert_eq!(endpoint.machine().counters().oks, 22);
    }
}

#[tokio::test]
async fn what_a_line_cannot_carry_goes_to_nobody_who_speaks_lines() {
    let relay = Relay::start(ConnectionConfig::default());
    let bystander = Bystander::join(&relay).await;
    let mut person = Peer::connect(relay.addr, Framing::Lines).await;
    person.send("an error tells me that I am known").await;
    assert_eq!(person.error().await, "unknown-request");

    let mut peer = Peer::connect(relay.addr, Framing::Length).await;
    for x in ["a\nb", "\n", "ends in\r", "\0\n\0"] {
        for _ in 0..10 {
            peer.round_trip(x).await;
        }
    }
    peer.close().await;
    person.stream.shutdown().await.unwrap();
    assert_eq!(person.receive().await, None);
    bystander.leave().await;
    relay.finish().await;
}

#[tokio::test]
async fn an_ok_for_something_never_forwarded_to_it() {
    for framing in BOTH {
        let relay = Relay::start(ConnectionConfig::default());
        let bystander = Bystander::join(&relay).await;
        let mut peer = Peer::connect(relay.addr, framing).await;
        for ok in ["ok nothing", "ok "] {
            peer.send(ok).await;
            assert_eq!(peer.error().await, "not-held");
        }
        peer.answering(bystander.round_trip()).await;
        peer.round_trip("still here").await;
        peer.close().await;
        bystander.leave().await;
        let endpoint = relay.finish().await;
        assert_eq!(endpoint.machine().counters().oks_unexpected, 2);
        assert_eq!(endpoint.machine().counters().oks, 3);
    }
}

#[tokio::test]
async fn ten_thousand_messages_in_one_write() {
    for framing in BOTH {
        let relay = Relay::start(ConnectionConfig::default());
        let bystander = Bystander::join(&relay).await;
        let mut peer = Peer::connect(relay.addr, framing).await;
        let burst: Vec<u8> = (0..10_000)
            .flat_map(|n| frame(framing, format!("message {n}")))
            .collect();
        peer.write(burst).await;
        let mut answered = vec![false; 10_000];
        for _ in 0..10_000 {
            let payload = peer.receive_answering().await.unwrap();
            let ok = String::from_utf8(payload).unwrap();
            let n: usize = ok.strip_prefix("ok ").expect("an ok").parse().unwrap();
            assert!(!std::mem::replace(&mut answered[n], true), "{n} twice");
        }
        peer.answering(bystander.round_trip()).await;
        peer.close().await;
        bystander.leave().await;
        let endpoint = relay.finish().await;
        assert_eq!(endpoint.machine().counters().oks, 10_002);
        assert_eq!(endpoint.machine().counters().reforwards, 0);
    }
}

#[tokio::test]
async fn ten_thousand_mistakes_in_one_write() {
    let relay = Relay::start(ConnectionConfig::default());
    let bystander = Bystander::join(&relay).await;
    let mut peer = Peer::connect(relay.addr, Framing::Length).await;
    peer.write(frame(Framing::Length, "nonsense").repeat(10_000)).await;
    for _ in 0..10_000 {
        assert_eq!(peer.error().await, "unknown-request");
    }
    peer.answering(bystander.round_trip()).await;
    peer.close().await;
    bystander.leave().await;
    assert_eq!(relay.finish().await.counters().invalid, 10_000);
}

#[tokio::test]
async fn one_byte_a_write() {
    for framing in BOTH {
        let relay = Relay::start(ConnectionConfig::default());
        let bystander = Bystander::join(&relay).await;
        let mut peer = Peer::connect(relay.addr, framing).await;
        dribble(&relay, &mut peer, framing, "").await;
        dribble(&relay, &mut peer, framing, "nonsense").await;
        assert_eq!(peer.error().await, "unknown-request");
        for n in 0..10 {
            dribble(&relay, &mut peer, framing, &format!("message {n}")).await;
            while let Some(y) = peer.receive().await.unwrap().strip_prefix(b"message ") {
                let y = String::from_utf8(y.to_vec()).unwrap();
                dribble(&relay, &mut peer, framing, &format!("ok {y}")).await;
            }
        }
        peer.answering(bystander.round_trip()).await;
        peer.close().await;
        bystander.leave().await;
        let endpoint = relay.finish().await;
        assert_eq!(endpoint.counters().invalid, 1);
        let counters = endpoint.machine().counters();
        assert_eq!((counters.oks, counters.oks_unexpected), (12, 0));
    }
}

/// Sends each byte only once the relay has read the one before.
async fn dribble(relay: &Relay, peer: &mut Peer, framing: Framing, payload: &str) {
    for byte in frame(framing, payload) {
        let before = relay
            .handle
            .inspect(|endpoint| endpoint.counters().bytes_in)
            .await
            .unwrap();
        peer.write([byte]).await;
        relay.until(move |endpoint| endpoint.counters().bytes_in > before).await;
    }
}

#[tokio::test]
async fn a_port_that_is_taken() {
    let relay = Relay::start(ConnectionConfig::default());
    let bystander = Bystander::join(&relay).await;
    let error = TcpListener::bind(relay.addr).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
    assert!(TcpListener::bind(localhost()).is_ok(), "others are free");
    bystander.leave().await;
    relay.finish().await;
}
