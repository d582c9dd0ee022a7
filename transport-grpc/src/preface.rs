use std::io;

use bytes::{BufMut, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The first bytes of a client (RFC 9113, section 3.4).
const MAGIC: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FRAME_HEADER: usize = 9;
/// The type of the frame that must follow.
const SETTINGS: u8 = 4;
/// The answer to a peer of another protocol: an empty SETTINGS frame, by which it can detect HTTP/2, and GOAWAY with
/// PROTOCOL_ERROR.
pub(crate) const REFUSAL: &[u8] = b"\0\0\0\x04\0\0\0\0\0\0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01";
/// The longest frame allowed before the server's settings arrive.
const MAX_FRAME: usize = 16_384;

/// Reads a client's connection preface: the magic and its SETTINGS frame. Returns the bytes.
///
/// # Errors
///
/// `InvalidData` at the first byte that no preface has, `UnexpectedEof` if the stream ends too early, or those of the stream.
pub(crate) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<BytesMut> {
    let mut read = BytesMut::new();
    loop {
        let missing = missing(&read)?;
        if missing == 0 {
            return Ok(read);
        }
        if stream.read_buf(&mut (&mut read).limit(missing)).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// How many bytes must follow `read`, as far as that is known.
fn missing(read: &[u8]) -> io::Result<usize> {
    if !read.iter().zip(MAGIC).all(|(byte, expected)| byte == expected) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the peer does not speak HTTP/2",
        ));
    }
    let start = MAGIC.len() + FRAME_HEADER;
    let Some(&[a, b, c, kind]) = read.get(MAGIC.len()..start).and_then(|header| header.first_chunk()) else {
        return Ok(start - read.len());
    };
    let length = u32::from_be_bytes([0, a, b, c]) as usize;
    if kind != SETTINGS || length > MAX_FRAME {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the peer's first frame is not SETTINGS",
        ));
    }
    Ok(start + length - read.len())
}
