use echosphere_driver::Peer;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

/// A call that waits for the driver.
pub(crate) struct PendingCall {
    pub(crate) peer: Peer,
    /// The body of its request.
    pub(crate) incoming: Body,
    /// Takes the body of its response.
    pub(crate) taken: oneshot::Sender<Body>,
}

/// Whether a server serves, drains or has ended. It drains when its listener is dropped, and ends when
/// [`Serving`](crate::Serving) is ended or dropped as well.
#[derive(Clone)]
pub(crate) struct Shutdown {
    calls: mpsc::Sender<PendingCall>,
    over: CancellationToken,
}

impl Shutdown {
    pub(crate) const fn new(calls: mpsc::Sender<PendingCall>, over: CancellationToken) -> Self {
        Self { calls, over }
    }

    /// Passes a call to the listener. `false` if it is dropped.
    pub(crate) async fn ask(&self, call: PendingCall) -> bool {
        self.calls.send(call).await.is_ok()
    }

    /// Whether the listener is dropped.
    pub(crate) fn has_begun(&self) -> bool {
        self.calls.is_closed()
    }

    /// Waits until the listener is dropped.
    pub(crate) async fn begun(&self) {
        self.calls.closed().await;
    }

    /// Waits until the listener is dropped and the server has ended.
    pub(crate) async fn over(&self) {
        self.begun().await;
        self.over.cancelled().await;
    }
}
