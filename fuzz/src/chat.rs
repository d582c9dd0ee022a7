//! Both sides of a chat.

use std::collections::VecDeque;

use arbitrary::Arbitrary;
use echosphere_core::chat::{
    self, ChatCodec, ClientConfig, Command, ExchangeConfig, Message, Notice, ServerCommand, ServerConfig,
};
use rand_chacha::ChaCha8Rng;

use crate::peer::{Input, Peer};
use crate::plan::{Settings, body, error};
use crate::subject::Subject;

pub(crate) type Server = chat::Server;
pub(crate) type Client = chat::Client<ChaCha8Rng>;

const TYPED: [&str; 5] = ["\n", "some text\r\n", "ok 1\n", "ok 2\n", "no end"];
const LAST_ERRORS: [&str; 2] = ["error busy text\n", "error full text\n"];

#[derive(Arbitrary, Debug)]
pub(crate) enum Word {
    Begin(u8),
    Resume(u8, u8),
    Welcome(u8),
    Part(u8, u16, bool),
    /// A part of the next message in order.
    Next(u16, bool),
    Taken(u8, bool),
    Bye,
    Error(u8),
}

impl Word {
    /// `progress` counts the peer's complete messages.
    fn message(&self, progress: &mut u64) -> Message {
        match *self {
            Self::Begin(session) => Message::Begin {
                session: (session % 4).into(),
            },
            Self::Resume(session, received) => Message::Resume {
                session: (session % 4).into(),
                received: received.into(),
            },
            Self::Welcome(received) => Message::Welcome {
                received: received.into(),
            },
            Self::Part(id, length, last) => Message::Part {
                id: id.into(),
                body: body(length),
                last,
            },
            Self::Next(length, last) => {
                let id = *progress + 1;
                *progress += u64::from(last);
                let body = body(length);
                Message::Part { id, body, last }
            }
            Self::Taken(id, last) => Message::Taken { id: id.into(), last },
            Self::Bye => Message::Bye,
            Self::Error(code) => Message::Error(error(code), body(4_u8)),
        }
    }
}

fn answer(message: &Message, progress: &mut u64, answers: &mut VecDeque<Message>) {
    match *message {
        Message::Part { id, last, .. } => answers.push_back(Message::Taken { id, last }),
        Message::Begin { .. } => answers.push_back(Message::Welcome { received: 0 }),
        Message::Resume { received, .. } => {
            *progress = received;
            answers.push_back(Message::Welcome { received: 0 });
        }
        Message::Welcome { received } => *progress = received,
        Message::Taken { .. } | Message::Bye | Message::Error(..) => {}
    }
}

fn exchange_config(settings: &Settings) -> ExchangeConfig {
    ExchangeConfig {
        max_body: settings.max_waiting_bytes.into(),
        max_queued: settings.max_bytes.into(),
        window: usize::from(settings.max_waiting) * 16,
        part: usize::from(settings.max_flights) * 16,
        max_unread: usize::from(settings.max_delayed_acks) * 16,
        acknowledge_on_receipt: settings.ack_delay & 4 != 0,
    }
}

impl Subject for Server {
    type Codec = ChatCodec;
    type Input = Input<Word>;

    const LINES_FOR_PEOPLE: bool = true;

    fn new(settings: &Settings) -> Self {
        Self::new(ServerConfig {
            session_ttl: settings.time(0),
            begin_timeout: settings.time(1),
            exchange: exchange_config(settings),
        })
    }

    fn codec() -> ChatCodec {
        ChatCodec::accepted()
    }

    fn peer_codec() -> ChatCodec {
        ChatCodec::dialled()
    }

    fn encode(input: &Input<Word>, peer: &mut Peer<Self::Codec>) -> Vec<u8> {
        peer.write(input, Word::message, &TYPED)
    }

    fn answer(message: &Message, progress: &mut u64, answers: &mut VecDeque<Message>) {
        answer(message, progress, answers);
    }

    fn command(key: u64, what: u16) -> Option<ServerCommand> {
        Some(match what % 4 {
            0 => {
                let (session, id) = read(what);
                ServerCommand::Read { session, id }
            }
            _ => ServerCommand::Send { key, body: body(what) },
        })
    }

    fn is_awaited(command: &ServerCommand) -> bool {
        matches!(command, ServerCommand::Send { .. })
    }

    fn ended(notice: &Notice) -> Option<u64> {
        ended(notice)
    }

    fn check(&self, _: &Settings) {
        self.audit().expect("the audit passes");
    }
}

impl Subject for Client {
    type Codec = ChatCodec;
    type Input = Input<Word>;

    fn new(settings: &Settings) -> Self {
        let config = ClientConfig {
            reconnect: settings.ack_delay & 3 != 0,
            connect_timeout: settings.time(3),
            welcome_timeout: settings.time(0),
            backoff: settings.backoff(),
            retry_refused: settings.retry_refused(),
            exchange: exchange_config(settings),
        };
        Self::new(config, settings.rng())
    }

    fn codec() -> ChatCodec {
        ChatCodec::dialled()
    }

    fn peer_codec() -> ChatCodec {
        ChatCodec::accepted()
    }

    fn encode(input: &Input<Word>, peer: &mut Peer<Self::Codec>) -> Vec<u8> {
        peer.write(input, Word::message, &LAST_ERRORS)
    }

    fn answer(message: &Message, progress: &mut u64, answers: &mut VecDeque<Message>) {
        answer(message, progress, answers);
    }

    fn command(key: u64, what: u16) -> Option<Command> {
        Some(match what % 16 {
            0 => Command::HangUp,
            1 => Command::Leave,
            2..=4 => Command::Connect,
            5..=7 => {
                let (session, id) = read(what);
                Command::Read { session, id }
            }
            _ => Command::Send { key, body: body(what) },
        })
    }

    fn is_awaited(command: &Command) -> bool {
        matches!(command, Command::Send { .. })
    }

    fn ended(notice: &Notice) -> Option<u64> {
        ended(notice)
    }

    fn check(&self, _: &Settings) {
        self.audit().expect("the audit passes");
    }
}

fn ended(notice: &Notice) -> Option<u64> {
    match notice {
        Notice::Acknowledged { key, .. } | Notice::Unacknowledged { key, .. } | Notice::Refused { key, .. } => {
            Some(*key)
        }
        _ => None,
    }
}

/// A session and a message of it; either may not exist.
fn read(what: u16) -> (u64, u64) {
    let [session, id] = (what / 16).to_be_bytes();
    (session.into(), id.into())
}
