//! One side speaks TLS, the other does not.
#![allow(clippy::unwrap_used)]

mod support;

use std::error::Error;
use std::io;

use echosphere_core::wire::Protocol;
use echosphere_driver::{Connector, Listener, OtherProtocol};
use echosphere_transport_tls::{NotTls, TlsConnector, TlsListener};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use support::{accept, memory, read_to_end, self_signed, soon, trusting};

const LINE: &str = "error tls-required this port speaks TLS; connect with --tls\n";

/// What a server of TLS answers to a client that sends `bytes` and keeps its side open, and its own error.
async fn answer_and_error(bytes: &[u8]) -> (Vec<u8>, io::Error) {
    let (listener, connector) = memory(1 << 16);
    let mut listener = TlsListener::new(listener, self_signed());
    let mut client = connector.plain();
    client.write_all(bytes).await.unwrap();
    let talk = async {
        let (answer, end) = read_to_end(&mut client).await;
        end.unwrap();
        drop(client);
        answer
    };
    let (accepted, answer) = soon(async { tokio::join!(accept(&mut listener), talk) }).await;
    (answer, accepted.unwrap_err())
}

/// The answer to bytes that are not TLS.
async fn answer_to(bytes: &[u8]) -> String {
    let (answer, error) = answer_and_error(bytes).await;
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert_eq!(error.to_string(), "the peer does not speak TLS");
    String::from_utf8(answer).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_client_without_tls_is_answered_in_a_line() {
    for bytes in [
        &b"message hi\n"[..],
        b"\n",
        b"\r\n",
        // Length framing: an empty frame, alone and with more.
        b"\0\0\0\0",
        b"\0",
        b"\0\0\0\x0amessage hi",
        // No line end follows.
        b"i",
        &[b'x'; 5000],
        // An alert.
        b"\x15\x03\x03\0\x02\x02\x46",
    ] {
        assert_eq!(answer_to(bytes).await, LINE, "{}", bytes.escape_ascii());
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_of_http_is_answered_in_http() {
    for request in [
        "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "POST /x HTTP/1.0\n\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ] {
        let answer = answer_to(request.as_bytes()).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
        assert!(head.ends_with(&format!("\r\nContent-Length: {}", LINE.len())), "{head}");
        assert_eq!(body, LINE);
        assert_eq!(Protocol::from_first_bytes(answer.as_bytes()), Some(Protocol::Tls));
    }
    assert_eq!(answer_to(b"GET / of something else\n").await, LINE);
}

/// A client that sends half a line, or does not read the answer, or never ends.
#[tokio::test(start_paused = true)]
async fn a_client_without_tls_does_not_stay() {
    for bytes in [&b"half a line"[..], b"message hi\n", b"\0\0\0\0"] {
        for room in [1, 1 << 16] {
            let (listener, connector) = memory(room);
            let mut listener = TlsListener::new(listener, self_signed());
            let mut client = connector.plain();
            let begun = Instant::now();
            let (accepted, _) = tokio::join!(accept(&mut listener), async {
                let _ = client.write_all(bytes).await;
            });
            accepted.unwrap_err();
            assert!(begun.elapsed().as_secs() <= 2);
        }
    }
}

/// A client that sends for ever, faster than it is read.
#[tokio::test]
async fn a_client_without_tls_cannot_send_for_ever() {
    let (listener, connector) = memory(1 << 16);
    let mut listener = TlsListener::new(listener, self_signed());
    let mut client = connector.plain();
    let (accepted, sent) = soon(async {
        tokio::join!(accept(&mut listener), async {
            let mut sent = 0;
            while client.write_all(&[b'x'; 1 << 12]).await.is_ok() {
                sent += 1 << 12;
            }
            sent
        })
    })
    .await;
    accepted.unwrap_err();
    assert!(sent < 1 << 20, "{sent} bytes");
}

#[tokio::test]
async fn records_that_are_no_client_hello_get_an_alert() {
    let hello_of_nothing = [b"\x16\x03\x01\0\x04\x01\0\0\0".as_slice(), &[0; 20]].concat();
    let too_long = b"\x16\x03\x01\xff\xff".as_slice();
    let server_hello = b"\x16\x03\x03\0\x06\x02\0\0\x02\x03\x03".as_slice();
    for bytes in [
        &hello_of_nothing[..],
        too_long,
        server_hello,
        b"\x16\x09\x09\0\x04\x01\0\0\0",
    ] {
        let (answer, _) = answer_and_error(bytes).await;
        assert_eq!(&answer[..2], b"\x15\x03", "{}", bytes.escape_ascii());
    }
}

/// An alert that closes, before the first message; and the end of the stream in it.
#[tokio::test]
async fn a_client_that_leaves_in_the_handshake_is_an_error() {
    for bytes in [&b""[..], b"\x16", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03"] {
        let (listener, connector) = memory(1 << 16);
        let mut listener = TlsListener::new(listener, self_signed());
        let mut client = connector.plain();
        client.write_all(bytes).await.unwrap();
        drop(client);
        let error = soon(accept(&mut listener)).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert!(error.to_string().contains("in the TLS handshake"), "{error}");
    }
}

/// What a client of TLS says about a server that answers with `bytes`, whole or byte by byte.
async fn error_at(bytes: &[u8], whole: bool, stays: bool) -> io::Error {
    let (mut listener, connector) = memory(1 << 16);
    let connector = TlsConnector::new(connector, trusting(&self_signed()));
    let serve = async {
        let (_, mut stream) = listener.accept().await.unwrap().finish().await.unwrap();
        assert_eq!(stream.read_u8().await.unwrap(), 0x16);
        for chunk in bytes.chunks(if whole { bytes.len().max(1) } else { 1 }) {
            // The client may have seen enough.
            let _ = stream.write_all(chunk).await;
            tokio::task::yield_now().await;
        }
        stays.then_some(stream)
    };
    let (dialled, _stream) = soon(async { tokio::join!(connector.dial(), serve) }).await;
    dialled.err().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_server_without_tls_is_recognized() {
    let settings = b"\0\0\x1e\x04\0\0\0\0\0\0\x03\0\0\0\xc8\0\x04\0\0\xff\xff";
    for (bytes, protocol, says) in [
        (
            &b"error unknown-request expected `message X` or `ok X`\n"[..],
            Some(Protocol::Echo),
            ", it is an echo server; connect without --tls",
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            Some(Protocol::Http1),
            ", it is a web server",
        ),
        (settings, Some(Protocol::Http2), ", it is an HTTP/2 server"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Some(Protocol::Ssh), ", it is an SSH server"),
        (
            b"error full the server is full; connect again later\n",
            None,
            "; connect without --tls",
        ),
        (b"220 mail.example.org ESMTP\r\n", None, "; connect without --tls"),
    ] {
        for (whole, stays) in [(true, true), (true, false), (false, true), (false, false)] {
            let error = error_at(bytes, whole, stays).await;
            assert_eq!(error.kind(), io::ErrorKind::InvalidData);
            let text = error.to_string();
            assert!(
                text.starts_with("the server does not speak TLS") && text.contains(says),
                "{text}"
            );
            let inner: &NotTls = error.get_ref().unwrap().downcast_ref().unwrap();
            assert_eq!(inner.protocol(), protocol);
            let source: &OtherProtocol = inner.source().unwrap().downcast_ref().unwrap();
            assert_eq!(source.0, protocol);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_ends_in_the_handshake_or_sends_an_alert_is_not_taken_for_another() {
    let error = error_at(b"", true, false).await;
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    let error = error_at(b"\x15\x03\x03\0\x02\x02\x28", true, true).await;
    assert!(
        error.to_string().contains("no TLS version or cipher in common"),
        "{error}"
    );
    // Garbage in a record.
    let error = error_at(b"\x16\x03\x03\0\x04\xff\0\0\0", true, true).await;
    assert!(error.to_string().contains("the TLS connection failed"), "{error}");
}
