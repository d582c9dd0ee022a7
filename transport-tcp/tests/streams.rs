//! Drivers over other streams than TCP: partial writes, listeners that fail, streams that never rest.
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use async_trait::async_trait;
use echosphere_core::connection::ConnectionConfig;
use echosphere_driver::{Driver, Incoming, Listener, Stream};
use rand_chacha::rand_core::Rng;
use support::{Dialler, Framing, MAX_MESSAGE, Network, NetworkListener, Peer, Relay, echo_server, patient, rng};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, duplex};
use tokio::sync::mpsc;

const EMFILE: i32 = 24;

#[tokio::test]
async fn a_mebibyte_passes_both_ways_through_narrow_pipes() {
    for vectored in [true, false] {
        // Odd, so that no frame ever ends where a pipe is full.
        let (network, listener) = Network::new(1021, vectored);
        let relay = Relay::over(listener, ConnectionConfig::default(), MAX_MESSAGE);
        let mut clients = Dialler::start(network.clone(), patient());
        let mut rng = rng(1);
        for id in 0..20 {
            let mut x = vec![0; MAX_MESSAGE as usize];
            rng.fill_bytes(&mut x);
            clients.send(id, x).await;
        }
        clients.acknowledged(20).await;
        // The relay knows an X only by all its bytes, and so does a client: an ok that fits is a whole round trip.
        let clients = clients.finish().await;
        assert_eq!(clients.machine().counters().oks_unexpected, 0);
        let relay = relay.finish().await;
        assert_eq!(relay.machine().counters().oks, 20);
        assert_eq!(relay.machine().counters().oks_unexpected, 0);
        assert_eq!(network.misuses(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_conversation_passes_through_a_pipe_of_one_byte() {
    let (network, listener) = Network::new(1, true);
    let relay = Relay::over(listener, ConnectionConfig::default(), MAX_MESSAGE);
    let mut clients = Dialler::start(network.clone(), patient());
    for id in 0..50 {
        clients.send(id, format!("{id} of fifty")).await;
    }
    let mut person = Peer::over(network.connect(), Framing::Lines);
    for n in 0..10 {
        person.round_trip(format!("by hand {n}")).await;
    }
    clients.acknowledged(50).await;
    person.close().await;
    clients.finish().await;
    assert_eq!(relay.finish().await.machine().counters().abandoned, 0);
    assert_eq!(network.misuses(), 0);
}

#[tokio::test]
async fn a_listener_that_fails_now_and_then_serves_all_the_same() {
    let (connect, listener) = queue();
    let relay = Relay::over(listener, ConnectionConfig::default(), MAX_MESSAGE);
    for n in 0..3 {
        connect.send(Err(io::Error::from_raw_os_error(EMFILE))).unwrap();
        connect.send(Err(io::ErrorKind::ConnectionAborted.into())).unwrap();
        let mut peer = connect_by(&connect);
        peer.round_trip(format!("after failure {n}")).await;
        connect.send(Err(io::Error::other("anything else"))).unwrap();
        peer.round_trip("undisturbed").await;
        peer.close().await;
    }
    assert_eq!(relay.finish().await.counters().accepted, 3);
}

#[tokio::test]
async fn draining_does_not_wait_for_a_listener_that_fails() {
    let (connect, listener) = queue();
    let relay = Relay::over(listener, ConnectionConfig::default(), MAX_MESSAGE);
    for _ in 0..1_000_000 {
        connect.send(Err(io::Error::from_raw_os_error(EMFILE))).unwrap();
    }
    let mut peer = connect_by(&connect);
    relay.handle.drain(Duration::MAX).await.unwrap();
    assert_eq!(peer.receive().await, None);
    relay.ended().await;
}

#[tokio::test]
async fn the_next_owner_of_a_broken_connections_slot_is_served() {
    let (connect, listener) = queue::<Either>();
    let mut peers = Vec::new();
    for _ in 0..100 {
        connect.send(Ok(Either::Broken)).unwrap();
        let (here, there) = duplex(64);
        connect.send(Ok(Either::Whole(there))).unwrap();
        peers.push(Peer::over(here, Framing::Length));
    }
    let relay = Relay::over(OneATurn(listener), ConnectionConfig::default(), MAX_MESSAGE);
    relay.connections(100).await;
    for mut peer in peers {
        // Nobody else has said anything yet, so what it sends comes back to it.
        peer.round_trip("mine").await;
        peer.close().await;
    }
    let endpoint = relay.finish().await;
    assert_eq!(
        (endpoint.counters().resets, endpoint.counters().closed_by_peer),
        (100, 100)
    );
}

#[tokio::test]
async fn streams_that_never_rest_do_not_starve_the_others() {
    let (connect, listener) = queue::<Either>();
    // More of them than the driver looks at in one turn.
    for _ in 0..1500 {
        connect.send(Ok(Either::Endless)).unwrap();
    }
    let relay = Relay::over(listener, ConnectionConfig::default(), MAX_MESSAGE);
    relay.connections(1500).await;
    let (here, there) = duplex(64);
    connect.send(Ok(Either::Whole(there))).unwrap();
    relay.connections(1501).await;
    let mut peer = Peer::over(here, Framing::Lines);
    peer.send("nonsense").await;
    assert_eq!(peer.error().await, "unknown-request");
    relay.driver.abort();
}

#[test]
fn a_driver_that_is_dropped_leaves_nothing_behind() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let _entered = runtime.enter();
    let (connect, listener) = queue::<Either>();
    connect.send(Ok(Either::Endless)).unwrap();
    let (driver, handle) = Driver::new(echo_server(ConnectionConfig::default(), MAX_MESSAGE));
    let driver = driver.listen(listener);
    let root = Arc::new(Root::default());
    {
        let mut run = pin!(driver.run());
        let waker = Waker::from(Arc::clone(&root));
        for _ in 0..10 {
            assert!(run.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
        }
        assert!(root.wakes.load(Ordering::Relaxed) > 0, "it never rests");
    }
    assert_eq!(Arc::strong_count(&root), 1, "no waker is kept");
    assert!(connect.is_closed(), "no listener is kept");
    drop(handle);
}

/// Wakes the driver before each connection, so that one breaks in the turn in which the next takes its slot.
struct OneATurn<S>(NetworkListener<S>);

#[async_trait]
impl<S: Stream> Listener for OneATurn<S> {
    type Stream = S;

    async fn accept(&mut self) -> io::Result<Incoming<S>> {
        let mut woken = false;
        poll_fn(|cx| {
            if mem::replace(&mut woken, true) {
                return Poll::Ready(());
            }
            cx.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
        self.0.accept().await
    }
}

#[derive(Default)]
struct Root {
    wakes: AtomicU64,
}

impl Wake for Root {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::Relaxed);
    }
}

fn queue<S>() -> (mpsc::UnboundedSender<io::Result<S>>, NetworkListener<S>) {
    let (connect, connected) = mpsc::unbounded_channel();
    (connect, NetworkListener(connected))
}

fn connect_by(connect: &mpsc::UnboundedSender<io::Result<DuplexStream>>) -> Peer<DuplexStream> {
    let (here, there) = duplex(64);
    connect.send(Ok(there)).unwrap();
    Peer::over(here, Framing::Length)
}

/// One connection of several kinds.
enum Either {
    Whole(DuplexStream),
    /// Fails at the first touch.
    Broken,
    /// Sends keepalives as fast as they are read, and for ever.
    Endless,
}

impl AsyncRead for Either {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Whole(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Broken => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Self::Endless => {
                buf.put_slice(&[0; 4]);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl AsyncWrite for Either {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Whole(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Broken => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
            Self::Endless => Poll::Ready(Ok(buf.len())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Whole(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Broken | Self::Endless => Poll::Ready(Ok(())),
        }
    }
}
