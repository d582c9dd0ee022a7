//! TLS of servers and clients: their options, and what comes of them.

use std::path::PathBuf;

use anyhow::{Context, bail};
use echosphere_core::Machine;
use echosphere_core::wire::Codec;
use echosphere_driver::{Driver, Listener};
use echosphere_transport_tls::{ClientTls, Fingerprint, ServerTls, TlsListener, Trust};

use crate::net::Target;
use crate::stderr::{complain, status};
use crate::values::yes_or_no;

/// Options of a server for TLS.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "TLS")]
pub(crate) struct TlsServeArgs {
    /// Speak TLS with the certificate in this PEM file, which its chain can follow; SIGHUP reads the files again
    #[arg(long, value_name = "FILE", env = "ECHOSPHERE_TLS_CERT")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Use the private key in this PEM file for --tls-cert
    #[arg(long, value_name = "FILE", env = "ECHOSPHERE_TLS_KEY")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Accept only clients with a certificate of a CA in this PEM file
    #[arg(long, value_name = "FILE", env = "ECHOSPHERE_TLS_CLIENT_CA")]
    pub(crate) tls_client_ca: Option<PathBuf>,

    /// Speak TLS with a new certificate that no CA has signed, and print its fingerprint for --tls-fingerprint of clients
    #[arg(long, env = "ECHOSPHERE_TLS_SELF_SIGNED", value_parser = yes_or_no)]
    pub(crate) tls_self_signed: bool,
}

/// The TLS of a server.
#[derive(Clone, Debug)]
pub(crate) struct Serving {
    tls: ServerTls,
    self_signed: bool,
    /// Whether it has files that can be read again.
    has_files: bool,
}

impl TlsServeArgs {
    /// The options of a server with a certificate that no CA has signed, or without TLS.
    pub(crate) fn self_signed(tls_self_signed: bool) -> Self {
        Self {
            tls_self_signed,
            ..Self::default()
        }
    }

    /// The TLS that the options ask for, on an address of this `host`; `None` without any.
    ///
    /// # Errors
    ///
    /// If options contradict each other, or a file cannot be used.
    pub(crate) fn load(&self, host: &str) -> anyhow::Result<Option<Serving>> {
        let client_ca = self.tls_client_ca.as_deref();
        let tls = match (&self.tls_cert, &self.tls_key, self.tls_self_signed) {
            (Some(_), _, true) | (_, Some(_), true) => {
                bail!("--tls-self-signed makes a certificate and key of its own; leave out --tls-cert and --tls-key")
            }
            (Some(certificate), Some(key), false) => ServerTls::from_files(certificate, key, client_ca),
            (Some(_), None, false) => bail!("--tls-cert also needs --tls-key, the file with the private key"),
            (None, Some(_), false) => bail!("--tls-key also needs --tls-cert, the file with the certificate"),
            (None, None, true) => {
                let host = if host.is_ascii() { host } else { "localhost" };
                ServerTls::self_signed(&[host, "localhost", "127.0.0.1", "::1"], client_ca)
            }
            (None, None, false) if client_ca.is_some() => {
                bail!("--tls-client-ca also needs --tls-cert and --tls-key, or --tls-self-signed")
            }
            (None, None, false) => return Ok(None),
        };
        Ok(Some(Serving {
            tls: tls.context("cannot use TLS")?,
            self_signed: self.tls_self_signed,
            has_files: self.tls_cert.is_some() || client_ca.is_some(),
        }))
    }
}

impl Serving {
    /// The fingerprint of a certificate that no CA has signed.
    pub(crate) fn fingerprint(&self) -> Option<Fingerprint> {
        self.self_signed.then(|| self.tls.fingerprint())
    }

    /// Adds TLS to the connections of a listener.
    pub(crate) fn over<L: Listener>(&self, listener: L) -> TlsListener<L> {
        TlsListener::new(listener, self.tls.clone())
    }

    /// Whether a signal can make it read its files again.
    pub(crate) const fn is_reloadable(&self) -> bool {
        self.has_files
    }

    /// Reads the files again. Bad files change nothing.
    pub(crate) fn reload(&self) {
        match self.tls.reload() {
            Ok(()) => status!(
                "TLS files read again: new connections use the certificate {}",
                self.tls.fingerprint()
            ),
            Err(error) => complain!("error: the TLS files are not used, and the former ones stay in force: {error}"),
        }
    }
}

/// Accepts the connections of `listener`, over TLS if there is one.
pub(crate) fn listen<M, C>(
    driver: Driver<M, C>,
    listener: impl Listener + 'static,
    tls: Option<&Serving>,
) -> Driver<M, C>
where
    M: Machine,
    C: Codec<Message = M::Message> + Clone,
    M::Notice: 'static,
{
    match tls {
        Some(tls) => driver.listen(tls.over(listener)),
        None => driver.listen(listener),
    }
}

