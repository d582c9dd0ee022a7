//! The examples of docs/PROTOCOL.md, byte for byte, from both sides.

use bytes::BytesMut;
use echosphere_core::echo::{Client, ClientConfig, Command, EchoCodec, MAX_MESSAGE, Notice};
use echosphere_core::endpoint::{Effects, Endpoint};
use echosphere_core::link::{LinkConfig, Want};
use echosphere_core::{ConnId, Time};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::bench::{Bench, frame};

fn hex(bytes: &str) -> Vec<u8> {
    let bytes = bytes.split_whitespace();
    bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

#[test]
fn by_length_as_the_server() {
    for hello in ["00 00 00 00", ""] {
        let mut bench = Bench::new();
        let client = bench.accept();
        bench.feed(client, &hex(hello));
        bench.feed(client, &hex("00 00 00 0a 6d 65 73 73 61 67 65 20 68 69"));
        assert_eq!(bench.read(client), hex("00 00 00 0a 6d 65 73 73 61 67 65 20 68 69"));
        bench.feed(client, &hex("00 00 00 05 6f 6b 20 68 69"));
        assert_eq!(bench.read(client), hex("00 00 00 05 6f 6b 20 68 69"));
        bench.fin(client);
        assert!(bench.read_fin(client));
        assert!(bench.endpoint.is_zero());
    }
}

#[test]
fn by_length_as_the_client() {
    let mut client = Dialler::new("hi");
    assert_eq!(
        client.written(),
        hex("00 00 00 00 00 00 00 0a 6d 65 73 73 61 67 65 20 68 69")
    );
    client.feed(&hex("00 00 00 0a 6d 65 73 73 61 67 65 20 68 69"));
    assert_eq!(client.written(), hex("00 00 00 05 6f 6b 20 68 69"));
    client.feed(&hex("00 00 00 05 6f 6b 20 68 69"));
    assert!(matches!(
        client.effects.notices[..],
        [Notice::Acknowledged { id: 1, .. }]
    ));
    assert_eq!(client.endpoint.want(client.conn), Want::Shutdown);
    client.endpoint.shut_down(client.conn, &mut client.effects);
    client
        .endpoint
        .peer_closed(Time::ZERO, client.conn, &mut client.effects);
    assert!(client.endpoint.is_zero());
}

#[test]
fn by_lines_and_then_a_mistake() {
    for end_of_line in ["0a", "0d 0a"] {
        let mut bench = Bench::new();
        let client = bench.accept();
        bench.feed(client, &hex(&format!("6d 65 73 73 61 67 65 20 68 69 {end_of_line}")));
        assert_eq!(bench.read(client), hex("6d 65 73 73 61 67 65 20 68 69 0a"));
        bench.feed(client, &hex(&format!("6f 6b 20 68 69 {end_of_line}")));
        assert_eq!(bench.read(client), hex("6f 6b 20 68 69 0a"));
        bench.feed(client, &hex(&format!("6d 65 73 73 61 67 65 68 69 {end_of_line}")));
        let told = bench.read(client);
        assert!(told.starts_with(&hex("65 72 72 6f 72 20 75 6e 6b 6e 6f 77 6e 2d")));
        let sentence = "error unknown-request expected `message X` or ";
        assert!(told.starts_with(sentence.as_bytes()));
        assert_eq!(told.iter().position(|&byte| byte == b'\n'), Some(told.len() - 1));
    }
}

#[test]
fn the_empty_x() {
    let mut bench = Bench::new();
    let client = bench.accept();
    let message = hex("00 00 00 08 6d 65 73 73 61 67 65 20");
    bench.feed(client, &message);
    assert_eq!(bench.read(client), message);
    bench.feed(client, &frame("ok "));
    assert_eq!(bench.read(client), frame("ok "));
}

#[test]
fn an_x_that_only_length_framing_can_carry() {
    let mut bench = Bench::new();
    let client = bench.accept();
    let message = hex("00 00 00 0b 6d 65 73 73 61 67 65 20 61 0a 00");
    bench.feed(client, &message);
    assert_eq!(bench.read(client), message);
    bench.feed(client, &frame("ok a\n\0"));
    assert_eq!(bench.read(client), frame("ok a\n\0"));
}

#[test]
fn a_client_understands_the_last_words_of_a_server_that_speaks_lines() {
    let mut client = Dialler::new("hi");
    client.feed(b"error full come back later\n");
    assert!(matches!(client.effects.notices[..], [Notice::Retrying { id: 1, .. }]));
    // Still in the framing that it has shown itself.
    assert_eq!(client.written(), [frame(""), frame("message hi")].concat());
}

/// One echo client and its connection.
struct Dialler {
    endpoint: Endpoint<Client<ChaCha8Rng>, EchoCodec>,
    effects: Effects<Notice>,
    conn: ConnId,
}

impl Dialler {
    fn new(x: &'static str) -> Self {
        let client = Client::new(ClientConfig::default(), ChaCha8Rng::seed_from_u64(1));
        let mut endpoint = Endpoint::new(client, EchoCodec::dialled(MAX_MESSAGE), LinkConfig::default());
        let mut effects = Effects::default();
        let command = Command::Send { id: 1, x: x.into() };
        endpoint.command(Time::ZERO, command, &mut effects);
        let token = effects.dial.pop().unwrap();
        let conn = endpoint.dialled(Time::ZERO, token, &mut effects);
        Self {
            endpoint,
            effects,
            conn,
        }
    }

    fn feed(&mut self, bytes: &[u8]) {
        let mut input = BytesMut::from(bytes);
        self.endpoint
            .receive(Time::ZERO, self.conn, &mut input, &mut self.effects);
    }

    fn written(&mut self) -> Vec<u8> {
        let outbox = self.endpoint.outbox(self.conn).unwrap();
        let bytes = outbox.chunks().collect::<Vec<_>>().concat();
        self.endpoint.wrote(self.conn, bytes.len());
        bytes
    }
}
