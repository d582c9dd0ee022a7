use std::collections::BTreeSet;
use std::ffi::OsString;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use echosphere_core::connection::ConnectionConfig;

use super::LinkBounds;

/// A program of which these are all flags.
#[derive(Parser)]
struct Program {
    #[command(flatten)]
    links: LinkBounds,
}

type Field = fn(&ConnectionConfig) -> String;

/// Each flag, with a value that no other has, and the field that it must reach.
const FLAGS: [(&str, &str, &str, Field); 10] = [
    ("max-connections", "11", "11", |links| links.max_connections.to_string()),
    ("max-backlog", "12KiB", "12288", |links| links.max_backlog.to_string()),
    ("backlog-timeout", "13s", "13s", |links| {
        format!("{:?}", links.backlog_timeout)
    }),
    ("max-outbox", "14KiB", "14336", |links| links.max_outbox.to_string()),
    ("max-partial-bytes", "15KiB", "15360", |links| {
        links.max_partial_bytes.to_string()
    }),
    ("handshake-timeout", "16s", "16s", |links| {
        format!("{:?}", links.handshake_timeout)
    }),
    ("idle-timeout", "17s", "17s", |links| {
        format!("{:?}", links.idle_timeout)
    }),
    ("idle-timeout-text", "18s", "18s", |links| {
        format!("{:?}", links.idle_timeout_text)
    }),
    ("keepalive", "19s", "19s", |links| {
        format!("{:?}", links.keepalive_interval)
    }),
    ("linger", "20s", "20s", |links| format!("{:?}", links.linger)),
];

#[test]
fn each_flag_reaches_its_field_and_no_other() {
    let command = Program::command();
    let all: BTreeSet<&str> = command.get_arguments().filter_map(clap::Arg::get_long).collect();
    assert_eq!(
        all,
        FLAGS.iter().map(|(flag, ..)| *flag).collect(),
        "a flag is not in the table"
    );

    let given = FLAGS
        .iter()
        .flat_map(|(flag, value, ..)| [format!("--{flag}"), (*value).to_owned()]);
    let given: Vec<OsString> = ["program".into()]
        .into_iter()
        .chain(given.map(OsString::from))
        .collect();
    let program = Program::try_parse_from(given).expect("these are its flags");
    let links = program
        .links
        .config(100)
        .expect("bounds that allow for a short message");
    for (flag, _, expected, field) in FLAGS {
        assert_eq!(field(&links), expected, "--{flag}");
    }
}

#[test]
fn a_message_fits_into_an_outbox_whatever_that_may_hold() {
    let program = Program::try_parse_from(["program", "--max-outbox", "1B"]).expect("a size");
    let links = program
        .links
        .config(1000)
        .expect("the default bound on half-received messages");
    assert!(links.max_outbox >= 1000, "{links:?}");
    assert_eq!(
        links.idle_timeout,
        Duration::from_secs(60),
        "what is not given keeps its default"
    );
}
