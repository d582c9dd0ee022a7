use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use http_body::{Body as _, Frame};
use hyper::client::conn::http2::SendRequest;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic::{Code, Status};

/// The most bytes that wait between a call and its HTTP/2 connection. More wait in the outbox of the driver, which has bounds
/// of its own.
const PIPE_BYTES: usize = 16 * 1024;
/// The most bytes of one DATA frame.
const FRAME_BYTES: usize = 8 * 1024;
/// The name of the transport in logs.
pub(crate) const TRANSPORT: &str = "grpc";
/// The content-type of gRPC, or its beginning.
pub(crate) const GRPC: &str = "application/grpc";
/// The length of a message's header: a compressed-flag and a length.
pub(crate) const HEADER: usize = 5;
/// Such a message is an INTERNAL error by gRPC's "Compression".
const COMPRESSED: &str = "a message has its compressed-flag set, but grpc-encoding names no compression";

/// The HTTP/2 connection of a call. Dropping it closes the socket.
#[derive(Debug)]
pub(crate) struct ClientConnection {
    _requests: SendRequest<Body>,
    _running: AbortOnDropHandle<()>,
}

impl ClientConnection {
    /// `running` is the task that sends `requests`.
    pub(crate) const fn new(requests: SendRequest<Body>, running: AbortOnDropHandle<()>) -> Self {
        Self {
            _requests: requests,
            _running: running,
        }
    }
}

/// A call as a stream of bytes: its length-prefixed messages.
#[derive(Debug)]
pub struct GrpcStream {
    incoming: Body,
    unread: Bytes,
    messages: MessageBoundaries,
    outgoing: DuplexStream,
    ending: FinalStatus,
    side: CallEnd,
}

/// The end of a call that this is.
#[derive(Debug)]
enum CallEnd {
    /// The server's end.
    Server,
    /// The client's end, with the connection of the call.
    Client { _connection: ClientConnection },
}

/// The body of a request or response: the bytes that the driver writes.
struct OutgoingBody {
    pipe: DuplexStream,
    ending: FinalStatus,
    is_server: bool,
    is_over: bool,
}

/// The driver's end of the body that it writes.
pub(crate) struct CallPipe {
    driver: DuplexStream,
    ending: FinalStatus,
}

/// The status of a call, once it is known. If the pipe ends without one, the call was broken off.
type FinalStatus = Arc<OnceLock<Status>>;

impl CallPipe {
    /// The driver's end, and the body that yields what the driver writes.
    pub(crate) fn new(is_server: bool) -> (Self, Body) {
        let (driver, pipe) = tokio::io::duplex(PIPE_BYTES);
        let ending = FinalStatus::default();
        let outgoing = OutgoingBody {
            pipe,
            ending: Arc::clone(&ending),
            is_server,
            is_over: false,
        };
        (Self { driver, ending }, Body::new(outgoing))
    }
}

impl GrpcStream {
    /// The server's end of a call. It reads `incoming` and writes to `pipe`.
    pub(crate) fn accepted(incoming: Body, pipe: CallPipe) -> Self {
        Self::new(incoming, pipe, CallEnd::Server)
    }

    /// The client's end of a call on `connection`.
    pub(crate) fn dialled(incoming: Body, pipe: CallPipe, connection: ClientConnection) -> Self {
        Self::new(
            incoming,
            pipe,
            CallEnd::Client {
                _connection: connection,
            },
        )
    }

    fn new(incoming: Body, pipe: CallPipe, side: CallEnd) -> Self {
        Self {
            incoming,
            unread: Bytes::new(),
            messages: MessageBoundaries::default(),
            outgoing: pipe.driver,
            ending: pipe.ending,
            side,
        }
    }

    const fn is_client(&self) -> bool {
        matches!(self.side, CallEnd::Client { .. })
    }
}

