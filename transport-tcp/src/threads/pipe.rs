use std::io::{self, IoSlice};
use std::mem;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
#[cfg(not(echosphere_loom))]
use std::sync::{Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
#[cfg(echosphere_loom)]
use loom::sync::{Mutex, MutexGuard};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The socket is not read while this number of bytes waits for the driver. One read can exceed it.
const INPUT_BYTES: usize = if cfg!(echosphere_loom) { 2 } else { 64 * 1024 };
/// Most bytes from the driver that wait for the thread.
const OUTPUT_BYTES: usize = if cfg!(echosphere_loom) { 2 } else { 64 * 1024 };

/// The bytes of a connection on their way between its thread and the driver.
#[derive(Debug, Default)]
pub(super) struct ThreadPipe(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    input: BytesMut,
    output: BytesMut,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// The error that ends the connection, reported after the input is read.
    failed: Option<io::ErrorKind>,
    /// The peer has sent its last byte.
    ended: bool,
    /// The driver has written its last byte.
    shutdown: bool,
    /// The socket is shut down.
    shut_down: bool,
    /// The thread waits for room in the input.
    full: bool,
    /// The driver has dropped its end.
    released: bool,
}

/// What the driver requests of a socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct PipeRequest {
    /// Read it.
    pub(super) input: bool,
    /// Shut it down when everything taken is written.
    pub(super) shutdown: bool,
    /// Close it.
    pub(super) release: bool,
}

/// The end of the thread.
impl ThreadPipe {
    /// Moves the bytes to write to `output`, if that is empty, and returns what else the driver requests.
    pub(super) fn take(&self, output: &mut BytesMut) -> PipeRequest {
        let mut state = self.state();
        let mut writer = None;
        if output.is_empty() && !state.output.is_empty() {
            *output = mem::take(&mut state.output);
            if !state.shutdown {
                writer = state.writer.take();
            }
        }
        state.full = state.input.len() >= INPUT_BYTES;
        let request = PipeRequest {
            input: !state.full,
            shutdown: state.shutdown && !state.shut_down && state.output.is_empty(),
            release: state.released,
        };
        drop(state);
        wake(writer);
        request
    }

    /// Adds bytes that were read. `false`: read no more until woken.
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

    /// The socket failed or is closed.
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

/// A connection whose socket belongs to another thread.
#[derive(Debug)]
pub struct ThreadedStream {
    peer: SocketAddr,
    pipe: Arc<ThreadPipe>,
    /// Makes the thread handle the connection.
    thread: Waker,
}

impl ThreadedStream {
    pub(super) const fn new(peer: SocketAddr, pipe: Arc<ThreadPipe>, thread: Waker) -> Self {
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

    /// The thread sends everything without a flush.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Ready when everything is written to the socket and it is shut down.
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

/// The thread still writes what the socket accepts at once.
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

/// Every interleaving of a thread and the driver at the two ends of a pipe: `.ci/loom` runs these. A lost wake-up is a
/// deadlock, which loom reports.
#[cfg(all(test, echosphere_loom))]
mod tests {
    use std::collections::VecDeque;
    use std::future::poll_fn;

    use echosphere_driver::ready::{KeyWaker, Ready};
    use loom::future::block_on;
    use loom::thread;

    use super::*;

    const SENT: [u8; 3] = [1, 2, 3];
    /// What a thread puts at once. The second piece goes beyond what a pipe holds.
    const PIECES: [&[u8]; 3] = [&[1], &[2, 3], &[4]];

    /// A thread with one socket, which takes turns as a worker does.
    struct Thread {
        ready: Arc<Ready<()>>,
        pipe: Arc<ThreadPipe>,
    }

    impl Thread {
        /// Calls `exchange` once, and again whenever the driver wakes the thread, until it returns `true`.
        fn run(self, mut exchange: impl FnMut(&ThreadPipe) -> bool) {
            let mut keys: VecDeque<((), Arc<KeyWaker<()>>)> = VecDeque::new();
            let mut is_first = true;
            block_on(poll_fn(|cx: &mut Context<'_>| {
                self.ready.take(&mut keys);
                let mut is_over = mem::take(&mut is_first) && exchange(&self.pipe);
                while let Some((_, waker)) = keys.pop_front() {
                    waker.rearm();
                    is_over = is_over || exchange(&self.pipe);
                }
                if is_over {
                    return Poll::Ready(());
                }
                if !self.ready.sleep(cx.waker()) {
                    cx.waker().wake_by_ref();
                }
                Poll::Pending
            }));
        }
    }

    /// Runs the driver's end in this thread and the other in a thread of its own, in every order with up to three preemptions.
    fn model(driver: fn(ThreadedStream), exchange: fn() -> Box<dyn FnMut(&ThreadPipe) -> bool>) {
        let mut builder = loom::model::Builder::new();
        builder.preemption_bound = Some(3);
        builder.check(move || {
            let (ready, pipe) = (Arc::new(Ready::default()), Arc::new(ThreadPipe::default()));
            let waker = Waker::from(ready.waker(()));
            let stream = ThreadedStream::new(([127, 0, 0, 1], 1).into(), Arc::clone(&pipe), waker);
            let thread = thread::spawn(move || Thread { ready, pipe }.run(exchange()));
            driver(stream);
            thread.join().expect("the thread does not panic");
        });
    }

    /// The next byte; none at the end.
    fn read(stream: &mut ThreadedStream) -> io::Result<Vec<u8>> {
        let mut space = [0; 1];
        let mut buffer = ReadBuf::new(&mut space);
        block_on(poll_fn(|cx: &mut Context<'_>| {
            Pin::new(&mut *stream).poll_read(cx, &mut buffer)
        }))?;
        Ok(buffer.filled().to_vec())
    }

