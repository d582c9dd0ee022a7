use std::io::{self, IoSlice};
use std::mem;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// With so many bytes that the driver has not read, the socket is not read on. One read may go beyond.
const INPUT_BYTES: usize = 64 * 1024;
/// Bytes from the driver that its thread has not taken yet.
const OUTPUT_BYTES: usize = 64 * 1024;

/// A connection's bytes on their way between its thread and the driver.
#[derive(Debug, Default)]
pub(super) struct Pipe(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    input: BytesMut,
    output: BytesMut,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// Why nothing more can be read or written, once the input is read.
    failed: Option<io::ErrorKind>,
    /// The peer has sent its last byte.
    ended: bool,
    /// The driver has written its last byte.
    shutdown: bool,
    /// The socket has.
    shut_down: bool,
    /// The thread waits for room in the input.
    full: bool,
    /// The driver has dropped its end.
    released: bool,
}

/// What the driver wants of a socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// That it be read.
    pub(super) input: bool,
    /// That it be shut down once what was taken is written.
    pub(super) shutdown: bool,
    /// That it be closed.
    pub(super) release: bool,
}

/// The thread's end.
impl Pipe {
    /// Moves what is to be written to `output`, if that is empty, and says what else is wanted.
    pub(super) fn take(&self, output: &mut BytesMut) -> Wanted {
        let mut state = self.state();
        let mut writer = None;
        if output.is_empty() && !state.output.is_empty() {
            *output = mem::take(&mut state.output);
            if !state.shutdown {
                writer = state.writer.take();
            }
        }
        state.full = state.input.len() >= INPUT_BYTES;
        let wanted = Wanted {
            input: !state.full,
            shutdown: state.shutdown && !state.shut_down && state.output.is_empty(),
            release: state.released,
        };
        drop(state);
        wake(writer);
        wanted
    }

    /// Adds what was read. `false`: read no more until woken.
    pub(super) fn put(&self, input: &[u8]) -> bool {
        let mut state = self.state();
        state.input.extend_from_slice(input);
        state.full = state.input.len() >= INPUT_BYTES;
        let (reader, room) = (state.reader.take(), !state.full);
        drop(state);
        wake(reader);
        room
    }

    /// The peer has sent its last byte.
    pub(super) fn end(&self) {
        let mut state = self.state();
        state.ended = true;
        let reader = state.reader.take();
        drop(state);
        wake(reader);
    }

    /// The socket is shut down.
    pub(super) fn shut_down(&self) {
        let mut state = self.state();
        state.shut_down = true;
        let writer = state.writer.take();
        drop(state);
        wake(writer);
    }

    /// The socket is gone.
    pub(super) fn fail(&self, why: io::ErrorKind) {
        let mut state = self.state();
        state.failed.get_or_insert(why);
        state.output = BytesMut::new();
        let wakers = [state.reader.take(), state.writer.take()];
        drop(state);
        wakers.into_iter().for_each(wake);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

fn wait(waiting: &mut Option<Waker>, cx: &Context<'_>) {
    match waiting {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *waiting = Some(cx.waker().clone()),
    }
}

/// A connection whose socket is another thread's.
#[derive(Debug)]
pub struct ThreadedStream {
    peer: SocketAddr,
    pipe: Arc<Pipe>,
    /// Has the thread look at the connection.
    thread: Waker,
}

impl ThreadedStream {
    pub(super) const fn new(peer: SocketAddr, pipe: Arc<Pipe>, thread: Waker) -> Self {
        Self { peer, pipe, thread }
    }

    pub(super) const fn peer(&self) -> SocketAddr {
        self.peer
    }
}

impl AsyncRead for ThreadedStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let mut guard = self.pipe.state();
        let state = &mut *guard;
        if state.input.is_empty() {
            return if let Some(why) = state.failed {
                Poll::Ready(Err(why.into()))
            } else if state.ended {
                Poll::Ready(Ok(()))
            } else {
                wait(&mut state.reader, cx);
                Poll::Pending
            };
        }
        let count = state.input.len().min(buf.remaining());
        buf.put_slice(&state.input[..count]);
        state.input.advance(count);
        if state.input.is_empty() {
            state.input = BytesMut::new();
        }
        let has_room = state.full && state.input.len() < INPUT_BYTES;
        state.full &= !has_room;
        drop(guard);
        if has_room {
            self.thread.wake_by_ref();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for ThreadedStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.pipe.state();
        if let Some(why) = state.failed {
            return Poll::Ready(Err(why.into()));
        }
        if state.shutdown {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut room = OUTPUT_BYTES - state.output.len();
        if room == 0 {
            wait(&mut state.writer, cx);
            return Poll::Pending;
        }
        let before = room;
        for buf in bufs {
            let count = buf.len().min(room);
            state.output.extend_from_slice(&buf[..count]);
            room -= count;
        }
        drop(state);
        self.thread.wake_by_ref();
        Poll::Ready(Ok(before - room))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// What was written is on its way.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ready once the socket has taken everything, and is shut down.
    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.pipe.state();
        if state.shut_down {
            return Poll::Ready(Ok(()));
        }
        if let Some(why) = state.failed {
            return Poll::Ready(Err(why.into()));
        }
        state.shutdown = true;
        wait(&mut state.writer, cx);
        drop(state);
        self.thread.wake_by_ref();
        Poll::Pending
    }
}

/// What the socket takes at once is written still.
impl Drop for ThreadedStream {
    fn drop(&mut self) {
        let mut state = self.pipe.state();
        state.released = true;
        (state.reader, state.writer) = (None, None);
        state.input = BytesMut::new();
        drop(state);
        self.thread.wake_by_ref();
    }
}