impl AsyncRead for GrpcStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(Pin::new(&mut self.incoming).poll_frame(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(Err(status)) => return Poll::Ready(Err(broken(&status))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => {
                        if !self.messages.are_plain(&data) {
                            let status = Status::internal(COMPRESSED);
                            let error = broken(&status);
                            // The call has no other status yet: it is still read.
                            let _ = self.ending.set(status);
                            return Poll::Ready(Err(error));
                        }
                        self.unread = data;
                    }
                    Err(frame) => check(frame.trailers_ref())?,
                },
            }
        }
        let length = self.unread.len().min(buffer.remaining());
        buffer.put_slice(&self.unread[..length]);
        self.unread.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for GrpcStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match ready!(Pin::new(&mut self.outgoing).poll_write(cx, bytes)) {
            // The server has ended the call and reads no more. Its answer is still to be read.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe && self.is_client() => Poll::Ready(Ok(bytes.len())),
            written => Poll::Ready(written),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.outgoing).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = self.ending.set(Status::ok(""));
        Pin::new(&mut self.outgoing).poll_shutdown(cx)
    }
}

impl http_body::Body for OutgoingBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        // On the stack, so that a silent call holds no buffer.
        let mut space = [MaybeUninit::uninit(); FRAME_BYTES];
        let mut read = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.pipe).poll_read(cx, &mut read)).map_err(|error| Status::from_error(error.into()))?;
        if !read.filled().is_empty() {
            let data = Bytes::copy_from_slice(read.filled());
            return Poll::Ready(Some(Ok(Frame::data(data))));
        }
        self.is_over = true;
        let ending = self.ending.get();
        Poll::Ready(match (ending, self.is_server) {
            (Some(status), true) => Some(trailers(status)),
            (None, true) => Some(trailers(&Status::aborted("the call was broken off"))),
            (Some(status), false) if status.code() == Code::Ok => None,
            (_, false) => Some(Err(Status::cancelled("the call was broken off"))),
        })
    }
}

/// The position of the bytes of a call within its messages.
#[derive(Debug, Default)]
struct MessageBoundaries {
    /// Bytes read of the next message's header.
    header: usize,
    /// The length in the header; then the bytes that are missing of the message.
    length: usize,
}

impl MessageBoundaries {
    /// Whether the messages in `bytes`, which come next, are uncompressed.
    fn are_plain(&mut self, mut bytes: &[u8]) -> bool {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.header == HEADER {
                let skipped = self.length.min(bytes.len());
                self.length -= skipped;
                bytes = &bytes[skipped..];
            } else {
                if self.header == 0 && byte != 0 {
                    return false;
                }
                self.header += 1;
                self.length = self.length << 8 | usize::from(byte);
                bytes = rest;
            }
            if self.header == HEADER && self.length == 0 {
                self.header = 0;
            }
        }
        true
    }
}

fn trailers(status: &Status) -> Result<Frame<Bytes>, Status> {
    let mut headers = HeaderMap::new();
    status.add_header(&mut headers)?;
    Ok(Frame::trailers(headers))
}

/// Whether a request or response with these headers is gRPC.
pub(crate) fn is_grpc(headers: &HeaderMap) -> bool {
    let content_type = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
    content_type.is_some_and(|content| content.starts_with(GRPC.as_bytes()))
}

/// An error if these headers or trailers have a status other than OK.
pub(crate) fn check(headers: Option<&HeaderMap>) -> io::Result<()> {
    match headers.and_then(Status::from_header_map) {
        Some(status) if status.code() != Code::Ok => Err(broken(&status)),
        _ => Ok(()),
    }
}

fn broken(status: &Status) -> io::Error {
    let kind = match status.code() {
        Code::Unavailable => io::ErrorKind::ResourceBusy,
        Code::Unimplemented => io::ErrorKind::InvalidData,
        _ => io::ErrorKind::ConnectionReset,
    };
    io::Error::new(
        kind,
        format!("the call ended with status {}: {}", status.code(), status.message()),
    )
}
