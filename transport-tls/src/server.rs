use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use echosphere_driver::settle::Settle;
use echosphere_driver::{Incoming, Listener, Negotiated, Peer, Stream};
use rcgen::generate_simple_self_signed;
use rustls::ServerConfig;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{Accepted, Acceptor, StoresServerSessions, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use tokio::io::AsyncReadExt;
use tokio_rustls::server::StartHandshake;

use crate::fingerprint::Fingerprint;
use crate::principal::principal;
use crate::refusal::{end, refuse_plain};
use crate::stream::TlsStream;
use crate::{BUFFER_LIMIT, TRANSPORT, error, pem, provider};

/// The content type of TLS's handshake records (RFC 8446, section 5.1).
const HANDSHAKE: u8 = 0x16;
/// Bytes of one read of the first message. It usually has 200 to 600.
const HELLO_BYTES: usize = 1024;

/// What a server needs for TLS: its certificate and key, and the CA of its clients if they need certificates.
///
/// Clones share one configuration: [`ServerTls::reload`] changes it for all listeners that have a clone.
#[derive(Clone)]
pub struct ServerTls(Arc<Shared>);

struct Shared {
    source: Source,
    client_ca: Option<PathBuf>,
    current: RwLock<Current>,
}

enum Source {
    Files { certificate: PathBuf, key: PathBuf },
    SelfSigned(Arc<CertifiedKey>),
}

#[derive(Clone)]
struct Current {
    config: Arc<ServerConfig>,
    fingerprint: Fingerprint,
}

impl ServerTls {
    /// Reads a certificate with its chain, and its key, from PEM files.
    ///
    /// With `client_ca`, clients must have a certificate of one of the CAs in this file. The common name of its subject
    /// becomes the [`Peer::principal`]; a subject with no common name, or with several, becomes it as a whole (RFC 4514).
    /// Such a name has at most 256 bytes and no control characters.
    ///
    /// # Errors
    ///
    /// What is wrong, and in which file.
    pub fn from_files(certificate: &Path, key: &Path, client_ca: Option<&Path>) -> io::Result<Self> {
        let source = Source::Files {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        };
        Self::new(source, client_ca)
    }

    /// Makes a key and a certificate for `names` (host names and IP addresses) that no CA has signed. Clients can trust its
    /// [`ServerTls::fingerprint`]. `client_ca` as in [`ServerTls::from_files`].
    ///
    /// # Errors
    ///
    /// If one of `names` is not a name, or `client_ca` cannot be used.
    pub fn self_signed(names: &[&str], client_ca: Option<&Path>) -> io::Result<Self> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let made = generate_simple_self_signed(names).map_err(invalid)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let identity = CertifiedKey::from_der(vec![made.cert.into()], key, &provider()).map_err(invalid)?;
        Self::new(Source::SelfSigned(Arc::new(identity)), client_ca)
    }

    fn new(source: Source, client_ca: Option<&Path>) -> io::Result<Self> {
        let current = RwLock::new(load(&source, client_ca)?);
        Ok(Self(Arc::new(Shared {
            source,
            client_ca: client_ca.map(Path::to_owned),
            current,
        })))
    }

    /// Reads the files again. Connections that are accepted from now on get the new certificate, key and client CA. Others are
    /// not affected. A self-signed certificate stays the same. Blocks while it reads.
    ///
    /// # Errors
    ///
    /// As [`ServerTls::from_files`]; then nothing changes.
    pub fn reload(&self) -> io::Result<()> {
        let new = load(&self.0.source, self.0.client_ca.as_deref())?;
        *self.0.current.write().unwrap_or_else(PoisonError::into_inner) = new;
        Ok(())
    }

    /// The fingerprint of the certificate in force.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        self.current().fingerprint
    }

    fn current(&self) -> Current {
        self.0.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerTls")
            .field("fingerprint", &self.fingerprint())
            .field("client_ca", &self.0.client_ca)
            .finish_non_exhaustive()
    }
}

