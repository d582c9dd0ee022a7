//! The kinds of traffic of each system.

use std::marker::PhantomData;
use std::time::Duration;

use echosphere_core::connection::ConnectionConfig;
use echosphere_core::wire::ErrorCode;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::world::{Pieces, System, Traffic, World, frame, payloads};

const fn kind<S>(hello: Pieces, pieces: Pieces) -> Traffic<S> {
    Traffic {
        hello,
        pieces,
        many: false,
        errors: &[],
        system: PhantomData,
    }
}

const fn many<S>(hello: Pieces, pieces: Pieces) -> Traffic<S> {
    Traffic {
        many: true,
        ..kind(hello, pieces)
    }
}

/// The traffic with errors that the server answers.
const fn refused<S>(errors: &'static [ErrorCode], traffic: Traffic<S>) -> Traffic<S> {
    Traffic { errors, ..traffic }
}

fn nothing() -> Vec<Vec<u8>> {
    Vec::new()
}

fn hello() -> Vec<Vec<u8>> {
    vec![frame("")]
}

/// The bytes in pieces of this size.
fn cut(bytes: &[u8], size: usize) -> Vec<Vec<u8>> {
    bytes.chunks(size).map(<[u8]>::to_vec).collect()
}

fn long() -> Vec<u8> {
    vec![b'x'; 300_000]
}

pub(crate) mod echo {
    use echosphere_core::echo::{EchoCodec, MAX_MESSAGE, Server, ServerConfig};

    use super::*;

    pub(crate) struct Echo;

    fn message(x: &[u8]) -> Vec<u8> {
        frame([b"message ", x].concat())
    }

    impl System for Echo {
        type Server = Server<ChaCha8Rng>;
        type Codec = EchoCodec;
        const ALONE: bool = false;
        const HALF: &'static [ErrorCode] = &[ErrorCode::Truncated];
        const HELLO: Traffic<Self> = kind(hello, nothing);

        fn answers(read: &[u8]) -> Vec<u8> {
            if read.first() != Some(&0) {
                let lines = read.split_inclusive(|byte| *byte == b'\n');
                let asked = lines.filter_map(|line| line.strip_prefix(b"message "));
                return asked.flat_map(|x| [b"ok ", x].concat()).collect();
            }
            let asked = payloads(read)
                .into_iter()
                .filter_map(|payload| payload.strip_prefix(b"message "));
            asked.flat_map(|x| frame([b"ok ", x].concat())).collect()
        }
    }

    pub(crate) const KINDS: [(&str, Traffic<Echo>); 8] = [
        ("echo: a hello", Echo::HELLO),
        ("echo: a message", kind(hello, || vec![message(b"x")])),
        ("echo: a long message", kind(hello, || vec![message(&long())])),
        (
            "echo: a message byte by byte",
            kind(hello, || cut(&message(b"slowly"), 1)),
        ),
        (
            "echo: a long message in pieces",
            kind(hello, || cut(&message(&long()), 10_001)),
        ),
        (
            "echo: many messages at once",
            many(hello, || {
                let all = (0..500).map(|n: u32| message(n.to_string().as_bytes()));
                vec![all.collect::<Vec<_>>().concat()]
            }),
        ),
        (
            "echo: the same message again and again",
            many(hello, || vec![message(b"same").repeat(50)]),
        ),
        (
            "echo: lines, cut anywhere",
            refused(
                &[ErrorCode::NotHeld, ErrorCode::UnknownRequest],
                kind(
                    || vec![b"\n".to_vec()],
                    || cut(b"message one\nmessage two\r\nok nothing\nwhat?\n\n", 3),
                ),
            ),
        ),
    ];

    pub(crate) fn world() -> World<Echo> {
        let server = Server::new(ServerConfig::default(), ChaCha8Rng::seed_from_u64(1));
        World::new(server, EchoCodec::accepted(MAX_MESSAGE), ConnectionConfig::default())
    }
}

pub(crate) mod hub {
    use echosphere_core::hub::{HubCodec, Server};

    use super::*;

    pub(crate) struct Hub;

    impl System for Hub {
        type Server = Server;
        type Codec = HubCodec;
        const ALONE: bool = false;
        const HALF: &'static [ErrorCode] = &[ErrorCode::Truncated, ErrorCode::UnknownRequest];
        const HELLO: Traffic<Self> = kind(hello, nothing);

        fn answers(_read: &[u8]) -> Vec<u8> {
            Vec::new()
        }
    }

    /// A relay to users 1 and 2, of which one may be connected.
    pub(crate) fn relay(body: &[u8]) -> Vec<u8> {
        frame([&[4, 2][..], &1_u64.to_be_bytes(), &2_u64.to_be_bytes(), body].concat())
    }

    pub(crate) const KINDS: [(&str, Traffic<Hub>); 6] = [
        ("hub: a hello", Hub::HELLO),
        (
            "hub: identity, list and a long echo",
            kind(hello, || {
                vec![frame([1]), frame([2]), frame([&[3], &long()[..]].concat())]
            }),
        ),
        ("hub: a relay", kind(hello, || vec![relay(b"body")])),
        (
            "hub: a long relay in pieces",
            kind(hello, || cut(&relay(&long()), 10_001)),
        ),
        (
            "hub: requests that it does not know",
            refused(
                &[ErrorCode::UnknownRequest],
                kind(hello, || vec![frame([9, 9]), frame([4])]),
            ),
        ),
        (
            "hub: lines, cut anywhere",
            refused(
                &[ErrorCode::UnknownRequest],
                kind(
                    || vec![b"\n".to_vec()],
                    || cut(b"identity\nlist\nrelay 1,2 hello\nrelay\n1\nbody\n\n\nwhat?\n", 5),
                ),
            ),
        ),
    ];

