//! Reading certificates and keys from files.

use std::io;
use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;

use crate::provider;

/// Reads a certificate with its chain, and its key.
pub(crate) fn read_identity(certificate: &Path, key: &Path) -> io::Result<CertifiedKey> {
    let chain = read_certificates(certificate)?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            let what = "has no private key in PEM format (`-----BEGIN PRIVATE KEY-----`, not encrypted)";
            in_file(key, what)
        }
        error => unreadable(key, error),
    })?;
    CertifiedKey::from_der(chain, private, &provider()).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => in_file(
            key,
            &format!(
                "has a key that does not belong to the certificate in {}",
                certificate.display()
            ),
        ),
        // With a key that cannot be used, rustls does not look at the certificate.
        rustls::Error::InvalidCertificate(error) => {
            in_file(certificate, &format!("has a certificate that is not valid: {error}"))
        }
        error => in_file(key, &format!("has a key that cannot be used: {error}")),
    })
}

/// Reads the certificates of certification authorities (CAs).
pub(crate) fn read_roots(file: &Path) -> io::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(file)? {
        roots
            .add(certificate)
            .map_err(|error| in_file(file, &format!("has a certificate that cannot be used: {error}")))?;
    }
    Ok(roots)
}

fn read_certificates(file: &Path) -> io::Result<Vec<CertificateDer<'static>>> {
    let certificates = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| unreadable(file, error))?;
    if certificates.is_empty() {
        return Err(in_file(
            file,
            "has no certificate in PEM format (`-----BEGIN CERTIFICATE-----`)",
        ));
    }
    Ok(certificates)
}

fn unreadable(file: &Path, error: pem::Error) -> io::Error {
    match error {
        pem::Error::Io(error) => io::Error::new(error.kind(), format!("cannot read {}: {error}", file.display())),
        error => in_file(file, &format!("is not valid PEM: {error}")),
    }
}

fn in_file(file: &Path, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} {what}", file.display()))
}
