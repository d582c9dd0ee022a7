//! The cases, and what is expected of each network.

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
    /// Nobody listens.
    NobodyListens,
    /// Nobody answers attempts to connect.
    NobodyAnswers,
}

pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// None: the real client sends an X of so many bytes.
    pub(crate) script: Option<&'static [Do]>,
    pub(crate) x: usize,
    pub(crate) blow: Blow,
    /// What server and client are told over TCP.
    told: (&'static str, &'static str),
    /// The networks where it is something else; `None` if it cannot be made there.
    differs: &'static [(Network, Option<(&'static str, &'static str)>)],
}

impl Case {
    pub(crate) fn expected(&self, network: Network) -> Option<(&'static str, &'static str)> {
        let other = self.differs.iter().find(|(on, _)| *on == network);
        other.map_or(Some(self.told), |(_, told)| *told)
    }
}

const SOUND: Case = Case {
    name: "",
    script: None,
    x: 1,
    blow: Blow::None,
    told: ("", ""),
    differs: &[],
};

/// In lines: sends X, and has it, unanswered.
const HOLDS_X: Option<&[Do]> = Some(&[Say(b"message x\n"), Hear(b"message x\n")]);

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "one client gets its ok",
        told: (
            "opened, message x, ok x, PeerClosed",
            "opened, message x, ok x, closes: Finished",
        ),
        ..SOUND
    },
    Case {
        name: "an X of 1 MiB there and back",
        x: 1024 * 1024,
        told: (
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
        told: (
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
        told: (
            "opened, message x, ok x, message y, PeerClosed",
            "opened, message x, closes: Finished",
        ),
        ..SOUND
    },
    Case {
        name: "the end comes inside a message",
        script: Some(&[Say(b"\n\nmess"), Close]),
        told: ("opened, Malformed(Truncated)", "opened, closes: Finished"),
        ..SOUND
    },
    Case {
        name: "malformed bytes",
        script: Some(&[Say(b"\0\xff\xff\xff")]),
        told: ("nothing", "opened, error frame-too-long, PeerClosed"),
        ..SOUND
    },
    Case {
        name: "a client that says nothing",
        script: Some(&[]),
        told: ("nothing", "opened, error handshake-timeout, PeerClosed"),
        ..SOUND
    },
    Case {
        name: "a client that falls silent",
        script: Some(&[Say(b"\0\0\0\x09message x"), Hear(b"message x")]),
        told: (
            "opened, message x, IdleTimeout",
            "opened, message x, error idle-timeout, PeerClosed",
        ),
        ..SOUND
    },
    Case {
        name: "the client's process dies",
        script: HOLDS_X,
        blow: Blow::ClientDies,
        told: ("opened, message x, PeerClosed", "opened"),
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
        told: ("opened, message x, Reset", "opened"),
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
        told: ("opened, message x", "opened, message x, PeerClosed"),
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
        name: "nobody listens",
        blow: Blow::NobodyListens,
        told: ("nothing", "Refused, gave up: Dial(Refused)"),
        ..SOUND
    },
    Case {
        name: "nobody answers",
        blow: Blow::NobodyAnswers,
        told: ("nothing", "gave up: TimedOut"),
        differs: &[(Network::Turmoil, Some(("nothing", "Refused, gave up: Dial(Refused)")))],
        ..SOUND
    },
];

/// All of it as the document has it.
pub(crate) fn table() -> String {
    let mut table = "| case | network | the server is told | the client is told |\n|---|---|---|---|\n".to_owned();
    for case in CASES {
        let mut row = |network: &str, told: Option<(&str, &str)>| {
            let (server, client) = told.unwrap_or(("cannot be made", ""));
            writeln!(table, "| {} | {network} | {server} | {client} |", case.name).unwrap();
        };
        row(if case.differs.is_empty() { "all" } else { "TCP" }, Some(case.told));
        if case.differs.is_empty() {
            continue;
        }
        row("turmoil", case.expected(Network::Turmoil));
        row("direct", case.expected(Network::Direct));
    }
    table
}
