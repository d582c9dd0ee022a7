//! A client and a server, connected by a line that delivers messages when the test says so and that can be cut.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use echosphere_core::chat::{
    Client, ClientConfig, Command, ExchangeConfig, Message, Notice, Server, ServerCommand, ServerConfig,
};
use echosphere_core::{Action, Actions, CloseReason, ConnId, DialToken, Event, Machine, Opened, Time};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

pub(crate) struct Line {
    pub(crate) client: Client<ChaCha8Rng>,
    pub(crate) server: Server,
    pub(crate) now: Time,
    /// The line's connection, by its id on each side.
    up: Option<ConnId>,
    dialled: u32,
    session: u64,
    pub(crate) dialling: Option<DialToken>,
    tokens: BTreeSet<DialToken>,
    pub(crate) to_server: VecDeque<Message>,
    pub(crate) to_client: VecDeque<Message>,
    /// The notices to the callers.
    pub(crate) client_told: Vec<Notice>,
    pub(crate) server_told: Vec<Notice>,
    /// Whether the callers read each message at once.
    pub(crate) reads: bool,
}

impl Line {
    /// With nothing connected.
    pub(crate) fn new(reconnect: bool, exchange: ExchangeConfig) -> Self {
        Self::with(ClientConfig {
            reconnect,
            exchange,
            ..ClientConfig::default()
        })
    }

    /// With nothing connected, and with this configuration of the client.
    pub(crate) fn with(config: ClientConfig) -> Self {
        let exchange = config.exchange;
        let mut line = Self {
            client: Client::new(config, ChaCha8Rng::seed_from_u64(1)),
            server: Server::new(ServerConfig {
                exchange,
                ..ServerConfig::default()
            }),
            now: Time::ZERO,
            up: None,
            dialled: 0,
            session: 0,
            dialling: None,
            tokens: BTreeSet::new(),
            to_server: VecDeque::new(),
            to_client: VecDeque::new(),
            client_told: Vec::new(),
            server_told: Vec::new(),
            reads: true,
        };
        line.client(Event::Command(Command::Connect));
        line
    }

    /// Connected and welcomed.
    pub(crate) fn connected(reconnect: bool, exchange: ExchangeConfig) -> Self {
        let mut line = Self::new(reconnect, exchange);
        line.connect();
        line.settle();
        line
    }

    pub(crate) fn client(&mut self, event: Event<Message, Command>) {
        let mut actions = Actions::new();
        self.client.handle(self.now, event, &mut actions);
        self.client.audit().unwrap();
        let mut read = Vec::new();
        for action in actions.drain() {
            match action {
                Action::Dial(token, _) => {
                    assert!(self.tokens.insert(token), "{token:?} is used again");
                    self.dialling = Some(token);
                }
                Action::AbandonDial(token) => {
                    assert_eq!(self.dialling.take(), Some(token), "what is abandoned was asked for")
                }
                Action::Send(conn, message) if self.up == Some(conn) => {
                    if let Message::Begin { session } = message {
                        self.session = session;
                    }
                    self.to_server.push_back(message);
                }
                Action::Send(..) => {}
                Action::Close(conn, _) => self.closed_by(conn, true),
                Action::Finish(_) => unreachable!("a chat finishes no connection"),
                Action::Notify(notice) => {
                    if let (Notice::Received { session, id, .. }, true) = (&notice, self.reads) {
                        read.push(Command::Read {
                            session: *session,
                            id: *id,
                        });
                    }
                    self.client_told.push(notice);
                }
            }
        }
        for command in read {
            self.client(Event::Command(command));
        }
    }

    pub(crate) fn server(&mut self, event: Event<Message, ServerCommand>) {
        let mut actions = Actions::new();
        self.server.handle(self.now, event, &mut actions);
        self.server.audit().unwrap();
        let mut read = Vec::new();
        for action in actions.drain() {
            match action {
                Action::Send(conn, message) if self.up == Some(conn) => self.to_client.push_back(message),
                Action::Send(..) => {}
                Action::Close(conn, _) => self.closed_by(conn, false),
                Action::Notify(notice) => {
                    if let (Notice::Received { session, id, .. }, true) = (&notice, self.reads) {
                        read.push(ServerCommand::Read {
                            session: *session,
                            id: *id,
                        });
                    }
                    self.server_told.push(notice);
                }
                Action::Dial(_, _) | Action::AbandonDial(_) => unreachable!("a server dials nobody"),
                Action::Finish(_) => unreachable!("a chat finishes no connection"),
            }
        }
        for command in read {
            self.server(Event::Command(command));
        }
    }

