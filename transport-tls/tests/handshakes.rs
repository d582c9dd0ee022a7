//! Who is trusted, and what an error says.
#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;

use echosphere_driver::Connector;
use echosphere_transport_tls::{ClientTls, Fingerprint, ServerTls, TlsConnector, TlsListener, Trust};
use rcgen::DnType::{CommonName, OrganizationName};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use support::{Ca, Folder, NAME, accept, handshake, memory, self_signed, soon, trusting};

#[tokio::test]
async fn a_certificate_of_the_trusted_ca_is_accepted() {
    let ca = Ca::new();
    let (_folder, server) = ca.serving(None);
    let both = handshake(&server, &ca.trusted()).await;
    let (peer, _) = both.client.as_ref().unwrap();
    assert_eq!((peer.transport, &peer.principal), ("tls", &None));
    assert_eq!(both.principal(), None);
}

#[tokio::test]
async fn a_client_says_what_is_wrong_with_the_certificate_of_the_server() {
    let (ca, other) = (Ca::new(), Ca::new());
    let (_folder, server) = ca.serving(None);
    for (client, says) in [
        (
            ca.trusted_as("other.test"),
            ["not valid for other.test, but for", "--tls-name"],
        ),
        (
            ca.trusted_as("10.0.0.1"),
            ["not valid for 10.0.0.1, but for", "--tls-name"],
        ),
        (other.trusted(), ["not signed by a trusted CA", "--tls-ca"]),
        (
            Ca::named("another").trusted(),
            ["not signed by a trusted CA", "--tls-ca"],
        ),
        (trusting(&self_signed()), ["another fingerprint", "--tls-fingerprint"]),
    ] {
        let both = handshake(&server, &client).await;
        let server_error = both.server_error();
        let error = both.client_error();
        assert!(says.iter().all(|part| error.contains(part)), "{error}");
        assert!(
            server_error.contains("alert") || server_error.contains("does not trust"),
            "{server_error}"
        );
    }
}

#[tokio::test]
async fn an_expired_certificate_of_the_server_is_refused() {
    let ca = Ca::new();
    let folder = Folder::new();
    let identity = ca.expired_server();
    let (certificate, key) = (
        folder.write("c", &identity.certificate),
        folder.write("k", &identity.key),
    );
    let server = ServerTls::from_files(&certificate, &key, None).unwrap();
    let both = handshake(&server, &ca.trusted()).await;
    assert!(
        both.server_error()
            .contains("does not trust the certificate of this server")
    );
    let error = both.client_error();
    assert!(error.contains("has expired") && error.contains("renewed"), "{error}");
}

#[tokio::test]
async fn a_fingerprint_is_trusted_whatever_the_certificate_says() {
    let ca = Ca::new();
    let (_folder, signed) = ca.serving(None);
    for server in [self_signed(), signed] {
        let other_name = ClientTls::new("other.test", &Trust::Fingerprint(server.fingerprint())).unwrap();
        handshake(&server, &other_name).await.client.unwrap();
        // As it is printed, read again.
        let read: Fingerprint = server.fingerprint().to_string().parse().unwrap();
        handshake(&server, &ClientTls::new(NAME, &Trust::Fingerprint(read)).unwrap())
            .await
            .client
            .unwrap();
    }
}

