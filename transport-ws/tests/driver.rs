//! A relay over WebSocket: the driver, an echo server, and peers that browsers and other libraries are like.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::Bytes;
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::counters::ConnectionCounters;
use echosphere_core::echo::{Client, ClientConfig, Command, EchoCodec, Notice, Server, ServerConfig};
use echosphere_core::endpoint::Endpoint;
use echosphere_driver::{Driver, Handle, Listener};
use echosphere_transport_tcp::{TcpConnector, TcpListener};
use echosphere_transport_ws::{Pages, WsConfig, WsConnector, WsListener};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use support::{BINARY, CLOSE, FIN, Network, PING, PONG, REQUEST, Raw, TEXT, close, frame, soon};
use tokio::io::AsyncWriteExt;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;
use tungstenite::Message;

const MAX_MESSAGE: u32 = 1024 * 1024;

type Echo = Endpoint<Server<ChaCha8Rng>, EchoCodec>;

struct Relay {
    handle: Handle<Server<ChaCha8Rng>, EchoCodec>,
    driver: JoinHandle<Echo>,
}

impl Relay {
    fn over(listener: impl Listener + 'static, config: ConnectionConfig) -> Self {
        let server = Server::new(ServerConfig::default(), ChaCha8Rng::seed_from_u64(7));
        let endpoint = Endpoint::new(server, EchoCodec::accepted(MAX_MESSAGE), config);
        let (driver, handle) = Driver::new(endpoint);
        let ws = WsConfig {
            max_message: MAX_MESSAGE + 8,
            pages: Pages::new([("/", "text/html", b"page".as_slice())]),
            ..WsConfig::default()
        };
        let driver = driver.listen(WsListener::new(listener, ws));
        let driver = tokio::spawn(driver.run());
        Self { handle, driver }
    }

    fn over_tcp() -> (Self, SocketAddr) {
        let listener = TcpListener::bind(([127, 0, 0, 1], 0).into()).unwrap();
        let addr = listener.local_addr().unwrap();
        (Self::over(listener, ConnectionConfig::default()), addr)
    }

    /// Waits until no connection is left; then drains.
    async fn finish(self) -> ConnectionCounters {
        soon(async {
            while !self.handle.inspect(Endpoint::is_zero).await.unwrap() {
                tokio::task::yield_now().await;
            }
        })
        .await;
        self.handle.drain(Duration::from_secs(10)).await.unwrap();
        *soon(self.driver).await.unwrap().counters()
    }
}

async fn join(network: &Network) -> Raw {
    let mut peer = Raw(network.connect());
    peer.send(REQUEST).await;
    peer.head().await;
    peer
}

async fn leave(mut peer: Raw) {
    peer.send(frame(FIN | CLOSE, close(1000, ""))).await;
    assert_eq!(peer.closed().await, (1000, String::new()));
    assert_eq!(peer.rest().await, b"");
}

