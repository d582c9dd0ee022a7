use std::io;
use std::mem::{self, MaybeUninit};
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use echosphere_driver::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use tungstenite::protocol::Role;

use crate::close::Closing;
use crate::incoming::{End, Incoming, Output};
use crate::outgoing::{Outgoing, PIECE};

/// Most bytes of one read that are decoded at once.
const READ: usize = 16 * 1024;
/// Most reads of one poll that decode to nothing, such as empty fragments.
const EMPTY_READS: usize = 64;
/// How long a connection that is refused stays, so that the peer reads the reason.
const LINGER: Duration = Duration::from_secs(1);

/// A WebSocket connection as a stream of bytes: the messages as lines or length frames (PROTOCOL.md, "WebSocket").
#[derive(Debug)]
pub struct WsStream<S: Stream> {
    inner: S,
    incoming: Incoming,
    outgoing: Outgoing,
    /// Received bytes that are not decoded.
    received: Vec<u8>,
    decoded: Buffer,
    encoded: Buffer,
    /// Whether `inner` has bytes to flush that the reader has written.
    unflushed: bool,
    /// Whether the writer waits for `inner`. The reader must not take its place.
    writer_waits: bool,
    closing: CloseState,
    refusal: Option<Box<Refusal>>,
}

/// How far this side is with its Close frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CloseState {
    Open,
    /// It is encoded.
    Queued,
    /// It is written.
    Written,
}

/// A connection whose peer has broken a rule.
#[derive(Debug)]
struct Refusal {
    reason: Closing,
    until: Pin<Box<Sleep>>,
}

/// Bytes that wait. Uses no memory when it is empty.
#[derive(Debug, Default)]
struct Buffer {
    bytes: Vec<u8>,
    taken: usize,
}

impl Buffer {
    fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }

    fn advance(&mut self, count: usize) {
        self.taken += count;
        if self.taken == self.bytes.len() {
            *self = Self::default();
        }
    }
}

impl<S: Stream> WsStream<S> {
    /// `received` are the bytes that followed the upgrade.
    pub(crate) fn new(inner: S, role: Role, max_message: u32, received: Vec<u8>) -> Self {
        Self {
            inner,
            incoming: Incoming::new(role, max_message),
            outgoing: Outgoing::new(role),
            received,
            decoded: Buffer::default(),
            encoded: Buffer::default(),
            unflushed: false,
            writer_waits: false,
            closing: CloseState::Open,
            refusal: None,
        }
    }

