//! Our client, where what it calls is no server of ours.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::time::Duration;

use echosphere_core::DialError;
use echosphere_core::numbers::{ClientConfig, Failure, Notice};
use echosphere_core::wire::Protocol;
use echosphere_driver::Connector;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::peer::{SETTINGS, frame};
use crate::support::{connector, dial_error, get, session, soon, within};

/// Answers every connection with the same bytes, or with its own, and keeps it until the peer leaves.
async fn answering(answer: Option<Vec<u8>>) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut from, mut to) = stream.split();
            match &answer {
                Some(answer) => {
                    to.write_all(answer).await.unwrap();
                    drop(tokio::io::copy(&mut from, &mut tokio::io::sink()).await);
                }
                None => drop(tokio::io::copy(&mut from, &mut to).await),
            }
        }
    });
    (addr, server)
}

/// Of what kind the error is that an attempt to connect ends with.
async fn error_kind(addr: SocketAddr) -> ErrorKind {
    let grpc = connector(addr);
    soon(grpc.dial()).await.unwrap_err().kind()
}

#[tokio::test]
async fn what_answers_there_is_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    drop(listener);
    assert_eq!(error_kind(addr).await, ErrorKind::ConnectionRefused);
    assert_eq!(dial_error(addr).await, DialError::Refused);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let hangs_up = tokio::spawn(async move {
        loop {
            drop(listener.accept().await.unwrap());
        }
    });
    assert_eq!(dial_error(addr).await, DialError::Unreachable);
    hangs_up.abort();
}

/// What our client takes a server for that is another.
async fn taken_for(addr: SocketAddr) -> Option<Protocol> {
    let told = get(addr, session(3, None), ClientConfig::default()).await;
    match told[..] {
        [
            Notice::Failed {
                failure: Failure::OtherProtocol(protocol),
                ..
            },
        ] => protocol,
        _ => panic!("{told:?}"),
    }
}

#[tokio::test]
async fn a_server_that_speaks_something_else_is_known_by_its_first_words() {
    for (words, protocol) in [
        // It sends back what it reads.
        (None, None),
        (
            Some(&b"error unknown-request expected `message X` or `ok X`: the word\n"[..]),
            Some(Protocol::Echo),
        ),
        (
            Some(b"error unknown-request expected START, CONTINUE or END\n"),
            Some(Protocol::Numbers),
        ),
        (Some(b"ok 1\nok 2\n"), Some(Protocol::Chat)),
        (Some(b"HTTP/1.1 400 Bad Request\r\n\r\n"), Some(Protocol::Http1)),
        (Some(b"220 mail.example.org ESMTP\r\n"), None),
    ] {
        let (addr, server) = answering(words.map(<[u8]>::to_vec)).await;
        assert_eq!(error_kind(addr).await, ErrorKind::InvalidData);
        assert_eq!(taken_for(addr).await, protocol, "{words:?}");
        server.abort();
    }
}

/// Answers every HTTP/2 request with these headers.
async fn web(status: u16, headers: &'static [(&'static str, &'static str)]) -> (SocketAddr, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                let mut response = http::Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(*name, *value);
                }
                respond.send_response(response.body(()).unwrap(), true).unwrap();
            }
        }
    });
    (addr, server)
}

#[tokio::test]
async fn other_servers_of_http2_are_told_apart() {
    const GRPC: (&str, &str) = ("content-type", "application/grpc");
    for (status, headers, expected) in [
        (404, &[][..], ErrorKind::InvalidData),
        (200, &[("content-type", "text/html")], ErrorKind::InvalidData),
        (200, &[GRPC, ("grpc-status", "12")], ErrorKind::InvalidData),
        (503, &[], ErrorKind::ResourceBusy),
        (200, &[GRPC, ("grpc-status", "14")], ErrorKind::ResourceBusy),
        (200, &[GRPC, ("grpc-status", "13")], ErrorKind::ConnectionReset),
    ] {
        let (addr, server) = web(status, headers).await;
        assert_eq!(error_kind(addr).await, expected, "{status} {headers:?}");
        match expected {
            ErrorKind::InvalidData => assert_eq!(taken_for(addr).await, Some(Protocol::Http2)),
            ErrorKind::ResourceBusy => assert_eq!(dial_error(addr).await, DialError::Unavailable),
            _ => assert_eq!(dial_error(addr).await, DialError::Unreachable),
        }
        server.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_does_not_answer_is_given_up_in_time() {
    let config = within(Duration::from_secs(10));
    let settings = frame(SETTINGS, 0, 0, &[]);
    for answer in [vec![], settings] {
        let (addr, server) = answering(Some(answer)).await;
        let begun = Instant::now();
        let told = get(addr, session(3, None), config.clone()).await;
        let failure = Failure::TimedOut;
        assert_eq!(told, [Notice::Failed { key: 1, failure }]);
        assert!(begun.elapsed() <= config.give_up_after + Duration::from_secs(1));
        server.abort();
    }
}

#[tokio::test]
async fn a_dial_that_is_abandoned_frees_its_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let grpc = connector(listener.local_addr().unwrap());
    let dial = tokio::spawn(async move { grpc.dial().await });
    let (mut stream, _): (TcpStream, _) = listener.accept().await.unwrap();
    stream.read_u8().await.unwrap();
    dial.abort();
    // What was sent, and then the end, or a reset.
    let mut sent = Vec::new();
    let _ = soon(stream.read_to_end(&mut sent)).await;
}
