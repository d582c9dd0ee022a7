//! The upgrade: what a listener answers to every request.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::io;

use echosphere_driver::Answered;
use echosphere_transport_ws::{Pages, WsConfig};
use support::{ACCEPT, FIN, REQUEST, TEXT, connect, frame, length_frame, soon, upgraded};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Sends `request`, and returns the answer and how the negotiation ended.
async fn ask(config: WsConfig, request: impl AsRef<[u8]>) -> (String, io::Error) {
    let (mut peer, upgrade) = connect(config).await;
    // A refused peer may still be sending.
    let _ = soon(peer.0.write_all(request.as_ref())).await;
    let answer = String::from_utf8(peer.rest().await).unwrap();
    drop(peer);
    let error = soon(upgrade).await.unwrap().expect_err("no upgrade");
    (answer, error)
}

fn is_answered(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Answered>())
}

/// [`REQUEST`] with a part replaced.
fn with(part: &str, other: &str) -> String {
    assert!(REQUEST.contains(part), "{part}");
    REQUEST.replace(part, other)
}

async fn accepts(config: WsConfig, request: &str) -> String {
    let (mut peer, upgrade) = connect(config).await;
    peer.send(request).await;
    let head = peer.head().await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let (peer, _) = soon(upgrade).await.unwrap().unwrap();
    assert_eq!(peer.transport, "ws");
    head
}

#[tokio::test]
async fn an_upgrade_is_accepted_as_the_rfc_says() {
    let head = accepts(WsConfig::default(), REQUEST).await;
    for line in ["upgrade: websocket\r\n", "connection: Upgrade\r\n"] {
        assert!(head.contains(line), "{head}");
    }
    assert!(head.contains(&format!("sec-websocket-accept: {ACCEPT}\r\n")), "{head}");
    assert!(!head.contains("protocol"), "{head}");
}

#[tokio::test]
async fn header_names_and_tokens_can_be_in_any_case_and_in_lists() {
    for (part, other) in [
        ("Upgrade: websocket", "UPGRADE: h2c, WebSocket"),
        ("Connection: Upgrade", "connection: keep-alive, upgrade"),
        ("Host: server.example.com", "host:server.example.com"),
        ("/chat", "/any/path?and=query"),
    ] {
        accepts(WsConfig::default(), &with(part, other)).await;
    }
}

#[tokio::test]
async fn the_subprotocol_is_chosen_if_it_is_offered() {
    for (offer, chosen) in [("echosphere", true), ("mqtt, echosphere", true), ("mqtt", false)] {
        let request = with("\r\n\r\n", &format!("\r\nSec-WebSocket-Protocol: {offer}\r\n\r\n"));
        let head = accepts(WsConfig::default(), &request).await;
        assert_eq!(
            head.contains("sec-websocket-protocol: echosphere\r\n"),
            chosen,
            "{head}"
        );
        assert!(!head.contains("mqtt"), "{head}");
    }
}

#[tokio::test]
async fn compression_is_never_accepted() {
    let offer = "\r\nSec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n\r\n";
    let head = accepts(WsConfig::default(), &with("\r\n\r\n", offer)).await;
    assert!(!head.to_lowercase().contains("extensions"), "{head}");
}

