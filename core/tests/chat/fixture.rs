//! The endpoint of a chat's server, with the peers' ends of its connections.

use bytes::{Bytes, BytesMut};
use echosphere_core::chat::{ChatCodec, Notice, Server, ServerCommand, ServerConfig};
use echosphere_core::connection::ConnectionConfig;
use echosphere_core::endpoint::Endpoint;
use echosphere_core::{ConnId, Time};

use crate::support::Effects;

pub(crate) struct Fixture {
    pub(crate) endpoint: Endpoint<Server, ChatCodec>,
    notices: Vec<Notice>,
    pub(crate) now: Time,
    /// Whether the server's caller reads each message at once.
    pub(crate) reads: bool,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(ConnectionConfig::default())
    }

    pub(crate) fn with(config: ConnectionConfig) -> Self {
        Self {
            endpoint: Endpoint::new(Server::new(ServerConfig::default()), ChatCodec::accepted(), config),
            notices: Vec::new(),
            now: Time::ZERO,
            reads: true,
        }
    }

    /// A peer connects and sends nothing.
    pub(crate) fn accept(&mut self) -> ConnId {
        self.endpoint.accept(self.now).unwrap()
    }

    /// A peer connects and begins this session.
    pub(crate) fn begin(&mut self, session: u64) -> ConnId {
        let conn = self.accept();
        self.feed(conn, &frame([&[1], &session.to_be_bytes()[..]].concat()));
        conn
    }

    /// Receives bytes from the peer.
    pub(crate) fn feed(&mut self, conn: ConnId, bytes: &[u8]) {
        let mut input = BytesMut::from(bytes);
        self.endpoint.receive(self.now, conn, &mut input);
        assert!(input.is_empty(), "all input is taken");
        self.read_received();
        self.endpoint.machine().audit().unwrap();
    }

    /// Receives the peer's FIN.
    pub(crate) fn fin(&mut self, conn: ConnId) {
        self.endpoint.peer_closed(self.now, conn);
        self.read_received();
    }

    /// Collects new notices, and reads the messages in them.
    fn read_received(&mut self) {
        let new = Effects::of(&mut self.endpoint).notices;
        for notice in &new {
            if let (Notice::Received { session, id, .. }, true) = (notice, self.reads) {
                self.caller_reads(*session, *id);
            }
        }
        self.notices.extend(new);
    }

    /// The server's caller reads up to this message.
    pub(crate) fn caller_reads(&mut self, session: u64, id: u64) {
        let read = ServerCommand::Read { session, id };
        self.endpoint.command(self.now, read);
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

    /// Sends bytes; returns the answer.
    pub(crate) fn exchange(&mut self, conn: ConnId, bytes: &[u8]) -> Vec<u8> {
        self.feed(conn, bytes);
        self.read(conn)
    }

    /// The server's caller sends a message.
    pub(crate) fn say(&mut self, key: u64, body: &'static [u8]) {
        let body = Bytes::from_static(body);
        self.endpoint.command(self.now, ServerCommand::Send { key, body });
    }

    /// The notices since the last call.
    pub(crate) fn notices(&mut self) -> Vec<Notice> {
        self.notices.extend(Effects::of(&mut self.endpoint).notices);
        std::mem::take(&mut self.notices)
    }

    /// Waits for the next deadline.
    pub(crate) fn expire(&mut self) {
        self.now = self.endpoint.next_deadline().unwrap();
        self.endpoint.expire(self.now);
    }
}

/// One frame in length framing.
pub(crate) fn frame(payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let length = u32::try_from(payload.len()).unwrap();
    [&length.to_be_bytes(), payload].concat()
}

/// The notice of a message received in the first session.
pub(crate) fn heard(id: u64, body: &'static [u8]) -> Notice {
    let body = Bytes::from_static(body);
    Notice::Received { session: 1, id, body }
}
