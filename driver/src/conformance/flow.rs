//! Bytes on their way.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};

use super::{Case, Pair, Side, Transport, expect, write};

const MIB: usize = 1024 * 1024;
/// The most bytes that may be on their way to a peer that does not read.
const MOST_UNREAD: usize = 64 * MIB;

pub(super) async fn both_ways<T: Transport>(transport: &T) -> Case {
    let mut pair = Pair::open(transport).await?;
    for length in [1, 100, 5000] {
        for from in Side::BOTH {
            let message = transport.frame(&pattern(length));
            let (one, other) = pair.ends(from);
            write(one, &message).await?;
            expect(other, &message).await?;
        }
    }
    Ok(true)
}

pub(super) async fn large_bodies<T: Transport>(transport: &T) -> Case {
    let mut pair = Pair::open(transport).await?;
    let message = transport.frame(&pattern(MIB));
    let (mut reader, mut writer) = tokio::io::split(&mut pair.dialled);
    let (mut other_reader, mut other_writer) = tokio::io::split(&mut pair.accepted);
    let ((), (), (), ()) = tokio::try_join!(
        biased;
        write(&mut writer, &message),
        write(&mut other_writer, &message),
        expect(&mut reader, &message),
        expect(&mut other_reader, &message),
    )?;
    Ok(true)
}

/// A message arrives whole, in whatever pieces it is written.
pub(super) async fn partial_writes<T: Transport>(transport: &T) -> Case {
    let mut pair = Pair::open(transport).await?;
    for from in Side::BOTH {
        for piece in [1, 3, 7] {
            let messages = [transport.frame(&pattern(1)), transport.frame(&pattern(40))].concat();
            let (one, other) = pair.ends(from);
            for piece in messages.chunks(piece) {
                write(one, piece).await?;
            }
            expect(other, &messages).await?;
        }
    }
    Ok(true)
}

/// What several writes have accepted arrives after one flush, although the writer is not polled again.
pub(super) async fn flushed<T: Transport>(transport: &T) -> Case {
    let mut pair = Pair::open(transport).await?;
    pair.greet(transport).await?;
    for from in Side::BOTH {
        let message = transport.frame(&pattern(300));
        let (one, other) = pair.ends(from);
        for piece in [&message, &message, &message] {
            let written = one.write_all(piece).await;
            written.map_err(|error| format!("write: {error}"))?;
        }
        one.flush().await.map_err(|error| format!("flush: {error}"))?;
        expect(other, &message.repeat(3)).await?;
    }
    Ok(true)
}

/// Writing stops when the peer stops reading, and goes on when it reads; a flush that has to wait does, too.
pub(super) async fn stops_reading<T: Transport>(transport: &T) -> Case {
    for from in Side::BOTH {
        let mut pair = Pair::open(transport).await?;
        pair.greet(transport).await?;
        let message = transport.frame(&pattern(16 * 1024));
        let (one, other) = pair.ends(from);
        let (mut written, mut sent) = (0, Vec::new());
        // Until neither a write nor a flush makes progress.
        let mut idle = 0;
        while idle < 50 {
            let before = written;
            let mut cx = Context::from_waker(Waker::noop());
            let from = written % message.len();
            match Pin::new(&mut *one).poll_write(&mut cx, &message[from..]) {
                Poll::Ready(Ok(count)) => {
                    sent.extend_from_slice(&message[from..from + count]);
                    written += count;
                }
                Poll::Ready(Err(error)) => return Err(format!("write: {error}")),
                Poll::Pending => {
                    if let Poll::Ready(Err(error)) = Pin::new(&mut *one).poll_flush(&mut cx) {
                        return Err(format!("flush: {error}"));
                    }
                }
            }
            if written > MOST_UNREAD {
                return Err(format!("{written} bytes are accepted for a peer that does not read"));
            }
            idle = if written == before { idle + 1 } else { 0 };
            if idle > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(2)).await;
            }
        }
        // The rest of the message, so that what was sent ends with one.
        let rest = &message[written % message.len()..];
        let rest = if rest.len() == message.len() { &[][..] } else { rest };
        let expected = [&sent[..], rest].concat();
        let writing = write(one, rest);
        let reading = drain(other, expected.len());
        let ((), read) = tokio::try_join!(biased; writing, reading)?;
        if read != expected {
            return Err("other bytes than those that were written".to_owned());
        }
    }
    Ok(true)
}

async fn drain(stream: &mut (impl AsyncRead + Unpin), count: usize) -> Result<Vec<u8>, String> {
    let mut read = Vec::with_capacity(count);
    let mut piece = vec![0; 64 * 1024];
    while read.len() < count {
        let mut buffer = ReadBuf::new(&mut piece);
        let result = poll_fn(|cx| Pin::new(&mut *stream).poll_read(cx, &mut buffer)).await;
        result.map_err(|error| format!("read: {error}"))?;
        if buffer.filled().is_empty() {
            return Err(format!("the end after {} of {count} bytes", read.len()));
        }
        read.extend_from_slice(buffer.filled());
    }
    Ok(read)
}

/// Bytes without a short period.
pub(super) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
}
