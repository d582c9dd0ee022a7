//! The bytes of the stream as messages for the peer.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use echosphere_driver::Connector;
use echosphere_transport_ws::{WsConfig, WsConnector, WsStream};
use support::{
    BINARY, CLOSE, CONTINUE, FIN, OneStream, PING, PONG, Raw, TEXT, close, frame, length_frame, read_frame, soon,
    unmasked, upgraded,
};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, duplex};

async fn pair() -> (Raw, WsStream<DuplexStream>) {
    upgraded(WsConfig::default()).await
}

/// A client whose upgrade was accepted, and its server.
async fn dialled() -> (Raw, WsStream<DuplexStream>) {
    let (peer, stream) = duplex(64 * 1024);
    let mut peer = Raw(peer);
    let dialling = tokio::spawn(async move {
        let connector = WsConnector::new(OneStream::new(stream), "ws://h/".parse().unwrap());
        connector.dial().await.unwrap().1
    });
    let head = peer.head().await;
    let key = head
        .split_once("sec-websocket-key: ")
        .unwrap()
        .1
        .split_once("\r\n")
        .unwrap()
        .0;
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    peer.send(format!(
        "HTTP/1.1 101 OK\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    ))
    .await;
    (peer, soon(dialling).await.unwrap())
}

#[tokio::test]
async fn a_line_is_a_text_message_and_a_length_frame_a_binary_message() {
    let (mut peer, mut stream) = pair().await;
    stream.write_all("ok x\nmessage é\n".as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(peer.frame().await, (FIN | TEXT, b"ok x".to_vec()));
    assert_eq!(peer.frame().await, (FIN | TEXT, "message é".as_bytes().to_vec()));

    let (mut peer, mut stream) = pair().await;
    stream
        .write_all(&[length_frame("ok x"), length_frame([0, 255, 10])].concat())
        .await
        .unwrap();
    stream.flush().await.unwrap();
    assert_eq!(peer.frame().await, (FIN | BINARY, b"ok x".to_vec()));
    assert_eq!(peer.frame().await, (FIN | BINARY, vec![0, 255, 10]));
}

#[tokio::test]
async fn a_line_that_is_not_text_is_a_binary_message() {
    let (mut peer, mut stream) = pair().await;
    let long = [vec![b'x'; 100_000], vec![0xFF]].concat();
    stream.write_all(b"text\n\xFF\nends \xC3\n").await.unwrap();
    let line = [&long[..], b"\n"].concat();
    let writer = tokio::spawn(async move {
        stream.write_all(&line).await.unwrap();
        stream.flush().await.unwrap();
        stream
    });
    assert_eq!(peer.frame().await, (FIN | TEXT, b"text".to_vec()));
    assert_eq!(peer.frame().await, (FIN | BINARY, vec![0xFF]));
    assert_eq!(peer.frame().await, (FIN | BINARY, b"ends \xC3".to_vec()));
    let (kinds, message) = message(&mut peer).await;
    assert_eq!(kinds[0], BINARY);
    assert!(message == long);
    soon(writer).await.unwrap();
}

/// Reads a message in fragments: the first bytes of its frames, and the whole.
async fn message(peer: &mut Raw) -> (Vec<u8>, Vec<u8>) {
    let (mut kinds, mut whole) = (Vec::new(), Vec::new());
    loop {
        let (first, payload) = peer.frame().await;
        kinds.push(first);
        whole.extend(payload);
        if first & FIN != 0 {
            return (kinds, whole);
        }
    }
}

#[tokio::test]
async fn a_long_line_is_sent_in_fragments() {
    let (mut peer, mut stream) = pair().await;
    let line = "é".repeat(100_000);
    let sent = format!("{line}\nshort\n");
    let writer = tokio::spawn(async move {
        stream.write_all(sent.as_bytes()).await.unwrap();
        stream.flush().await.unwrap();
        stream
    });
    let (kinds, whole) = message(&mut peer).await;
    assert!(whole == line.as_bytes());
    assert!(kinds.len() > 2 && kinds[0] == TEXT && kinds[1..kinds.len() - 1].iter().all(|kind| *kind == CONTINUE));
    assert_eq!(peer.frame().await, (FIN | TEXT, b"short".to_vec()));
    soon(writer).await.unwrap();
}

#[tokio::test]
async fn every_cut_of_what_is_written_gives_the_same_messages() {
    let lines = "first\n\nsé\nlast\n".as_bytes().to_vec();
    let texts = vec![
        (TEXT, b"first".to_vec()),
        (PING, vec![]),
        (TEXT, "sé".into()),
        (TEXT, b"last".to_vec()),
    ];
    let frames = [
        length_frame("a"),
        length_frame(""),
        length_frame([b'x'; 300]),
        length_frame("b"),
    ]
    .concat();
    let binaries = vec![
        (BINARY, vec![b'a']),
        (PING, vec![]),
        (BINARY, vec![b'x'; 300]),
        (BINARY, vec![b'b']),
    ];
    for (sent, messages) in [(lines, texts), (frames, binaries)] {
        for at in 0..=sent.len() {
            for flush in [false, true] {
                let (mut peer, mut stream) = pair().await;
                stream.write_all(&sent[..at]).await.unwrap();
                if flush {
                    stream.flush().await.unwrap();
                }
                stream.write_all(&sent[at..]).await.unwrap();
                stream.flush().await.unwrap();
                for (kind, payload) in &messages {
                    let (kinds, whole) = message(&mut peer).await;
                    assert_eq!(
                        (kinds[0] & 0x0F, &whole),
                        (*kind, payload),
                        "cut at {at}, flush {flush}"
                    );
                }
            }
        }
    }
}

#[tokio::test]
async fn a_keepalive_is_a_ping_but_a_first_message_is_not() {
    let (mut peer, mut stream) = pair().await;
    stream
        .write_all(&[length_frame(""), length_frame(""), length_frame("x"), length_frame("")].concat())
        .await
        .unwrap();
    stream.flush().await.unwrap();
    assert_eq!(peer.frame().await, (FIN | BINARY, vec![]));
    assert_eq!(peer.frame().await, (FIN | PING, vec![]));
    assert_eq!(peer.frame().await, (FIN | BINARY, vec![b'x']));
    assert_eq!(peer.frame().await, (FIN | PING, vec![]));
    // In lines, the peer has shown the framing.
    let (mut peer, mut stream) = pair().await;
    stream.write_all(b"\nx\n\n").await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(peer.frame().await, (FIN | PING, vec![]));
    assert_eq!(peer.frame().await, (FIN | TEXT, vec![b'x']));
    assert_eq!(peer.frame().await, (FIN | PING, vec![]));
}

#[tokio::test]
async fn an_error_before_the_end_is_the_reason_of_the_close_frame() {
    for (sent, code, reason) in [
        (b"error shutting-down later\n".to_vec(), 1001, "shutting-down later"),
        (b"error full later\n".to_vec(), 1013, "full later"),
        (b"error busy later\n".to_vec(), 1013, "busy later"),
        (b"error line-too-long no\n".to_vec(), 1009, "line-too-long no"),
        (length_frame("error frame-too-long no"), 1009, "frame-too-long no"),
        (length_frame(b"\xFFidle-timeout no"), 1008, "idle-timeout no"),
        (b"error handshake-timeout no\n".to_vec(), 1008, "handshake-timeout no"),
        (b"error taken-over no\n".to_vec(), 1008, "taken-over no"),
        (b"message error full\n".to_vec(), 1000, ""),
        (b"error full later\nok x\n".to_vec(), 1000, ""),
        (length_frame("x"), 1000, ""),
        (Vec::new(), 1000, ""),
    ] {
        for size in [1, 5, 1000] {
            let (mut peer, mut stream) = pair().await;
            for piece in sent.chunks(size) {
                stream.write_all(piece).await.unwrap();
            }
            soon(stream.shutdown()).await.unwrap();
            loop {
                let (first, payload) = peer.frame().await;
                if first == FIN | CLOSE {
                    assert_eq!(payload, close(code, reason), "{sent:?}");
                    break;
                }
            }
            assert_eq!(peer.rest().await, b"", "{sent:?}");
        }
    }
}

#[tokio::test]
async fn a_long_reason_is_cut_between_characters() {
    let (mut peer, mut stream) = pair().await;
    stream
        .write_all(format!("error full {}\n", "é".repeat(100)).as_bytes())
        .await
        .unwrap();
    soon(stream.shutdown()).await.unwrap();
    peer.frame().await;
    let (code, reason) = peer.closed().await;
    assert_eq!(code, 1013);
    assert_eq!(reason, format!("full {}", "é".repeat(59)));
}

#[tokio::test]
async fn nothing_can_be_written_after_the_end() {
    let (_peer, mut stream) = pair().await;
    soon(stream.shutdown()).await.unwrap();
    stream.write_all(b"x\n").await.unwrap_err();
}

#[tokio::test]
async fn a_client_masks_and_waits_for_the_close_frame_of_the_server() {
    let (mut peer, mut stream) = dialled().await;
    stream
        .write_all(&[length_frame(""), length_frame("hello"), length_frame(vec![7; 50_000])].concat())
        .await
        .unwrap();
    stream.flush().await.unwrap();
    let mut raw = [0; 6];
    peer.0.read_exact(&mut raw).await.unwrap();
    assert_eq!(raw[..2], [FIN | BINARY, 0x80]);
    assert_eq!(peer.frame().await, (FIN | BINARY, b"hello".to_vec()));
    assert_eq!(peer.frame().await, (FIN | BINARY, vec![7; 50_000]));
    peer.send([unmasked(FIN | BINARY, "world"), unmasked(FIN | PING, "p")].concat())
        .await;
    let mut read = [0; 9];
    soon(stream.read_exact(&mut read)).await.unwrap();
    assert_eq!(read.to_vec(), length_frame("world"));
    let mut read = [0; 4];
    soon(stream.read_exact(&mut read)).await.unwrap();
    assert_eq!(peer.frame().await, (FIN | PONG, b"p".to_vec()));

    soon(stream.shutdown()).await.unwrap();
    assert_eq!(peer.closed().await, (1000, String::new()));
    peer.send(unmasked(FIN | CLOSE, close(1000, ""))).await;
    assert_eq!(soon(stream.read(&mut read)).await.unwrap(), 0);
    assert_eq!(peer.rest().await, b"");
}

#[tokio::test]
async fn a_client_refuses_masked_frames() {
    let (mut peer, mut stream) = dialled().await;
    peer.send(frame(FIN | BINARY, "x")).await;
    let reader = tokio::spawn(async move { stream.read(&mut [0; 10]).await });
    assert_eq!(peer.closed().await.0, 1002);
    drop(peer);
    soon(reader).await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_peer_that_does_not_read_stops_the_writer() {
    let (mut peer, mut stream) = pair().await;
    let message = length_frame(vec![1; 10_000]);
    let mut accepted = 0;
    // Far less than all of it is accepted: the room of the stream and one buffer.
    let all = message.repeat(100);
    let blocked = poll_fn(|cx| {
        while accepted < all.len() {
            match Pin::new(&mut stream).poll_write(cx, &all[accepted..]) {
                Poll::Ready(written) => accepted += written.unwrap(),
                Poll::Pending => return Poll::Ready(true),
            }
        }
        Poll::Ready(false)
    });
    assert!(blocked.await);
    assert!(accepted < 64 * 1024 + 64 * 1024, "{accepted}");
    let writer = tokio::spawn(async move {
        stream.write_all(&all[accepted..]).await.unwrap();
        stream.flush().await.unwrap();
    });
    for _ in 0..100 {
        assert_eq!(peer.frame().await, (FIN | BINARY, vec![1; 10_000]));
    }
    soon(writer).await.unwrap();
}

#[tokio::test]
async fn pings_of_a_peer_that_does_not_read_are_answered_once() {
    let (mut peer, mut stream) = pair().await;
    // Both directions are full.
    let filler = length_frame(vec![0; 200_000]);
    let mut written = 0;
    poll_fn(|cx| {
        while let Poll::Ready(count) = Pin::new(&mut stream).poll_write(cx, &filler[written..]) {
            written += count.unwrap();
        }
        Poll::Ready(())
    })
    .await;
    peer.send(frame(FIN | BINARY, "")).await;
    for count in 0..1000_u16 {
        peer.send(frame(FIN | PING, count.to_be_bytes())).await;
        if count == 0 {
            soon(stream.read_exact(&mut [0; 4])).await.unwrap();
        }
        soon(stream.read_exact(&mut [0; 4])).await.unwrap();
    }
    let writer = tokio::spawn(async move {
        stream.write_all(&filler[written..]).await.unwrap();
        stream.flush().await.unwrap();
        stream
    });
    assert_eq!(peer.frame().await.1.len(), 200_000);
    assert_eq!(peer.frame().await, (FIN | PONG, 999_u16.to_be_bytes().to_vec()));
    let mut stream = soon(writer).await.unwrap();
    soon(stream.shutdown()).await.unwrap();
    assert_eq!(peer.closed().await.0, 1000);
}

#[tokio::test]
async fn a_reader_does_not_take_the_place_of_a_writer_that_waits() {
    let (mut peer, stream) = pair().await;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let writing = tokio::spawn(async move {
        writer.write_all(&length_frame(vec![0; 500_000])).await.unwrap();
        writer.flush().await.unwrap();
    });
    tokio::task::yield_now().await;
    let reading = tokio::spawn(async move { reader.read_to_end(&mut Vec::new()).await });
    peer.send([frame(FIN | PING, "p"), frame(FIN | CLOSE, "")].concat())
        .await;
    tokio::task::yield_now().await;
    assert_eq!(soon(read_frame(&mut peer.0)).await.unwrap().1.len(), 500_000);
    soon(writing).await.unwrap();
    soon(reading).await.unwrap().unwrap();
}
