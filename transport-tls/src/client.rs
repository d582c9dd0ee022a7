use std::error::Error;
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;
use std::{fmt, io};

use async_trait::async_trait;
use echosphere_core::wire::{FIRST_BYTES, Protocol};
use echosphere_driver::settle::Settle;
use echosphere_driver::{Connector, Negotiated, OtherProtocol, Peer, Stream};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, ConfigBuilder, ProtocolVersion, RootCertStore, SignatureScheme, WantsVerifier};
use tokio::io::{AsyncBufRead, AsyncReadExt};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream as ClientStream;

use crate::fingerprint::{Fingerprint, OneCertificate};
use crate::first_bytes::FirstBytes;
use crate::stream::TlsStream;
use crate::{BUFFER_LIMIT, TRANSPORT, error, pem, provider};

/// How long to wait for more first bytes of a server that does not speak TLS.
const FIRST_BYTES_WAIT: Duration = Duration::from_millis(500);
/// How long a server may take to judge the client's certificate before it counts as accepted. Servers that send tickets need
/// one round trip.
const VERDICT_WAIT: Duration = Duration::from_secs(2);

/// Whom a client trusts.
#[derive(Clone, Debug)]
pub enum Trust {
    /// The CAs that this host trusts.
    System,
    /// The CAs whose certificates are in this PEM file, and no others.
    Ca(PathBuf),
    /// One certificate, whatever its names, issuer and dates are.
    Fingerprint(Fingerprint),
}

/// What a client needs for TLS: the name of the server, whom it trusts, and its own certificate if the server demands one.
#[derive(Clone)]
pub struct ClientTls {
    config: ClientConfig,
    name: ServerName<'static>,
}

impl ClientTls {
    /// A client without a certificate that connects to servers of this `name`: a host name or an IP address.
    ///
    /// # Errors
    ///
    /// If `name` is not a name, or the certificates of [`Trust`] cannot be read.
    pub fn new(name: &str, trust: &Trust) -> io::Result<Self> {
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| invalid(&format!("{name:?} is neither a host name nor an IP address")))?;
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .map_err(|error| invalid(&error.to_string()))?;
        let mut config = trusting(builder, trust)?;
        config.resumption = Resumption::disabled();
        Ok(Self { config, name })
    }

    /// Sets the client's certificate with its chain, and its key, from PEM files.
    ///
    /// # Errors
    ///
    /// What is wrong, and in which file.
    pub fn with_certificate(mut self, certificate: &Path, key: &Path) -> io::Result<Self> {
        let identity = pem::read_identity(certificate, key)?;
        self.config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(identity));
        Ok(self)
    }

    /// Sets the protocols that the server can choose from (ALPN), such as `h2`.
    #[must_use]
    pub fn with_alpn(mut self, protocols: &[&[u8]]) -> Self {
        self.config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        self
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

fn trusting(builder: ConfigBuilder<ClientConfig, WantsVerifier>, trust: &Trust) -> io::Result<ClientConfig> {
    let roots = match trust {
        Trust::System => system_roots()?,
        Trust::Ca(file) => pem::read_roots(file)?,
        Trust::Fingerprint(trusted) => {
            let verifier = Arc::new(OneCertificate::new(*trusted, provider()));
            return Ok(builder
                .dangerous()
                .with_custom_certificate_verifier(verifier)
                .with_no_client_auth());
        }
    };
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn system_roots() -> io::Result<RootCertStore> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found
            .errors
            .first()
            .map_or(String::new(), |error| format!(" ({error})"));
        let text = format!(
            "this computer has no certificates of trusted CAs{why}; give those of the server's CA with --tls-ca"
        );
        return Err(io::Error::new(io::ErrorKind::NotFound, text));
    }
    Ok(roots)
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

/// The server does not speak TLS. A connector returns it as the inner error of an [`io::Error`]; its source is an
/// [`OtherProtocol`].
#[derive(Debug, PartialEq, Eq)]
pub struct NotTls(OtherProtocol);

impl NotTls {
    /// What the server is, if its first bytes show it.
    #[must_use]
    pub const fn protocol(&self) -> Option<Protocol> {
        self.0.0
    }
}

impl fmt::Display for NotTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the server does not speak TLS")?;
        match self.protocol() {
            Some(protocol) => write!(f, ", it is {protocol}; connect without --tls"),
            None => f.write_str("; connect without --tls"),
        }
    }
}

