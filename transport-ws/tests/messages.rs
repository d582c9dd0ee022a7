//! Messages of a peer as bytes of the stream, and what is refused.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use async_trait::async_trait;
use echosphere_driver::{Incoming, Listener, Peer};
use echosphere_transport_ws::{WsConfig, WsListener, WsStream};
use support::{
    BINARY, CLOSE, CONTINUE, FIN, PING, PONG, REQUEST, Raw, TEXT, close, frame, header, length_frame, soon, unmasked,
    upgraded,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::task::yield_now;

const LIMIT: u32 = 2000;

async fn limited() -> (Raw, WsStream<DuplexStream>) {
    let config = WsConfig {
        max_message: LIMIT,
        ..WsConfig::default()
    };
    upgraded(config).await
}

/// What a stream reads up to its end, and how it ends.
async fn read_all(mut stream: WsStream<DuplexStream>, step: usize) -> (Vec<u8>, Result<(), io::ErrorKind>) {
    let (mut all, mut part) = (Vec::new(), vec![0; step]);
    loop {
        match soon(stream.read(&mut part)).await {
            Ok(0) => return (all, Ok(())),
            Ok(read) => all.extend_from_slice(&part[..read]),
            Err(error) => return (all, Err(error.kind())),
        }
    }
}

/// Sends `frames`, then closes cleanly; returns what the stream reads.
async fn reads(frames: &[Vec<u8>]) -> Vec<u8> {
    let (mut peer, stream) = limited().await;
    peer.send(frames.concat()).await;
    peer.send(frame(FIN | CLOSE, close(1000, ""))).await;
    let (read, end) = read_all(stream, 100).await;
    assert_eq!(end, Ok(()));
    read
}

#[tokio::test]
async fn a_text_message_is_a_line_and_a_binary_message_a_length_frame() {
    let text = [
        frame(FIN | TEXT, "message hi"),
        frame(FIN | TEXT, ""),
        frame(FIN | TEXT, "é"),
    ];
    assert_eq!(reads(&text).await, "message hi\n\né\n".as_bytes());
    let binary = [
        frame(FIN | BINARY, "message hi"),
        frame(FIN | BINARY, ""),
        frame(FIN | BINARY, [0, 10, 255]),
    ];
    let frames = [length_frame("message hi"), length_frame(""), length_frame([0, 10, 255])].concat();
    assert_eq!(reads(&binary).await, frames);
}

#[tokio::test]
async fn the_first_message_shows_the_framing_and_the_others_have_it() {
    let mixed = [frame(FIN | TEXT, "a"), frame(FIN | BINARY, [b'b', 0xFF])];
    assert_eq!(reads(&mixed).await, b"a\nb\xFF\n");
    let mixed = [frame(FIN | BINARY, "a\n"), frame(FIN | TEXT, "b\nc")];
    assert_eq!(
        reads(&mixed).await,
        [length_frame("a\n"), length_frame("b\nc")].concat()
    );
}

#[tokio::test]
async fn a_message_in_fragments_is_one() {
    for (kind, expected) in [(TEXT, "héllo\n".as_bytes().to_vec()), (BINARY, length_frame("héllo"))] {
        // One cut is within a character.
        let fragments = [
            frame(kind, b"h\xC3"),
            frame(CONTINUE, b"\xA9l"),
            frame(CONTINUE, b""),
            frame(FIN | CONTINUE, b"lo"),
        ];
        assert_eq!(reads(&fragments).await, expected);
    }
}

#[tokio::test]
async fn a_ping_is_answered_and_counts_as_heard() {
    for (kind, empty) in [(TEXT, b"\n".to_vec()), (BINARY, length_frame(""))] {
        let (mut peer, mut stream) = limited().await;
        // Before the first message, the framing is not known.
        peer.send(frame(FIN | PING, "one")).await;
        peer.send(frame(FIN | kind, "")).await;
        let mut read = vec![0; empty.len()];
        soon(stream.read_exact(&mut read)).await.unwrap();
        assert_eq!(read, empty);
        assert_eq!(peer.frame().await, (FIN | PONG, b"one".to_vec()));
        for control in [PING, PONG] {
            peer.send(frame(FIN | control, "two")).await;
            soon(stream.read_exact(&mut read)).await.unwrap();
            assert_eq!(read, empty);
        }
        assert_eq!(peer.frame().await, (FIN | PONG, b"two".to_vec()));
    }
}

#[tokio::test]
async fn control_frames_can_come_between_fragments() {
    let between = [frame(FIN | PING, ""), frame(FIN | PONG, "x")].concat();
    let text = [frame(TEXT, "a"), between.clone(), frame(FIN | CONTINUE, "b")];
    assert_eq!(reads(&text).await, b"ab\n");
    let binary = [frame(BINARY, "a"), between, frame(FIN | CONTINUE, "b")];
    // Each of them is an empty frame, before the one that is not complete.
    assert_eq!(
        reads(&binary).await,
        [length_frame(""), length_frame(""), length_frame("ab")].concat()
    );
}

/// Sends `bytes` after a good message; the peer must get this Close, and the reader the message and an error.
async fn is_refused(name: &str, bytes: &[u8], code: u16, words: &str) {
    let (mut peer, stream) = limited().await;
    let reader = tokio::spawn(read_all(stream, 100));
    peer.send(frame(FIN | TEXT, "good")).await;
    peer.send(bytes).await;
    let (got, reason) = peer.closed().await;
    assert!(got == code && reason.contains(words), "{name}: {got} {reason}");
    assert_eq!(peer.rest().await, b"", "{name}");
    drop(peer);
    let (read, end) = soon(reader).await.unwrap();
    assert!(
        read.starts_with(b"good\n") && read[5..].iter().all(|byte| *byte != b'\n'),
        "{name}: {read:?}"
    );
    assert_eq!(end, Err(io::ErrorKind::InvalidData), "{name}");
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_with_a_code_and_a_reason() {
    let long = frame(FIN | BINARY, vec![0; LIMIT as usize + 1]);
    let fragments = [frame(BINARY, vec![0; LIMIT as usize]), frame(CONTINUE, [0])].concat();
    let line = [frame(TEXT, "a"), frame(CONTINUE, "b\nc")].concat();
    for (name, bytes, code, words) in [
        ("an unmasked frame", unmasked(FIN | TEXT, "x"), 1002, "masked"),
        ("an unmasked ping", unmasked(FIN | PING, "x"), 1002, "masked"),
        ("a reserved bit", frame(FIN | 0x40 | TEXT, "x"), 1002, "extension"),
        ("an unknown data frame", frame(FIN | 3, "x"), 1002, "unknown"),
        ("an unknown control frame", frame(FIN | 11, "x"), 1002, "unknown"),
        ("a long control frame", frame(FIN | PING, [0; 126]), 1002, "125"),
        ("a control frame in fragments", frame(PING, "x"), 1002, "fragmented"),
        ("a fragment of nothing", frame(FIN | CONTINUE, "x"), 1002, "fragment"),
        (
            "a message in a message",
            [frame(TEXT, "x"), frame(TEXT, "y")].concat(),
            1002,
            "another",
        ),
        ("half a close code", frame(FIN | CLOSE, [3]), 1002, "half a code"),
        (
            "a close code that is not sent",
            frame(FIN | CLOSE, close(1005, "")),
            1002,
            "must not be sent",
        ),
        (
            "a close code of nobody",
            frame(FIN | CLOSE, close(999, "")),
            1002,
            "must not be sent",
        ),
        (
            "a close reason that is not text",
            frame(FIN | CLOSE, [3, 0xE8, 0xFF]),
            1007,
            "UTF-8",
        ),
        ("a long message", long, 1009, "more than 2000 bytes"),
        ("long fragments", fragments, 1009, "more than 2000 bytes"),
        (
            "2^63 bytes",
            header(FIN | BINARY, 0x80, 1 << 63),
            1009,
            "more than 2000 bytes",
        ),
        (
            "2^64 - 1 bytes",
            header(FIN | BINARY, 0x80, u64::MAX),
            1009,
            "more than 2000 bytes",
        ),
        ("text that is not UTF-8", frame(FIN | TEXT, b"a\xFF"), 1007, "UTF-8"),
        (
            "text that ends in a character",
            frame(FIN | TEXT, b"a\xC3"),
            1007,
            "UTF-8",
        ),
        ("a line break", frame(FIN | TEXT, "a\nb"), 1007, "one line"),
        ("a line break in a fragment", line, 1007, "one line"),
        (
            "a line break in a binary message",
            frame(FIN | BINARY, "a\nb"),
            1007,
            "one line",
        ),
    ] {
        let bytes = match bytes.len() {
            // The header is complete with its mask.
            10 => [bytes, vec![0; 4]].concat(),
            _ => bytes,
        };
        is_refused(name, &bytes, code, words).await;
    }
}

/// As the first byte of the stream it would show length framing.
#[tokio::test]
async fn a_first_line_that_begins_with_zero_is_refused() {
    let (mut peer, stream) = limited().await;
    let reader = tokio::spawn(read_all(stream, 100));
    peer.send(frame(FIN | TEXT, "\0a")).await;
    let (code, reason) = peer.closed().await;
    assert!(code == 1007 && reason.contains("zero byte"), "{code} {reason}");
    drop(peer);
    assert_eq!(
        soon(reader).await.unwrap(),
        (Vec::new(), Err(io::ErrorKind::InvalidData))
    );
}

#[tokio::test]
async fn text_in_length_frames_is_checked_too() {
    for bytes in [
        frame(FIN | TEXT, [b'a', 0xFF]),
        [frame(TEXT, "a"), frame(FIN | CONTINUE, [0xC3])].concat(),
    ] {
        let (mut peer, stream) = limited().await;
        let reader = tokio::spawn(read_all(stream, 100));
        peer.send(frame(FIN | BINARY, "good")).await;
        peer.send(bytes).await;
        assert_eq!(peer.closed().await.0, 1007);
        drop(peer);
        assert_eq!(soon(reader).await.unwrap().1, Err(io::ErrorKind::InvalidData));
    }
}

#[tokio::test]
async fn every_cut_and_every_reader_gives_the_same_bytes() {
    let (long, longest) = (vec![b'l'; 200], vec![7; LIMIT as usize]);
    let texts = [
        frame(FIN | TEXT, "one"),
        frame(FIN | PING, "p"),
        frame(TEXT, b"h\xC3"),
        frame(FIN | CONTINUE, b"\xA9"),
        frame(FIN | TEXT, &long),
        frame(FIN | CLOSE, close(1000, "bye")),
    ]
    .concat();
    let binaries = [
        frame(FIN | BINARY, "one"),
        frame(BINARY, "t"),
        frame(FIN | PONG, ""),
        frame(FIN | CONTINUE, "wo"),
        frame(FIN | BINARY, &long),
        frame(FIN | BINARY, &longest),
        frame(FIN | CLOSE, ""),
    ]
    .concat();
    let lines = [b"one\n\nh\xC3\xA9\n".as_slice(), &long, b"\n"].concat();
    let frames = [
        length_frame("one"),
        length_frame(""),
        length_frame("two"),
        length_frame(&long),
        length_frame(&longest),
    ]
    .concat();
    for (sent, expected) in [(texts, lines), (binaries, frames)] {
        for step in [1, 3, 1000, 100_000] {
            for at in (0..sent.len()).step_by(if sent.len() > 1000 { 7 } else { 1 }) {
                let (mut peer, stream) = limited().await;
                let reader = tokio::spawn(read_all(stream, step));
                peer.send(&sent[..at]).await;
                yield_now().await;
                peer.send(&sent[at..]).await;
                let (read, end) = soon(reader).await.unwrap();
                assert!(read == expected, "cut at {at}, read by {step}");
                assert_eq!(end, Ok(()), "cut at {at}, read by {step}");
            }
        }
        // Byte by byte.
        let (mut peer, stream) = limited().await;
        let reader = tokio::spawn(read_all(stream, 1000));
        for byte in &sent {
            peer.send([*byte]).await;
            yield_now().await;
        }
        assert!(soon(reader).await.unwrap().0 == expected, "byte by byte");
    }
}

#[tokio::test]
async fn an_end_without_a_close_frame_is_an_error() {
    for sent in [
        Vec::new(),
        frame(FIN | TEXT, "x"),
        frame(TEXT, "x"),
        frame(FIN | BINARY, "x")[..5].to_vec(),
        // A Close frame in the middle of a message does not end it.
        [frame(TEXT, "x"), frame(FIN | CLOSE, "")].concat(),
        [frame(BINARY, "x"), frame(FIN | CLOSE, "")].concat(),
    ] {
        let (mut peer, stream) = limited().await;
        peer.send(&sent).await;
        peer.0.shutdown().await.unwrap();
        let (_, end) = read_all(stream, 100).await;
        assert_eq!(end, Err(io::ErrorKind::UnexpectedEof), "{sent:?}");
    }
}

#[tokio::test]
async fn a_close_frame_is_a_clean_end_with_and_without_a_code() {
    for payload in [
        Vec::new(),
        close(1000, ""),
        close(1001, "going"),
        close(1011, "oh"),
        close(4321, "mine"),
    ] {
        let (mut peer, mut stream) = limited().await;
        peer.send(
            [
                frame(FIN | BINARY, "x"),
                frame(FIN | CLOSE, payload),
                frame(FIN | BINARY, "ignored"),
            ]
            .concat(),
        )
        .await;
        let mut read = Vec::new();
        soon(stream.read_to_end(&mut read)).await.unwrap();
        assert_eq!(read, length_frame("x"));
        // This side can still send, then closes.
        stream.write_all(&length_frame("y")).await.unwrap();
        soon(stream.shutdown()).await.unwrap();
        assert_eq!(peer.frame().await, (FIN | BINARY, b"y".to_vec()));
        assert_eq!(peer.closed().await, (1000, String::new()));
        assert_eq!(peer.rest().await, b"");
    }
}

#[tokio::test]
async fn fragments_without_end_use_no_memory_and_nobodys_time() {
    let (mut peer, mut stream) = limited().await;
    peer.send(frame(TEXT, "")).await;
    let sender = tokio::spawn(async move {
        for _ in 0..10_000 {
            peer.send(frame(CONTINUE, "")).await;
        }
        peer.send(frame(FIN | CONTINUE, "end")).await;
        peer
    });
    let mut line = [0; 4];
    soon(stream.read_exact(&mut line)).await.unwrap();
    assert_eq!(&line, b"end\n");
    soon(sender).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_is_refused_and_does_not_close_is_dropped() {
    let (mut peer, stream) = limited().await;
    let reader = tokio::spawn(read_all(stream, 100));
    let begun = tokio::time::Instant::now();
    peer.send(unmasked(FIN | TEXT, "x")).await;
    assert_eq!(peer.closed().await.0, 1002);
    let (_, end) = reader.await.unwrap();
    assert_eq!(end, Err(io::ErrorKind::InvalidData));
    assert_eq!(begun.elapsed().as_secs(), 1);
}

#[tokio::test]
async fn what_is_written_after_a_refusal_is_ignored() {
    let (mut peer, mut stream) = limited().await;
    peer.send(unmasked(FIN | TEXT, "x")).await;
    let mut buffer = [0; 8];
    let refused = stream.read(&mut buffer);
    tokio::select! {
        biased;
        _ = refused => panic!("the peer has not closed"),
        () = yield_now() => {}
    }
    stream.write_all(b"line\n").await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(peer.closed().await.0, 1002);
    assert_eq!(peer.rest().await, b"");
}

/// A peer whose bytes are all there, and are read one at a time.
struct OneByOne(VecDeque<u8>);

impl AsyncRead for OneByOne {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        buf.put_slice(self.0.pop_front().as_slice());
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for OneByOne {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

struct Once(Option<OneByOne>);

#[async_trait]
impl Listener for Once {
    type Stream = OneByOne;

    async fn accept(&mut self) -> io::Result<Incoming<OneByOne>> {
        let stream = self.0.take().ok_or(io::ErrorKind::NotConnected)?;
        Ok(Incoming::ready(Peer::new("memory", None), stream))
    }
}

/// The number of such reads in one poll is bounded. The last of them can be the one that decodes to something.
#[tokio::test]
async fn no_byte_is_lost_after_many_reads_that_decode_to_nothing() {
    for length in 0..=125 {
        let ping = frame(FIN | PING, vec![0; length]);
        let all = [REQUEST.as_bytes(), &ping, &frame(FIN | BINARY, "x")].concat();
        let mut listener = WsListener::new(Once(Some(OneByOne(all.into()))), WsConfig::default());
        let (_, mut stream) = listener.accept().await.unwrap().finish().await.unwrap();
        let (mut read, mut part) = (Vec::new(), [0; 100]);
        while read.len() < 5 {
            let count = stream.read(&mut part).await.unwrap();
            read.extend_from_slice(&part[..count]);
        }
        assert_eq!(read, length_frame("x"), "after a Ping of {length} bytes");
    }
}
