//! The cases, and what is expected on each network.

use std::fmt::Write;

use crate::player::Do::{self, Close, Hear, Say};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    Tcp,
    Turmoil,
    Direct,
}

/// What is done to the two, once the client has `x` and leaves it unanswered, or before it connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blow {
    None,
    /// The client's process dies with nothing unread.
    ClientDies,
    /// The client resets its connection (SO_LINGER of zero).
    ClientResets,
    /// The server's process dies with nothing unread.
    ServerDies,
    /// No server listens.
    NoListener,
    /// Attempts to connect are not answered.
    NoAnswer,
}

pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// None: the real client sends an X of `x` bytes.
    pub(crate) script: Option<&'static [Do]>,
    pub(crate) x: usize,
    pub(crate) blow: Blow,
    /// What the machines of server and client receive over TCP.
    received: (&'static str, &'static str),
    /// The networks where it is something else; `None` if it cannot be made there.
    differs: &'static [(Network, Option<(&'static str, &'static str)>)],
}

impl Case {
    pub(crate) fn expected(&self, network: Network) -> Option<(&'static str, &'static str)> {
        let other = self.differs.iter().find(|(on, _)| *on == network);
        other.map_or(Some(self.received), |(_, received)| *received)
    }
}

const SOUND: Case = Case {
    name: "",
    script: None,
    x: 1,
    blow: Blow::None,
    received: ("", ""),
    differs: &[],
};

/// In lines: sends X, and has it, unanswered.
const HOLDS_X: Option<&[Do]> = Some(&[Say(b"message x\n"), Hear(b"message x\n")]);

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "one client gets its ok",
        received: (
            "opened, message x, ok x, PeerClosed",
            "opened, message x, ok x, closes: Finished",
        ),
        ..SOUND
    },
    Case {
        name: "an X of 1 MiB there and back",
        x: 1024 * 1024,
        received: (
            "opened, message of 1048576 bytes, ok of 1048576 bytes, PeerClosed",
            "opened, message of 1048576 bytes, ok of 1048576 bytes, closes: Finished",
        ),
        ..SOUND
    },
    Case {
        name: "a client in lines",
        script: Some(&[
            Say(b"message x\r\n"),
            Hear(b"message x\n"),
            Say(b"ok x\n"),
            Hear(b"ok x\n"),
            Close,
        ]),
        received: (
            "opened, message x, ok x, PeerClosed",
            "opened, message x, ok x, closes: Finished",
        ),
        ..SOUND
    },
    Case {
        name: "data and end of stream at once",
        script: Some(&[
            Say(b"message x\n"),
            Hear(b"message x\n"),
            Say(b"ok x\nmessage y\n"),
            Close,
        ]),
        received: (
            "opened, message x, ok x, message y, PeerClosed",
            "opened, message x, closes: Finished",
        ),
        ..SOUND
    },
    Case {
        name: "the end comes inside a message",
        script: Some(&[Say(b"\n\nmess"), Close]),
        received: ("opened, Malformed(Truncated)", "opened, closes: Finished"),
        ..SOUND
    },
    Case {
        name: "malformed bytes",
        script: Some(&[Say(b"\0\xff\xff\xff")]),
        received: ("nothing", "opened, error frame-too-long, PeerClosed"),
        ..SOUND
    },
    Case {
        name: "a client that sends nothing",
        script: Some(&[]),
        received: ("nothing", "opened, error handshake-timeout, PeerClosed"),
        ..SOUND
    },
    Case {
        name: "a client that falls silent",
        script: Some(&[Say(b"\0\0\0\x09message x"), Hear(b"message x")]),
        received: (
            "opened, message x, IdleTimeout",
            "opened, message x, error idle-timeout, PeerClosed",
        ),
        ..SOUND
    },
    Case {
        name: "the client's process dies",
        script: HOLDS_X,
        blow: Blow::ClientDies,
        received: ("opened, message x, PeerClosed", "opened"),
        differs: &[(
            Network::Direct,
            Some(("opened, message x, PeerClosed — or: opened, message x, Reset", "opened")),
        )],
        ..SOUND
    },
    Case {
        name: "the client resets",
        script: HOLDS_X,
        blow: Blow::ClientResets,
        received: ("opened, message x, Reset", "opened"),
        differs: &[
            (Network::Turmoil, None),
            (
                Network::Direct,
                Some(("opened, message x, Reset", "opened, message x, Reset")),
            ),
        ],
        ..SOUND
    },
    Case {
        name: "the server's process dies",
        script: HOLDS_X,
        blow: Blow::ServerDies,
        received: ("opened, message x", "opened, message x, PeerClosed"),
        differs: &[(
            Network::Direct,
            Some((
                "opened, message x",
                "opened, message x, PeerClosed — or: opened, message x, Reset",
            )),
        )],
        ..SOUND
    },
    Case {
        name: "no server listens",
        blow: Blow::NoListener,
        received: ("nothing", "Refused, gave up: Dial(Refused)"),
        ..SOUND
    },
    Case {
        name: "connecting is not answered",
        blow: Blow::NoAnswer,
        received: ("nothing", "gave up: TimedOut"),
        differs: &[(Network::Turmoil, Some(("nothing", "Refused, gave up: Dial(Refused)")))],
        ..SOUND
    },
];

/// The table of all cases, as the document has it.
pub(crate) fn table() -> String {
    let mut table = "| case | network | server receives | client receives |\n|---|---|---|---|\n".to_owned();
    for case in CASES {
        let mut row = |network: &str, received: Option<(&str, &str)>| {
            let (server, client) = received.unwrap_or(("cannot be made", ""));
            writeln!(table, "| {} | {network} | {server} | {client} |", case.name).unwrap();
        };
        row(if case.differs.is_empty() { "all" } else { "TCP" }, Some(case.received));
        if case.differs.is_empty() {
            continue;
        }
        row("turmoil", case.expected(Network::Turmoil));
        row("direct", case.expected(Network::Direct));
    }
    table
}