    /// The client's caller reads up to this message of its first session.
    pub(crate) fn client_reads(&mut self, id: u64) {
        self.client(Event::Command(Command::Read { session: 1, id }));
    }

    /// The server's caller reads up to this message of its first session.
    pub(crate) fn server_reads(&mut self, id: u64) {
        self.server(Event::Command(ServerCommand::Read { session: 1, id }));
    }

    /// One side closes: the other receives what was sent, then the end.
    fn closed_by(&mut self, conn: ConnId, client: bool) {
        if self.up != Some(conn) {
            return;
        }
        while client && self.step_to_server() {}
        while !client && self.step_to_client() {}
        self.up = None;
        self.to_server.clear();
        self.to_client.clear();
        if client {
            self.server(Event::Closed(conn, CloseReason::PeerClosed));
        } else {
            self.client(Event::Closed(conn, CloseReason::PeerClosed));
        }
    }

    /// The number of the client's latest session.
    pub(crate) const fn session_number(&self) -> u64 {
        self.session
    }

    /// The attempt connects.
    pub(crate) fn connect(&mut self) {
        let Some(token) = self.dialling.take() else {
            return;
        };
        let conn = ConnId {
            slot: 0,
            generation: self.dialled,
        };
        self.dialled += 1;
        self.up = Some(conn);
        let opened = |dial| Opened {
            dial,
            text: false,
            principal: None,
        };
        self.server(Event::Opened(conn, opened(None)));
        self.client(Event::Opened(conn, opened(Some(token))));
    }

    /// Cuts the line: what is in transit is lost. The flags say which sides notice.
    pub(crate) fn cut(&mut self, client_notices: bool, server_notices: bool) {
        let Some(conn) = self.up.take() else {
            return;
        };
        self.to_server.clear();
        self.to_client.clear();
        if client_notices {
            self.client(Event::Closed(conn, CloseReason::Reset));
        }
        if server_notices {
            self.server(Event::Closed(conn, CloseReason::Reset));
        }
    }

    pub(crate) fn step_to_server(&mut self) -> bool {
        let (Some(conn), Some(message)) = (self.up, self.to_server.pop_front()) else {
            return false;
        };
        self.server(Event::Received(conn, message));
        true
    }

    pub(crate) fn step_to_client(&mut self) -> bool {
        let (Some(conn), Some(message)) = (self.up, self.to_client.pop_front()) else {
            return false;
        };
        self.client(Event::Received(conn, message));
        true
    }

    /// Delivers everything in transit, and what follows from it.
    pub(crate) fn settle(&mut self) {
        while self.step_to_server() || self.step_to_client() {}
    }

    /// Waits for the client's next deadline.
    pub(crate) fn client_expires(&mut self) {
        if let Some(due) = self.client.next_deadline() {
            self.now = self.now.max(due);
            self.client(Event::Deadline);
        }
    }

    /// Connects again after a loss and delivers everything that waits.
    pub(crate) fn recover(&mut self) {
        self.connect_again();
        self.settle();
    }

    /// Waits for the end of the pause; the next attempt connects.
    pub(crate) fn connect_again(&mut self) {
        if self.up.is_none() {
            self.client_expires();
            self.connect();
        }
    }

    pub(crate) fn client_says(&mut self, key: u64, body: impl Into<Bytes>) {
        let body = body.into();
        self.client(Event::Command(Command::Send { key, body }));
    }

    pub(crate) fn server_says(&mut self, key: u64, body: impl Into<Bytes>) {
        let body = body.into();
        self.server(Event::Command(ServerCommand::Send { key, body }));
    }
}

/// The bodies received, in order.
pub(crate) fn heard(told: &[Notice]) -> Vec<Bytes> {
    let bodies = told.iter().filter_map(|notice| match notice {
        Notice::Received { body, .. } => Some(body.clone()),
        _ => None,
    });
    bodies.collect()
}

/// The keys of the acknowledged messages, in order.
pub(crate) fn delivered(told: &[Notice]) -> Vec<u64> {
    let keys = told.iter().filter_map(|notice| match notice {
        Notice::Acknowledged { key, .. } => Some(*key),
        _ => None,
    });
    keys.collect()
}
