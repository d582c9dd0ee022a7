//! The chat in lines, as with `nc`.

use echosphere_core::Machine;
use echosphere_core::chat::{Notice, SendError};

use crate::fixture::{Fixture, heard};

#[test]
fn each_line_is_a_message() {
    let mut fixture = Fixture::new();
    let typist = fixture.accept();
    assert_eq!(fixture.exchange(typist, b"hello\r\nhow are you?\n"), b"ok 1\nok 2\n");
    assert_eq!(
        fixture.notices(),
        [
            Notice::Connected { resumed: false },
            heard(1, b"hello"),
            heard(2, b"how are you?")
        ]
    );
}

#[test]
fn messages_in_lines_have_numbers_and_are_acknowledged_by_them() {
    let mut fixture = Fixture::new();
    let typist = fixture.accept();
    fixture.feed(typist, b"\n");
    fixture.say(7, b"one");
    fixture.say(8, b"two\nlines");
    assert_eq!(fixture.read(typist), b"1: one\n2: two\nlines\n");
    fixture.notices();
    assert_eq!(fixture.exchange(typist, b"ok 1\n"), b"");
    assert!(matches!(
        fixture.notices()[..],
        [Notice::Acknowledged { key: 7, id: 1, .. }]
    ));
    let told = fixture.exchange(typist, b"ok 3\n");
    assert!(told.starts_with(b"error not-held "), "{}", told.escape_ascii());
    assert_eq!(fixture.exchange(typist, b"ok 2\nok\nok x\n"), b"ok 1\nok 2\n");
    let notices = fixture.notices();
    assert!(matches!(notices[0], Notice::Acknowledged { key: 8, id: 2, .. }));
    assert_eq!(notices[1..], [heard(1, b"ok"), heard(2, b"ok x")]);
}

#[test]
fn a_long_body_is_sent_whole_to_a_peer_that_speaks_lines() {
    let mut fixture = Fixture::new();
    let typist = fixture.accept();
    fixture.feed(typist, b"\n");
    fixture.say(1, &[b'x'; 200_000]);
    assert_eq!(fixture.read(typist).len(), 3 + 200_000 + 1);
}

#[test]
fn the_end_of_input_ends_the_last_line_and_leaves() {
    let mut fixture = Fixture::new();
    let typist = fixture.accept();
    fixture.feed(typist, b"one\ntwo");
    fixture.fin(typist);
    assert_eq!(fixture.read(typist), b"ok 1\nok 2\n");
    let notices = fixture.notices();
    assert_eq!(
        notices[1..],
        [heard(1, b"one"), heard(2, b"two"), Notice::Ended { failure: None }]
    );
    assert!(fixture.endpoint.machine().is_zero());
    fixture.say(1, b"gone?");
    let why = SendError::NoPeer;
    assert_eq!(fixture.notices(), [Notice::Refused { key: 1, why }]);
}

#[test]
fn a_peer_in_lines_gets_acknowledgements_after_its_fin() {
    let mut fixture = Fixture::new();
    fixture.reads = false;
    let typist = fixture.accept();
    fixture.feed(typist, b"one\ntwo\n");
    fixture.fin(typist);
    assert_eq!(fixture.read(typist), b"");
    fixture.caller_reads(1, 1);
    assert_eq!(fixture.read(typist), b"ok 1\n");
    assert_eq!(fixture.endpoint.machine().peer(), Some(typist));
    fixture.caller_reads(1, 2);
    assert_eq!(fixture.read(typist), b"ok 2\n");
    assert_eq!(fixture.notices().last(), Some(&Notice::Ended { failure: None }));
    fixture.endpoint.shut_down(fixture.now, typist);
    assert!(fixture.endpoint.is_zero());
}

#[test]
fn an_end_of_input_after_a_whole_line_adds_nothing() {
    let mut fixture = Fixture::new();
    let typist = fixture.accept();
    fixture.feed(typist, b"one\n");
    fixture.fin(typist);
    assert_eq!(
        fixture.notices()[1..],
        [heard(1, b"one"), Notice::Ended { failure: None }]
    );
}

#[test]
fn bytes_after_the_end_of_stream_are_ignored() {
    let mut fixture = Fixture::new();
    fixture.reads = false;
    let typist = fixture.accept();
    fixture.feed(typist, b"one\nthe end of this line is missing");
    fixture.fin(typist);
    let notices = fixture.notices();
    assert_eq!(
        notices[1..],
        [heard(1, b"one"), heard(2, b"the end of this line is missing")]
    );
    // A socket delivers nothing after its FIN; a faulty driver might.
    fixture.feed(typist, b"more\n");
    assert_eq!(fixture.notices(), []);
    fixture.caller_reads(1, 2);
    assert_eq!(fixture.read(typist), b"ok 1\nok 2\n");
}
