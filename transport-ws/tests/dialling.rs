//! A client and what servers answer its request.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io;

use echosphere_core::wire::Protocol;
use echosphere_driver::{Connector, OtherProtocol};
use echosphere_transport_ws::WsConnector;
use support::{OneStream, Raw, soon};
use tokio::io::{AsyncWriteExt, duplex};

/// How an attempt fails whose request gets this answer, after which the server ends the connection.
async fn fails(answer: impl AsRef<[u8]>) -> io::Error {
    let (peer, stream) = duplex(64 * 1024);
    let mut peer = Raw(peer);
    let connector = WsConnector::new(OneStream::new(stream), "ws://h:81/p?q".parse().unwrap());
    let dialling = tokio::spawn(async move { connector.dial().await.map(drop) });
    let head = peer.head().await;
    assert!(head.starts_with("GET /p?q HTTP/1.1\r\nhost: h:81\r\n"), "{head}");
    peer.send(answer).await;
    // The client may have closed already.
    let _ = peer.0.shutdown().await;
    soon(dialling).await.unwrap().unwrap_err()
}

#[tokio::test]
async fn a_refusal_is_passed_on() {
    for (status, kind) in [
        ("403 Forbidden", io::ErrorKind::InvalidData),
        ("404 Not Found", io::ErrorKind::InvalidData),
        ("429 Too Many Requests", io::ErrorKind::ResourceBusy),
        ("503 Service Unavailable", io::ErrorKind::ResourceBusy),
    ] {
        let error = fails(format!("HTTP/1.1 {status}\r\n\r\nBecause\x1b of this.\nMore.")).await;
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        assert!(text.ends_with(&format!("with {status}: Because of this.")), "{text}");
    }
}

#[tokio::test]
async fn an_answer_that_accepts_nothing_is_an_error() {
    let accepted = "HTTP/1.1 101 X\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    for (answer, words) in [
        (format!("{accepted}\r\n"), "does not accept"),
        (
            format!("{accepted}Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"),
            "does not accept",
        ),
        (
            format!("HTTP/1.1 101 X\r\n{}\r\n", "a: b\r\n".repeat(100)),
            "not HTTP/1.1",
        ),
        (
            format!("HTTP/1.1 101 X\r\na: {}\r\n", "b".repeat(9000)),
            "more than 8192 bytes",
        ),
        ("HTTP/1.1 10".to_owned(), "before it answered"),
    ] {
        let error = fails(answer).await;
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[tokio::test]
async fn another_protocol_is_named() {
    let other = |error: io::Error| error.get_ref().unwrap().downcast_ref::<OtherProtocol>().copied();
    assert_eq!(
        other(fails("SSH-2.0-x\r\n").await),
        Some(OtherProtocol(Some(Protocol::Ssh)))
    );
    assert_eq!(other(fails("220 mail\r\n").await), Some(OtherProtocol(None)));
    let error = fails("error unknown-request expected `message X` or `ok X`\n").await;
    assert!(
        error
            .to_string()
            .contains("does not speak WebSocket: it is an echo server"),
        "{error}"
    );
}
