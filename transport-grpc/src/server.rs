use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use echosphere_driver::Listener;
use echosphere_driver::settle::Settle;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, sleep};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::config::GrpcConfig;
use crate::connection::Http;
use crate::drain::{Asked, Drain};
use crate::method::Method;
use crate::service::Services;
use crate::settle::ThroughTasks;
use crate::stream::{GrpcStream, Pipe};

/// Calls that may wait for the driver's next turn.
const QUEUED_CALLS: usize = 256;
/// Connections over the bound that are answered at the same time; others are closed at once.
const REFUSALS: usize = 64;
/// Connections that may wait in the kernel to be accepted; it may cut this to `net.core.somaxconn`.
const BACKLOG: u32 = 4096;
/// How long to wait before accepting again when there is nothing left to accept with.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Log lines of one kind come no faster than this.
const COMPLAIN_EVERY: Duration = Duration::from_secs(1);

/// Serves the calls of one method, health checks (`grpc.health.v1`) and reflection (`grpc.reflection.v1` and `v1alpha`), all
/// in HTTP/2 without TLS.
///
/// When it is dropped the server drains: it accepts no connections, answers new calls by `UNAVAILABLE`, and its health is
/// `NOT_SERVING`.
pub struct GrpcListener<M> {
    calls: mpsc::Receiver<Asked>,
    addr: SocketAddr,
    method: PhantomData<M>,
}

/// The HTTP/2 server behind a [`GrpcListener`].
#[derive(Debug)]
pub struct Serving {
    tasks: TaskTracker,
    _over: DropGuard,
}

impl Serving {
    /// Closes the connections that a drain has left, and waits until that is done: for `linger` at most. Call it when the driver has
    /// ended; dropping a `Serving` does the same without waiting.
    pub async fn ended(self) {
        let Self { tasks, _over } = self;
        drop(_over);
        tasks.wait().await;
    }
}

impl<M: Method> GrpcListener<M> {
    /// Binds to `addr`, port 0 takes a free one, and serves there on tasks of their own.
    ///
    /// # Errors
    ///
    /// If the address is taken or not this host's.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn bind(addr: SocketAddr, config: GrpcConfig) -> io::Result<(Self, Serving)> {
        let listener = listen(addr)?;
        let addr = listener.local_addr()?;
        let (sender, calls) = mpsc::channel(QUEUED_CALLS);
        let over = CancellationToken::new();
        let drain = Drain::new(sender, over.clone());
        let services = Services::new::<M>(drain.clone(), config.links)?;
        let tasks = TaskTracker::new();
        tasks.close();
        let accepting = Accepting {
            listener,
            http: Arc::new(Http::new(config, services, drain.clone())),
            drain,
            places: semaphore(config.links.max_connections),
            refusals: semaphore(REFUSALS),
            tasks: tasks.clone(),
        };
        tasks.spawn(accepting.run());
        let listener = Self {
            calls,
            addr,
            method: PhantomData,
        };
        let serving = Serving {
            tasks,
            _over: over.drop_guard(),
        };
        Ok((listener, serving))
    }

    /// The address it listens on.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

#[async_trait]
impl<M: Method> Listener for GrpcListener<M> {
    type Stream = GrpcStream;

    async fn accept(&mut self) -> io::Result<GrpcStream> {
        let Some(Asked { incoming, taken }) = self.calls.recv().await else {
            // The accepting task has panicked. Other listeners of the same driver go on.
            return std::future::pending().await;
        };
        let (pipe, outgoing) = Pipe::new(true);
        // If the caller is gone already, the call breaks off.
        let _ = taken.send(outgoing);
        Ok(GrpcStream::new(incoming, pipe, None))
    }

    fn settle(&self) -> Arc<dyn Settle> {
        Arc::new(ThroughTasks::default())
    }
}

impl<M> fmt::Debug for GrpcListener<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcListener")
            .field("addr", &self.addr)
            .finish_non_exhaustive()
    }
}

/// Accepts connections until the drain.
struct Accepting {
    listener: TcpListener,
    http: Arc<Http>,
    drain: Drain,
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl Accepting {
    async fn run(self) {
        let (mut no_place, mut no_socket) = (Complaint::default(), Complaint::default());
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.drain.begun() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let is_place = self.spawn(stream, peer);
                    if !is_place && let Some(left_out) = no_place.due() {
                        tracing::warn!(%peer, left_out, "refused a connection: all places are taken");
                    }
                }
                Err(error) if is_peers(&error) => {
                    tracing::debug!(%error, "a connection was gone before it was accepted")
                }
                Err(error) => {
                    if let Some(left_out) = no_socket.due() {
                        tracing::warn!(%error, left_out, "cannot accept connections, trying again; is the limit of open files reached?");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves a connection, or refuses it. Returns whether there was a place for it.
    fn spawn(&self, stream: TcpStream, peer: SocketAddr) -> bool {
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        let is_place = place.is_some();
        let held = place.or_else(|| Arc::clone(&self.refusals).try_acquire_owned().ok());
        if let Some(held) = held {
            self.tasks
                .spawn(serve(Arc::clone(&self.http), stream, peer, is_place, held));
        }
        is_place
    }
}

async fn serve(http: Arc<Http>, stream: TcpStream, peer: SocketAddr, is_place: bool, _held: OwnedSemaphorePermit) {
    // What fails is the socket's option, and then the socket itself is of no use.
    let served = match stream.set_nodelay(true) {
        Ok(()) => http.serve(stream, is_place).await,
        Err(error) => Err(error),
    };
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "an HTTP/2 connection failed");
    }
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4(),
        SocketAddr::V6(_) => TcpSocket::new_v6(),
    }?;
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Whether an error of accepting is about the connection, and not about this host.
fn is_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

fn semaphore(places: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)))
}

/// A kind of log line that peers can cause.
#[derive(Default)]
struct Complaint {
    last: Option<Instant>,
    left_out: u64,
}

impl Complaint {
    /// How many lines were left out before this one; `None` if this is left out too.
    fn due(&mut self) -> Option<u64> {
        let now = Instant::now();
        if self.last.is_some_and(|last| now < last + COMPLAIN_EVERY) {
            self.left_out += 1;
            return None;
        }
        self.last = Some(now);
        Some(std::mem::take(&mut self.left_out))
    }
}
