//! Requests in lines: typed, pasted or piped.

use crate::fixture::{Fixture, delivery, frame};

/// A hub whose user 1 speaks lines, and users 2 and 3 do not.
fn three() -> (Fixture, [echosphere_core::ConnId; 3]) {
    let mut fixture = Fixture::new();
    let conns = [fixture.typist(), fixture.user(), fixture.user()];
    (fixture, conns)
}

#[test]
fn requests_in_lines_are_answered_in_lines() {
    let (mut fixture, [typist, ..]) = three();
    assert_eq!(fixture.type_in(typist, "identity\n"), "identity 1\n");
    assert_eq!(fixture.type_in(typist, "list\r\n"), "list 2,3\n");
    assert_eq!(fixture.type_in(typist, "echo foo  bar\n"), "echo foo  bar\n");
    assert_eq!(fixture.type_in(typist, "echo\n"), "echo \n");
    assert_eq!(fixture.type_in(typist, "\n"), "");
}

#[test]
fn the_list_of_a_lone_user_is_empty() {
    let mut fixture = Fixture::new();
    let typist = fixture.typist();
    assert_eq!(fixture.type_in(typist, "list\n"), "list nobody\n");
}

/// Every way to send one body in lines, and what the receivers get.
const WAYS: [(&str, &str); 9] = [
    ("relay\n2,3\nfoo bar\numad?\n\n\n", "foo bar\numad?"),
    ("relay\r\n2,3\r\nfoo bar\r\numad?\r\n\r\n\r\n", "foo bar\numad?"),
    ("relay\n2, 3\n\nfoo bar\n\numad?\n\n\n", "\nfoo bar\n\numad?"),
    ("relay 2,3\nfoo bar\numad?\n\n\n", "foo bar\numad?"),
    ("relay\n2,3 13\nfoo bar\numad?\n", "foo bar\numad?"),
    ("relay\n2,3 15\nfoo bar\r\n\n\numad\r\n", "foo bar\r\n\n\numad"),
    ("relay 2,3 foo bar umad?\n", "foo bar umad?"),
    ("relay 3,2,3,2  ,foo\n", " ,foo"),
    ("relay 2,3\n\n\n", ""),
];

#[test]
fn a_relay_ends_by_two_empty_lines_by_its_length_or_with_its_line_however_it_is_split() {
    for (typed, body) in WAYS {
        for split in 0..=typed.len() {
            let (mut fixture, [typist, two, three]) = three();
            fixture.feed(typist, &typed.as_bytes()[..split]);
            fixture.feed(typist, &typed.as_bytes()[split..]);
            assert_eq!(
                fixture.type_in(typist, "identity\n"),
                "relayed to 2 of 2 users\nidentity 1\n",
                "{typed:?} split at {split}"
            );
            let expected = frame(delivery(1, body.as_bytes()));
            assert_eq!(fixture.read(two), expected, "{typed:?} split at {split}");
            assert_eq!(fixture.read(three), expected);
        }
    }
}

#[test]
fn a_relay_typed_byte_by_byte_is_the_same() {
    for (typed, body) in WAYS {
        let (mut fixture, [typist, two, _]) = three();
        for byte in typed.bytes() {
            fixture.feed(typist, &[byte]);
        }
        assert_eq!(
            fixture.type_in(typist, "identity\n"),
            "relayed to 2 of 2 users\nidentity 1\n",
            "{typed:?}"
        );
        assert_eq!(fixture.read(two), frame(delivery(1, body.as_bytes())), "{typed:?}");
    }
}

#[test]
fn the_end_of_input_ends_a_relay_too() {
    for (typed, body) in [
        ("relay\n2,3\nfoo bar\numad?\n", "foo bar\numad?"),
        ("relay\n2,3\nfoo bar\numad?", "foo bar\numad?"),
        ("relay\n2,3\nfoo bar\numad?\r\n\r\n", "foo bar\numad?"),
        ("relay 2,3 foo bar", "foo bar"),
        ("relay\n2,3 3\nfoo", "foo"),
        ("relay 2,3", ""),
    ] {
        let (mut fixture, [typist, two, _]) = three();
        fixture.feed(typist, typed.as_bytes());
        fixture.fin(typist);
        assert_eq!(fixture.read_text(typist), "relayed to 2 of 2 users\n", "{typed:?}");
        assert_eq!(fixture.read(two), frame(delivery(1, body.as_bytes())), "{typed:?}");
        assert_eq!(fixture.endpoint.machine().user_count(), 2);
    }
}

#[test]
fn a_request_without_its_line_end_counts_at_the_end_of_input() {
    for typed in ["identity", "identity\r"] {
        let mut fixture = Fixture::new();
        let typist = fixture.accept();
        fixture.feed(typist, typed.as_bytes());
        fixture.fin(typist);
        assert_eq!(fixture.read_text(typist), "identity 1\n");
    }
}

