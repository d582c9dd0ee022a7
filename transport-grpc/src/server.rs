use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use echosphere_driver::settle::Settle;
use echosphere_driver::{AcceptErrors, BoxStream, Incoming, Listener, LogLimit};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::config::GrpcConfig;
use crate::connection::HttpServer;
use crate::method::Method;
use crate::service::Services;
use crate::settle::SettleTasks;
use crate::shutdown::{PendingCall, Shutdown};
use crate::stream::{CallPipe, GrpcStream};

/// Calls that can wait for the driver's next turn. More wait in their tasks.
const QUEUED_CALLS: usize = 256;
/// Connections over the bound that are answered at the same time. Others are closed at once.
const REFUSALS: usize = 64;

/// Serves the calls of one method, health checks (`grpc.health.v1`) and reflection (`grpc.reflection.v1` and `v1alpha`), over
/// HTTP/2 without TLS.
///
/// Dropping it begins a drain: the server accepts no connections, answers new calls with `UNAVAILABLE`, and reports health
/// `NOT_SERVING`.
pub struct GrpcListener<M> {
    calls: mpsc::Receiver<PendingCall>,
    method: PhantomData<M>,
}

/// The HTTP/2 server behind a [`GrpcListener`].
#[derive(Debug)]
pub struct Serving {
    tasks: TaskTracker,
    _over: DropGuard,
}

impl Serving {
    /// Closes the connections that are left after a drain, and waits until they are closed, for `linger` at most. Call it when
    /// the driver has ended. Dropping a `Serving` closes them without waiting.
    pub async fn ended(self) {
        let Self { tasks, _over } = self;
        drop(_over);
        tasks.wait().await;
    }
}

impl<M: Method> GrpcListener<M> {
    /// Serves each connection of `listener` in a task of its own.
    ///
    /// # Errors
    ///
    /// If the method's descriptors are not a `FileDescriptorSet`.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn over(listener: impl Listener + 'static, config: GrpcConfig) -> io::Result<(Self, Serving)> {
        let (sender, calls) = mpsc::channel(QUEUED_CALLS);
        let over = CancellationToken::new();
        let drain = Shutdown::new(sender, over.clone());
        let services = Services::new::<M>(drain.clone(), config.connections)?;
        let tasks = TaskTracker::new();
        tasks.close();
        let accepting = AcceptLoop {
            listener,
            http: Arc::new(HttpServer::new(config, services, drain.clone())),
            drain,
            places: semaphore(config.connections.max_connections),
            refusals: semaphore(REFUSALS),
            tasks: tasks.clone(),
        };
        tasks.spawn(accepting.run());
        let listener = Self {
            calls,
            method: PhantomData,
        };
        let serving = Serving {
            tasks,
            _over: over.drop_guard(),
        };
        Ok((listener, serving))
    }
}

#[async_trait]
impl<M: Method> Listener for GrpcListener<M> {
    type Stream = GrpcStream;

    async fn accept(&mut self) -> io::Result<Incoming<GrpcStream>> {
        let Some(PendingCall { peer, incoming, taken }) = self.calls.recv().await else {
            // The accept task has panicked. The driver continues with its other listeners.
            return std::future::pending().await;
        };
        let (pipe, outgoing) = CallPipe::new(true);
        // If the client has ended the call, the driver reads that.
        let _ = taken.send(outgoing);
        Ok(Incoming::ready(peer, GrpcStream::accepted(incoming, pipe)))
    }

    fn settle(&self) -> Arc<dyn Settle> {
        Arc::new(SettleTasks::default())
    }
}

impl<M> fmt::Debug for GrpcListener<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GrpcListener").finish_non_exhaustive()
    }
}

/// Accepts connections until the drain begins.
struct AcceptLoop<L> {
    listener: L,
    http: Arc<HttpServer>,
    drain: Shutdown,
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    tasks: TaskTracker,
}

impl<L: Listener> AcceptLoop<L> {
    async fn run(mut self) {
        let (mut no_place, mut errors) = (LogLimit::default(), AcceptErrors::default());
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.drain.begun() => return,
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok(incoming) => {
                    let peer = incoming.peer().clone();
                    let is_place = self.spawn(incoming.boxed());
                    if !is_place && let Some(left_out) = no_place.due() {
                        tracing::warn!(
                            %peer,
                            left_out,
                            "connection refused: the limit of connections is reached"
                        );
                    }
                }
                Err(error) => errors.note(&error).await,
            }
        }
    }

    /// Serves a connection, or refuses it. Returns whether there was a free place.
    fn spawn(&self, incoming: Incoming<BoxStream>) -> bool {
        let place = Arc::clone(&self.places).try_acquire_owned().ok();
        let is_place = place.is_some();
        let held = place.or_else(|| Arc::clone(&self.refusals).try_acquire_owned().ok());
        if let Some(held) = held {
            self.tasks
                .spawn(serve(Arc::clone(&self.http), incoming, is_place, held));
        }
        is_place
    }
}

async fn serve(http: Arc<HttpServer>, incoming: Incoming<BoxStream>, is_place: bool, _held: OwnedSemaphorePermit) {
    let peer = incoming.peer().clone();
    if let Err(error) = http.serve(incoming, is_place).await {
        tracing::debug!(%peer, %error, "an HTTP/2 connection failed");
    }
}

fn semaphore(places: usize) -> Arc<Semaphore> {
    Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)))
}
