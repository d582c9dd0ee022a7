//! WebSocket keeps the contract of transports, over TCP, over IO threads, and over TLS.
#![allow(clippy::unwrap_used)]

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;

use async_trait::async_trait;
use echosphere_driver::conformance::{Transport, check};
use echosphere_driver::{BoxStream, Connector, Listener};
use echosphere_transport_tcp::{TcpConnector, TcpListener, ThreadedListener};
use echosphere_transport_tls::{ClientTls, ServerTls, TlsConnector, TlsListener, Trust};
use echosphere_transport_ws::{WsConfig, WsConnector, WsListener};

fn localhost() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn wrap<L: Listener, C: Connector>(listener: L, connector: C) -> (WsListener<L>, WsConnector<C>) {
    (
        WsListener::new(listener, WsConfig::default()),
        WsConnector::new(connector, "ws://localhost/".parse().unwrap()),
    )
}

/// An attempt that asks for no upgrade.
async fn silent<C: Connector>(connector: &WsConnector<C>) -> Option<io::Result<BoxStream>> {
    let dialled = connector.get_ref().dial().await;
    Some(dialled.map(|(_, stream)| Box::new(stream) as BoxStream))
}

fn tcp() -> io::Result<(TcpListener, TcpConnector)> {
    let listener = TcpListener::bind(localhost())?;
    let addr = listener.local_addr()?;
    Ok((listener, TcpConnector::new(addr)))
}

struct OverTcp;

#[async_trait]
impl Transport for OverTcp {
    type Listener = WsListener<TcpListener>;
    type Connector = WsConnector<TcpConnector>;

    async fn start(&self) -> io::Result<(Self::Listener, Self::Connector)> {
        let (listener, connector) = tcp()?;
        Ok(wrap(listener, connector))
    }

    async fn begin(&self, connector: &Self::Connector) -> Option<io::Result<BoxStream>> {
        silent(connector).await
    }
}

struct OverThreads;

#[async_trait]
impl Transport for OverThreads {
    type Listener = WsListener<ThreadedListener>;
    type Connector = WsConnector<TcpConnector>;

    async fn start(&self) -> io::Result<(Self::Listener, Self::Connector)> {
        let listener = ThreadedListener::bind(localhost(), NonZeroUsize::MIN.saturating_add(1))?;
        let addr = listener.local_addr();
        Ok(wrap(listener, TcpConnector::new(addr)))
    }

    async fn begin(&self, connector: &Self::Connector) -> Option<io::Result<BoxStream>> {
        silent(connector).await
    }
}

struct OverTls(ServerTls);

#[async_trait]
impl Transport for OverTls {
    type Listener = WsListener<TlsListener<TcpListener>>;
    type Connector = WsConnector<TlsConnector<TcpConnector>>;

    async fn start(&self) -> io::Result<(Self::Listener, Self::Connector)> {
        let (listener, connector) = tcp()?;
        let trust = Trust::Fingerprint(self.0.fingerprint());
        let client = ClientTls::new("localhost", &trust)?;
        Ok(wrap(
            TlsListener::new(listener, self.0.clone()),
            TlsConnector::new(connector, client),
        ))
    }

    async fn begin(&self, connector: &Self::Connector) -> Option<io::Result<BoxStream>> {
        // The TLS handshake needs the other side, too.
        let dialled = connector.get_ref().get_ref().dial().await;
        Some(dialled.map(|(_, stream)| Box::new(stream) as BoxStream))
    }
}

#[tokio::test]
async fn websocket_over_tcp_keeps_the_contract() {
    check(&OverTcp).await.assert_passed();
}

#[tokio::test]
async fn websocket_over_io_threads_keeps_the_contract() {
    check(&OverThreads).await.assert_passed();
}

#[tokio::test]
async fn websocket_over_tls_keeps_the_contract() {
    let server = ServerTls::self_signed(&["localhost"], None).unwrap();
    check(&OverTls(server)).await.assert_passed();
}
