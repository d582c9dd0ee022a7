//! A client detects a server of another protocol, reports which one, and does not retry.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use echosphere_core::connection::{ConnectionConfig, SocketAction};
use echosphere_core::endpoint::Endpoint;
use echosphere_core::numbers::Uuid;
use echosphere_core::wire::{Codec, ErrorCode, Protocol};
use echosphere_core::{ConnId, Machine, Time, chat, echo, hub, numbers};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

mod support;

use support::Effects;

const OURS: [Protocol; 4] = [Protocol::Echo, Protocol::Hub, Protocol::Chat, Protocol::Numbers];

fn rng() -> ChaCha8Rng {
    ChaCha8Rng::seed_from_u64(1)
}

/// The other end of a connection.
trait Peer {
    /// Answers bytes. Returns its answer and whether it closes then.
    fn hear(&mut self, bytes: &[u8]) -> (Vec<u8>, bool);

    /// The size of the pieces in which its answer arrives. With 1, detection cannot rely on whole words.
    fn piece(&self) -> usize {
        1
    }
}

struct Server<M: Machine, C: Codec<Message = M::Message>> {
    endpoint: Endpoint<M, C>,
    conn: ConnId,
}

impl<M: Machine, C: Codec<Message = M::Message> + Clone> Peer for Server<M, C> {
    fn hear(&mut self, bytes: &[u8]) -> (Vec<u8>, bool) {
        let mut input = BytesMut::from(bytes);
        self.endpoint.receive(Time::ZERO, self.conn, &mut input);
        written(&mut self.endpoint, self.conn)
    }
}

/// What an endpoint writes, and whether it closes then.
fn written<M: Machine, C: Codec<Message = M::Message> + Clone>(
    endpoint: &mut Endpoint<M, C>,
    conn: ConnId,
) -> (Vec<u8>, bool) {
    let bytes = match endpoint.outbox(conn) {
        Some(outbox) => outbox.chunks().collect::<Vec<_>>().concat(),
        None => Vec::new(),
    };
    endpoint.wrote(conn, bytes.len());
    (bytes, endpoint.socket_action(conn) == SocketAction::Shutdown)
}

fn serve<M, C>(machine: M, codec: C) -> Box<dyn Peer>
where
    M: Machine<Message: 'static, Command: 'static, Notice: 'static> + 'static,
    C: Codec<Message = M::Message> + Clone + 'static,
{
    let mut endpoint = Endpoint::new(machine, codec, ConnectionConfig::default());
    let conn = endpoint.accept(Time::ZERO).unwrap();
    Box::new(Server { endpoint, conn })
}

fn server(protocol: Protocol) -> Box<dyn Peer> {
    match protocol {
        Protocol::Echo => serve(
            echo::Server::new(echo::ServerConfig::default(), rng()),
            echo::EchoCodec::accepted(echo::MAX_MESSAGE),
        ),
        Protocol::Hub => serve(hub::Server::default(), hub::HubCodec::accepted()),
        Protocol::Chat => serve(
            chat::Server::new(chat::ServerConfig::default()),
            chat::ChatCodec::accepted(),
        ),
        Protocol::Numbers => serve(
            numbers::Server::new(numbers::ServerConfig::default(), rng()),
            numbers::NumbersCodec::accepted(),
        ),
        other => panic!("{other:?} is not ours"),
    }
}

/// Connects a client to a server and runs `commands`. Returns the client's notices.
fn meet<M, C>(machine: M, codec: C, commands: Vec<M::Command>, server: &mut dyn Peer) -> Vec<M::Notice>
where
    M: Machine,
    C: Codec<Message = M::Message> + Clone,
{
    let mut endpoint = Endpoint::new(machine, codec, ConnectionConfig::default());
    for command in commands {
        endpoint.command(Time::ZERO, command);
    }
    let (token, _) = Effects::of(&mut endpoint).dial[0];
    let conn = endpoint.dialled(Time::ZERO, token).unwrap();
    for _ in 0..10 {
        let (said, closes) = written(&mut endpoint, conn);
        if said.is_empty() || closes {
            break;
        }
        let (answer, closes) = server.hear(&said);
        for piece in answer.chunks(server.piece()) {
            let mut input = BytesMut::from(piece);
            endpoint.receive(Time::ZERO, conn, &mut input);
        }
        if closes {
            endpoint.peer_closed(Time::ZERO, conn);
        }
    }
    let effects = Effects::of(&mut endpoint);
    assert!(effects.dial.is_empty(), "nobody tries again at once");
    effects.notices
}

