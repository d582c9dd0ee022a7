use std::collections::BTreeMap;

use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{Framing, Peer, Relay, soon};

/// A well-behaved client that answers everybody, and to which nothing bad may happen: it fails the test if it is told
/// an error or its connection ends.
pub(crate) struct Bystander {
    trips: mpsc::UnboundedSender<Trip>,
    task: JoinHandle<()>,
}

struct Trip {
    bytes: usize,
    done: oneshot::Sender<()>,
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
        self.long_round_trip(0)
    }

    /// The same, with a message of at least so many bytes.
    pub(crate) fn long_round_trip(&self, bytes: usize) -> impl Future<Output = ()> + use<> {
        let (done, trip) = oneshot::channel();
        self.trips
            .send(Trip { bytes, done })
            .unwrap_or_else(|_| panic!("the bystander was disturbed"));
        async move { soon(trip).await.expect("the bystander was disturbed") }
    }

    /// One more round trip, then closes.
    pub(crate) async fn leave(self) {
        self.round_trip().await;
        drop(self.trips);
        soon(self.task).await.unwrap();
    }
}

async fn stand_by(mut peer: Peer, mut asked: mpsc::UnboundedReceiver<Trip>) {
    let name = peer.stream.local_addr().unwrap().port();
    let mut under_way: BTreeMap<Vec<u8>, oneshot::Sender<()>> = BTreeMap::new();
    let mut count = 0_u64;
    loop {
        tokio::select! {
            biased;
            trip = asked.recv() => {
                let Some(trip) = trip else { break };
                count += 1;
                let mut x = format!("bystander {name} {count}").into_bytes();
                x.resize(x.len().max(trip.bytes), b'.');
                peer.send([b"message ", &x[..]].concat()).await;
                under_way.insert(x, trip.done);
            }
            payload = peer.receive() => {
                let payload = payload.expect("the connection to stay");
                if let Some(payload) = peer.answer(payload).await {
                    let x = payload.strip_prefix(b"ok ").expect("nothing but messages and oks");
                    let done = under_way.remove(x).expect("an ok for a message of its own");
                    // Whoever asked for it may not have waited for it.
                    let _ = done.send(());
                }
            }
        }
    }
    assert!(under_way.is_empty(), "all was answered");
    peer.close().await;
}
