//! TLS keeps the contract of transports, over TCP, over IO threads, and over streams that keep everything until they are flushed.
#![allow(clippy::unwrap_used)]

mod support;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;

use async_trait::async_trait;
use echosphere_driver::conformance::{Transport, check};
use echosphere_driver::{BoxStream, Connector};
use echosphere_transport_tcp::{TcpConnector, TcpListener, ThreadedListener};
use echosphere_transport_tls::{ClientTls, ServerTls, TlsConnector, TlsListener};

use support::{BufferingBelow, MemoryConnector, MemoryListener, memory, self_signed, trusting};

fn localhost() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// Both sides of a connection trust each other.
struct Sides {
    server: ServerTls,
    client: ClientTls,
}

impl Sides {
    fn new() -> Self {
        let server = self_signed();
        let client = trusting(&server);
        Self { server, client }
    }

    fn wrap<L: echosphere_driver::Listener, C: Connector>(&self, inner: (L, C)) -> (TlsListener<L>, TlsConnector<C>) {
        let (listener, connector) = inner;
        (
            TlsListener::new(listener, self.server.clone()),
            TlsConnector::new(connector, self.client.clone()),
        )
    }
}

/// An attempt that begins and is never polled again.
async fn plain<C: Connector>(connector: &TlsConnector<C>) -> Option<io::Result<BoxStream>> {
    let dialled = connector.get_ref().dial().await;
    Some(dialled.map(|(_, stream)| Box::new(stream) as BoxStream))
}

struct OverTcp(Sides);

#[async_trait]
impl Transport for OverTcp {
    type Listener = TlsListener<TcpListener>;
    type Connector = TlsConnector<TcpConnector>;

    async fn start(&self) -> io::Result<(Self::Listener, Self::Connector)> {
        let listener = TcpListener::bind(localhost())?;
        let addr = listener.local_addr()?;
        Ok(self.0.wrap((listener, TcpConnector::new(addr))))
    }

    async fn begin(&self, connector: &Self::Connector) -> Option<io::Result<BoxStream>> {
        plain(connector).await
    }
}

struct OverThreads(Sides);

#[async_trait]
impl Transport for OverThreads {
    type Listener = TlsListener<ThreadedListener>;
    type Connector = TlsConnector<TcpConnector>;

    async fn start(&self) -> io::Result<(Self::Listener, Self::Connector)> {
        let listener = ThreadedListener::bind(localhost(), NonZeroUsize::MIN)?;
        let addr = listener.local_addr();
        Ok(self.0.wrap((listener, TcpConnector::new(addr))))
    }

    async fn begin(&self, connector: &Self::Connector) -> Option<io::Result<BoxStream>> {
        plain(connector).await
    }
}

struct OverBuffers(Sides);

#[async_trait]
impl Transport for OverBuffers {
    type Listener = TlsListener<BufferingBelow<MemoryListener>>;
    type Connector = TlsConnector<BufferingBelow<MemoryConnector>>;

    async fn start(&self) -> io::Result<(Self::Listener, Self::Connector)> {
        let (listener, connector) = memory(1 << 16);
        Ok(self.0.wrap((BufferingBelow(listener), BufferingBelow(connector))))
    }

    async fn begin(&self, connector: &Self::Connector) -> Option<io::Result<BoxStream>> {
        plain(connector).await
    }
}

#[tokio::test]
async fn tls_over_tcp_keeps_the_contract() {
    check(&OverTcp(Sides::new())).await.assert_passed();
}

#[tokio::test]
async fn tls_over_io_threads_keeps_the_contract() {
    check(&OverThreads(Sides::new())).await.assert_passed();
}

#[tokio::test]
async fn tls_over_streams_that_buffer_keeps_the_contract() {
    check(&OverBuffers(Sides::new())).await.assert_passed();
}
