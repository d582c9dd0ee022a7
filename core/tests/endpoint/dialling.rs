//! The endpoint of an echo client: attempts to connect, and their connections.

use std::time::Duration;

use bytes::BytesMut;
use echosphere_core::connection::{ConnectionConfig, SocketAction};
use echosphere_core::echo::{Client, ClientConfig, Command, EchoCodec, Failure, MAX_MESSAGE, Notice};
use echosphere_core::endpoint::Endpoint;
use echosphere_core::{ConnId, DialError, DialToken, Time};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::fixture::frame;
use crate::support::Effects;

/// An echo client with one message to send, and the server's end of its connection.
pub(crate) struct Dialler {
    pub(crate) endpoint: Endpoint<Client<ChaCha8Rng>, EchoCodec>,
    now: Time,
    conn: Option<ConnId>,
}

impl Dialler {
    /// A client with an attempt in progress.
    fn dialling(x: &'static str) -> (Self, DialToken) {
        let client = Client::new(ClientConfig::default(), ChaCha8Rng::seed_from_u64(1));
        let mut dialler = Self {
            endpoint: Endpoint::new(client, EchoCodec::dialled(MAX_MESSAGE), ConnectionConfig::default()),
            now: Time::ZERO,
            conn: None,
        };
        let command = Command::Send { key: 1, x: x.into() };
        dialler.endpoint.command(dialler.now, command);
        let token = dialler.effects().dial[0].0;
        (dialler, token)
    }

    pub(crate) fn connected(x: &'static str) -> Self {
        let (mut dialler, token) = Self::dialling(x);
        dialler.conn = dialler.endpoint.dialled(dialler.now, token);
        dialler
    }

    pub(crate) fn effects(&mut self) -> Effects<Notice> {
        Effects::of(&mut self.endpoint)
    }

    pub(crate) fn conn(&self) -> ConnId {
        self.conn.unwrap()
    }

    /// Receives bytes from the server.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        let (conn, mut input) = (self.conn(), BytesMut::from(bytes));
        self.endpoint.receive(self.now, conn, &mut input);
    }

    /// The bytes that the client sends.
    pub(crate) fn written(&mut self) -> Vec<u8> {
        let conn = self.conn();
        let outbox = self.endpoint.outbox(conn).unwrap();
        let bytes = outbox.chunks().collect::<Vec<_>>().concat();
        self.endpoint.wrote(conn, bytes.len());
        bytes
    }

    /// Both sides send their end of stream.
    pub(crate) fn end(&mut self) {
        let conn = self.conn();
        self.endpoint.shut_down(self.now, conn);
        self.endpoint.peer_closed(self.now, conn);
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
        self.endpoint.expire(self.now);
    }
}

#[test]
fn an_attempt_to_connect_is_not_zero_until_it_is_answered() {
    let (mut client, token) = Dialler::dialling("x");
    client.endpoint.drain(client.now);
    assert_eq!(client.effects().abandon, [token]);
    assert!(client.endpoint.is_zero());

    let (mut client, token) = Dialler::dialling("x");
    assert!(!client.endpoint.is_zero());
    let refused = DialError::Refused;
    client.endpoint.dial_failed(client.now, token, refused);
    assert_eq!(client.endpoint.counters().dials_failed, 1);
    assert!(matches!(
        client.effects().notices[..],
        [Notice::Retrying {
            failure: Failure::Dial(DialError::Refused),
            ..
        }]
    ));
    assert!(!client.endpoint.is_zero(), "the next attempt is to come");
    client.endpoint.drain(client.now);
    assert!(client.endpoint.is_zero());
}

#[test]
fn a_client_sends_a_hello_and_keepalives() {
    let mut client = Dialler::connected("x");
    assert_eq!(client.written(), [frame(""), frame("message x")].concat());
    client.pass(Duration::from_secs(20));
    assert_eq!(client.written(), frame(""));
    assert_eq!(client.endpoint.counters().dialled, 1);
}

#[test]
fn without_an_ok_in_time_the_endpoint_closes_and_dials() {
    let mut client = Dialler::connected("x");
    client.pass(Duration::from_secs(20));
    client.feed(&frame(""));
    client.pass(Duration::from_secs(10));
    client.written();
    assert_eq!(client.endpoint.socket_action(client.conn()), SocketAction::Shutdown);
    assert!(client.effects().dial.is_empty());
    client.pass(Duration::from_millis(100));
    assert_eq!(client.effects().dial.len(), 1);
}

#[test]
fn half_a_final_error_in_a_line_does_not_end_keepalives() {
    let mut dialler = Dialler::connected("x");
    dialler.written();
    // Without the line end. Found by seed 1846 of a campaign.
    dialler.feed(b"error shutting-down the server");
    dialler.pass(ConnectionConfig::default().keepalive_interval);
    assert_eq!(dialler.written(), [0; 4]);
}