    fn write_all(stream: &mut ThreadedStream, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = block_on(poll_fn(|cx: &mut Context<'_>| {
                Pin::new(&mut *stream).poll_write(cx, bytes)
            }))?;
            bytes.advance(written);
        }
        Ok(())
    }

    fn shut_down(stream: &mut ThreadedStream) -> io::Result<()> {
        block_on(poll_fn(|cx: &mut Context<'_>| Pin::new(&mut *stream).poll_shutdown(cx)))
    }

    #[test]
    fn the_driver_reads_all_that_a_thread_puts_and_then_the_end() {
        model(
            |mut stream| {
                let mut received = Vec::new();
                loop {
                    let bytes = read(&mut stream).expect("the pipe has not failed");
                    if bytes.is_empty() {
                        break;
                    }
                    received.extend(bytes);
                }
                assert_eq!(received, PIECES.concat());
            },
            || {
                let (mut left, mut output) = (VecDeque::from(PIECES), BytesMut::new());
                Box::new(move |pipe| {
                    let mut has_room = pipe.take(&mut output).input;
                    while has_room {
                        let Some(piece) = left.pop_front() else {
                            pipe.end();
                            return true;
                        };
                        has_room = pipe.put(piece);
                    }
                    false
                })
            },
        );
    }

    #[test]
    fn a_thread_takes_all_that_the_driver_writes_and_then_shuts_down() {
        model(
            |mut stream| {
                write_all(&mut stream, &SENT).expect("the pipe has not failed");
                shut_down(&mut stream).expect("the pipe has not failed");
            },
            || {
                let mut taken = Vec::new();
                Box::new(move |pipe| {
                    let mut output = BytesMut::new();
                    let wanted = pipe.take(&mut output);
                    taken.extend_from_slice(&output);
                    if wanted.shutdown {
                        assert_eq!(taken, SENT);
                        pipe.shut_down();
                    }
                    wanted.shutdown
                })
            },
        );
    }

    #[test]
    fn a_driver_that_waits_to_read_or_to_shut_down_learns_that_the_socket_failed() {
        model(
            |mut stream| {
                let error = read(&mut stream).expect_err("nothing was put");
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
                shut_down(&mut stream).expect_err("the socket is gone");
            },
            || {
                Box::new(|pipe| {
                    pipe.fail(io::ErrorKind::ConnectionReset);
                    true
                })
            },
        );
        model(
            |mut stream| {
                let error = write_all(&mut stream, &SENT).and_then(|()| shut_down(&mut stream));
                assert_eq!(error.map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionReset));
            },
            || {
                Box::new(|pipe| {
                    pipe.fail(io::ErrorKind::ConnectionReset);
                    true
                })
            },
        );
    }

    #[test]
    fn a_thread_learns_that_the_driver_has_dropped_its_end_and_takes_what_it_wrote() {
        model(
            |mut stream| write_all(&mut stream, &SENT[..2]).expect("the pipe has not failed"),
            || {
                let mut taken = Vec::new();
                Box::new(move |pipe| {
                    let mut output = BytesMut::new();
                    let wanted = pipe.take(&mut output);
                    taken.extend_from_slice(&output);
                    assert!(!wanted.release || taken == SENT[..2], "{taken:?}");
                    wanted.release
                })
            },
        );
    }
}