/// Options of a client for TLS. Each of them turns it on.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "TLS")]
pub(crate) struct TlsArgs {
    /// Speak TLS, and trust the CAs that this computer trusts; the other options of TLS turn it on, too
    #[arg(long, env = "ECHOSPHERE_TLS", value_parser = yes_or_no)]
    pub(crate) tls: bool,

    /// Trust the CAs in this PEM file, and no others
    #[arg(long, value_name = "FILE", env = "ECHOSPHERE_TLS_CA")]
    pub(crate) tls_ca: Option<PathBuf>,

    /// Trust the one certificate with this SHA-256 fingerprint, whatever names and dates it has
    #[arg(long, value_name = "SHA256", env = "ECHOSPHERE_TLS_FINGERPRINT")]
    pub(crate) tls_fingerprint: Option<Fingerprint>,

    /// Expect this name in the certificate of the server, instead of the host that the client connects to
    #[arg(long, value_name = "NAME", env = "ECHOSPHERE_TLS_NAME")]
    pub(crate) tls_name: Option<String>,

    /// Prove who this client is with the certificate in this PEM file, which its chain can follow
    #[arg(long, value_name = "FILE", env = "ECHOSPHERE_TLS_CERT")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// Use the private key in this PEM file for --tls-cert
    #[arg(long, value_name = "FILE", env = "ECHOSPHERE_TLS_KEY")]
    pub(crate) tls_key: Option<PathBuf>,
}

impl TlsArgs {
    /// The options of a client that trusts the certificate with this fingerprint, or without TLS.
    pub(crate) fn trusting(tls_fingerprint: Option<Fingerprint>) -> Self {
        Self {
            tls_fingerprint,
            ..Self::default()
        }
    }

    /// Whether the options ask for TLS.
    pub(crate) const fn is_on(&self) -> bool {
        self.tls
            || self.tls_ca.is_some()
            || self.tls_fingerprint.is_some()
            || self.tls_name.is_some()
            || self.tls_cert.is_some()
            || self.tls_key.is_some()
    }

    /// What a client needs to connect to `to`; `None` without TLS. A URL with `wss://` turns TLS on.
    ///
    /// # Errors
    ///
    /// If options or the URL contradict each other, or a file cannot be used.
    pub(crate) fn load(&self, to: &Target) -> anyhow::Result<Option<ClientTls>> {
        match (to.is_tls(), self.is_on()) {
            (Some(false), true) => bail!("{to} is without TLS, and an option asks for TLS; write wss://"),
            (Some(false) | None, false) => return Ok(None),
            (Some(true), _) | (None, true) => {}
        }
        let host = &*to.host;
        let trust = match (&self.tls_ca, self.tls_fingerprint) {
            (Some(_), Some(_)) => {
                bail!("--tls-ca and --tls-fingerprint are two ways to trust a server; use one of them")
            }
            (Some(file), None) => Trust::Ca(file.clone()),
            (None, Some(fingerprint)) => Trust::Fingerprint(fingerprint),
            (None, None) => Trust::System,
        };
        let tls = ClientTls::new(self.tls_name.as_deref().unwrap_or(host), &trust);
        let tls = match (&self.tls_cert, &self.tls_key) {
            (None, None) => tls,
            (Some(certificate), Some(key)) => tls.and_then(|tls| tls.with_certificate(certificate, key)),
            (Some(_), None) => bail!("--tls-cert also needs --tls-key, the file with the private key"),
            (None, Some(_)) => bail!("--tls-key also needs --tls-cert, the file with the certificate"),
        };
        tls.map(Some).context("cannot use TLS")
    }

    /// Expects the name `host` in the certificate of the server, unless the options give one.
    pub(crate) fn expecting(mut self, host: &str) -> Self {
        if self.is_on() {
            self.tls_name.get_or_insert_with(|| host.to_owned());
        }
        self
    }

    /// The options of a process of its own that connects to the server at `to` as this one does.
    pub(crate) fn to_args(&self) -> Vec<String> {
        let mut args = Vec::new();
        if self.tls {
            args.push("--tls".to_owned());
        }
        // The process has another working directory.
        let path = |path: &Option<PathBuf>| {
            let path = std::path::absolute(path.as_ref()?).ok()?;
            Some(path.to_string_lossy().into_owned())
        };
        for (flag, value) in [
            ("--tls-ca", path(&self.tls_ca)),
            ("--tls-fingerprint", self.tls_fingerprint.map(|it| it.to_string())),
            ("--tls-name", self.tls_name.clone()),
            ("--tls-cert", path(&self.tls_cert)),
            ("--tls-key", path(&self.tls_key)),
        ] {
            args.extend(value.into_iter().flat_map(|value| [flag.to_owned(), value]));
        }
        args
    }
}
