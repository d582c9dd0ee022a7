//! The endpoint of a numbers server, with the peers' ends of its connections.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::BytesMut;
use echosphere_core::connection::{ConnectionConfig, SocketAction};
use echosphere_core::endpoint::Endpoint;
use echosphere_core::numbers::{NumbersCodec, Sequence, Server, ServerConfig, Uuid};
use echosphere_core::{ConnId, Time};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

pub(crate) const PERIOD: Duration = Duration::from_secs(1);
pub(crate) const TTL: Duration = Duration::from_secs(30);
pub(crate) const IDLE_TIMEOUT: Duration = Duration::from_secs(1000);
pub(crate) const MAX_BACKLOG: usize = 1_000_000;
pub(crate) const UUID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

pub(crate) struct Fixture {
    pub(crate) endpoint: Endpoint<Server<ChaCha8Rng>, NumbersCodec>,
    pub(crate) now: Time,
    /// Connections that the server has shut down.
    closed: BTreeSet<ConnId>,
}

impl Fixture {
    pub(crate) fn new() -> Self {
        Self::with(ServerConfig::default())
    }

    pub(crate) fn with(config: ServerConfig) -> Self {
        let server = Server::new(config, ChaCha8Rng::seed_from_u64(1));
        let links = ConnectionConfig {
            idle_timeout_text: IDLE_TIMEOUT,
            max_backlog: MAX_BACKLOG,
            backlog_timeout: Duration::from_secs(1_000_000),
            ..ConnectionConfig::default()
        };
        Self {
            endpoint: Endpoint::new(server, NumbersCodec::accepted(), links),
            now: Time::ZERO,
            closed: BTreeSet::new(),
        }
    }

    /// A peer connects and sends lines. Returns the answer.
    pub(crate) fn open(&mut self, lines: &str) -> (ConnId, String) {
        let conn = self.endpoint.accept(self.now).unwrap();
        let said = self.say(conn, lines);
        (conn, said)
    }

    /// A peer sends lines. Returns the answer.
    pub(crate) fn say(&mut self, conn: ConnId, lines: &str) -> String {
        let mut input = BytesMut::from(lines.as_bytes());
        self.endpoint.receive(self.now, conn, &mut input);
        assert!(input.is_empty(), "all input is taken");
        self.endpoint.machine().audit().unwrap();
        self.read(conn)
    }

    /// Receives the peer's FIN.
    pub(crate) fn fin(&mut self, conn: ConnId) {
        self.endpoint.peer_closed(self.now, conn);
        self.endpoint.machine().audit().unwrap();
        if self.endpoint.socket_action(conn) == SocketAction::Shutdown {
            self.read(conn);
        }
    }

    /// The connection breaks.
    pub(crate) fn cut(&mut self, conn: ConnId) {
        self.endpoint.failed(self.now, conn);
        self.endpoint.machine().audit().unwrap();
    }

    /// Writes the outbox; returns what the peer reads.
    pub(crate) fn read(&mut self, conn: ConnId) -> String {
        let bytes = match self.endpoint.outbox(conn) {
            Some(outbox) => outbox.chunks().collect::<Vec<_>>().concat(),
            None => Vec::new(),
        };
        self.endpoint.wrote(conn, bytes.len());
        if self.endpoint.socket_action(conn) == SocketAction::Shutdown {
            self.closed.insert(conn);
            self.endpoint.shut_down(self.now, conn);
        }
        String::from_utf8(bytes).unwrap()
    }

    /// Lets time pass.
    pub(crate) fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        while let Some(due) = self.endpoint.next_deadline().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.endpoint.expire(self.now);
        }
        self.now = until;
    }

    /// Lets periods pass while the peer reads.
    pub(crate) fn periods(&mut self, conn: ConnId, periods: u32) -> Vec<u64> {
        let mut all = Vec::new();
        for _ in 0..periods {
            self.pass(PERIOD);
            all.extend(numbers(&self.read(conn)));
        }
        all
    }

    /// Whether the server has closed the connection.
    pub(crate) fn is_closed(&self, conn: ConnId) -> bool {
        self.closed.contains(&conn)
    }
}

/// Lines of one number each.
pub(crate) fn numbers(lines: &str) -> Vec<u64> {
    lines.lines().map(|line| line.parse().unwrap()).collect()
}

/// Everything that a session sends: n numbers and their checksum.
pub(crate) fn whole(uuid: &str, n: u16) -> Vec<u64> {
    let uuid = Uuid::try_parse(uuid).unwrap();
    let mut all: Vec<u64> = Sequence::new(uuid).after(0).take(n.into()).map(u64::from).collect();
    all.push(checksum(&all));
    all
}

pub(crate) fn checksum(numbers: &[u64]) -> u64 {
    numbers.iter().map(|number| number % 123_456).sum::<u64>() % 123_456
}
