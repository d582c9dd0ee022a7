//! The chat at `nc`.

use echosphere_core::Machine;
use echosphere_core::chat::{Notice, Unsaid};

use crate::bench::{Bench, heard};

#[test]
fn each_line_is_a_message() {
    let mut bench = Bench::new();
    let typist = bench.accept();
    assert_eq!(bench.exchange(typist, b"hello\r\nhow are you?\n"), b"ok 1\nok 2\n");
    assert_eq!(
        bench.notices(),
        [
            Notice::Connected { resumed: false },
            heard(1, b"hello"),
            heard(2, b"how are you?")
        ]
    );
}

#[test]
fn messages_come_with_their_numbers_and_are_acknowledged_by_hand() {
    let mut bench = Bench::new();
    let typist = bench.accept();
    bench.feed(typist, b"\n");
    bench.say(7, b"one");
    bench.say(8, b"two\nlines");
    assert_eq!(bench.read(typist), b"1: one\n2: two\nlines\n");
    bench.notices();
    assert_eq!(bench.exchange(typist, b"ok 1\n"), b"");
    assert!(matches!(bench.notices()[..], [Notice::Delivered { key: 7, id: 1, .. }]));
    let told = bench.exchange(typist, b"ok 3\n");
    assert!(told.starts_with(b"error not-held "), "{}", told.escape_ascii());
    assert_eq!(bench.exchange(typist, b"ok 2\nok\nok x\n"), b"ok 1\nok 2\n");
    let notices = bench.notices();
    assert!(matches!(notices[0], Notice::Delivered { key: 8, id: 2, .. }));
    assert_eq!(notices[1..], [heard(1, b"ok"), heard(2, b"ok x")]);
}

#[test]
fn a_long_body_is_not_cut_into_parts_for_somebody_who_reads_lines() {
    let mut bench = Bench::new();
    let typist = bench.accept();
    bench.feed(typist, b"\n");
    bench.say(1, &[b'x'; 200_000]);
    assert_eq!(bench.read(typist).len(), 3 + 200_000 + 1);
}

#[test]
fn the_end_of_input_ends_the_last_line_and_leaves() {
    let mut bench = Bench::new();
    let typist = bench.accept();
    bench.feed(typist, b"one\ntwo");
    bench.fin(typist);
    assert_eq!(bench.read(typist), b"ok 1\nok 2\n");
    let notices = bench.notices();
    assert_eq!(
        notices[1..],
        [heard(1, b"one"), heard(2, b"two"), Notice::Ended { failure: None }]
    );
    assert!(bench.endpoint.machine().is_zero());
    bench.say(1, b"gone?");
    let why = Unsaid::NoPeer;
    assert_eq!(bench.notices(), [Notice::Refused { key: 1, why }]);
}

#[test]
fn whoever_has_finished_typing_gets_the_acknowledgements_of_what_is_not_read_yet() {
    let mut bench = Bench::new();
    bench.reads = false;
    let typist = bench.accept();
    bench.feed(typist, b"one\ntwo\n");
    bench.fin(typist);
    assert_eq!(bench.read(typist), b"");
    bench.caller_reads(1, 1);
    assert_eq!(bench.read(typist), b"ok 1\n");
    assert_eq!(bench.endpoint.machine().peer(), Some(typist));
    bench.caller_reads(1, 2);
    assert_eq!(bench.read(typist), b"ok 2\n");
    assert_eq!(bench.notices().last(), Some(&Notice::Ended { failure: None }));
    bench.endpoint.shut_down(bench.now, typist, &mut bench.effects);
    assert!(bench.endpoint.is_zero());
}

#[test]
fn an_end_of_input_after_a_whole_line_says_nothing_more() {
    let mut bench = Bench::new();
    let typist = bench.accept();
    bench.feed(typist, b"one\n");
    bench.fin(typist);
    assert_eq!(
        bench.notices()[1..],
        [heard(1, b"one"), Notice::Ended { failure: None }]
    );
}

#[test]
fn bytes_after_the_end_of_stream_do_no_harm() {
    let mut bench = Bench::new();
    bench.reads = false;
    let typist = bench.accept();
    bench.feed(typist, b"one\nthe end of this line is missing");
    bench.fin(typist);
    // No socket gives any; a driver at fault could.
    bench.feed(typist, b"more\n");
    bench.caller_reads(1, 2);
    assert_eq!(bench.read(typist), b"ok 1\nok 2\n");
}
