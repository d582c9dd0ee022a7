use std::error::Error;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ring::digest;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, DigitallySignedStruct, SignatureScheme};

/// The SHA-256 digest of a certificate.
///
/// Written as `openssl x509 -fingerprint -sha256` does: pairs of hexadecimal digits with colons in between. Parsed without
/// regard to case, and with or without colons.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, certificate).as_ref());
        Self(bytes)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            let colon = if index > 0 { ":" } else { "" };
            write!(f, "{colon}{byte:02X}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// A text that is not a [`Fingerprint`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParseFingerprintError;

impl fmt::Display for ParseFingerprintError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a SHA-256 fingerprint: 64 hexadecimal digits, with or without colons between pairs")
    }
}

impl Error for ParseFingerprintError {}

impl FromStr for Fingerprint {
    type Err = ParseFingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let colons = text.contains(':');
        let pair = if colons { 3 } else { 2 };
        let mut bytes = [0; 32];
        let mut chunks = text.as_bytes().chunks(pair);
        for byte in &mut bytes {
            let digits = match chunks.next() {
                Some([high, low]) => [*high, *low],
                Some([high, low, b':']) => [*high, *low],
                _ => return Err(ParseFingerprintError),
            };
            let [Some(high), Some(low)] = digits.map(|digit| char::from(digit).to_digit(16)) else {
                return Err(ParseFingerprintError);
            };
            *byte = (high * 16 + low) as u8;
        }
        match chunks.next() {
            None if !text.ends_with(':') => Ok(Self(bytes)),
            _ => Err(ParseFingerprintError),
        }
    }
}

/// Accepts one certificate, whatever its names, issuer and dates are. The server must still prove that it has the key.
#[derive(Debug)]
pub(crate) struct OneCertificate {
    trusted: Fingerprint,
    provider: Arc<CryptoProvider>,
}

impl OneCertificate {
    pub(crate) const fn new(trusted: Fingerprint, provider: Arc<CryptoProvider>) -> Self {
        Self { trusted, provider }
    }
}

impl ServerCertVerifier for OneCertificate {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if Fingerprint::of(end_entity) == self.trusted {
            return Ok(ServerCertVerified::assertion());
        }
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
