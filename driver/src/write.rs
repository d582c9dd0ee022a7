//! Writing a connection's outbox to its stream.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::AsyncWrite;

/// Pieces of an outbox in one vectored write.
const SLICES: usize = 32;

/// Writes as much of `chunks` as the stream accepts at once, and returns the number of bytes.
#[inline]
pub(crate) fn poll_write<'a>(
    stream: Pin<&mut (impl AsyncWrite + Unpin)>,
    cx: &mut Context<'_>,
    mut chunks: impl Iterator<Item = &'a [u8]>,
) -> Poll<io::Result<usize>> {
    let first = chunks.next().unwrap_or_default();
    let second = if stream.is_write_vectored() {
        chunks.next()
    } else {
        None
    };
    // Most writes have one chunk, which needs no slices.
    let written = if let Some(second) = second {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut count = 0;
        for (slice, chunk) in slices.iter_mut().zip([first, second].into_iter().chain(chunks)) {
            *slice = IoSlice::new(chunk);
            count += 1;
        }
        stream.poll_write_vectored(cx, &slices[..count])
    } else {
        stream.poll_write(cx, first)
    };
    written.map(|result| match result {
        Ok(0) => Err(io::ErrorKind::WriteZero.into()),
        result => result,
    })
}
