//! The limit on partial messages, for relays in lines.

use echosphere_core::connection::ConnectionConfig;

use crate::fixture::Fixture;

const BOUND: usize = 64 * 1024;

fn bounded() -> Fixture {
    Fixture::with(ConnectionConfig {
        max_partial_bytes: BOUND,
        ..ConnectionConfig::default()
    })
}

/// The start of a relay to many users, without its body.
fn to_many(receivers: u64) -> String {
    let ids: Vec<String> = (1..=receivers).map(|id| id.to_string()).collect();
    format!("relay\n{}\n", ids.join(","))
}

#[test]
fn every_form_of_half_a_relay_counts() {
    let body = "some line\n".repeat(100);
    for half in [
        "relay\n2,3\n".to_owned() + &body,
        "relay 2,3\n".to_owned() + &body,
        "relay\n2,3 5000\n".to_owned() + &body,
        to_many(255),
        "relay\n".to_owned() + &"1".repeat(1000),
        "relay 2,3 ".to_owned() + &body.replace('\n', " "),
    ] {
        let mut fixture = bounded();
        let typist = fixture.typist();
        let mut sent = 0;
        for byte in half.bytes() {
            fixture.feed(typist, &[byte]);
            sent += 1;
            let counted = fixture.endpoint.partial_bytes();
            assert!(counted >= sent && counted < 2 * sent.max(64), "{sent}: {counted}");
        }
        assert_eq!(fixture.read_text(typist), "");
    }
}

#[test]
fn skipped_bytes_of_a_refused_relay_do_not_count() {
    let mut fixture = bounded();
    let typist = fixture.typist();
    fixture.feed(typist, b"relay\nnobody\n");
    for _ in 0..10_000 {
        fixture.feed(typist, b"a line of the body\nand half");
        assert!(fixture.endpoint.partial_bytes() <= 64);
    }
    assert!(fixture.read_text(typist).starts_with("error bad-receiver "));
}

#[test]
fn the_memory_of_half_typed_relays_is_bounded() {
    let halves = [
        "relay\n2\n".to_owned() + &"a line\n".repeat(4000),
        "relay\n2 1000000\n".to_owned() + &"x".repeat(20_000),
        to_many(255),
    ];
    let mut fixture = bounded();
    let used = allocation_counter::measure(|| {
        for half in halves.iter().cycle().take(300) {
            let typist = fixture.typist();
            for part in half.as_bytes().chunks(1000) {
                fixture.feed(typist, part);
                assert!(fixture.endpoint.partial_bytes() <= BOUND);
            }
        }
    });
    assert!(fixture.endpoint.counters().refused_partial > 100);
    /// The memory of connections, users and errors in outboxes.
    const OTHERS: usize = 512 * 1024;
    assert!(used.bytes_current <= (BOUND + OTHERS) as i64, "{used:?}");
}

#[test]
fn a_peer_that_speaks_lines_gets_the_error_in_a_line() {
    let mut fixture = bounded();
    let typist = fixture.typist();
    let told = fixture.type_in(typist, &("relay\n2\n".to_owned() + &"a line\n".repeat(10_000)));
    assert!(
        told.starts_with("error busy too many bytes of unfinished messages "),
        "{told}"
    );
    assert_eq!(fixture.endpoint.machine().user_count(), 0);
}
