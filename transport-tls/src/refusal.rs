//! The end of connections whose handshake failed, and the answer to peers that do not speak TLS.

use std::io;
use std::time::Duration;

use echosphere_core::wire::{ErrorCode, WireError};
use echosphere_driver::{Stream, farewell};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

/// How long a peer may take to finish its first line, and then to read the answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// Most bytes of a first line. A request line of HTTP rarely has more.
const MAX_LINE: usize = 1024;

/// Answers a peer that began with `first` instead of a TLS record, and closes the connection.
///
/// The answer is a line in both framings: the transport does not know the protocol, and every client accepts an error in lines
/// from a server (PROTOCOL.md, "Framing").
pub(crate) async fn refuse_plain(mut stream: impl Stream, mut first: Vec<u8>) -> io::Error {
    // One byte does not show a request of HTTP.
    if first.first() != Some(&0) {
        // What has arrived by then decides.
        let _ = timeout(PATIENCE, read_line(&mut stream, &mut first)).await;
    }
    let line = WireError::from(ErrorCode::TlsRequired).to_line();
    let answer = if is_http(&first) {
        let length = line.len();
        format!("HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{line}")
    } else {
        line
    };
    end(stream, answer.as_bytes()).await;
    io::Error::new(io::ErrorKind::InvalidData, "the peer does not speak TLS")
}

/// Sends `last`, then closes the connection.
pub(crate) async fn end(mut stream: impl Stream, last: &[u8]) {
    farewell(&mut stream, last, PATIENCE).await;
}

async fn read_line(stream: &mut impl Stream, line: &mut Vec<u8>) -> io::Result<()> {
    while !line.contains(&b'\n') && line.len() < MAX_LINE {
        if stream.read_buf(line).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// Whether the first line is a request of HTTP (`GET / HTTP/1.1`), or the beginning of HTTP/2.
fn is_http(bytes: &[u8]) -> bool {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let version = line.rsplit(|byte| *byte == b' ').next().unwrap_or_default();
    version.starts_with(b"HTTP/")
}
