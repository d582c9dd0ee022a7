//! New certificates, keys and client CAs without a restart.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;

use echosphere_driver::{Connector, Listener};
use echosphere_transport_tls::{ServerTls, TlsConnector, TlsListener};
use rcgen::DnType::CommonName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use support::{Ca, Folder, NAME, handshake, memory, self_signed, soon, trusting};

#[tokio::test]
async fn new_connections_get_the_new_files() {
    let (old, new) = (Ca::named("old"), Ca::named("new"));
    let (folder, server) = old.serving(Some(&old));
    let old_client = old.client(&[(CommonName, "old")]).with(old.trusted());
    let new_client = new.client(&[(CommonName, "new")]).with(new.trusted());
    assert_eq!(
        handshake(&server, &old_client).await.principal().as_deref(),
        Some("old")
    );
    let fingerprint = server.fingerprint();

    let identity = new.server(NAME);
    folder.write("cert.pem", &identity.certificate);
    folder.write("key.pem", &identity.key);
    folder.write("clients.pem", &new.pem());
    assert!(handshake(&server, &new_client).await.client.is_err());
    server.clone().reload().unwrap();
    assert_ne!(server.fingerprint(), fingerprint);
    assert_eq!(
        handshake(&server, &new_client).await.principal().as_deref(),
        Some("new")
    );
    assert!(handshake(&server, &old_client).await.client.is_err());
}

#[tokio::test]
async fn a_self_signed_certificate_stays() {
    let server = self_signed();
    let client = trusting(&server);
    server.reload().unwrap();
    handshake(&server, &client).await.client.unwrap();
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_is_named() {
    let ca = Ca::new();
    let (folder, server) = ca.serving(Some(&ca));
    let client = ca.client(&[(CommonName, "anna")]).with(ca.trusted());
    let other = ca.server(NAME);
    let good =
        ["cert.pem", "key.pem", "clients.pem"].map(|name| (name, fs::read_to_string(folder.path(name)).unwrap()));
    let [(_, certificate), (_, key), _] = &good;
    let cut = &certificate[..certificate.len() / 2];
    let not_a_certificate = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let not_a_key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    for (name, text, says) in [
        ("cert.pem", Some(""), "has no certificate in PEM format"),
        ("cert.pem", Some("garbage"), "has no certificate in PEM format"),
        ("cert.pem", Some(&key[..]), "has no certificate in PEM format"),
        ("cert.pem", Some(cut), "is not valid PEM"),
        (
            "cert.pem",
            Some(not_a_certificate),
            "has a certificate that is not valid",
        ),
        ("cert.pem", None, "cannot read"),
        ("key.pem", Some(""), "has no private key in PEM format"),
        ("key.pem", Some(&certificate[..]), "has no private key in PEM format"),
        ("key.pem", Some(not_a_key), "has a key that cannot be used"),
        (
            "key.pem",
            Some(&other.key[..]),
            "has a key that does not belong to the certificate in",
        ),
        ("key.pem", None, "cannot read"),
        ("clients.pem", Some("\n"), "has no certificate in PEM format"),
        (
            "clients.pem",
            Some(not_a_certificate),
            "has a certificate that cannot be used",
        ),
        ("clients.pem", None, "cannot read"),
    ] {
        match text {
            Some(text) => drop(folder.write(name, text)),
            None => fs::remove_file(folder.path(name)).unwrap(),
        }
        let error = server.reload().unwrap_err().to_string();
        let file = folder.path(name).display().to_string();
        assert!(error.contains(says) && error.contains(&file), "{name}: {error}");
        assert_eq!(handshake(&server, &client).await.principal().as_deref(), Some("anna"));
        // What cannot be reloaded cannot be started with either.
        let [certificate, key, ca] = ["cert.pem", "key.pem", "clients.pem"].map(|name| folder.path(name));
        assert_eq!(
            ServerTls::from_files(&certificate, &key, Some(&ca))
                .unwrap_err()
                .to_string(),
            error
        );
        for (name, text) in &good {
            folder.write(name, text);
        }
    }
    server.reload().unwrap();
}

/// Connections come and talk while the certificate changes again and again: none is lost.
#[tokio::test]
async fn a_reload_under_traffic_loses_no_connection() {
    const CLIENTS: u32 = 60;
    let ca = Ca::new();
    let (folder, server) = ca.serving(None);
    let (listener, connector) = memory(512);
    let mut listener = TlsListener::new(listener, server.clone());
    let connector = std::sync::Arc::new(TlsConnector::new(connector, ca.trusted()));
    let serving = tokio::spawn(async move {
        loop {
            let incoming = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (_, mut stream) = incoming.finish().await.unwrap();
                let mut byte = [0];
                while stream.read(&mut byte).await.unwrap() > 0 {
                    stream.write_all(&byte).await.unwrap();
                    stream.flush().await.unwrap();
                }
                stream.shutdown().await.unwrap();
            });
        }
    });
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let connector = connector.clone();
            tokio::spawn(async move {
                for _ in 0..number {
                    tokio::task::yield_now().await;
                }
                let (_, mut stream) = connector.dial().await.unwrap();
                for byte in 0..50 {
                    stream.write_all(&[byte]).await.unwrap();
                    stream.flush().await.unwrap();
                    assert_eq!(stream.read_u8().await.unwrap(), byte);
                }
                stream.shutdown().await.unwrap();
                assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
            })
        })
        .collect();
    let mut fingerprints = std::collections::BTreeSet::new();
    while !clients.iter().all(tokio::task::JoinHandle::is_finished) {
        let identity = ca.server(NAME);
        folder.write("cert.pem", &identity.certificate);
        assert!(server.reload().is_err(), "the key does not belong to it yet");
        folder.write("key.pem", &identity.key);
        server.reload().unwrap();
        fingerprints.insert(server.fingerprint().to_string());
        tokio::task::yield_now().await;
    }
    for client in clients {
        soon(client).await.unwrap();
    }
    assert!(fingerprints.len() > 2, "{}", fingerprints.len());
    serving.abort();
}

#[tokio::test]
async fn a_connector_reports_files_that_it_cannot_use() {
    use echosphere_transport_tls::{ClientTls, Trust};
    let folder = Folder::new();
    let missing = folder.path("missing.pem");
    let error = ClientTls::new(NAME, &Trust::Ca(missing.clone())).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
    assert!(error.to_string().contains("missing.pem"));
    let client = trusting(&self_signed());
    let error = client.with_certificate(&missing, &missing).unwrap_err();
    assert!(error.to_string().contains("cannot read"), "{error}");
}