/// The protocol that a client of `client` detects, if it ends because of that.
fn takes_for(client: Protocol, server: &mut dyn Peer) -> Option<Option<Protocol>> {
    match client {
        Protocol::Echo => {
            let machine = echo::Client::new(echo::ClientConfig::default(), rng());
            let x = Bytes::from_static(b"x");
            let told = meet(
                machine,
                echo::EchoCodec::dialled(echo::MAX_MESSAGE),
                vec![echo::Command::Send { key: 1, x }],
                server,
            );
            match told.last() {
                Some(echo::Notice::GaveUp {
                    failure: echo::Failure::OtherProtocol(other),
                    attempts: 1,
                    ..
                }) => Some(*other),
                _ => None,
            }
        }
        Protocol::Hub => {
            let config = hub::ClientConfig {
                reconnect: true,
                ..hub::ClientConfig::default()
            };
            let told = meet(
                hub::Client::new(config, rng()),
                hub::HubCodec::dialled(),
                vec![
                    hub::Command::Connect { session: 1 },
                    hub::Command::Ask {
                        session: 1,
                        ask: 1,
                        request: hub::Request::Identity,
                    },
                ],
                server,
            );
            match told.last() {
                Some(hub::Notice::Ended {
                    failure: Some(hub::Failure::OtherProtocol(other)),
                    ..
                }) => Some(*other),
                _ => None,
            }
        }
        Protocol::Chat => {
            let config = chat::ClientConfig {
                reconnect: true,
                ..chat::ClientConfig::default()
            };
            let machine = chat::Client::new(config, rng());
            let told = meet(
                machine,
                chat::ChatCodec::dialled(),
                vec![chat::Command::Connect],
                server,
            );
            match told.last() {
                Some(chat::Notice::Ended {
                    failure: Some(chat::Failure::OtherProtocol(other)),
                }) => Some(*other),
                _ => None,
            }
        }
        Protocol::Numbers => {
            let stream = numbers::StreamSpec::Session {
                uuid: Uuid::from_u128(1),
                n: 3,
                after: None,
            };
            let machine = numbers::Client::new(numbers::ClientConfig::default(), rng());
            let told = meet(
                machine,
                numbers::NumbersCodec::dialled(),
                vec![numbers::Command::Get { key: 1, stream }],
                server,
            );
            match told.last() {
                Some(numbers::Notice::Failed {
                    failure: numbers::Failure::OtherProtocol(other),
                    ..
                }) => Some(*other),
                _ => None,
            }
        }
        other => panic!("{other:?} is not ours"),
    }
}

#[test]
fn each_client_detects_each_server() {
    for client in OURS {
        for name in OURS {
            let taken_for = takes_for(client, &mut *server(name));
            let expected = (client != name).then_some(Some(name));
            assert_eq!(taken_for, expected, "{client:?} at {name:?}");
        }
    }
}

