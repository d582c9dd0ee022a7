//! A TCP listener whose sockets belong to IO threads.
//!
//! Each thread has its own table of file descriptors, so that each can hold as many connections as a process can otherwise,
//! and its own listening socket at the same address. The bytes of each connection go through a [`pipe`] between its thread and
//! the driver. The threads contain no protocol: for the driver, this is a transport like any other.
//!
//! | module | what it holds |
//! |---|---|
//! | `pipe` | the bytes of a connection between its thread and the driver, and the stream at the driver's end |
//! | `settle` | makes the threads read what has arrived, before a deadline of the driver expires |
//! | `table` | the descriptor table of a thread, and the restrictions that follow from it |
//! | `worker` | the future that a thread runs: it owns the sockets; each poll is one turn |

mod pipe;
mod settle;
mod table;
mod worker;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::thread;

use async_trait::async_trait;
use echosphere_driver::settle::Settle;
use echosphere_driver::{Budgets, Incoming, Listener, Peer};
use tokio::net::TcpSocket;
use tokio::runtime::{Builder, Handle, Id, Runtime};
use tokio::sync::mpsc;

pub use self::pipe::ThreadedStream;
use self::settle::{SettleRequest, SettleThreads};
use self::worker::Worker;
use crate::net::{BACKLOG, TRANSPORT, socket_for};

/// Accepted connections that can wait for the driver's next turn. More wait in the kernel.
const QUEUED_CONNECTIONS: usize = 1024;

/// Listens on a TCP port with several threads, each of which can have as many files open as a process otherwise can.
///
/// Up to 256 KiB of each connection can be buffered between its socket and the driver; an idle connection has no buffer.
/// Dropping the listener stops accepting. Each thread ends when its last connection has ended.
#[derive(Debug)]
pub struct ThreadedListener {
    addr: SocketAddr,
    connected: mpsc::Receiver<ThreadedStream>,
    threads: Vec<mpsc::UnboundedSender<SettleRequest>>,
    runtime: Id,
}

impl ThreadedListener {
    /// Binds to `addr` and starts the threads; port 0 chooses a free port. Call it in the tokio runtime in which the driver will
    /// run: a thread with its own descriptors can only wake runtimes that existed before it.
    ///
    /// # Errors
    ///
    /// If the address is in use or does not belong to this host, or if a thread cannot be started or cannot get its own
    /// descriptors.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn bind(addr: SocketAddr, threads: NonZeroUsize) -> io::Result<Self> {
        Self::bind_within(addr, threads, Budgets::default())
    }

    /// Like [`ThreadedListener::bind`], with limits of one turn of each thread. Threads take no requests.
    ///
    /// # Errors
    ///
    /// As [`ThreadedListener::bind`].
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn bind_within(addr: SocketAddr, threads: NonZeroUsize, budgets: Budgets) -> io::Result<Self> {
        let runtime = Handle::current().id();
        if addr.port() != 0 {
            // The threads share the address, so their sockets would not notice that another server has it. This one does.
            let alone = socket_for(addr)?;
            alone.set_reuseaddr(true)?;
            alone.bind(addr)?;
        }
        let runtimes: Vec<Runtime> = (0..threads.get())
            .map(|_| Builder::new_current_thread().enable_io().enable_time().build())
            .collect::<io::Result<_>>()?;
        let (threads, asked): (_, Vec<_>) = runtimes.iter().map(|_| mpsc::unbounded_channel()).unzip();
        let (to_driver, connected) = mpsc::channel(QUEUED_CONNECTIONS);
        let (bound, binding) = sync_channel(1);
        thread::Builder::new()
            .name("io".to_owned())
            .spawn(move || supervise(&runtimes, asked, addr, budgets, &to_driver, &bound))?;
        let addr = binding.recv().map_err(|_| ended())??;
        Ok(Self {
            addr,
            connected,
            threads,
            runtime,
        })
    }

    /// The address it listens on.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

/// # Panics
///
/// `accept` panics in another runtime than that of [`ThreadedListener::bind`].
#[async_trait]
impl Listener for ThreadedListener {
    type Stream = ThreadedStream;

    async fn accept(&mut self) -> io::Result<Incoming<ThreadedStream>> {
        assert_eq!(
            Handle::current().id(),
            self.runtime,
            "the driver must run where its listener was bound"
        );
        let stream = self.connected.recv().await.ok_or_else(ended)?;
        Ok(Incoming::ready(Peer::new(TRANSPORT, Some(stream.peer())), stream))
    }

    fn settle(&self) -> Arc<dyn Settle> {
        Arc::new(SettleThreads(self.threads.clone()))
    }
}

/// Starts the threads, reports their address, and waits until they have ended. The descriptors of the runtimes are in the
/// descriptor table of the process, and must be closed there.
fn supervise(
    runtimes: &[Runtime],
    asked: Vec<mpsc::UnboundedReceiver<SettleRequest>>,
    mut addr: SocketAddr,
    budgets: Budgets,
    to_driver: &mpsc::Sender<ThreadedStream>,
    bound: &SyncSender<io::Result<SocketAddr>>,
) {
    thread::scope(|scope| {
        let mut result = Ok(addr);
        for (at, (runtime, asked)) in runtimes.iter().zip(asked).enumerate() {
            let (report, reported) = sync_channel(1);
            let to_driver = to_driver.clone();
            let started = thread::Builder::new()
                .name(format!("io {at}"))
                .spawn_scoped(scope, move || serve(runtime, asked, addr, budgets, to_driver, &report));
            result = started.and_then(|_| reported.recv().map_err(|_| ended())?);
            match result {
                Ok(bound_to) => addr = bound_to,
                Err(_) => break,
            }
        }
        // If the receiver is gone, so is the listener, and the threads end.
        let _ = bound.send(result);
    });
}

/// Runs one thread.
fn serve(
    runtime: &Runtime,
    asked: mpsc::UnboundedReceiver<SettleRequest>,
    addr: SocketAddr,
    budgets: Budgets,
    to_driver: mpsc::Sender<ThreadedStream>,
    report: &SyncSender<io::Result<SocketAddr>>,
) {
    let _entered = runtime.enter();
    let listener = table::unshare_descriptors().and_then(|()| listen(addr));
    match listener.and_then(|listener| Ok((listener.local_addr()?, listener))) {
        Ok((addr, listener)) => {
            // The supervisor waits for this report.
            let _ = report.send(Ok(addr));
            runtime.block_on(Worker::new(listener, to_driver, asked, budgets).run());
        }
        Err(error) => {
            let _ = report.send(Err(error));
        }
    }
}

fn listen(addr: SocketAddr) -> io::Result<tokio::net::TcpListener> {
    let socket: TcpSocket = socket_for(addr)?;
    socket.set_reuseaddr(true)?;
    socket.set_reuseport(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

fn ended() -> io::Error {
    io::Error::other("the threads of the listener have ended")
}
