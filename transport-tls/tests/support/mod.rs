//! Certificates, and transports in memory.
#![allow(dead_code, unused_imports, clippy::unwrap_used)]

mod certificates;
mod memory;

use std::io;
use std::time::Duration;

use echosphere_driver::{Connector, Listener, Negotiated, Peer, Stream};
use echosphere_transport_tls::{ClientTls, FirstBytes, ServerTls, TlsConnector, TlsListener, TlsStream, Trust};
use tokio::io::DuplexStream;

pub(crate) use certificates::{Ca, Folder, Identity};
pub(crate) use memory::{Buffering, BufferingBelow, MemoryConnector, MemoryListener, memory};

/// More than any test takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// The name in the certificates of servers.
pub(crate) const NAME: &str = "server.test";

/// Fails the test if `future` takes for ever.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("something that happens")
}

/// Trust in a self-signed certificate.
pub(crate) fn trusting(server: &ServerTls) -> ClientTls {
    ClientTls::new(NAME, &Trust::Fingerprint(server.fingerprint())).unwrap()
}

pub(crate) fn self_signed() -> ServerTls {
    ServerTls::self_signed(&[NAME], None).unwrap()
}

/// Accepts and negotiates one connection.
pub(crate) async fn accept<L: Listener>(listener: &mut L) -> io::Result<Negotiated<L::Stream>> {
    listener.accept().await?.finish().await
}

/// What both sides get of one handshake.
pub(crate) struct Handshake {
    pub(crate) server: io::Result<Negotiated<TlsStream<DuplexStream>>>,
    pub(crate) client: io::Result<Negotiated<TlsStream<FirstBytes<DuplexStream>>>>,
}

impl Handshake {
    pub(crate) fn client_error(self) -> String {
        match self.client {
            Ok((peer, _)) => panic!("connected to {peer}"),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::InvalidData, "{error}");
                error.to_string()
            }
        }
    }

    pub(crate) fn server_error(&self) -> String {
        match &self.server {
            Ok((peer, _)) => panic!("accepted {peer}"),
            Err(error) => error.to_string(),
        }
    }

    pub(crate) fn principal(self) -> Option<String> {
        self.client.unwrap();
        let (peer, _): (Peer, _) = self.server.unwrap();
        assert_eq!(peer.transport, "tls");
        peer.principal.map(|principal| principal.name().to_owned())
    }
}

/// One handshake in memory.
pub(crate) async fn handshake(server: &ServerTls, client: &ClientTls) -> Handshake {
    let (listener, connector) = memory(1024);
    let mut listener = TlsListener::new(listener, server.clone());
    let connector = TlsConnector::new(connector, client.clone());
    let (server, client) = soon(async { tokio::join!(accept(&mut listener), connector.dial()) }).await;
    Handshake { server, client }
}

/// Both ends of a TLS connection over a pair of streams.
pub(crate) async fn connected() -> (TlsStream<DuplexStream>, TlsStream<FirstBytes<DuplexStream>>) {
    let server = self_signed();
    let both = handshake(&server, &trusting(&server)).await;
    (both.server.unwrap().1, both.client.unwrap().1)
}

/// Everything that arrives until the end, or the error instead of one.
pub(crate) async fn read_to_end(stream: &mut (impl Stream + ?Sized)) -> (Vec<u8>, io::Result<()>) {
    let mut bytes = Vec::new();
    let read = soon(tokio::io::AsyncReadExt::read_to_end(stream, &mut bytes)).await;
    (bytes, read.map(drop))
}