#[tokio::test]
async fn a_person_and_a_program_are_clients_of_one_relay() {
    let (network, listener) = Network::new();
    let relay = Relay::over(listener, ConnectionConfig::default());
    let (mut person, mut program) = (join(&network).await, join(&network).await);
    program.send(frame(FIN | BINARY, "")).await;
    // The relay has only these two, and forwards to either.
    for count in 0..20 {
        let x = format!("hello {count}");
        person.send(frame(FIN | TEXT, format!("message {x}"))).await;
        let ok = format!("ok {x}");
        tokio::select! {
            biased;
            got = program.frame() => {
                assert_eq!(got, (FIN | BINARY, format!("message {x}").into_bytes()));
                program.send(frame(FIN | BINARY, &ok)).await;
            }
            got = person.frame() => {
                assert_eq!(got, (FIN | TEXT, format!("message {x}").into_bytes()));
                person.send(frame(FIN | TEXT, &ok)).await;
            }
        }
        assert_eq!(person.frame().await, (FIN | TEXT, ok.into_bytes()));
    }
    leave(person).await;
    leave(program).await;
    let counters = relay.finish().await;
    assert_eq!((counters.closed_by_peer, counters.resets), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn half_an_upgrade_ends_at_the_handshake_time_out() {
    for request in ["", "G", &REQUEST[..60]] {
        let (network, listener) = Network::new();
        let config = ConnectionConfig::default();
        let relay = Relay::over(listener, config);
        let mut peer = Raw(network.connect());
        peer.send(request).await;
        let begun = Instant::now();
        assert_eq!(peer.rest().await, b"");
        assert_eq!(begun.elapsed().as_secs(), config.handshake_timeout.as_secs());
        assert_eq!(relay.finish().await.handshake_timeouts, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_sends_no_message_or_none_any_more_is_sent_the_reason() {
    let (network, listener) = Network::new();
    let relay = Relay::over(listener, ConnectionConfig::default());
    let mut silent = join(&network).await;
    let (first, error) = silent.frame().await;
    assert_eq!(first, FIN | TEXT);
    assert!(error.starts_with(b"error handshake-timeout "));
    let (code, reason) = silent.closed().await;
    assert!(
        code == 1008 && reason.starts_with("handshake-timeout "),
        "{code} {reason}"
    );
    drop(silent);

    let mut idle = join(&network).await;
    idle.send(frame(FIN | BINARY, "")).await;
    let reason = loop {
        match idle.frame().await {
            (first, _) if first == FIN | PING || first == FIN | BINARY => {}
            (_, payload) => break payload,
        }
    };
    assert!(reason.starts_with(&close(1008, "idle-timeout ")), "{reason:?}");
    drop(idle);
    let counters = relay.finish().await;
    assert_eq!((counters.handshake_timeouts, counters.idle_timeouts), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn pings_and_pongs_keep_a_connection() {
    for control in [PING, PONG] {
        let (network, listener) = Network::new();
        let config = ConnectionConfig::default();
        let relay = Relay::over(listener, config);
        let mut peer = join(&network).await;
        peer.send(frame(FIN | TEXT, "")).await;
        for _ in 0..20 {
            tokio::time::sleep(config.idle_timeout / 2).await;
            peer.send(frame(FIN | control, "")).await;
        }
        peer.send(frame(FIN | CLOSE, "")).await;
        while peer.frame().await.0 != FIN | CLOSE {}
        drop(peer);
        let counters = relay.finish().await;
        assert_eq!((counters.idle_timeouts, counters.closed_by_peer), (0, 1));
    }
}

#[tokio::test]
async fn a_long_message_is_refused_with_code_1009() {
    let (network, listener) = Network::new();
    let relay = Relay::over(listener, ConnectionConfig::default());
    let mut peer = join(&network).await;
    peer.send(frame(FIN | TEXT, "")).await;
    let line = vec![b'x'; MAX_MESSAGE as usize + 9];
    let _ = soon(peer.0.write_all(&frame(FIN | TEXT, line))).await;
    let (code, reason) = peer.closed().await;
    assert!(code == 1009 && reason.contains("limit"), "{code} {reason}");
    drop(peer);
    relay.finish().await;
}

#[tokio::test]
async fn a_drain_says_so() {
    let (network, listener) = Network::new();
    let relay = Relay::over(listener, ConnectionConfig::default());
    let mut peer = join(&network).await;
    peer.send(frame(FIN | TEXT, "message x")).await;
    assert_eq!(peer.frame().await, (FIN | TEXT, b"message x".to_vec()));
    relay.handle.drain(Duration::from_millis(100)).await.unwrap();
    let (_, error) = peer.frame().await;
    assert!(error.starts_with(b"error shutting-down "));
    let (code, reason) = peer.closed().await;
    assert!(code == 1001 && reason.starts_with("shutting-down "), "{code} {reason}");
    drop(peer);
    soon(relay.driver).await.unwrap();
}

#[tokio::test]
async fn answered_requests_are_counted_and_are_not_failures() {
    let (network, listener) = Network::new();
    let relay = Relay::over(listener, ConnectionConfig::default());
    for (request, answer) in [
        ("GET / HTTP/1.1\r\n\r\n", "HTTP/1.1 200 "),
        ("list\n", "error ws-required "),
    ] {
        let mut peer = Raw(network.connect());
        peer.send(request).await;
        assert!(peer.rest().await.starts_with(answer.as_bytes()));
    }
    let mut torn = Raw(network.connect());
    torn.send("GET / HTTP/1.1\r\n").await;
    drop(torn);
    let counters = relay.finish().await;
    assert_eq!((counters.answered, counters.failed_negotiations), (2, 1));
}

#[tokio::test]
async fn a_lost_connection_is_not_a_clean_end() {
    let (network, listener) = Network::new();
    let relay = Relay::over(listener, ConnectionConfig::default());
    let mut lost = join(&network).await;
    lost.send(frame(FIN | TEXT, "")).await;
    drop(lost);
    let mut left = join(&network).await;
    left.send(frame(FIN | TEXT, "")).await;
    leave(left).await;
    let counters = relay.finish().await;
    assert_eq!((counters.resets, counters.closed_by_peer), (1, 1));
}

#[tokio::test]
async fn clients_of_this_crate_relay_a_megabyte_and_many_small_messages() {
    let (relay, addr) = Relay::over_tcp();
    let client = Client::new(ClientConfig::default(), ChaCha8Rng::seed_from_u64(8));
    let endpoint = Endpoint::new(client, EchoCodec::dialled(MAX_MESSAGE), ConnectionConfig::default());
    let (driver, handle) = Driver::new(endpoint);
    let (notify, mut notices) = tokio::sync::mpsc::unbounded_channel();
    let url = format!("ws://{addr}/any").parse().unwrap();
    let driver = driver
        .connect(WsConnector::new(TcpConnector::new(addr), url).with_max_message(MAX_MESSAGE + 8))
        .with_notices(move |notice| {
            let _ = notify.send(notice);
        });
    let running = tokio::spawn(driver.run());
    for id in 0..200 {
        let length = if id < 3 { MAX_MESSAGE as usize - 8 } else { id as usize };
        let x = Bytes::from(vec![b'a' + (id % 26) as u8; length]);
        handle.command(Command::Send { key: id, x }).await.unwrap();
    }
    let mut acknowledged = 0;
    while acknowledged < 200 {
        match soon(notices.recv()).await.unwrap() {
            Notice::Acknowledged { .. } => acknowledged += 1,
            notice @ Notice::GaveUp { .. } => panic!("{notice:?}"),
            _ => {}
        }
    }
    drop(handle);
    soon(running).await.unwrap();
    let counters = relay.finish().await;
    assert_eq!((counters.resets, counters.malformed), (0, 0), "{counters:?}");
}

/// Another implementation of the protocol.
#[tokio::test]
async fn tungstenite_is_a_client() {
    let (relay, addr) = Relay::over_tcp();
    let client = spawn_blocking(move || {
        let socket = TcpStream::connect(addr).unwrap();
        let (mut client, response) = tungstenite::client(format!("ws://{addr}/"), socket).unwrap();
        assert_eq!(response.status(), 101);
        client.send(Message::text("message hé")).unwrap();
        assert_eq!(client.read().unwrap(), Message::text("message hé"));
        client.send(Message::text("ok hé")).unwrap();
        assert_eq!(client.read().unwrap(), Message::text("ok hé"));
        client.send(Message::Ping(Bytes::from_static(b"p"))).unwrap();
        assert_eq!(client.read().unwrap(), Message::Pong(Bytes::from_static(b"p")));
        client.close(None).unwrap();
        assert!(client.read().unwrap().is_close());
        assert!(matches!(client.read(), Err(tungstenite::Error::ConnectionClosed)));
        let mut rest = Vec::new();
        client.get_mut().read_to_end(&mut rest).unwrap();
        assert_eq!(rest, b"");
    });
    soon(client).await.unwrap();
    let counters = relay.finish().await;
    assert_eq!((counters.closed_by_peer, counters.resets), (1, 0));
}
