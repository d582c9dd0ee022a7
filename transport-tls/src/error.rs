//! What to do about an error of rustls.

use std::io;

use rustls::{AlertDescription, CertificateError, Error};

/// An error of a handshake or stream on the side that connected.
pub(crate) fn on_client(error: io::Error) -> io::Error {
    let Some(tls) = rustls_error(&error) else {
        return ended(error);
    };
    let text = match tls {
        Error::InvalidCertificate(certificate) => of_server_certificate(certificate),
        Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired => {
                "the server demands a client certificate; give one with --tls-cert and --tls-key".to_owned()
            }
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRevoked
            | AlertDescription::AccessDenied
            | AlertDescription::DecryptError => format!(
                "the server does not accept the client certificate ({alert:?}); give one of its client CA with --tls-cert \
                 and --tls-key"
            ),
            AlertDescription::CertificateExpired => {
                "the client certificate has expired; give a new one with --tls-cert and --tls-key".to_owned()
            }
            AlertDescription::UnrecognisedName => {
                "the server has no certificate for this name; give another with --tls-name".to_owned()
            }
            alert => common_alert(*alert, "server"),
        },
        other => format!("the TLS connection failed: {other}"),
    };
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// An error of a handshake or stream on the side that accepted.
pub(crate) fn on_server(error: io::Error) -> io::Error {
    let Some(tls) = rustls_error(&error) else {
        return ended(error);
    };
    let text = match tls {
        Error::NoCertificatesPresented => "the client has no certificate, which the client CA demands".to_owned(),
        Error::InvalidCertificate(certificate) => match certificate {
            // A bad signature: by a CA of the same name with another key.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "the client certificate is not signed by the client CA".to_owned()
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "the client certificate has expired".to_owned()
            }
            other => format!("the client certificate is not valid: {other}"),
        },
        Error::AlertReceived(alert) => match alert {
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown => {
                format!("the client does not trust the certificate of this server ({alert:?})")
            }
            alert => common_alert(*alert, "client"),
        },
        other => format!("the TLS connection failed: {other}"),
    };
    io::Error::new(io::ErrorKind::InvalidData, text)
}

fn common_alert(alert: AlertDescription, peer: &str) -> String {
    match alert {
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => {
            format!("the {peer} has no TLS version or cipher in common with this side (TLS 1.2 and 1.3)")
        }
        AlertDescription::NoApplicationProtocol => {
            format!("the {peer} speaks another protocol over TLS (ALPN)")
        }
        alert => format!("the {peer} ended the TLS connection with the alert {alert:?}"),
    }
}

fn of_server_certificate(error: &CertificateError) -> String {
    match error {
        CertificateError::NotValidForNameContext { expected, presented } => {
            let valid = match &presented[..] {
                [] => "for no name".to_owned(),
                names => format!("for {}", names.join(", ")),
            };
            let expected = expected.to_str();
            format!(
                "the certificate of the server is not valid for {expected}, but {valid}; give its name with --tls-name"
            )
        }
        // A bad signature: by a CA of the same name with another key.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => "the certificate of the server is not signed by a trusted CA; give the \
            certificate of its CA with --tls-ca, or the fingerprint of its own with --tls-fingerprint"
            .to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the certificate of the server has expired; it must be renewed there (or the clock of this computer is wrong)"
                .to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the certificate of the server is not valid yet; check the clocks of both computers".to_owned()
        }
        CertificateError::ApplicationVerificationFailure => {
            "the certificate of the server has another fingerprint than the one of --tls-fingerprint".to_owned()
        }
        other => format!("the certificate of the server is not valid: {other}"),
    }
}

/// An error of the stream below, or its end.
fn ended(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "the connection ended without the close_notify of TLS: data may be missing",
        ),
        _ => error,
    }
}

fn rustls_error(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}
