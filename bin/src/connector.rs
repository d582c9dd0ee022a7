//! How clients connect to their server.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use echosphere_driver::settle::Settle;
use echosphere_driver::{BoxStream, Connector, Negotiated, Stream};
use echosphere_transport_tcp::TcpConnector;
use echosphere_transport_tls::{ClientTls, TlsConnector};
use tokio::io::AsyncWriteExt;

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

/// Connects over TCP, or over TLS on top of it.
pub(crate) struct AnyConnector {
    inner: Kind,
    error: NegotiationError,
}

enum Kind {
    Tcp(TcpConnector),
    Tls(Box<TlsConnector<TcpConnector>>),
}

impl AnyConnector {
    /// Connects over TLS if there is one. `error` gets the reason when a negotiation fails.
    pub(crate) fn new(tcp: TcpConnector, tls: Option<ClientTls>, error: NegotiationError) -> Self {
        let inner = match tls {
            Some(tls) => Kind::Tls(Box::new(TlsConnector::new(tcp, tls))),
            None => Kind::Tcp(tcp),
        };
        Self { inner, error }
    }

    /// Connects once if the connection is negotiated, so that a load does not repeat a failure thousands of times.
    ///
    /// # Errors
    ///
    /// If that fails.
    pub(crate) async fn try_negotiation(&self) -> anyhow::Result<()> {
        if matches!(self.inner, Kind::Tls(_)) {
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
        }
    }
}

fn boxed(dialled: io::Result<Negotiated<impl Stream>>) -> io::Result<Negotiated<BoxStream>> {
    dialled.map(|(peer, stream)| (peer, Box::new(stream) as BoxStream))
}
