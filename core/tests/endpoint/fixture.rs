//! The endpoint of an echo server, with the peers' ends of its connections.

use std::time::Duration;

use bytes::BytesMut;
use echosphere_core::connection::{ConnectionConfig, SocketAction};
use echosphere_core::echo::{EchoCodec, MAX_MESSAGE, Server, ServerConfig};
use echosphere_core::endpoint::Endpoint;
use echosphere_core::{ConnId, Time};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::support::Effects;

pub(crate) struct Fixture {
    pub(crate) endpoint: Endpoint<Server<ChaCha8Rng>, EchoCodec>,
    pub(crate) now: Time,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(ConnectionConfig::default(), MAX_MESSAGE)
    }

    pub(crate) fn with(config: ConnectionConfig, max_message: u32) -> Self {
        let server = Server::new(ServerConfig::default(), ChaCha8Rng::seed_from_u64(1));
        Self {
            endpoint: Endpoint::new(server, EchoCodec::accepted(max_message), config),
            now: Time::ZERO,
        }
    }

    /// A peer connects and sends nothing.
    pub(crate) fn accept(&mut self) -> ConnId {
        self.endpoint.accept(self.now).unwrap()
    }

    /// A peer connects and sends an empty frame.
    pub(crate) fn accept_length(&mut self) -> ConnId {
        let id = self.accept();
        self.feed(id, &[0; 4]);
        id
    }

    /// A peer connects and sends an empty line.
    pub(crate) fn accept_lines(&mut self) -> ConnId {
        let id = self.accept();
        self.feed(id, b"\n");
        id
    }

    /// Receives bytes from the peer.
    pub(crate) fn feed(&mut self, id: ConnId, bytes: &[u8]) {
        let mut input = BytesMut::from(bytes);
        self.endpoint.receive(self.now, id, &mut input);
        assert!(input.is_empty(), "all input is taken");
        self.endpoint.machine().audit().unwrap();
    }

    /// Receives the peer's FIN.
    pub(crate) fn fin(&mut self, id: ConnId) {
        self.endpoint.peer_closed(self.now, id);
    }

    /// The socket fails.
    pub(crate) fn fail(&mut self, id: ConnId) {
        self.endpoint.failed(self.now, id);
    }

    /// Writes the outbox; returns what the peer reads.
    pub(crate) fn read(&mut self, id: ConnId) -> Vec<u8> {
        let bytes = match self.endpoint.outbox(id) {
            Some(outbox) => outbox.chunks().collect::<Vec<_>>().concat(),
            None => Vec::new(),
        };
        self.endpoint.wrote(id, bytes.len());
        bytes
    }

    /// As `read`, as text.
    pub(crate) fn read_text(&mut self, id: ConnId) -> String {
        String::from_utf8(self.read(id)).unwrap()
    }

    /// Shuts down the writing side if that is the next action. Returns whether it was.
    pub(crate) fn read_fin(&mut self, id: ConnId) -> bool {
        let wanted = self.endpoint.socket_action(id) == SocketAction::Shutdown;
        if wanted {
            self.endpoint.shut_down(self.now, id);
        }
        wanted
    }

    /// Lets time pass; handles every deadline in between.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.endpoint.next_deadline().filter(|&due| due <= until) {
            assert!(due > self.now, "time stands still at {due:?}");
            self.now = due;
            self.endpoint.expire(due);
        }
        self.now = until;
    }

    /// The connections released since the last call.
    pub(crate) fn released(&mut self) -> Vec<ConnId> {
        let released = Effects::of(&mut self.endpoint).release;
        released.into_iter().map(|(id, _)| id).collect()
    }

    /// The number of connections that the machine can forward to.
    pub(crate) fn live(&self) -> usize {
        self.endpoint.machine().connections().count()
    }
}

/// One frame in length framing.
pub(crate) fn frame(payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).unwrap();
    [&length.to_be_bytes(), payload].concat()
}
