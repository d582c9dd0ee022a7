use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use echosphere_transport_tls::{ClientTls, ServerTls, Trust};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

use super::NAME;

/// A folder for the files of one test, removed at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("tls-{}-{number}", std::process::id());
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A certificate and its key, in PEM format.
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// A certification authority.
pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub(crate) fn new() -> Self {
        Self::named("a CA")
    }

    pub(crate) fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.as_ref().pem()
    }

    pub(crate) fn issue(&self, params: &CertificateParams) -> Identity {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Identity {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }

    /// A certificate for a server of this name.
    pub(crate) fn server(&self, name: &str) -> Identity {
        self.issue(&CertificateParams::new([name.to_owned()]).unwrap())
    }

    /// A certificate whose subject has these attributes.
    pub(crate) fn client(&self, subject: &[(DnType, &str)]) -> Identity {
        self.issue(&subject_of(subject))
    }

    pub(crate) fn expired_client(&self, name: &str) -> Identity {
        let mut params = subject_of(&[(DnType::CommonName, name)]);
        params.not_after = date_time_ymd(2001, 1, 1);
        self.issue(&params)
    }

    pub(crate) fn expired_server(&self) -> Identity {
        let mut params = CertificateParams::new([NAME.to_owned()]).unwrap();
        params.not_after = date_time_ymd(2001, 1, 1);
        self.issue(&params)
    }

    /// A server with a certificate of this CA, whose clients need one of `clients`.
    pub(crate) fn serving(&self, clients: Option<&Self>) -> (Folder, ServerTls) {
        let folder = Folder::new();
        let identity = self.server(NAME);
        let certificate = folder.write("cert.pem", &identity.certificate);
        let key = folder.write("key.pem", &identity.key);
        let client_ca = clients.map(|ca| folder.write("clients.pem", &ca.pem()));
        let server = ServerTls::from_files(&certificate, &key, client_ca.as_deref()).unwrap();
        (folder, server)
    }

    /// A client that trusts servers of this CA.
    pub(crate) fn trusted(&self) -> ClientTls {
        self.trusted_as(NAME)
    }

    /// The same, for servers of this name.
    pub(crate) fn trusted_as(&self, name: &str) -> ClientTls {
        let folder = Folder::new();
        let file = folder.write("ca.pem", &self.pem());
        ClientTls::new(name, &Trust::Ca(file)).unwrap()
    }
}

fn subject_of(subject: &[(DnType, &str)]) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, value) in subject {
        params.distinguished_name.push(kind.clone(), *value);
    }
    params
}

impl Identity {
    /// Gives `client` this certificate.
    pub(crate) fn with(&self, client: ClientTls) -> ClientTls {
        let folder = Folder::new();
        let certificate = folder.write("cert.pem", &self.certificate);
        let key = folder.write("key.pem", &self.key);
        client.with_certificate(&certificate, &key).unwrap()
    }
}