#[tokio::test]
async fn every_wrong_request_gets_its_status_and_a_sentence() {
    let many_headers: String = (0..100).map(|index| format!("\r\nX-{index}: x")).collect();
    let long_header = format!("\r\nX: {}\r\n\r\n", "x".repeat(8 * 1024));
    for (part, other, status, sentence) in [
        ("GET /", "POST /", 405, "GET and HEAD"),
        ("GET /", "PUT /", 405, "GET and HEAD"),
        ("HTTP/1.1", "HTTP/1.0", 505, "HTTP/1.1"),
        ("GET /chat HTTP/1.1", "PRI * HTTP/2.0", 505, "HTTP/1.1"),
        ("Host: server.example.com\r\n", "", 400, "Host"),
        ("Host: server.example.com\r\n", "Host: a\r\nHost: b\r\n", 400, "Host"),
        ("Connection: Upgrade\r\n", "", 400, "Connection: Upgrade"),
        (
            "Connection: Upgrade\r\n",
            "Connection: close\r\n",
            400,
            "Connection: Upgrade",
        ),
        ("Version: 13", "Version: 8", 426, "Sec-WebSocket-Version: 13"),
        ("Sec-WebSocket-Version: 13\r\n", "", 426, "Sec-WebSocket-Version: 13"),
        (
            "dGhlIHNhbXBsZSBub25jZQ==",
            "dGhlIHNhbXBsZSBub25jZR==",
            400,
            "Sec-WebSocket-Key",
        ),
        ("dGhlIHNhbXBsZSBub25jZQ==", "c2hvcnQ=", 400, "Sec-WebSocket-Key"),
        (
            "dGhlIHNhbXBsZSBub25jZQ==",
            "dGhlIHNhbXBsZSBub25jZQ!=",
            400,
            "Sec-WebSocket-Key",
        ),
        (
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            "",
            400,
            "Sec-WebSocket-Key",
        ),
        ("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\nhello", 400, "no body"),
        ("\r\n\r\n", "\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "no body"),
        ("Host: ", "Ho st: ", 400, "not an HTTP/1.1 request"),
        (
            "\r\n\r\n",
            &format!("{many_headers}\r\n\r\n"),
            431,
            "at most 64 headers",
        ),
        ("\r\n\r\n", &long_header, 431, "at most 8192 bytes"),
        ("Upgrade: websocket\r\n", "", 404, "ws://"),
        ("Upgrade: websocket", "Upgrade: h2c", 404, "ws://"),
        (
            "\r\n\r\n",
            "\r\nOrigin: http://evil.example\r\n\r\n",
            403,
            "--ws-origin",
        ),
        ("\r\n\r\n", "\r\nOrigin: null\r\n\r\n", 403, "--ws-origin"),
    ] {
        let (answer, error) = ask(WsConfig::default(), with(part, other)).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{other:?}: {answer}"
        );
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(body.contains(sentence), "{other:?}: {answer}");
        assert!(
            head.contains(&format!("content-length: {}\r\n", body.len())),
            "{answer}"
        );
        assert!(head.contains("connection: close"), "{answer}");
        assert!(is_answered(&error), "{other:?}: {error}");
    }
}

#[tokio::test]
async fn a_refused_version_says_which_is_spoken() {
    let (answer, _) = ask(WsConfig::default(), with("Version: 13", "Version: 7")).await;
    assert!(answer.contains("\r\nsec-websocket-version: 13\r\n"), "{answer}");
}

#[tokio::test]
async fn a_page_of_the_same_host_may_connect_and_others_only_if_they_are_named() {
    let named = WsConfig {
        allowed_origins: vec!["https://app.example".to_owned()],
        ..WsConfig::default()
    };
    let all = WsConfig {
        allowed_origins: vec!["*".to_owned()],
        ..WsConfig::default()
    };
    let default = WsConfig::default();
    for (config, host, origin, permitted) in [
        (&default, "h.example:7000", "http://h.example:7000", true),
        (&default, "h.example:7000", "https://H.Example:7000", true),
        (&default, "h.example", "http://h.example:80", true),
        (&default, "h.example:443", "https://h.example", true),
        (&default, "[::1]:7000", "http://[::1]:7000", true),
        (&default, "h.example:7000", "http://h.example:7001", false),
        (&default, "h.example:443", "http://h.example", false),
        (&default, "h.example", "ftp://h.example", false),
        (&default, "h.example", "http://x.h.example", false),
        (&default, "h.example", "https://app.example", false),
        (&named, "h.example", "https://app.example", true),
        (&named, "h.example", "https://APP.example", true),
        (&named, "h.example", "http://app.example", false),
        (&named, "h.example", "http://h.example", true),
        (&all, "h.example", "null", true),
    ] {
        let request = with("Host: server.example.com", &format!("Host: {host}\r\nOrigin: {origin}"));
        if permitted {
            accepts(config.clone(), &request).await;
        } else {
            let (answer, _) = ask(config.clone(), request).await;
            assert!(answer.starts_with("HTTP/1.1 403 "), "{host} {origin}: {answer}");
        }
    }
}

#[tokio::test]
async fn two_origins_are_refused() {
    let origins = "\r\nOrigin: http://server.example.com\r\nOrigin: http://evil.example\r\n\r\n";
    let (answer, _) = ask(WsConfig::default(), with("\r\n\r\n", origins)).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
}