#[test]
fn a_relay_that_the_end_of_input_cuts_short_is_refused() {
    for typed in ["relay\n", "relay\n2,", "relay\n2,3 5\nfoo\n"] {
        let (mut fixture, [typist, two, _]) = three();
        fixture.feed(typist, typed.as_bytes());
        fixture.fin(typist);
        let told = fixture.read_text(typist);
        assert!(told.starts_with("error truncated "), "{typed:?}: {told:?}");
        assert_eq!(fixture.read(two), b"", "{typed:?}");
    }
}

#[test]
fn deliveries_in_lines_show_sender_and_length() {
    let (mut fixture, [typist, two, _]) = three();
    fixture.feed(two, &frame(crate::fixture::relay(&[1], b"line one\nline two")));
    assert_eq!(fixture.read_text(typist), "from 2, 17 bytes:\nline one\nline two\n");
}

#[test]
fn the_receipt_names_users_that_are_not_connected() {
    let (mut fixture, [typist, ..]) = three();
    assert_eq!(
        fixture.type_in(typist, "relay 9,2,7 x\n"),
        "relayed to 1 of 3 users; unknown: 7,9\n"
    );
}

#[test]
fn invalid_requests_are_answered_by_errors_and_the_next_one_works() {
    let many = (1..=256).map(|id| id.to_string()).collect::<Vec<_>>().join(",");
    let long = "x".repeat(1024 * 1024 + 1);
    for (typed, code) in [
        ("hello\n".to_owned(), "unknown-request"),
        (" identity\n".to_owned(), "unknown-request"),
        ("identity please\n".to_owned(), "unknown-request"),
        ("list \u{1}\n".to_owned(), "unknown-request"),
        ("relay two,3 x\n".to_owned(), "bad-receiver"),
        ("relay 2,,3 x\n".to_owned(), "bad-receiver"),
        ("relay +2 x\n".to_owned(), "bad-receiver"),
        ("relay 18446744073709551616 x\n".to_owned(), "bad-receiver"),
        (format!("relay {many} x\n"), "too-many-receivers"),
        ("relay  x\n".to_owned(), "no-receivers"),
        ("relay\n\nbody\n\n\n".to_owned(), "no-receivers"),
        ("relay\n2,x\nidentity\n\nlist\n\n\n".to_owned(), "bad-receiver"),
        ("relay 2,x\nidentity\n\n\n".to_owned(), "bad-receiver"),
        ("relay\n2,x 9\nidentity\n\n".to_owned(), "bad-receiver"),
        ("relay\nx, 9\nidentity\nlist\n\n\n".to_owned(), "bad-receiver"),
        ("relay\n2 many\nidentity\n\n\n".to_owned(), "bad-receiver"),
        (format!("relay\n{many}\nidentity\n\n\n"), "too-many-receivers"),
        (format!("relay\n2 1048577\n{long}\n"), "body-too-long"),
        (
            format!("relay\n2\n{}\n{}\nidentity\n\n\n", &long[..600_000], &long[..600_000]),
            "body-too-long",
        ),
        (
            format!("relay\n2\n{}\nx\n\n\n", &long[..1024 * 1024 - 1]),
            "body-too-long",
        ),
        (format!("relay 2 {long}\n"), "body-too-long"),
        (format!("echo {long}\n"), "body-too-long"),
    ] {
        let (mut fixture, [typist, two, _]) = three();
        let told = fixture.type_in(typist, &typed);
        let shown: String = typed.chars().take(40).collect();
        assert!(told.starts_with(&format!("error {code} ")), "{shown:?}: {told:?}");
        assert_eq!(told.matches('\n').count(), 1, "{shown:?}: {told:?}");
        assert_eq!(fixture.type_in(typist, "identity\n"), "identity 1\n", "after {shown:?}");
        assert_eq!(fixture.read(two), b"", "{shown:?}");
    }
}

#[test]
fn a_body_of_the_longest_length_is_accepted_in_every_form() {
    let long = "x".repeat(1024 * 1024);
    for typed in [
        format!("relay 2 {long}\n"),
        format!("relay\n2\n{long}\n\n\n"),
        format!("relay\n2 1048576\n{long}\n"),
    ] {
        let (mut fixture, [typist, two, _]) = three();
        assert_eq!(fixture.type_in(typist, &typed), "relayed to 1 of 1 user\n");
        assert_eq!(fixture.read(two), frame(delivery(1, long.as_bytes())));
    }
}

#[test]
fn an_echo_of_the_longest_length_is_taken() {
    let (mut fixture, [typist, ..]) = three();
    let typed = format!("echo {}\n", "x".repeat(1024 * 1024));
    assert_eq!(fixture.type_in(typist, &typed), typed);
}

#[test]
fn errors_show_an_excerpt_of_the_input() {
    let (mut fixture, [typist, ..]) = three();
    let (fits, long) = ("x".repeat(24), "x".repeat(25));
    let told = fixture.type_in(typist, &format!("relay {fits} hello\n"));
    assert!(told.contains(&format!("\"{fits}\" ")), "{told}");
    let told = fixture.type_in(typist, &format!("relay {long} hello\n"));
    assert!(told.contains(&format!("\"{fits}…\" ")), "{told}");
}
