//! What the tests of this crate share: a relay on a free port, peers that speak raw bytes, a bystander, watched streams.
// Each test file uses some of it.
#![allow(dead_code, unused_imports)]

mod bystander;
mod dialler;
mod network;
mod peer;
mod watched;

use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::time::Duration;

use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::{EchoCodec, Server, ServerConfig, ServerCounters};
use echosphere_core::endpoint::Endpoint;
use echosphere_driver::{Budgets, Driver, Handle, Listener};
use echosphere_transport_tcp::{TcpListener, ThreadedListener};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) use bystander::Bystander;
pub(crate) use dialler::{Dialler, patient};
pub(crate) use network::{Network, NetworkListener};
pub(crate) use peer::{Framing, Peer, frame};
pub(crate) use watched::Watched;

pub(crate) type Echo = Endpoint<Server<ChaCha8Rng>, EchoCodec>;
pub(crate) type EchoHandle = Handle<Server<ChaCha8Rng>, EchoCodec>;

/// The longest X that the relays of the tests take, unless said otherwise.
pub(crate) const MAX_MESSAGE: u32 = 1024 * 1024;

/// Waits for what must come. The time is a safety net only: nothing is measured by it.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(120), what)
        .await
        .expect("what must come has not come")
}

pub(crate) fn localhost() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

pub(crate) fn rng(seed: u64) -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(seed)
}

pub(crate) fn echo_server(config: ConnectionConfig, max_message: u32) -> Echo {
    let server = Server::new(ServerConfig::default(), rng(7));
    Endpoint::new(server, EchoCodec::accepted(max_message), config)
}

/// An echo server, running.
pub(crate) struct Relay {
    pub(crate) addr: SocketAddr,
    pub(crate) handle: EchoHandle,
    pub(crate) driver: JoinHandle<Echo>,
}

impl Relay {
    /// Over TCP on a free port of this host.
    pub(crate) fn start(config: ConnectionConfig) -> Self {
        Self::with_limit(config, MAX_MESSAGE)
    }

    pub(crate) fn with_limit(config: ConnectionConfig, max_message: u32) -> Self {
        let listener = TcpListener::bind(localhost()).unwrap();
        let addr = listener.local_addr().unwrap();
        Self {
            addr,
            ..Self::over(listener, config, max_message)
        }
    }

    /// Over TCP with so many threads of IO.
    pub(crate) fn threaded(config: ConnectionConfig, threads: usize) -> Self {
        let threads = NonZeroUsize::new(threads).unwrap();
        let listener = ThreadedListener::bind(localhost(), threads).unwrap();
        let addr = listener.local_addr();
        Self {
            addr,
            ..Self::over(listener, config, MAX_MESSAGE)
        }
    }

    /// Over any listener; `addr` means nothing.
    pub(crate) fn over(listener: impl Listener + 'static, config: ConnectionConfig, max_message: u32) -> Self {
        Self::within(listener, config, max_message, Budgets::default())
    }

    /// The same, with these budgets.
    pub(crate) fn within(
        listener: impl Listener + 'static,
        config: ConnectionConfig,
        max_message: u32,
        budgets: Budgets,
    ) -> Self {
        let (driver, handle) = Driver::new(echo_server(config, max_message));
        let driver = driver.listen(listener);
        Self {
            addr: localhost(),
            handle,
            driver: tokio::spawn(driver.with_budgets(budgets).run()),
        }
    }

    /// Waits until the endpoint is as `wanted`.
    pub(crate) async fn until(&self, wanted: impl Fn(&Echo) -> bool + Clone + Send + 'static) {
        soon(async {
            while !self.handle.inspect(wanted.clone()).await.unwrap() {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }

    pub(crate) async fn connections(&self, count: usize) {
        self.until(move |endpoint| endpoint.connections() == count).await;
    }

    pub(crate) async fn server_counters(&self) -> ServerCounters {
        self.handle
            .inspect(|endpoint| *endpoint.machine().counters())
            .await
            .unwrap()
    }

    /// Once all peers have closed: waits for zero, drains, and returns what the driver leaves.
    pub(crate) async fn finish(self) -> Echo {
        self.until(|endpoint| {
            endpoint.machine().audit().unwrap();
            endpoint.is_zero()
        })
        .await;
        self.drain(Duration::from_secs(60)).await
    }

    /// Drains, waits for the driver to end, and checks that nothing is left and every connection is accounted for.
    pub(crate) async fn drain(self, within: Duration) -> Echo {
        self.handle.drain(within).await.unwrap();
        self.ended().await
    }

    pub(crate) async fn ended(self) -> Echo {
        let endpoint = soon(self.driver).await.unwrap();
        assert!(endpoint.is_zero());
        assert_eq!((endpoint.connections(), endpoint.timers()), (0, 0));
        let counters = endpoint.counters();
        let ends = counters.closed_by_peer
            + counters.resets
            + counters.closed_by_us
            + counters.handshake_timeouts
            + counters.idle_timeouts
            + counters.slow_consumers
            + counters.malformed;
        assert_eq!(ends, counters.accepted, "every connection ends once: {counters:?}");
        endpoint
    }
}