#[test]
fn fingerprints_are_pairs_of_digits() {
    let printed = self_signed().fingerprint().to_string();
    assert_eq!(printed.len(), 95);
    let expected: Fingerprint = printed.parse().unwrap();
    for text in [printed.to_lowercase(), printed.replace(':', "")] {
        assert_eq!(text.parse(), Ok(expected), "{text}");
    }
    for text in [
        String::new(),
        printed[..94].to_owned(),
        printed[..92].to_owned(),
        format!("{printed}:"),
        format!("{printed}:00"),
        printed.replace(':', "-"),
        printed.replacen(':', "", 1),
        printed.replacen(char::is_alphanumeric, "+", 1),
        printed.replacen(char::is_alphanumeric, "é", 1),
    ] {
        assert!(text.parse::<Fingerprint>().is_err(), "{text}");
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_learns_that_the_server_demands_one() {
    let ca = Ca::new();
    let (_folder, server) = ca.serving(Some(&ca));
    let both = handshake(&server, &ca.trusted()).await;
    assert!(both.server_error().contains("the client has no certificate"));
    let error = both.client_error();
    assert!(
        error.contains("demands a client certificate") && error.contains("--tls-cert"),
        "{error}"
    );
}

#[tokio::test]
async fn a_client_certificate_of_another_ca_or_time_is_refused() {
    let ca = Ca::new();
    let (_folder, server) = ca.serving(Some(&ca));
    for other in [Ca::new(), Ca::named("another")] {
        let stranger = other.client(&[(CommonName, "anna")]).with(ca.trusted());
        let both = handshake(&server, &stranger).await;
        assert!(both.server_error().contains("not signed by the client CA"));
        let error = both.client_error();
        assert!(error.contains("does not accept the client certificate"), "{error}");
    }

    let both = handshake(&server, &ca.expired_client("anna").with(ca.trusted())).await;
    assert!(both.server_error().contains("the client certificate has expired"));
    let error = both.client_error();
    assert!(error.contains("the client certificate has expired"), "{error}");
}

#[tokio::test]
async fn the_common_name_is_the_principal() {
    let ca = Ca::new();
    let (_folder, server) = ca.serving(Some(&ca));
    let long = "x".repeat(256);
    for (subject, expected) in [
        (&[(CommonName, "anna")][..], "anna"),
        (&[(OrganizationName, "Acme, Inc."), (CommonName, "Bodo Ö.")], "Bodo Ö."),
        (&[(OrganizationName, "Acme, Inc.")], "O=Acme\\, Inc."),
        (&[(CommonName, &long)], &long),
    ] {
        let client = ca.client(subject).with(ca.trusted());
        assert_eq!(handshake(&server, &client).await.principal().as_deref(), Some(expected));
    }
}

#[tokio::test]
async fn a_subject_that_cannot_be_a_principal_is_refused() {
    let ca = Ca::new();
    let (_folder, server) = ca.serving(Some(&ca));
    for (subject, says) in [
        (&[][..], "is empty"),
        (&[(CommonName, "")], "is empty"),
        (&[(CommonName, "x\x1b[2J")], "has control characters"),
        (&[(CommonName, &"x".repeat(257))], "is longer than 256 bytes"),
    ] {
        let both = handshake(&server, &ca.client(subject).with(ca.trusted())).await;
        let error = both.server_error();
        assert!(error.contains(says), "{error}");
    }
}

/// Handshakes of several clients at the same time.
#[tokio::test]
async fn principals_of_several_clients_are_not_mixed_up() {
    const CLIENTS: usize = 20;
    let ca = Ca::new();
    let (_folder, server) = ca.serving(Some(&ca));
    let (listener, connector) = memory(64);
    let mut listener = TlsListener::new(listener, server);
    let names: Vec<String> = (0..CLIENTS).map(|number| format!("client {number}")).collect();
    let clients = names.clone().into_iter().map(|name| {
        let client = ca.client(&[(CommonName, &name)]).with(ca.trusted());
        let connector = TlsConnector::new(connector.clone(), client);
        tokio::spawn(async move {
            let (_, mut stream) = connector.dial().await.unwrap();
            tokio::io::AsyncWriteExt::write_all(&mut stream, name.as_bytes())
                .await
                .unwrap();
            tokio::io::AsyncWriteExt::shutdown(&mut stream).await.unwrap();
            stream
        })
    });
    let clients: Vec<_> = clients.collect();
    let mut handshakes = Vec::new();
    for _ in 0..CLIENTS {
        let incoming = soon(echosphere_driver::Listener::accept(&mut listener)).await.unwrap();
        handshakes.push(tokio::spawn(incoming.finish()));
    }
    let mut seen = Vec::new();
    for handshake in handshakes {
        let (peer, mut stream) = soon(handshake).await.unwrap().unwrap();
        let (said, end) = support::read_to_end(&mut stream).await;
        end.unwrap();
        assert_eq!(peer.principal.unwrap().name().as_bytes(), said);
        seen.push(String::from_utf8(said).unwrap());
    }
    seen.sort();
    let mut names = names;
    names.sort();
    assert_eq!(seen, names);
    for client in clients {
        soon(client).await.unwrap();
    }
}

#[tokio::test]
async fn application_protocols_are_agreed_upon() {
    let server = self_signed();
    for (offered, accepted, expected) in [
        (&[&b"h2"[..]][..], &[&b"h2"[..]][..], Some(&b"h2"[..])),
        (&[b"h2", b"http/1.1"], &[b"http/1.1"], Some(b"http/1.1")),
        (&[], &[b"h2"], None),
        (&[b"h2"], &[], None),
    ] {
        let (listener, connector) = memory(1024);
        let mut listener = TlsListener::new(listener, server.clone()).with_alpn(accepted);
        let connector = TlsConnector::new(connector, trusting(&server).with_alpn(offered));
        let (server, client) = soon(async { tokio::join!(accept(&mut listener), connector.dial()) }).await;
        assert_eq!(server.unwrap().1.alpn_protocol(), expected);
        assert_eq!(client.unwrap().1.alpn_protocol(), expected);
    }

    let (listener, connector) = memory(1024);
    let mut listener = TlsListener::new(listener, server.clone()).with_alpn(&[b"h2"]);
    let connector = TlsConnector::new(connector, trusting(&server).with_alpn(&[b"http/1.1"]));
    let (server, client) = soon(async { tokio::join!(accept(&mut listener), connector.dial()) }).await;
    assert!(server.is_err());
    assert!(
        client
            .unwrap_err()
            .to_string()
            .contains("another protocol over TLS (ALPN)")
    );
}

#[test]
fn a_name_is_a_host_name_or_an_address() {
    let trust = Trust::Fingerprint(self_signed().fingerprint());
    for name in ["localhost", "a.test", "127.0.0.1", "::1"] {
        ClientTls::new(name, &trust).unwrap();
    }
    for name in ["", "a b", "a.test:443", "[::1]"] {
        let error = ClientTls::new(name, &trust).unwrap_err().to_string();
        assert!(error.contains("neither a host name nor an IP address"), "{error}");
    }
}

/// A server of another kind, with TLS 1.2 alone: there is no verdict to wait for after the handshake.
#[tokio::test(start_paused = true)]
async fn a_server_of_tls_1_2_judges_the_client_in_the_handshake() {
    let ca = Ca::new();
    let identity = ca.server(NAME);
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_client_cert_verifier(verifier.build().unwrap())
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let begun = tokio::time::Instant::now();
    for (client, is_accepted) in [
        (ca.client(&[(CommonName, "anna")]).with(ca.trusted()), true),
        (ca.trusted(), false),
    ] {
        let (mut listener, connector) = memory(4096);
        let connector = TlsConnector::new(connector, client);
        let accept = async {
            let (_, stream) = accept(&mut listener).await.unwrap();
            acceptor.accept(stream).await
        };
        let (server, client) = soon(async { tokio::join!(accept, connector.dial()) }).await;
        assert_eq!((server.is_ok(), client.is_ok()), (is_accepted, is_accepted));
    }
    assert!(begun.elapsed().is_zero());
}
