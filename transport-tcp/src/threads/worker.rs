use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Buf, BytesMut};
use echosphere_driver::ready::{KeyWaker, Ready};
use echosphere_driver::settle::{Reactor, Settle, Settling};
use echosphere_driver::{AcceptErrors, Budgets};
use slab::Slab;
use tokio::io::AsyncWrite;
use tokio::net::TcpListener;
use tokio::sync::mpsc::{OwnedPermit, Sender, UnboundedReceiver};
use tokio_util::io::poll_read_buf;

use super::pipe::{PipeRequest, ThreadPipe, ThreadedStream};
use super::settle::SettleRequest;
use crate::stream::TcpStream;

/// Most bytes of one read.
const READ_BYTES: usize = 64 * 1024;

type AcceptFuture = Pin<Box<dyn Future<Output = Option<(Acceptor, Option<Accepted>)>>>>;

/// A listening socket, and the queue of accepted connections.
struct Acceptor {
    listener: TcpListener,
    to_driver: Sender<ThreadedStream>,
    errors: AcceptErrors,
}

/// A connection, and its room in the queue of the driver.
struct Accepted {
    stream: TcpStream,
    peer: SocketAddr,
    permit: OwnedPermit<ThreadedStream>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WorkerKey {
    Listener,
    /// A request of the driver to read what has arrived.
    SettleRequest,
    /// The pass under way is over.
    Pass,
    /// Everything that the pass woke has been handled.
    Passed,
    /// The socket in this slot.
    Socket(u32),
}

/// Owns the sockets of a thread, and moves bytes between them and the driver.
pub(super) struct Worker {
    accept: Option<AcceptFuture>,
    listener_waker: Waker,
    asked: UnboundedReceiver<SettleRequest>,
    asked_waker: Waker,
    /// The request under way, answered when everything that has arrived is read.
    answering: Option<(SettleRequest, Settling<WorkerKey>)>,
    settle: Arc<dyn Settle>,
    pass: Arc<KeyWaker<WorkerKey>>,
    passed: Arc<KeyWaker<WorkerKey>>,
    sockets: Slab<WorkerSocket>,
    budgets: Budgets,
    scratch: BytesMut,
    ready: Arc<Ready<WorkerKey>>,
    keys: VecDeque<(WorkerKey, Arc<KeyWaker<WorkerKey>>)>,
}

struct WorkerSocket {
    stream: TcpStream,
    pipe: Arc<ThreadPipe>,
    waker: Waker,
    /// Bytes of the driver that the socket has not accepted yet.
    output: BytesMut,
    reading: bool,
    /// Not read, as the pipe is full.
    held_back: bool,
}

impl Worker {
    pub(super) fn new(
        listener: TcpListener,
        to_driver: Sender<ThreadedStream>,
        asked: UnboundedReceiver<SettleRequest>,
        budgets: Budgets,
    ) -> Self {
        let accepting = Acceptor {
            listener,
            to_driver,
            errors: AcceptErrors::default(),
        };
        let ready = Arc::new(Ready::default());
        let listener_waker = Waker::from(ready.waker(WorkerKey::Listener));
        let asked_waker = Waker::from(ready.waker(WorkerKey::SettleRequest));
        listener_waker.wake_by_ref();
        asked_waker.wake_by_ref();
        Self {
            accept: Some(Box::pin(accepting.next())),
            listener_waker,
            asked,
            asked_waker,
            answering: None,
            settle: Arc::new(Reactor::default()),
            pass: ready.waker(WorkerKey::Pass),
            passed: ready.waker(WorkerKey::Passed),
            sockets: Slab::new(),
            budgets,
            scratch: BytesMut::new(),
            ready,
            keys: VecDeque::new(),
        }
    }

    /// Runs until the driver has dropped its listener and every connection.
    pub(super) async fn run(mut self) {
        // Turns have budgets of their own, as in the driver.
        tokio::task::unconstrained(poll_fn(|cx| self.turn(cx))).await;
    }

    fn turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.ready.take(&mut self.keys);
        for _ in 0..self.budgets.keys.max(1) {
            let Some((key, waker)) = self.keys.pop_front() else {
                break;
            };
            waker.rearm();
            let all_read = match key {
                WorkerKey::Listener => self.accept(),
                WorkerKey::Socket(slot) => self.socket_ready(slot as usize),
                WorkerKey::SettleRequest | WorkerKey::Pass | WorkerKey::Passed => {
                    self.settle_on(key);
                    continue;
                }
            };
            if let Some((_, settling)) = &mut self.answering {
                settling.saw(!all_read);
            }
        }
        if self.accept.is_none() && self.sockets.is_empty() {
            return Poll::Ready(());
        }
        if !self.ready.sleep(cx.waker()) || !self.keys.is_empty() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Handles a request of the driver to read what has arrived.
    fn settle_on(&mut self, key: WorkerKey) {
        if key == WorkerKey::SettleRequest {
            self.take_asked();
            return;
        }
        let Some((_, settling)) = &mut self.answering else {
            return;
        };
        if key == WorkerKey::Pass {
            settling.advance(&self.ready, &mut self.keys);
        } else if settling.passed(&self.ready, &mut self.keys) {
            self.answer();
        }
    }

    fn take_asked(&mut self) {
        if self.answering.is_some() {
            return;
        }
        if let Poll::Ready(Some(asked)) = self.asked.poll_recv(&mut Context::from_waker(&self.asked_waker)) {
            let (wakers, connections) = ((&self.pass, &self.passed), self.sockets.len());
            let (ready, keys) = (&self.ready, &mut self.keys);
            let rounds = self.budgets.rounds;
            let settling = Settling::begin(&self.settle, connections, rounds, wakers, ready, keys);
            self.answering = Some((asked, settling));
        }
    }