impl Error for NotTls {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

/// Connects through another connector, and negotiates TLS.
#[derive(Debug)]
pub struct TlsConnector<C> {
    inner: C,
    tls: ClientTls,
}

impl<C: Connector> TlsConnector<C> {
    /// Connects through `inner`.
    #[must_use]
    pub const fn new(inner: C, tls: ClientTls) -> Self {
        Self { inner, tls }
    }

    /// The connector below.
    #[must_use]
    pub const fn get_ref(&self) -> &C {
        &self.inner
    }
}

#[async_trait]
impl<C: Connector> Connector for TlsConnector<C> {
    type Stream = TlsStream<FirstBytes<C::Stream>>;

    /// # Errors
    ///
    /// Those of the connector below, with their kinds. `InvalidData`: TLS cannot be negotiated, and trying again does not help;
    /// the text says what to do. [`NotTls`] is the inner error if the server does not speak TLS.
    async fn dial(&self) -> io::Result<Negotiated<Self::Stream>> {
        let (peer, stream) = self.inner.dial().await?;
        let stream = negotiate(stream, &self.tls).await?;
        let peer = Peer {
            transport: TRANSPORT,
            ..peer
        };
        Ok((peer, stream))
    }

    fn settle(&self) -> Arc<dyn Settle> {
        self.inner.settle()
    }
}

async fn negotiate<S: Stream>(stream: S, tls: &ClientTls) -> io::Result<TlsStream<FirstBytes<S>>> {
    let resolver = Arc::new(Asked {
        inner: Arc::clone(&tls.config.client_auth_cert_resolver),
        asked: AtomicBool::new(false),
    });
    let mut config = tls.config.clone();
    config.client_auth_cert_resolver = resolver.clone();
    let connecting = tokio_rustls::TlsConnector::from(Arc::new(config))
        .connect_with(tls.name.clone(), FirstBytes::new(stream), |connection| {
            connection.set_buffer_limit(Some(BUFFER_LIMIT));
        })
        .into_fallible();
    let mut stream = match connecting.await {
        Ok(stream) => stream,
        Err((failure, stream)) => return Err(explain(failure, stream).await),
    };
    let is_1_3 = stream.get_ref().1.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    if is_1_3 && resolver.asked.load(Ordering::Relaxed) {
        verdict(&mut stream).await.map_err(error::on_client)?;
    }
    stream.get_mut().0.forget();
    Ok(TlsStream::new(stream))
}

/// Waits until the server has judged this side's certificate, or the lack of one. In TLS 1.3, the client's part of the handshake
/// is over before.
async fn verdict<S: Stream>(stream: &mut ClientStream<FirstBytes<S>>) -> io::Result<()> {
    let judged = poll_fn(|cx| {
        let read = Pin::new(&mut *stream).poll_fill_buf(cx).map_ok(drop);
        if read.is_pending() && stream.get_ref().1.tls13_tickets_received() > 0 {
            return Poll::Ready(Ok(()));
        }
        read
    });
    timeout(VERDICT_WAIT, judged).await.unwrap_or(Ok(()))
}

async fn explain<S: Stream>(failure: io::Error, mut stream: FirstBytes<S>) -> io::Error {
    let is_record = matches!(stream.first(), [] | [0x14..=0x17] | [0x14..=0x17, 3, ..]);
    if is_record {
        return error::on_client(failure);
    }
    let more = async {
        let mut buffer = [0; FIRST_BYTES];
        while stream.first().len() < FIRST_BYTES && matches!(stream.read(&mut buffer).await, Ok(1..)) {}
    };
    let _ = timeout(FIRST_BYTES_WAIT, more).await;
    let protocol = Protocol::from_first_bytes(stream.first());
    io::Error::new(io::ErrorKind::InvalidData, NotTls(OtherProtocol(protocol)))
}

/// The certificate of a client, and whether the server of this connection has asked for one.
#[derive(Debug)]
struct Asked {
    inner: Arc<dyn ResolvesClientCert>,
    asked: AtomicBool,
}

impl ResolvesClientCert for Asked {
    fn resolve(&self, issuers: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        self.inner.resolve(issuers, schemes)
    }

    fn has_certs(&self) -> bool {
        self.inner.has_certs()
    }
}