    pub(crate) fn world() -> World<Hub> {
        World::new(Server::new(), HubCodec::accepted(), ConnectionConfig::default())
    }
}

pub(crate) mod chat {
    use echosphere_core::chat::{ChatCodec, ExchangeConfig, Server, ServerConfig};

    use super::*;

    pub(crate) struct Chat;

    impl System for Chat {
        type Server = Server;
        type Codec = ChatCodec;
        const ALONE: bool = true;
        const HALF: &'static [ErrorCode] = &[ErrorCode::Truncated];
        const HELLO: Traffic<Self> = kind(begin, nothing);

        fn answers(_read: &[u8]) -> Vec<u8> {
            Vec::new()
        }
    }

    /// A session with number 0 is not kept.
    fn begin() -> Vec<Vec<u8>> {
        vec![frame([&[1][..], &[0; 8]].concat())]
    }

    fn typed() -> Vec<Vec<u8>> {
        vec![b"hello\n".to_vec()]
    }

    pub(crate) fn part(kind: u8, id: u64, body: &[u8]) -> Vec<u8> {
        let (low, high) = (id as u8 & 0x7F, (id >> 7) as u8);
        let id = if high == 0 { vec![low] } else { vec![low | 0x80, high] };
        frame([&[kind][..], &id, body].concat())
    }

    pub(crate) const KINDS: [(&str, Traffic<Chat>); 6] = [
        ("chat: a begin", Chat::HELLO),
        (
            "chat: a session that is kept after a loss",
            kind(
                || vec![frame([&[1][..], &7_u64.to_be_bytes()].concat())],
                || vec![part(5, 1, b"body"), part(4, 2, &long()), part(5, 2, b"end")],
            ),
        ),
        (
            "chat: messages",
            kind(begin, || (1..20).map(|id| part(5, id, b"body")).collect()),
        ),
        (
            "chat: a message in parts",
            kind(begin, || {
                let mut parts = vec![part(4, 1, &long()); 3];
                parts.push(part(5, 1, b"end"));
                parts
            }),
        ),
        (
            "chat: parts byte by byte",
            kind(begin, || cut(&part(5, 1, b"slowly"), 1)),
        ),
        (
            "chat: lines, cut anywhere",
            kind(typed, || cut(b"how are you?\nfine\r\n", 3)),
        ),
    ];

    pub(crate) fn world() -> World<Chat> {
        let exchange = ExchangeConfig {
            acknowledge_on_receipt: true,
            ..ExchangeConfig::default()
        };
        let config = ServerConfig {
            exchange,
            ..ServerConfig::default()
        };
        World::new(Server::new(config), ChatCodec::accepted(), ConnectionConfig::default())
    }
}

pub(crate) mod numbers {
    use echosphere_core::numbers::{NumbersCodec, Server, ServerConfig, Uuid};

    use super::*;

    pub(crate) struct Numbers;

    impl System for Numbers {
        type Server = Server<ChaCha8Rng>;
        type Codec = NumbersCodec;
        const ALONE: bool = false;
        const HALF: &'static [ErrorCode] = &[ErrorCode::Truncated];
        const HELLO: Traffic<Self> = kind(|| vec![b"\n".to_vec()], nothing);

        fn answers(_read: &[u8]) -> Vec<u8> {
            Vec::new()
        }
    }

    fn empty_line() -> Vec<Vec<u8>> {
        vec![b"\n".to_vec()]
    }

    pub(crate) const KINDS: [(&str, Traffic<Numbers>); 6] = [
        ("numbers: an empty line", Numbers::HELLO),
        (
            "numbers: a stream that is ended",
            kind(empty_line, || {
                vec![b"START\n".to_vec(), vec![], vec![], b"END\n".to_vec()]
            }),
        ),
        (
            "numbers: a stream in frames",
            kind(hello, || vec![frame("START"), vec![], vec![], frame("END")]),
        ),
        (
            "numbers: a session that is not complete",
            refused(
                &[ErrorCode::UuidTaken],
                kind(hello, || {
                    vec![frame(format!("START {} 9", Uuid::nil())), vec![], vec![]]
                }),
            ),
        ),
        (
            "numbers: requests that are refused, in frames",
            refused(
                &[ErrorCode::InvalidUuid, ErrorCode::UnknownSession],
                kind(hello, || {
                    vec![frame("START 1 2"), frame(format!("CONTINUE {} 5", Uuid::nil()))]
                }),
            ),
        ),
        (
            "numbers: requests that it does not know, cut anywhere",
            refused(
                &[ErrorCode::UnknownRequest, ErrorCode::BadNumber],
                kind(empty_line, || cut(b"what?\nCONTINUE x\nEND\n", 2)),
            ),
        ),
    ];

    pub(crate) fn world() -> World<Numbers> {
        let server = Server::new(ServerConfig::default(), ChaCha8Rng::seed_from_u64(1));
        let config = ConnectionConfig {
            keepalive_interval: Duration::from_secs(1000),
            idle_timeout: Duration::from_secs(1000),
            idle_timeout_text: Duration::from_secs(1000),
            ..ConnectionConfig::default()
        };
        World::new(server, NumbersCodec::accepted(), config)
    }
}
