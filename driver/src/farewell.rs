//! The last bytes to a peer that is refused.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use crate::net::Stream;

/// Most bytes that are discarded while the peer reads its answer.
const MAX_DISCARDED: usize = 256 * 1024;

/// Sends `last` to a peer whose connection could not be negotiated, ends this side, and discards what the peer still sends until
/// it ends its side. Closing earlier could reset the connection, and the peer could lose the answer. Gives up after the time
/// `within`, or after 256 KiB.
///
/// For transports: it is part of a negotiation.
pub async fn farewell(stream: &mut impl Stream, last: &[u8], within: Duration) {
    // A peer that is gone or slow does not get the answer.
    let _ = timeout(within, send_and_discard(stream, last)).await;
}

async fn send_and_discard(stream: &mut impl Stream, last: &[u8]) -> io::Result<()> {
    stream.write_all(last).await?;
    stream.flush().await?;
    stream.shutdown().await?;
    let mut buffer = [0; 512];
    let mut discarded = 0;
    while discarded < MAX_DISCARDED {
        match stream.read(&mut buffer).await? {
            0 => break,
            read => discarded += read,
        }
    }
    Ok(())
}
