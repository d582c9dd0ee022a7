use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::{Client, ClientConfig, Command, EchoCodec, Notice};
use echosphere_core::endpoint::Endpoint;
use echosphere_core::random::Backoff;
use echosphere_driver::{Connector, Driver, Handle};
use rand_chacha::ChaCha8Rng;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{MAX_MESSAGE, rng, soon};

type Clients = Endpoint<Client<ChaCha8Rng>, EchoCodec>;

/// A client that is in no hurry to give up, and quick to try again.
pub(crate) fn patient() -> ClientConfig {
    ClientConfig {
        response_timeout: Duration::from_secs(120),
        give_up_after: None,
        backoff: Backoff {
            first: Duration::from_millis(10),
            max: Duration::from_millis(50),
        },
        ..ClientConfig::default()
    }
}

/// Echo clients on one dialling driver, running.
pub(crate) struct Dialler {
    pub(crate) handle: Handle<Client<ChaCha8Rng>, EchoCodec>,
    pub(crate) driver: JoinHandle<Clients>,
    pub(crate) notices: mpsc::UnboundedReceiver<Notice>,
}

impl Dialler {
    pub(crate) fn start(connector: impl Connector + 'static, config: ClientConfig) -> Self {
        let client = Client::new(config, rng(11));
        let endpoint = Endpoint::new(client, EchoCodec::dialled(MAX_MESSAGE), ConnectionConfig::default());
        let (notify, notices) = mpsc::unbounded_channel();
        let (driver, handle) = Driver::new(endpoint);
        let driver = driver.connect(connector).with_notices(move |notice| {
            // The test may have seen enough.
            let _ = notify.send(notice);
        });
        Self {
            handle,
            driver: tokio::spawn(driver.run()),
            notices,
        }
    }

    pub(crate) async fn send(&self, id: u64, x: impl Into<Bytes>) {
        self.handle
            .command(Command::Send { key: id, x: x.into() })
            .await
            .unwrap();
    }

    pub(crate) async fn notice(&mut self) -> Notice {
        soon(self.notices.recv()).await.expect("a running driver")
    }

    /// Waits until messages 0 to `count` are acknowledged, each once.
    pub(crate) async fn acknowledged(&mut self, count: u64) {
        let mut missing: BTreeSet<u64> = (0..count).collect();
        while !missing.is_empty() {
            match self.notice().await {
                Notice::Acknowledged { key: id, .. } => assert!(missing.remove(&id), "{id} twice"),
                Notice::Retrying { .. } => {}
                Notice::GaveUp { key: id, failure, .. } => panic!("gave up {id}: {failure:?}"),
            }
        }
    }

    /// Lets the handle go, and waits for the driver to end.
    pub(crate) async fn finish(self) -> Clients {
        drop(self.handle);
        let endpoint = soon(self.driver).await.unwrap();
        assert!(endpoint.is_zero());
        assert_eq!((endpoint.connections(), endpoint.timers()), (0, 0));
        endpoint
    }
}
