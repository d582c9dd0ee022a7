//! A machine whose driver runs in a task of its own.

use std::ops::Deref;

use anyhow::Context;
use echosphere_core::Machine;
use echosphere_core::endpoint::Endpoint;
use echosphere_core::wire::Codec;
use echosphere_driver::{Connector, Driver, Handle};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinHandle;

/// A running machine: commands through its [`Handle`], notices from [`Running::next`].
pub(crate) struct Running<M: Machine, C: Codec<Message = M::Message>> {
    handle: Handle<M, C>,
    notices: UnboundedReceiver<M::Notice>,
    driver: JoinHandle<Endpoint<M, C>>,
}

impl<M, C> Running<M, C>
where
    M: Machine + Send + 'static,
    C: Codec<Message = M::Message> + Clone + Send + 'static,
    M::Command: Send,
    M::Message: Send,
    M::Notice: Send,
{
    /// Starts a client. Must be called within a runtime.
    pub(crate) fn dial(endpoint: Endpoint<M, C>, connector: impl Connector + 'static) -> Self {
        let (sender, notices) = mpsc::unbounded_channel();
        let (driver, handle) = Driver::new(endpoint);
        let driver = driver.connect(connector).with_notices(send_to(sender));
        let driver = tokio::spawn(driver.run());
        Self {
            handle,
            notices,
            driver,
        }
    }

    /// Starts a server; `listen` adds its listeners. Must be called within a runtime.
    pub(crate) fn serve(endpoint: Endpoint<M, C>, listen: impl FnOnce(Driver<M, C>) -> Driver<M, C>) -> Self {
        let (sender, notices) = mpsc::unbounded_channel();
        let (driver, handle) = Driver::new(endpoint);
        let driver = listen(driver);
        let driver = tokio::spawn(driver.with_notices(send_to(sender)).run());
        Self {
            handle,
            notices,
            driver,
        }
    }

    /// The next notice; `None` once the driver has ended. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<M::Notice> {
        self.notices.recv().await
    }

    /// The next notice.
    ///
    /// # Errors
    ///
    /// If the driver has ended.
    pub(crate) async fn notice(&mut self) -> anyhow::Result<M::Notice> {
        self.next().await.context("the driver has ended")
    }

    /// Closes the connections cleanly and waits for that. Returns what is left.
    pub(crate) async fn finish(self) -> anyhow::Result<Endpoint<M, C>> {
        drop(self.handle);
        self.driver.await.context("the driver has panicked")
    }

    /// Drops the connections at once, without waiting for a peer that may never close.
    pub(crate) fn abort(self) {
        self.driver.abort();
    }
}

impl<M: Machine, C: Codec<Message = M::Message>> Deref for Running<M, C> {
    type Target = Handle<M, C>;

    fn deref(&self) -> &Self::Target {
        &self.handle
    }
}

fn send_to<N: Send + 'static>(sender: UnboundedSender<N>) -> impl FnMut(N) + Send + 'static {
    move |notice| {
        // Without a receiver the program is about to end.
        let _ = sender.send(notice);
    }
}