    /// Reads and decodes once. Returns whether the stream has ended.
    fn poll_decode(
        &mut self,
        cx: &mut Context<'_>,
        reader: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<Result<bool, Closing>>> {
        if !self.received.is_empty() {
            let mut received = mem::take(&mut self.received);
            return Poll::Ready(Ok(self.decode(&mut received, reader).map(|()| false)));
        }
        let before = reader.filled().len();
        if self.incoming.passes() >= reader.remaining() as u64 {
            ready!(Pin::new(&mut self.inner).poll_read(cx, reader))?;
            let read = &mut reader.filled_mut()[before..];
            return Poll::Ready(Ok(self.incoming.pass(read).map(|()| read.is_empty())));
        }
        let mut space = [const { MaybeUninit::uninit() }; READ];
        let mut input = ReadBuf::uninit(&mut space);
        ready!(Pin::new(&mut self.inner).poll_read(cx, &mut input))?;
        let is_end = input.filled().is_empty();
        Poll::Ready(Ok(self.decode(input.filled_mut(), reader).map(|()| is_end)))
    }

    fn decode(&mut self, input: &mut [u8], reader: &mut ReadBuf<'_>) -> Result<(), Closing> {
        let mut rest = mem::take(&mut self.decoded.bytes);
        let output = &mut Output {
            reader,
            rest: &mut rest,
        };
        let decoded = self.incoming.decode(input, output);
        self.decoded.bytes = rest;
        decoded
    }

    /// Appends a Pong that is due, if a frame can begin.
    fn encode_pong(&mut self) {
        if self.closing == CloseState::Open
            && self.outgoing.is_between_frames()
            && let Some(mut payload) = self.incoming.take_pong()
        {
            self.outgoing.pong(&mut payload, &mut self.encoded.bytes);
            self.unflushed = true;
        }
    }

    /// Writes everything that is encoded.
    fn poll_write_encoded(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.encoded.rest().is_empty() {
            let written = ready!(Pin::new(&mut self.inner).poll_write(cx, self.encoded.rest()))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.encoded.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush_encoded(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_write_encoded(cx))?;
        ready!(Pin::new(&mut self.inner).poll_flush(cx))?;
        self.unflushed = false;
        Poll::Ready(Ok(()))
    }

    /// Answers Pings while reading. A writer that waits does it instead.
    fn answer_pings(&mut self, cx: &mut Context<'_>) {
        if !self.incoming.owes_pong() && !self.unflushed || self.writer_waits {
            return;
        }
        self.encode_pong();
        if self.unflushed {
            // Reading or writing returns the error, too.
            let _ = self.poll_flush_encoded(cx);
        }
    }

    /// Sends the reason of a refusal, and waits until the peer closes or the time is over. Then returns the error.
    fn poll_refuse(&mut self, cx: &mut Context<'_>, mut refusal: Box<Refusal>) -> Poll<io::Error> {
        let error = io::Error::new(io::ErrorKind::InvalidData, refusal.reason.reason.clone());
        let is_over = refusal.until.as_mut().poll(cx).is_ready();
        self.refusal = Some(refusal);
        if is_over || ready!(self.poll_close(cx)).is_err() {
            return Poll::Ready(error);
        }
        let mut space = [const { MaybeUninit::uninit() }; READ];
        loop {
            let mut input = ReadBuf::uninit(&mut space);
            match ready!(Pin::new(&mut self.inner).poll_read(cx, &mut input)) {
                Ok(()) if !input.filled().is_empty() => {}
                _ => return Poll::Ready(error),
            }
        }
    }

    /// Sends the Close frame and ends the connection after it. A client first waits for the Close frame of the server (RFC 6455,
    /// section 7.1.1), and [`WsStream::end_after_close`] ends the connection.
    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.closing == CloseState::Open {
            let refusal = self.refusal.as_ref().map(|refusal| refusal.reason.clone());
            if self.outgoing.is_between_messages() || refusal.is_some() && self.outgoing.is_between_frames() {
                self.encode_pong();
                let reason = refusal.or_else(|| self.incoming.end().map(|_| Closing::normal()));
                self.outgoing.close(reason, &mut self.encoded.bytes);
            }
            self.closing = CloseState::Queued;
        }
        if self.closing == CloseState::Queued {
            ready!(self.poll_flush_encoded(cx))?;
            self.closing = CloseState::Written;
        }
        if self.outgoing.role() == Role::Server || self.refusal.is_some() || self.incoming.end().is_some() {
            ready!(Pin::new(&mut self.inner).poll_shutdown(cx))?;
        }
        Poll::Ready(Ok(()))
    }

    /// Ends the connection when both Close frames are sent.
    fn end_after_close(&mut self, cx: &mut Context<'_>) {
        if self.closing == CloseState::Written {
            // Both sides have said everything: an error changes nothing.
            let _ = Pin::new(&mut self.inner).poll_shutdown(cx);
        }
    }

    /// Notes whether the writer waits.
    fn waits<T>(&mut self, poll: Poll<T>) -> Poll<T> {
        self.writer_waits = poll.is_pending();
        poll
    }

    fn poll_encode(&mut self, cx: &mut Context<'_>, input: &[u8]) -> Poll<io::Result<usize>> {
        let mut taken = 0;
        while taken < input.len() {
            let rest = &input[taken..];
            let passes = self.outgoing.passes().min(rest.len());
            if self.encoded.bytes.len() >= PIECE || passes >= PIECE {
                match self.poll_write_encoded(cx)? {
                    Poll::Ready(()) => {}
                    Poll::Pending if taken > 0 => break,
                    Poll::Pending => return Poll::Pending,
                }
            }
            if passes >= PIECE {
                let Poll::Ready(written) = Pin::new(&mut self.inner).poll_write(cx, &rest[..passes])? else {
                    if taken > 0 {
                        break;
                    }
                    return Poll::Pending;
                };
                if written == 0 {
                    break;
                }
                self.outgoing.passed(&rest[..written]);
                taken += written;
            } else {
                let encoded = self.outgoing.encode(rest, &mut self.encoded.bytes);
                taken += encoded.map_err(|_| {
                    io::Error::new(io::ErrorKind::InvalidData, "a line that began as text is not UTF-8")
                })?;
            }
            self.encode_pong();
        }
        Poll::Ready(Ok(taken))
    }
}

impl<S: Stream> Drop for WsStream<S> {
    fn drop(&mut self) {
        // A client need not wait for the Close frame of the server. Without this, the stream below would abort.
        self.end_after_close(&mut Context::from_waker(Waker::noop()));
    }
}

impl<S: Stream> AsyncRead for WsStream<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, reader: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = reader.filled().len();
        this.answer_pings(cx);
        for _ in 0..EMPTY_READS {
            let here = this.decoded.rest().len().min(reader.remaining());
            reader.put_slice(&this.decoded.rest()[..here]);
            this.decoded.advance(here);
            if reader.filled().len() > before || reader.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            if let Some(refusal) = this.refusal.take() {
                return this.poll_refuse(cx, refusal).map(Err);
            }
            match this.incoming.end() {
                Some(End::Clean) => {
                    this.end_after_close(cx);
                    return Poll::Ready(Ok(()));
                }
                Some(End::Torn) => return Poll::Ready(Err(torn())),
                None => {}
            }
            match ready!(this.poll_decode(cx, reader))? {
                Ok(false) => {}
                Ok(true) => return Poll::Ready(Err(torn())),
                Err(reason) => {
                    let until = Box::pin(sleep(LINGER));
                    // After what was decoded before.
                    this.refusal = Some(Box::new(Refusal { reason, until }));
                    continue;
                }
            }
            this.answer_pings(cx);
        }
        if reader.filled().len() > before {
            return Poll::Ready(Ok(()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: Stream> AsyncWrite for WsStream<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, input: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.refusal.is_some() {
            // The peer ignores it. Reading returns the error.
            return Poll::Ready(Ok(input.len()));
        }
        if this.closing != CloseState::Open {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        this.encode_pong();
        let written = this.poll_encode(cx, input);
        this.waits(written)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.refusal.is_some() {
            return Poll::Ready(Ok(()));
        }
        if this.outgoing.flush(&mut this.encoded.bytes).is_err() {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        this.encode_pong();
        let flushed = this.poll_flush_encoded(cx);
        this.waits(flushed)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let closed = this.poll_close(cx);
        this.waits(closed)
    }
}

fn torn() -> io::Error {
    io::Error::new(
        io::ErrorKind::UnexpectedEof,
        "the connection ended without a Close frame",
    )
}