    fn answer(&mut self) {
        if let Some((asked, _)) = self.answering.take() {
            let all = !self.sockets.iter().any(|(_, socket)| socket.held_back);
            // A driver that has ended does not wait for the answer.
            let _ = asked.send(all);
        }
        self.asked_waker.wake_by_ref();
    }

    /// Accepts connections. `false` if there may be more to accept, or data to read from the accepted ones.
    fn accept(&mut self) -> bool {
        let mut any = false;
        for _ in 0..self.budgets.accepts.max(1) {
            let Some(accept) = &mut self.accept else {
                return true;
            };
            let Poll::Ready(next) = accept.as_mut().poll(&mut Context::from_waker(&self.listener_waker)) else {
                return !any;
            };
            any = true;
            let Some((accepting, accepted)) = next else {
                self.accept = None;
                return true;
            };
            self.accept = Some(Box::pin(accepting.next()));
            if let Some(Accepted { stream, peer, permit }) = accepted {
                let stream = self.insert(stream, peer);
                permit.send(stream);
            }
        }
        self.listener_waker.wake_by_ref();
        false
    }

    fn insert(&mut self, stream: TcpStream, peer: SocketAddr) -> ThreadedStream {
        let entry = self.sockets.vacant_entry();
        let waker = Waker::from(self.ready.waker(WorkerKey::Socket(entry.key() as u32)));
        // Data may have arrived, and no waker is registered with the socket yet.
        waker.wake_by_ref();
        let pipe = Arc::new(ThreadPipe::default());
        entry.insert(WorkerSocket {
            stream,
            pipe: Arc::clone(&pipe),
            waker: waker.clone(),
            output: BytesMut::new(),
            reading: true,
            held_back: false,
        });
        ThreadedStream::new(peer, pipe, waker)
    }

    /// Moves the bytes of a socket. `false` if there may be more to read.
    fn socket_ready(&mut self, slot: usize) -> bool {
        let Some(socket) = self.sockets.get_mut(slot) else {
            return true;
        };
        let waker = socket.waker.clone();
        let reads = self.budgets.reads.max(1);
        match socket.exchange(&mut Context::from_waker(&waker), &mut self.scratch, reads) {
            Ok(SocketStep::Wait) => {}
            Ok(SocketStep::Continue) => {
                waker.wake();
                return false;
            }
            Ok(SocketStep::Release) => {
                self.sockets.remove(slot);
            }
            Err(error) => {
                socket.pipe.fail(error.kind());
                self.sockets.remove(slot);
            }
        }
        true
    }
}

enum SocketStep {
    Wait,
    Continue,
    Release,
}

impl WorkerSocket {
    /// Writes what the driver has written, and reads at most `reads` times.
    fn exchange(&mut self, cx: &mut Context<'_>, scratch: &mut BytesMut, reads: usize) -> io::Result<SocketStep> {
        let wanted = self.write(cx)?;
        if wanted.release {
            return Ok(SocketStep::Release);
        }
        let mut room = wanted.input;
        for _ in 0..reads {
            self.held_back = self.reading && !room;
            if !(self.reading && room) {
                return Ok(SocketStep::Wait);
            }
            scratch.clear();
            scratch.reserve(READ_BYTES);
            match poll_read_buf(Pin::new(&mut self.stream), cx, scratch) {
                Poll::Pending => return Ok(SocketStep::Wait),
                Poll::Ready(Ok(0)) => {
                    self.reading = false;
                    self.pipe.end();
                }
                Poll::Ready(Ok(_)) => room = self.pipe.put(scratch),
                Poll::Ready(Err(error)) => return Err(error),
            }
        }
        Ok(SocketStep::Continue)
    }

    /// Writes the rest of the last time, then what the driver has written since. What it writes later wakes this socket again.
    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<PipeRequest> {
        let mut written = self.poll_write(cx)?.is_ready();
        let wanted = self.pipe.take(&mut self.output);
        written = written && self.poll_write(cx)?.is_ready();
        if written && wanted.shutdown && Pin::new(&mut self.stream).poll_shutdown(cx)?.is_ready() {
            self.pipe.shut_down();
        }
        Ok(wanted)
    }

    /// Ready when everything taken from the pipe is written.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.output.is_empty() {
            return Poll::Ready(Ok(()));
        }
        while !self.output.is_empty() {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, &self.output))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.output.advance(written),
            }
        }
        self.output = BytesMut::new();
        Poll::Ready(Ok(()))
    }
}

/// Ends the stream of the driver even if this thread panics.
impl Drop for WorkerSocket {
    fn drop(&mut self) {
        self.pipe.fail(io::ErrorKind::ConnectionAborted);
    }
}

impl Acceptor {
    /// Waits for the next connection; no connection after an error. `None` when the driver has dropped its listener.
    async fn next(mut self) -> Option<(Self, Option<Accepted>)> {
        let permit = self.to_driver.clone().reserve_owned().await.ok()?;
        let result = tokio::select! {
            biased;
            () = self.to_driver.closed() => return None,
            result = self.listener.accept() => result,
        };
        let result = result.and_then(|(stream, peer)| {
            stream.set_nodelay(true)?;
            Ok((TcpStream::new(stream), peer))
        });
        let accepted = match result {
            Ok((stream, peer)) => Some(Accepted { stream, peer, permit }),
            Err(error) => {
                self.errors.note(&error).await;
                None
            }
        };
        Some((self, accepted))
    }
}
