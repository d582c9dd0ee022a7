use std::fmt;
use std::time::Duration;

use echosphere_core::Machine;
use echosphere_core::endpoint::Endpoint;
use echosphere_core::wire::Codec;
use tokio::sync::{mpsc, oneshot};

/// Requests that can wait for the driver's next turn. A sender of more waits.
pub(crate) const QUEUED_REQUESTS: usize = 1024;

type InspectFn<M, C> = Box<dyn FnOnce(&Endpoint<M, C>) + Send>;

pub(crate) enum Request<M: Machine, C: Codec<Message = M::Message>> {
    Command(M::Command),
    Drain(Duration),
    Inspect(InspectFn<M, C>),
}

/// Controls a running driver from other tasks. A driver that dials ends when its last handle is dropped and nothing is left
/// to do.
pub struct Handle<M: Machine, C: Codec<Message = M::Message>> {
    requests: mpsc::Sender<Request<M, C>>,
}

/// The driver has ended, or drains and takes no more requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl<M: Machine, C: Codec<Message = M::Message>> Handle<M, C> {
    pub(crate) const fn new(requests: mpsc::Sender<Request<M, C>>) -> Self {
        Self { requests }
    }

    /// Sends a command to the machine.
    ///
    /// # Errors
    ///
    /// If the driver has ended or drains.
    pub async fn command(&self, command: M::Command) -> Result<(), Gone> {
        self.request(Request::Command(command)).await
    }

    /// Drains: stops listening, refuses new work and lets work under way finish. The driver ends when all connections are
    /// closed, `within` this time at the latest. After four fifths of it, connections that are left are sent the reason and
    /// closed; at its end, those still closing are dropped. Zero drops them as soon as the reason is sent.
    ///
    /// # Errors
    ///
    /// If the driver has ended or drains.
    pub async fn drain(&self, within: Duration) -> Result<(), Gone> {
        self.request(Request::Drain(within)).await
    }

    /// Calls `look` with the endpoint between two events, and returns its result.
    ///
    /// # Errors
    ///
    /// If the driver has ended or drains.
    pub async fn inspect<T: Send + 'static>(
        &self,
        look: impl FnOnce(&Endpoint<M, C>) -> T + Send + 'static,
    ) -> Result<T, Gone> {
        let (answer, answered) = oneshot::channel();
        let look = Box::new(move |endpoint: &Endpoint<M, C>| {
            // The caller may have stopped waiting.
            let _ = answer.send(look(endpoint));
        });
        self.request(Request::Inspect(look)).await?;
        answered.await.map_err(|_| Gone)
    }

    async fn request(&self, request: Request<M, C>) -> Result<(), Gone> {
        self.requests.send(request).await.map_err(|_| Gone)
    }
}

impl<M: Machine, C: Codec<Message = M::Message>> Clone for Handle<M, C> {
    fn clone(&self) -> Self {
        Self::new(self.requests.clone())
    }
}

impl<M: Machine, C: Codec<Message = M::Message>> fmt::Debug for Handle<M, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the driver has ended")
    }
}

impl std::error::Error for Gone {}