/// A server whose first reply is these bytes, whatever it receives.
struct Parrot(&'static [u8]);

impl Peer for Parrot {
    fn hear(&mut self, _: &[u8]) -> (Vec<u8>, bool) {
        (std::mem::take(&mut self.0).to_vec(), false)
    }

    fn piece(&self) -> usize {
        9
    }
}

#[test]
fn each_client_detects_other_programs() {
    let settings = b"\0\0\x1e\x04\0\0\0\0\0\0\x03\0\0\0\xc8";
    for client in OURS {
        for (said, expected) in [
            (&settings[..], Some(Protocol::Http2)),
            (b"HTTP/1.1 400 Bad Request\r\n", Some(Protocol::Http1)),
            (b"SSH-2.0-OpenSSH_9.6\r\n", Some(Protocol::Ssh)),
            (
                b"error tls-required this port speaks TLS; connect with --tls\n",
                Some(Protocol::Tls),
            ),
            (
                b"error ws-required this port speaks WebSocket; connect with ws://\n",
                Some(Protocol::WebSocket),
            ),
            (b"220 mail.example.org ESMTP\r\n", None),
            (b"\0\0\0\x03\x7f\x7f\x7f", None),
        ] {
            let taken_for = takes_for(client, &mut Parrot(said));
            assert_eq!(taken_for, Some(expected), "{client:?} at {}", said.escape_ascii());
        }
    }
}

#[test]
fn each_client_detects_a_chat_that_is_busy() {
    let busy: [&[u8]; 2] = [
        b"\0\0\0\x48\xFFbusy another client has a session with this server; connect again later",
        b"error busy another client has a session with this server; connect again later\n",
    ];
    for client in OURS {
        for said in busy {
            let expected = (client != Protocol::Chat).then_some(Some(Protocol::Chat));
            let taken_for = takes_for(client, &mut Parrot(said));
            assert_eq!(taken_for, expected, "{client:?} at {}", said.escape_ascii());
        }
    }
}

#[test]
fn half_an_answer_of_the_right_server_is_a_loss() {
    let machine = numbers::Client::new(numbers::ClientConfig::default(), rng());
    let mut endpoint = Endpoint::new(machine, numbers::NumbersCodec::dialled(), ConnectionConfig::default());
    let stream = numbers::StreamSpec::Stateless { n: 3, after: None };
    endpoint.command(Time::ZERO, numbers::Command::Get { key: 1, stream });
    let (token, _) = Effects::of(&mut endpoint).dial[0];
    let conn = endpoint.dialled(Time::ZERO, token).unwrap();
    let mut input = BytesMut::from(&b"\0\0\0\x0212"[..5]);
    endpoint.receive(Time::ZERO, conn, &mut input);
    endpoint.peer_closed(Time::ZERO, conn);
    let effects = Effects::of(&mut endpoint);
    let [numbers::Notice::Retrying { after, .. }] = effects.notices[..] else {
        panic!("{:?}", effects.notices)
    };
    assert!(after > Duration::ZERO);
}

#[test]
fn first_bytes_show_the_protocol() {
    for (bytes, protocol) in [
        (&b""[..], None),
        (b"\0", None),
        (b"\0\0\0\0", None),
        (b"\0\0\0\x01", None),
        (b"\0\0\0\x09\x81\0\0\0\0\0\0\0\x01", Some(Protocol::Hub)),
        (b"\0\0\0\x02\x03\0", Some(Protocol::Chat)),
        (b"\0\0\0\x02\x38\x35", Some(Protocol::Numbers)),
        (b"85\n", Some(Protocol::Numbers)),
        (b"85", Some(Protocol::Numbers)),
        (b"85 x", None),
        (b"\0\0\0\x09message x", Some(Protocol::Echo)),
        (b"ok x", Some(Protocol::Echo)),
        (b"ok 1\n", Some(Protocol::Chat)),
        (b"error full the server is full", None),
        (b"error unknown-request", None),
        (b"error unknown-request expected", None),
        (b"error tls-required this port", Some(Protocol::Tls)),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\nerror tls-required this port",
            Some(Protocol::Tls),
        ),
        (b"\x15\x03\x03\0\x02\x02\x46", Some(Protocol::Tls)),
        (b"\x15\x02", None),
        (b"\0\0\x1e\x04\x01\0\0\0\0", None),
        (b"\0\0\x1f\x04\0\0\0\0\0", None),
    ] {
        assert_eq!(Protocol::from_first_bytes(bytes), protocol, "{}", bytes.escape_ascii());
    }
    // Servers of several protocols send the other errors.
    let busy = b"another client has a session with this server; connect again later";
    assert_eq!(Protocol::from_error(ErrorCode::Busy, busy), Some(Protocol::Chat));
    assert_eq!(Protocol::from_error(ErrorCode::Full, b"expected START, CONTINUE"), None);
}
