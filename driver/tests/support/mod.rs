//! A machine that reports what it receives, and connections that a test makes.
#![allow(dead_code, reason = "each test binary uses a part")]

use std::io;

use async_trait::async_trait;
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::echo::{EchoCodec, Message};
use echosphere_core::endpoint::Endpoint;
use echosphere_core::{Action, Actions, CloseReason, ConnId, Event, Machine, Principal, Time};
use echosphere_driver::{BoxStream, Driver, Handle, Incoming, Listener, Peer};
use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Notifies of each connection that opens, sends every message back, and closes after `ok`.
pub(crate) struct Mirror;

impl Machine for Mirror {
    type Message = Message;
    type Command = ();
    type Notice = (ConnId, Option<Principal>);

    fn handle(&mut self, _: Time, event: Event<Message, ()>, out: &mut Actions<Message, Self::Notice>) {
        match event {
            Event::Opened(id, opened) => out.push(Action::Notify((id, opened.principal))),
            Event::Received(id, Message::Ok(_)) => out.push(Action::Close(id, CloseReason::Finished)),
            Event::Received(id, message) => out.push(Action::Send(id, message)),
            _ => {}
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        None
    }

    fn is_zero(&self) -> bool {
        true
    }
}

/// Accepts what a test sends to it.
pub(crate) struct Queue(mpsc::UnboundedReceiver<Incoming<BoxStream>>);

#[async_trait]
impl Listener for Queue {
    type Stream = BoxStream;

    async fn accept(&mut self) -> io::Result<Incoming<BoxStream>> {
        match self.0.recv().await {
            Some(incoming) => Ok(incoming),
            None => std::future::pending().await,
        }
    }
}

/// A driver of a mirror, in a task of its own.
pub(crate) struct Server {
    pub(crate) connect: mpsc::UnboundedSender<Incoming<BoxStream>>,
    pub(crate) opened: mpsc::UnboundedReceiver<(ConnId, Option<Principal>)>,
    pub(crate) handle: Handle<Mirror, EchoCodec>,
    pub(crate) driver: JoinHandle<Endpoint<Mirror, EchoCodec>>,
}

impl Server {
    pub(crate) fn start(config: ConnectionConfig) -> Self {
        let (connect, incoming) = mpsc::unbounded_channel();
        let (notify, opened) = mpsc::unbounded_channel();
        let (driver, handle) = Driver::new(Endpoint::new(Mirror, EchoCodec::accepted(1 << 20), config));
        let driver = driver
            .listen(Queue(incoming))
            .with_notices(move |notice| drop(notify.send(notice)));
        Self {
            connect,
            opened,
            handle,
            driver: tokio::spawn(driver.run()),
        }
    }

    pub(crate) fn accept(&self, incoming: Incoming<BoxStream>) {
        assert!(self.connect.send(incoming).is_ok(), "the driver runs");
    }
}

pub(crate) fn peer() -> Peer {
    Peer::new("test", None)
}

/// A frame with this payload.
pub(crate) fn frame(payload: &str) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes(), payload.as_bytes()].concat()
}

/// Reads one frame that is not a keepalive.
pub(crate) async fn read_frame(stream: &mut (impl AsyncReadExt + Unpin)) -> String {
    loop {
        let length = stream.read_u32().await.expect("a frame");
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await.expect("the rest of the frame");
        if length > 0 {
            return String::from_utf8(payload).expect("text");
        }
    }
}