#[tokio::test]
async fn pages_are_served_with_their_headers() {
    let config = WsConfig {
        pages: Pages::new([
            ("/", "text/html; charset=utf-8", b"<p>hello".as_slice()),
            ("/app.js", "text/javascript", b"let x".as_slice()),
        ]),
        ..WsConfig::default()
    };
    for (request, status, content_type, body) in [
        (
            "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
            200,
            "text/html; charset=utf-8",
            "<p>hello",
        ),
        (
            "GET /?a=b HTTP/1.1\r\n\r\n",
            200,
            "text/html; charset=utf-8",
            "<p>hello",
        ),
        ("GET /app.js HTTP/1.0\r\n\r\n", 200, "text/javascript", "let x"),
        ("HEAD / HTTP/1.1\r\n\r\n", 200, "text/html; charset=utf-8", ""),
        ("HEAD /x HTTP/1.1\r\n\r\n", 404, "text/plain; charset=utf-8", ""),
    ] {
        let (answer, error) = ask(config.clone(), request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
        let (head, got) = answer.split_once("\r\n\r\n").unwrap();
        assert_eq!(got, body, "{request}");
        let head = format!("{head}\r\n");
        for line in [
            &format!("content-type: {content_type}"),
            "content-security-policy: default-src 'self'; connect-src 'self' ws: wss:",
            "x-content-type-options: nosniff",
            "cache-control: no-cache",
            "connection: close",
        ] {
            assert!(head.contains(&format!("\r\n{line}\r\n")), "{line} is missing: {head}");
        }
        if status == 200 {
            let length = if body.is_empty() { 8 } else { body.len() };
            assert!(head.contains(&format!("content-length: {length}\r\n")), "{head}");
        }
        assert!(is_answered(&error), "{error}");
    }
}

#[tokio::test]
async fn a_peer_that_does_not_speak_http_is_answered_with_a_line() {
    const REASON: &str = "error ws-required this port speaks WebSocket; connect with ws://";
    for line in [
        "message hello\n",
        "\n",
        "list\n",
        "identity\r\n",
        "START 5\n",
        "GET /no-version\n",
        "GET / HTTQ/1.1\r\n",
    ] {
        let (answer, error) = ask(WsConfig::default(), line).await;
        assert_eq!(answer, format!("{REASON}\n"), "{line:?}");
        assert!(is_answered(&error), "{error}");
    }
    // The first bytes are enough: nothing more need follow.
    for first in ["m", "message ", "\u{e9}"] {
        let (answer, _) = ask(WsConfig::default(), first).await;
        assert_eq!(answer, format!("{REASON}\n"), "{first:?}");
    }
    let (answer, error) = ask(WsConfig::default(), length_frame("")).await;
    assert_eq!(answer, format!("{REASON}\n"));
    assert!(is_answered(&error), "{error}");
    let (answer, error) = ask(WsConfig::default(), [0x16, 0x03, 0x01]).await;
    assert!(answer.starts_with("error tls-unsupported "), "{answer}");
    assert!(is_answered(&error), "{error}");
}

#[tokio::test]
async fn a_request_can_arrive_in_any_pieces() {
    for at in 1..REQUEST.len() {
        let (mut peer, upgrade) = connect(WsConfig::default()).await;
        peer.send(&REQUEST[..at]).await;
        tokio::task::yield_now().await;
        peer.send(&REQUEST[at..]).await;
        assert!(peer.head().await.starts_with("HTTP/1.1 101 "));
        soon(upgrade).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn frames_can_follow_the_request_at_once() {
    let (mut peer, upgrade) = connect(WsConfig::default()).await;
    peer.send([REQUEST.as_bytes(), &frame(FIN | TEXT, "hello")].concat())
        .await;
    peer.head().await;
    let (_, mut stream) = soon(upgrade).await.unwrap().unwrap();
    let mut line = [0; 6];
    soon(stream.read_exact(&mut line)).await.unwrap();
    assert_eq!(&line, b"hello\n");
}

#[tokio::test]
async fn a_request_that_ends_early_is_an_error() {
    for request in ["", &REQUEST[..20]] {
        let (mut peer, upgrade) = connect(WsConfig::default()).await;
        peer.send(request).await;
        drop(peer);
        let error = soon(upgrade).await.unwrap().expect_err("no upgrade");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(!is_answered(&error));
    }
}

#[tokio::test]
async fn a_megabyte_of_headers_is_refused_at_the_limit() {
    let (mut peer, upgrade) = connect(WsConfig::default()).await;
    let header = format!("X: {}\r\n", "x".repeat(1000));
    let request = format!("GET / HTTP/1.1\r\n{}", header.repeat(1024));
    let sender = tokio::spawn(async move {
        let _ = peer.0.write_all(request.as_bytes()).await;
        let _ = peer.0.shutdown().await;
        peer.rest().await
    });
    let error = soon(upgrade).await.unwrap().expect_err("no upgrade");
    assert!(is_answered(&error), "{error}");
    let answer = String::from_utf8(soon(sender).await.unwrap()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_was_answered_and_does_not_close_is_dropped() {
    let (mut peer, upgrade) = connect(WsConfig::default()).await;
    peer.send("GET / HTTP/1.1\r\n\r\n").await;
    assert!(peer.head().await.starts_with("HTTP/1.1 404 "));
    let begun = tokio::time::Instant::now();
    upgrade.await.unwrap().expect_err("no upgrade");
    assert_eq!(begun.elapsed().as_secs(), 1);
}

#[tokio::test]
async fn a_dropped_stream_is_an_abort() {
    let (mut peer, stream) = upgraded(WsConfig::default()).await;
    drop(stream);
    // No Close frame.
    assert_eq!(peer.rest().await, b"");
}
