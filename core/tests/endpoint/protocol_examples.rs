//! The examples of docs/PROTOCOL.md, byte for byte, from both sides.

use echosphere_core::connection::SocketAction;
use echosphere_core::echo::Notice;

use crate::dialling::Dialler;
use crate::fixture::{Fixture, frame};
use crate::support::Effects;

fn hex(bytes: &str) -> Vec<u8> {
    let bytes = bytes.split_whitespace();
    bytes.map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

#[test]
fn by_length_as_the_server() {
    for hello in ["00 00 00 00", ""] {
        let mut fixture = Fixture::new();
        let client = fixture.accept();
        fixture.feed(client, &hex(hello));
        fixture.feed(client, &hex("00 00 00 0a 6d 65 73 73 61 67 65 20 68 69"));
        assert_eq!(fixture.read(client), hex("00 00 00 0a 6d 65 73 73 61 67 65 20 68 69"));
        fixture.feed(client, &hex("00 00 00 05 6f 6b 20 68 69"));
        assert_eq!(fixture.read(client), hex("00 00 00 05 6f 6b 20 68 69"));
        fixture.fin(client);
        assert!(fixture.read_fin(client));
        assert!(fixture.endpoint.is_zero());
    }
}

#[test]
fn by_length_as_the_client() {
    let mut client = Dialler::connected("hi");
    assert_eq!(
        client.written(),
        hex("00 00 00 00 00 00 00 0a 6d 65 73 73 61 67 65 20 68 69")
    );
    client.feed(&hex("00 00 00 0a 6d 65 73 73 61 67 65 20 68 69"));
    assert_eq!(client.written(), hex("00 00 00 05 6f 6b 20 68 69"));
    client.feed(&hex("00 00 00 05 6f 6b 20 68 69"));
    assert!(matches!(
        Effects::of(&mut client.endpoint).notices[..],
        [Notice::Acknowledged { key: 1, .. }]
    ));
    assert_eq!(client.endpoint.socket_action(client.conn()), SocketAction::Shutdown);
    client.end();
    assert!(client.endpoint.is_zero());
}

#[test]
fn by_lines_and_then_a_mistake() {
    for end_of_line in ["0a", "0d 0a"] {
        let mut fixture = Fixture::new();
        let client = fixture.accept();
        fixture.feed(client, &hex(&format!("6d 65 73 73 61 67 65 20 68 69 {end_of_line}")));
        assert_eq!(fixture.read(client), hex("6d 65 73 73 61 67 65 20 68 69 0a"));
        fixture.feed(client, &hex(&format!("6f 6b 20 68 69 {end_of_line}")));
        assert_eq!(fixture.read(client), hex("6f 6b 20 68 69 0a"));
        fixture.feed(client, &hex(&format!("6d 65 73 73 61 67 65 68 69 {end_of_line}")));
        let told = fixture.read(client);
        assert!(told.starts_with(&hex("65 72 72 6f 72 20 75 6e 6b 6e 6f 77 6e 2d")));
        let sentence = "error unknown-request expected `message X` or ";
        assert!(told.starts_with(sentence.as_bytes()));
        assert_eq!(told.iter().position(|&byte| byte == b'\n'), Some(told.len() - 1));
    }
}

#[test]
fn the_empty_x() {
    let mut fixture = Fixture::new();
    let client = fixture.accept();
    let message = hex("00 00 00 08 6d 65 73 73 61 67 65 20");
    fixture.feed(client, &message);
    assert_eq!(fixture.read(client), message);
    fixture.feed(client, &frame("ok "));
    assert_eq!(fixture.read(client), frame("ok "));
}

#[test]
fn an_x_that_only_length_framing_can_carry() {
    let mut fixture = Fixture::new();
    let client = fixture.accept();
    let message = hex("00 00 00 0b 6d 65 73 73 61 67 65 20 61 0a 00");
    fixture.feed(client, &message);
    assert_eq!(fixture.read(client), message);
    fixture.feed(client, &frame("ok a\n\0"));
    assert_eq!(fixture.read(client), frame("ok a\n\0"));
}

#[test]
fn a_client_decodes_a_final_error_in_a_line() {
    let mut client = Dialler::connected("hi");
    client.feed(b"error full come back later\n");
    assert!(matches!(
        Effects::of(&mut client.endpoint).notices[..],
        [Notice::Retrying { key: 1, .. }]
    ));
    // The client stays in its own framing.
    assert_eq!(client.written(), [frame(""), frame("message hi")].concat());
}
