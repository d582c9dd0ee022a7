use std::net::SocketAddr;

use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::body::Body;

/// A call that waits to be taken.
pub(crate) struct PendingCall {
    pub(crate) peer: Option<SocketAddr>,
    /// What it receives.
    pub(crate) incoming: Body,
    /// Takes what it sends.
    pub(crate) taken: oneshot::Sender<Body>,
}

/// How far a server is on its way to its end. It serves until its listener is dropped, then drains, and is over when
/// [`Serving`](crate::Serving) is asked to end or dropped.
#[derive(Clone)]
pub(crate) struct Shutdown {
    calls: mpsc::Sender<PendingCall>,
    over: CancellationToken,
}

impl Shutdown {
    pub(crate) const fn new(calls: mpsc::Sender<PendingCall>, over: CancellationToken) -> Self {
        Self { calls, over }
    }

    /// Hands a call to the listener. `false` if that is gone.
    pub(crate) async fn ask(&self, call: PendingCall) -> bool {
        self.calls.send(call).await.is_ok()
    }

    /// Whether the listener is gone.
    pub(crate) fn has_begun(&self) -> bool {
        self.calls.is_closed()
    }

    /// Waits until the listener is gone.
    pub(crate) async fn begun(&self) {
        self.calls.closed().await;
    }

    /// Waits until the listener is gone and its driver has ended.
    pub(crate) async fn over(&self) {
        self.begun().await;
        self.over.cancelled().await;
    }
}
