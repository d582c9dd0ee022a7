//! The endpoint of a hub, with the peers' ends of its connections.

use bytes::BytesMut;
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::endpoint::Endpoint;
use echosphere_core::hub::{HubCodec, Server};
use echosphere_core::{ConnId, Time};

pub(crate) struct Fixture {
    pub(crate) endpoint: Endpoint<Server, HubCodec>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(ConnectionConfig::default())
    }

    pub(crate) fn with(config: ConnectionConfig) -> Self {
        Self {
            endpoint: Endpoint::new(Server::new(), HubCodec::accepted(), config),
        }
    }

    /// A peer connects and sends nothing.
    pub(crate) fn accept(&mut self) -> ConnId {
        self.endpoint.accept(Time::ZERO).unwrap()
    }

    /// A peer connects and sends an empty frame. The first becomes user 1, the next user 2.
    pub(crate) fn user(&mut self) -> ConnId {
        let conn = self.accept();
        self.feed(conn, &[0; 4]);
        conn
    }

    /// A peer connects and sends an empty line.
    pub(crate) fn typist(&mut self) -> ConnId {
        let conn = self.accept();
        self.feed(conn, b"\n");
        conn
    }

    /// Receives bytes from the peer.
    pub(crate) fn feed(&mut self, conn: ConnId, bytes: &[u8]) {
        let mut input = BytesMut::from(bytes);
        self.endpoint.receive(Time::ZERO, conn, &mut input);
        assert!(input.is_empty(), "all input is taken");
        self.endpoint.machine().audit().unwrap();
    }

    /// Receives the peer's FIN.
    pub(crate) fn fin(&mut self, conn: ConnId) {
        self.endpoint.peer_closed(Time::ZERO, conn);
    }

    /// Writes the outbox; returns what the peer reads.
    pub(crate) fn read(&mut self, conn: ConnId) -> Vec<u8> {
        let bytes = match self.endpoint.outbox(conn) {
            Some(outbox) => outbox.chunks().collect::<Vec<_>>().concat(),
            None => Vec::new(),
        };
        self.endpoint.wrote(conn, bytes.len());
        bytes
    }

    /// As `read`, as text.
    pub(crate) fn read_text(&mut self, conn: ConnId) -> String {
        String::from_utf8(self.read(conn)).unwrap()
    }

    /// Sends lines; returns the answer.
    pub(crate) fn type_in(&mut self, conn: ConnId, typed: &str) -> String {
        self.feed(conn, typed.as_bytes());
        self.read_text(conn)
    }

    /// Sends a payload in a frame; returns the answer.
    pub(crate) fn ask(&mut self, conn: ConnId, payload: &[u8]) -> Vec<u8> {
        self.feed(conn, &frame(payload));
        self.read(conn)
    }
}

/// One frame in length framing.
pub(crate) fn frame(payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).unwrap();
    [&length.to_be_bytes(), payload].concat()
}

/// The payload of a relay.
pub(crate) fn relay(to: &[u64], body: &[u8]) -> Vec<u8> {
    let ids: Vec<u8> = to.iter().flat_map(|id| id.to_be_bytes()).collect();
    [&[4, to.len() as u8], &ids[..], body].concat()
}

/// The payload of a delivery.
pub(crate) fn delivery(from: u64, body: &[u8]) -> Vec<u8> {
    [&[0x85], &from.to_be_bytes()[..], body].concat()
}
