use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{Framing, Peer, Relay, soon};

/// A well-behaved client that answers everybody, and to which nothing bad may happen: it fails the test if it is told
/// an error or its connection ends.
pub(crate) struct Bystander {
    trips: mpsc::UnboundedSender<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Bystander {
    /// Returns once the relay knows it.
    pub(crate) async fn join(relay: &Relay) -> Self {
        let opened = relay.server_counters().await.opened;
        let peer = Peer::hello(relay.addr, Framing::Length).await;
        relay
            .until(move |endpoint| endpoint.machine().counters().opened > opened)
            .await;
        let (trips, asked) = mpsc::unbounded_channel();
        let task = tokio::spawn(stand_by(peer, asked));
        Self { trips, task }
    }

    /// Sends a message of its own and waits for its ok. The message goes out even if this is not waited for.
    pub(crate) fn round_trip(&self) -> impl Future<Output = ()> + use<> {
        let (done, trip) = oneshot::channel();
        self.trips.send(done).expect("the bystander was disturbed");
        async move { soon(trip).await.expect("the bystander was disturbed") }
    }

    /// One more round trip, then closes.
    pub(crate) async fn leave(self) {
        self.round_trip().await;
        drop(self.trips);
        soon(self.task).await.unwrap();
    }
}

async fn stand_by(mut peer: Peer, mut asked: mpsc::UnboundedReceiver<oneshot::Sender<()>>) {
    let mut under_way: BTreeMap<Vec<u8>, oneshot::Sender<()>> = BTreeMap::new();
    let mut count = 0_u64;
    loop {
        tokio::select! {
            trip = asked.recv() => {
                let Some(trip) = trip else { break };
                count += 1;
                let x = format!("bystander {count}").into_bytes();
                peer.send([b"message ", &x[..]].concat()).await;
                under_way.insert(x, trip);
            }
            payload = peer.receive() => {
                let payload = payload.expect("the connection to stay");
                if let Some(payload) = peer.answer(payload).await {
                    let x = payload.strip_prefix(b"ok ").expect("nothing but messages and oks");
                    let trip = under_way.remove(x).expect("an ok for a message of its own");
                    // Whoever asked for it may not have waited for it.
                    let _ = trip.send(());
                }
            }
        }
    }
    assert!(under_way.is_empty(), "all was answered");
    peer.close().await;
}
