//! TCP keeps the contract of transports, with and without IO threads.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;

use async_trait::async_trait;
use echosphere_driver::conformance::{Transport, check};
use echosphere_transport_tcp::{TcpConnector, TcpListener, ThreadedListener};

fn localhost() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

struct Tcp;

#[async_trait]
impl Transport for Tcp {
    type Listener = TcpListener;
    type Connector = TcpConnector;

    async fn start(&self) -> io::Result<(TcpListener, TcpConnector)> {
        let listener = TcpListener::bind(localhost())?;
        let addr = listener.local_addr()?;
        Ok((listener, TcpConnector::new(addr)))
    }
}

struct Threads;

#[async_trait]
impl Transport for Threads {
    type Listener = ThreadedListener;
    type Connector = TcpConnector;

    async fn start(&self) -> io::Result<(ThreadedListener, TcpConnector)> {
        let listener = ThreadedListener::bind(localhost(), NonZeroUsize::MIN.saturating_add(1))?;
        let addr = listener.local_addr();
        Ok((listener, TcpConnector::new(addr)))
    }
}

#[tokio::test]
async fn sockets_of_the_driver_keep_the_contract() {
    check(&Tcp).await.assert_passed();
}

#[tokio::test]
async fn sockets_of_threads_keep_the_contract() {
    check(&Threads).await.assert_passed();
}