fn load(source: &Source, client_ca: Option<&Path>) -> io::Result<Current> {
    let identity = match source {
        Source::Files { certificate, key } => Arc::new(pem::read_identity(certificate, key)?),
        Source::SelfSigned(identity) => Arc::clone(identity),
    };
    let fingerprint = Fingerprint::of(identity.end_entity_cert().map_err(invalid)?);
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(invalid)?;
    let builder = match client_ca {
        Some(file) => {
            let roots = Arc::new(pem::read_roots(file)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
            builder.with_client_cert_verifier(verifier.map_err(invalid)?)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(identity)));
    config.session_storage = Arc::new(NoSessions);
    config.send_tls13_tickets = 1;
    Ok(Current {
        config: Arc::new(config),
        fingerprint,
    })
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

/// Keeps no session, so that each connection proves its peer anew, to the client CA in force. Claims to, so that rustls sends a
/// ticket: by this, a client of TLS 1.3 learns that the server has accepted its certificate.
#[derive(Debug)]
struct NoSessions;

impl StoresServerSessions for NoSessions {
    fn put(&self, _key: Vec<u8>, _value: Vec<u8>) -> bool {
        true
    }

    fn get(&self, _key: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn take(&self, _key: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn can_cache(&self) -> bool {
        true
    }
}

/// Accepts the connections of another listener, and negotiates TLS on each.
///
/// A peer that does not speak TLS gets `error tls-required …` as a line, or as the body of `HTTP/1.1 400` if it sent a request
/// of HTTP. Its connection is closed after at most 2 s.
#[derive(Debug)]
pub struct TlsListener<L> {
    inner: L,
    tls: ServerTls,
    alpn: Vec<Vec<u8>>,
    /// The configuration of `tls` with `alpn`, and the one that it was made of.
    config: Option<[Arc<ServerConfig>; 2]>,
}

impl<L: Listener> TlsListener<L> {
    /// Accepts the connections of `inner`.
    #[must_use]
    pub const fn new(inner: L, tls: ServerTls) -> Self {
        Self {
            inner,
            tls,
            alpn: Vec::new(),
            config: None,
        }
    }

    /// Sets the protocols that a client can choose from (ALPN), such as `h2`. A client that offers others alone is refused; one
    /// that offers none is not. Without this, what clients offer is ignored.
    #[must_use]
    pub fn with_alpn(mut self, protocols: &[&[u8]]) -> Self {
        self.alpn = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        self
    }

    fn config(&mut self) -> Arc<ServerConfig> {
        let base = self.tls.current().config;
        match &self.config {
            Some([made_of, config]) if Arc::ptr_eq(made_of, &base) => Arc::clone(config),
            _ => {
                let mut config = ServerConfig::clone(&base);
                config.alpn_protocols.clone_from(&self.alpn);
                let config = Arc::new(config);
                self.config = Some([base, Arc::clone(&config)]);
                config
            }
        }
    }
}

#[async_trait]
impl<L: Listener> Listener for TlsListener<L> {
    type Stream = TlsStream<L::Stream>;

    async fn accept(&mut self) -> io::Result<Incoming<Self::Stream>> {
        let incoming = self.inner.accept().await?;
        let config = self.config();
        Ok(incoming.then(|peer, stream| negotiate(peer, stream, config)))
    }

    fn settle(&self) -> Arc<dyn Settle> {
        self.inner.settle()
    }
}

async fn negotiate<S: Stream>(
    peer: Peer,
    stream: S,
    config: Arc<ServerConfig>,
) -> io::Result<Negotiated<TlsStream<S>>> {
    let (accepted, stream) = client_hello(stream).await?;
    let handshake = StartHandshake::from_parts(accepted, stream)
        .into_stream_with(config, |connection| connection.set_buffer_limit(Some(BUFFER_LIMIT)));
    let stream = match handshake.into_fallible().await {
        Ok(stream) => stream,
        Err((failure, stream)) => {
            // The alert is written. Let the client read it.
            end(stream, &[]).await;
            return Err(error::on_server(failure));
        }
    };
    let principal = match stream.get_ref().1.peer_certificates() {
        Some([certificate, ..]) => Some(principal(certificate)?),
        _ => peer.principal,
    };
    let peer = Peer {
        transport: TRANSPORT,
        addr: peer.addr,
        principal,
    };
    Ok((peer, TlsStream::new(stream)))
}

/// Reads the client's first message.
async fn client_hello<S: Stream>(mut stream: S) -> io::Result<(Accepted, S)> {
    let mut acceptor = Acceptor::default();
    let mut buffer = Vec::with_capacity(HELLO_BYTES);
    let mut begun = false;
    loop {
        buffer.clear();
        if stream.read_buf(&mut buffer).await? == 0 {
            let text = "the connection ended in the TLS handshake";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
        }
        if !begun && buffer[0] != HANDSHAKE {
            return Err(refuse_plain(stream, buffer).await);
        }
        begun = true;
        let mut rest = &buffer[..];
        while !rest.is_empty() {
            // rustls reads nothing after an alert that closes.
            if acceptor.read_tls(&mut rest)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => return Ok((accepted, stream)),
            Ok(None) => {}
            Err((failure, mut alert)) => {
                let mut last = Vec::new();
                alert.write_all(&mut last)?;
                end(stream, &last).await;
                return Err(error::on_server(io::Error::new(io::ErrorKind::InvalidData, failure)));
            }
        }
    }
}
