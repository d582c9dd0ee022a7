use std::fmt;
use std::time::Duration;

use echosphere_core::Machine;
use echosphere_core::endpoint::Endpoint;
use echosphere_core::wire::Codec;
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait for the driver's next turn; the next one waits for room.
pub(crate) const QUEUED_REQUESTS: usize = 1024;

type InspectFn<M, C> = Box<dyn FnOnce(&Endpoint<M, C>) + Send>;

pub(crate) enum Request<M: Machine, C: Codec<Message = M::Message>> {
    Command(M::Command),
    Drain(Duration),
    Inspect(InspectFn<M, C>),
}

/// Speaks to a running driver from other tasks. A driver that dials ends when its last handle is gone and all is done.
pub struct Handle<M: Machine, C: Codec<Message = M::Message>> {
    requests: mpsc::Sender<Request<M, C>>,
}

/// The driver has ended, or it drains and takes no more requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl<M: Machine, C: Codec<Message = M::Message>> Handle<M, C> {
    pub(crate) const fn new(requests: mpsc::Sender<Request<M, C>>) -> Self {
        Self { requests }
    }

    /// Asks something of the machine.
    ///
    /// # Errors
    ///
    /// If the driver has ended or drains.
    pub async fn command(&self, command: M::Command) -> Result<(), Gone> {
        self.request(Request::Command(command)).await
    }

    /// Stops listening and taking on work, and lets what is under way finish. The driver ends when all is closed, `within`
    /// this time: when four fifths of it are over, the connections that are left are told and closed, and at its end
    /// those that are still closing are dropped. If it is zero, they are dropped as soon as they are told.
    ///
    /// # Errors
    ///
    /// If the driver has ended or drains.
    pub async fn drain(&self, within: Duration) -> Result<(), Gone> {
        self.request(Request::Drain(within)).await
    }

    /// Looks at the endpoint between two turns.
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
            // Nobody waits for the answer any more: nothing to do.
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
