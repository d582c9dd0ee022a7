use std::io;

use echosphere_core::Principal;
use rustls::pki_types::CertificateDer;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::ext::pkix::name::DirectoryString;
use x509_cert::name::Name;

/// Most bytes of a principal.
const MAX_BYTES: usize = 256;

/// Who the owner of a client certificate is: the common name of its subject. A subject with no common name, or with several,
/// counts as a whole, in the form of RFC 4514.
///
/// # Errors
///
/// A name that is empty, longer than 256 bytes, or has control characters (names are logged).
pub(crate) fn principal(certificate: &CertificateDer<'_>) -> io::Result<Principal> {
    let refuse = |what: &str| {
        let text = format!("the subject of the client certificate {what}; issue it with a common name");
        io::Error::new(io::ErrorKind::InvalidData, text)
    };
    let certificate = Certificate::from_der(certificate).map_err(|_| refuse("cannot be decoded"))?;
    let name = name_of(certificate.tbs_certificate().subject());
    if name.is_empty() {
        return Err(refuse("is empty"));
    }
    if name.len() > MAX_BYTES {
        return Err(refuse("is longer than 256 bytes"));
    }
    if name.chars().any(char::is_control) {
        return Err(refuse("has control characters"));
    }
    Ok(Principal::new(&name))
}

fn name_of(subject: &Name) -> String {
    let mut common_names = subject.iter().filter(|attribute| attribute.oid == COMMON_NAME);
    if let (Some(only), None) = (common_names.next(), common_names.next())
        && let Ok(name) = DirectoryString::try_from(&only.value)
    {
        return name.value().into_owned();
    }
    subject.to_string()
}
