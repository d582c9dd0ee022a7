//! A TCP listener whose sockets belong to threads of their own.
//!
//! Each thread has a table of descriptors of its own, so that each can have as many connections open as a process
//! otherwise can, and a listening socket of its own at the same address. What its connections' peers send goes through
//! a [`pipe`] to the one driver, and back. The threads know no protocol: to the driver this is a transport like any
//! other, so all that holds for a driver of one thread holds here.
//!
//! | module | what it holds |
//! |---|---|
//! | `pipe` | a connection's bytes between its thread and the driver, and the driver's end of them |
//! | `settle` | has the threads read what has arrived, before the driver judges a deadline |
//! | `table` | a thread's own descriptors, and what has to be minded about them |
//! | `worker` | what a thread does: a future that owns its sockets, a turn at a time |

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
use echosphere_driver::{Budgets, Listener};
use tokio::net::TcpSocket;
use tokio::runtime::{Builder, Handle, Id, Runtime};
use tokio::sync::mpsc;

pub use self::pipe::ThreadedStream;
use self::settle::{SettleRequest, SettleThreads};
use self::worker::Worker;
use crate::net::{BACKLOG, socket_for};

/// Accepted connections that may wait for the driver's next turn; more wait in the kernel.
const QUEUED_CONNECTIONS: usize = 1024;

/// Listens on a TCP port with several threads, each of which can have as many files open as a process may.
///
/// Between a socket and the driver, up to 256 KiB of a connection's bytes can be under way, and none of an idle one.
/// Once this is dropped, nobody is accepted any more; the threads end when their last connection has.
#[derive(Debug)]
pub struct ThreadedListener {
    addr: SocketAddr,
    connected: mpsc::Receiver<ThreadedStream>,
    threads: Vec<mpsc::UnboundedSender<SettleRequest>>,
    runtime: Id,
}

impl ThreadedListener {
    /// Binds to `addr` and starts the threads; port 0 takes a free one. The driver must run in the tokio runtime that
    /// this is called in: threads with descriptors of their own can only wake runtimes that are older than they are.
    ///
    /// # Errors
    ///
    /// If the address is taken or not this host's, or if a thread cannot be started or have descriptors of its own.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn bind(addr: SocketAddr, threads: NonZeroUsize) -> io::Result<Self> {
        Self::bind_within(addr, threads, Budgets::default())
    }

    /// As [`ThreadedListener::bind`]. `budgets` limits what each thread does in one turn; threads take no requests.
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
            // What shares an address may be another server: this does not share.
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
/// In another runtime than the one it was bound in.
#[async_trait]
impl Listener for ThreadedListener {
    type Stream = ThreadedStream;

    async fn accept(&mut self) -> io::Result<ThreadedStream> {
        assert_eq!(
            Handle::current().id(),
            self.runtime,
            "the driver must run where its listener was bound"
        );
        self.connected.recv().await.ok_or_else(ended)
    }

    fn peer(&self, stream: &ThreadedStream) -> Option<SocketAddr> {
        Some(stream.peer())
    }

    fn settle(&self) -> Arc<dyn Settle> {
        Arc::new(SettleThreads(self.threads.clone()))
    }
}

/// Starts the threads, says which address they are bound to, and stays until they have ended: it has the runtimes'
/// descriptors in the process's table, and has to close them there.
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
            let (told, answer) = sync_channel(1);
            let to_driver = to_driver.clone();
            let started = thread::Builder::new()
                .name(format!("io {at}"))
                .spawn_scoped(scope, move || serve(runtime, asked, addr, budgets, to_driver, &told));
            result = started.and_then(|_| answer.recv().map_err(|_| ended())?);
            match result {
                Ok(bound_to) => addr = bound_to,
                Err(_) => break,
            }
        }
        // If nobody waits for it any more, the threads find that out too.
        let _ = bound.send(result);
    });
}

/// One of the threads.
fn serve(
    runtime: &Runtime,
    asked: mpsc::UnboundedReceiver<SettleRequest>,
    addr: SocketAddr,
    budgets: Budgets,
    to_driver: mpsc::Sender<ThreadedStream>,
    told: &SyncSender<io::Result<SocketAddr>>,
) {
    let _entered = runtime.enter();
    let listener = table::have_own().and_then(|()| listen(addr));
    match listener.and_then(|listener| Ok((listener.local_addr()?, listener))) {
        Ok((addr, listener)) => {
            // The supervisor waits for it.
            let _ = told.send(Ok(addr));
            runtime.block_on(Worker::new(listener, to_driver, asked, budgets).run());
        }
        Err(error) => {
            let _ = told.send(Err(error));
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
    io::Error::other("the threads of a listener have ended")
}
