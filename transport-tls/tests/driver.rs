//! Drivers over TLS.
#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use echosphere_core::DialError;
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::{
    Client, ClientConfig, Command, EchoCodec, Failure, MAX_MESSAGE, Notice, Server, ServerConfig,
};
use echosphere_core::endpoint::Endpoint;
use echosphere_driver::{Connector, Driver, Handle, Listener};
use echosphere_transport_tls::{TlsConnector, TlsListener};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use support::{MemoryConnector, memory, self_signed, soon, trusting};

type Servers = Endpoint<Server<ChaCha8Rng>, EchoCodec>;

struct Relay {
    handle: Handle<Server<ChaCha8Rng>, EchoCodec>,
    driver: JoinHandle<Servers>,
}

impl Relay {
    fn start(listener: impl Listener + 'static, config: ConnectionConfig) -> Self {
        let server = Server::new(ServerConfig::default(), ChaCha8Rng::seed_from_u64(1));
        let endpoint = Endpoint::new(server, EchoCodec::accepted(MAX_MESSAGE), config);
        let (driver, handle) = Driver::new(endpoint);
        let driver = tokio::spawn(driver.listen(listener).run());
        Self { handle, driver }
    }

    /// The counters at the end.
    async fn end(self) -> Servers {
        self.handle.drain(Duration::from_secs(1)).await.unwrap();
        let endpoint = soon(self.driver).await.unwrap();
        assert!(endpoint.is_zero());
        endpoint
    }
}

fn client(
    connector: TlsConnector<MemoryConnector>,
) -> (Handle<Client<ChaCha8Rng>, EchoCodec>, mpsc::UnboundedReceiver<Notice>) {
    let client = Client::new(ClientConfig::default(), ChaCha8Rng::seed_from_u64(2));
    let endpoint = Endpoint::new(client, EchoCodec::dialled(MAX_MESSAGE), ConnectionConfig::default());
    let (driver, handle) = Driver::new(endpoint);
    let (notify, notices) = mpsc::unbounded_channel();
    let driver = driver.connect(connector).with_notices(move |notice| {
        // The test may have seen enough.
        let _ = notify.send(notice);
    });
    tokio::spawn(driver.run());
    (handle, notices)
}

/// The largest message, and small ones, through the driver: the last bytes of each arrive without another write.
#[tokio::test]
async fn messages_are_relayed() {
    let tls = self_signed();
    let (listener, connector) = memory(4096);
    let relay = Relay::start(TlsListener::new(listener, tls.clone()), ConnectionConfig::default());
    let (handle, mut notices) = client(TlsConnector::new(connector, trusting(&tls)));
    for key in 0..5 {
        let x = vec![b'x'; if key == 2 { 1 << 20 } else { 10 }].into();
        handle.command(Command::Send { key, x }).await.unwrap();
    }
    for _ in 0..5 {
        match soon(notices.recv()).await.unwrap() {
            Notice::Acknowledged { retries: 0, .. } => {}
            notice => panic!("{notice:?}"),
        }
    }
    drop(handle);
    let endpoint = relay.end().await;
    assert_eq!(endpoint.counters().failed_negotiations, 0);
}

/// Peers that begin a handshake and stop count as connections, delay nobody, and are dropped.
#[tokio::test(start_paused = true)]
async fn a_handshake_that_stalls_ends_at_the_time_out() {
    let tls = self_signed();
    let (listener, connector) = memory(4096);
    let config = ConnectionConfig {
        max_connections: 3,
        ..ConnectionConfig::default()
    };
    let timeout = config.handshake_timeout;
    let relay = Relay::start(TlsListener::new(listener, tls.clone()), config);
    let mut silent = connector.plain();
    let mut stalled = connector.plain();
    stalled
        .write_all(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03")
        .await
        .unwrap();
    let begun = Instant::now();

    let (handle, mut notices) = client(TlsConnector::new(connector.clone(), trusting(&tls)));
    let x = (&b"x"[..]).into();
    handle.command(Command::Send { key: 1, x }).await.unwrap();
    let notice = soon(notices.recv()).await.unwrap();
    assert!(matches!(notice, Notice::Acknowledged { retries: 0, .. }), "{notice:?}");
    assert!(begun.elapsed() < timeout);

    for stream in [&mut silent, &mut stalled] {
        assert_eq!(soon(stream.read(&mut [0; 1])).await.unwrap(), 0, "dropped");
        assert!((timeout..timeout + Duration::from_secs(1)).contains(&begun.elapsed()));
    }
    drop(handle);
    relay.end().await;
}

/// Its answer is written inside the negotiation: it does not delay others, and counts.
#[tokio::test(start_paused = true)]
async fn a_peer_without_tls_is_a_failed_negotiation() {
    let tls = self_signed();
    let (listener, connector) = memory(4096);
    let relay = Relay::start(TlsListener::new(listener, tls.clone()), ConnectionConfig::default());
    let mut plain = connector.plain();
    plain.write_all(b"message hi\n").await.unwrap();
    let (handle, mut notices) = client(TlsConnector::new(connector.clone(), trusting(&tls)));
    let x = (&b"x"[..]).into();
    handle.command(Command::Send { key: 1, x }).await.unwrap();
    let notice = soon(notices.recv()).await.unwrap();
    assert!(matches!(notice, Notice::Acknowledged { retries: 0, .. }), "{notice:?}");

    let (answer, end) = support::read_to_end(&mut plain).await;
    end.unwrap();
    assert!(answer.starts_with(b"error tls-required "));
    drop(plain);
    drop(handle);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let endpoint = relay.end().await;
    assert_eq!(endpoint.counters().failed_negotiations, 1);
}

/// The server answers the first bytes of the handshake: the client need not wait for a time-out.
#[tokio::test(start_paused = true)]
async fn a_server_without_tls_refuses_the_handshake_at_once() {
    let (listener, connector) = memory(4096);
    let relay = Relay::start(listener, ConnectionConfig::default());
    let tls = trusting(&self_signed());
    let begun = Instant::now();
    let error = soon(TlsConnector::new(connector.clone(), tls.clone()).dial())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the server does not speak TLS; connect without --tls"
    );
    assert!(begun.elapsed() < Duration::from_secs(1));

    // The machine is not told to wait for another answer.
    let (handle, mut notices) = client(TlsConnector::new(connector, tls));
    let x = (&b"x"[..]).into();
    handle.command(Command::Send { key: 1, x }).await.unwrap();
    match soon(notices.recv()).await.unwrap() {
        Notice::Retrying { failure, .. } => assert_eq!(failure, Failure::Dial(DialError::NegotiationFailed)),
        notice => panic!("{notice:?}"),
    }
    drop(handle);
    relay.end().await;
}
