//! How clients connect to their server.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use echosphere_driver::settle::Settle;
use echosphere_driver::{BoxStream, Connector, Negotiated, Stream};
use echosphere_transport_tcp::TcpConnector;
use echosphere_transport_tls::{ClientTls, TlsConnector};
use echosphere_transport_ws::{WsConnector, WsUrl};
use tokio::io::AsyncWriteExt;

use crate::ws::HTTP_1;

/// Why the last connection could not be negotiated, for the messages about it.
#[derive(Clone, Debug, Default)]
pub(crate) struct NegotiationError(Arc<Mutex<Option<String>>>);

impl NegotiationError {
    pub(crate) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, error: &io::Error) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
    }
}

/// Connects over TCP, and over TLS and WebSocket on top of it.
pub(crate) struct AnyConnector {
    inner: Kind,
    error: NegotiationError,
}

enum Kind {
    Tcp(TcpConnector),
    Tls(Box<TlsConnector<TcpConnector>>),
    Ws(Box<WsConnector<TcpConnector>>),
    Wss(Box<WsConnector<TlsConnector<TcpConnector>>>),
}

impl AnyConnector {
    /// Connects over TLS if there is one, and to the WebSocket of `url` if there is one. `error` gets the reason when a negotiation
    /// fails.
    pub(crate) fn new(tcp: TcpConnector, tls: Option<ClientTls>, url: Option<WsUrl>, error: NegotiationError) -> Self {
        let inner = match (tls, url) {
            (None, None) => Kind::Tcp(tcp),
            (Some(tls), None) => Kind::Tls(Box::new(TlsConnector::new(tcp, tls))),
            (None, Some(url)) => Kind::Ws(Box::new(WsConnector::new(tcp, url))),
            (Some(tls), Some(url)) => {
                let tls = tls.with_alpn(&[HTTP_1]);
                Kind::Wss(Box::new(WsConnector::new(TlsConnector::new(tcp, tls), url)))
            }
        };
        Self { inner, error }
    }

    /// Connects once if the connection is negotiated, so that a load does not repeat a failure thousands of times.
    ///
    /// # Errors
    ///
    /// If that fails.
    pub(crate) async fn try_negotiation(&self) -> anyhow::Result<()> {
        if !matches!(self.inner, Kind::Tcp(_)) {
            let (_, mut stream) = self.dial().await?;
            stream.shutdown().await?;
        }
        Ok(())
    }
}

#[async_trait]
impl Connector for AnyConnector {
    type Stream = BoxStream;

    async fn dial(&self) -> io::Result<Negotiated<BoxStream>> {
        let dialled = match &self.inner {
            Kind::Tcp(connector) => boxed(connector.dial().await),
            Kind::Tls(connector) => boxed(connector.dial().await),
            Kind::Ws(connector) => boxed(connector.dial().await),
            Kind::Wss(connector) => boxed(connector.dial().await),
        };
        if let Err(error) = &dialled
            && error.kind() == io::ErrorKind::InvalidData
        {
            self.error.note(error);
        }
        dialled
    }

    fn settle(&self) -> Arc<dyn Settle> {
        match &self.inner {
            Kind::Tcp(connector) => connector.settle(),
            Kind::Tls(connector) => connector.settle(),
            Kind::Ws(connector) => connector.settle(),
            Kind::Wss(connector) => connector.settle(),
        }
    }
}

fn boxed(dialled: io::Result<Negotiated<impl Stream>>) -> io::Result<Negotiated<BoxStream>> {
    dialled.map(|(peer, stream)| (peer, Box::new(stream) as BoxStream))
}
