//! The echo server and client.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use arbitrary::Arbitrary;
use echosphere_core::echo::{self, ClientConfig, Command, EchoCodec, Message, Notice, ServerConfig};
use echosphere_core::random::Delay;
use echosphere_core::wire::MAX_FRAME;
use rand_chacha::ChaCha8Rng;

use crate::peer::Peer;
use crate::plan::Settings;
use crate::subject::Subject;

/// Large enough for shared bodies and compacted outboxes.
const MAX_MESSAGE: u32 = 60_000;

pub(crate) type Server = echo::Server<ChaCha8Rng>;
pub(crate) type Client = echo::Client<ChaCha8Rng>;

/// What a peer sends.
#[derive(Arbitrary, Clone, Debug)]
pub(crate) enum EchoInput {
    Hello,
    Message(u8),
    Ok(u8),
    Large(u16),
    Error(u8),
    EmptyLine,
    LineMessage(u8),
    LineOk(u8),
    /// The answers that it owes, oldest first.
    Answers(u8),
    Any(Vec<u8>),
}

impl Subject for Server {
    type Codec = EchoCodec;
    type Input = EchoInput;

    fn new(settings: &Settings) -> Self {
        let config = ServerConfig {
            max_waiting: settings.max_waiting.into(),
            max_waiting_bytes: settings.max_waiting_bytes.into(),
            max_flights: settings.max_flights.into(),
            max_bytes: settings.max_bytes.into(),
        };
        Self::new(config, settings.rng())
    }

    fn codec() -> EchoCodec {
        EchoCodec::accepted(MAX_MESSAGE)
    }

    fn peer_codec() -> EchoCodec {
        EchoCodec::accepted(MAX_FRAME)
    }

    fn encode(input: &EchoInput, peer: &mut Peer<EchoCodec>) -> Vec<u8> {
        input.bytes(peer)
    }

    fn answer(message: &Message, _: &mut u64, answers: &mut VecDeque<Message>) {
        answer(message, answers);
    }

    fn command(_: u64, _: u16) -> Option<Infallible> {
        None
    }

    fn ended(notice: &Infallible) -> Option<u64> {
        match *notice {}
    }

    fn check(&self, _: &Settings) {
        self.audit().expect("the audit passes");
    }
}

impl Subject for Client {
    type Codec = EchoCodec;
    type Input = EchoInput;

    fn new(settings: &Settings) -> Self {
        let (give_up_after, delay) = (settings.time(3), settings.time(4));
        let config = ClientConfig {
            response_timeout: settings.time(0),
            backoff: settings.backoff(),
            retry_refused: settings.retry_refused(),
            give_up_after: Some(give_up_after).filter(|time| !time.is_zero()),
            ack_delay: match settings.ack_delay % 4 {
                0 => Delay::None,
                1 => Delay::Constant(delay),
                2 => Delay::Uniform(Duration::ZERO, delay),
                _ => Delay::Exponential(delay),
            },
            max_delayed_acks: settings.max_delayed_acks.into(),
        };
        Self::new(config, settings.rng())
    }

    fn codec() -> EchoCodec {
        EchoCodec::dialled(MAX_MESSAGE)
    }

    fn peer_codec() -> EchoCodec {
        EchoCodec::accepted(MAX_FRAME)
    }

    fn encode(input: &EchoInput, peer: &mut Peer<EchoCodec>) -> Vec<u8> {
        input.bytes(peer)
    }

    fn answer(message: &Message, _: &mut u64, answers: &mut VecDeque<Message>) {
        answer(message, answers);
    }

    fn command(id: u64, what: u16) -> Option<Command> {
        let x = match u8::try_from(what) {
            Ok(x) => word(x),
            Err(_) => vec![b'x'; what.into()],
        };
        Some(Command::Send { key: id, x: x.into() })
    }

    fn ended(notice: &Notice) -> Option<u64> {
        match notice {
            Notice::Acknowledged { key, .. } | Notice::GaveUp { key, .. } => Some(*key),
            Notice::Retrying { .. } => None,
        }
    }

    fn check(&self, _: &Settings) {
        let counters = self.counters();
        let ended = counters.acknowledged + counters.gave_up;
        assert_eq!(counters.commands, ended + self.under_way() as u64);
    }
}

fn answer(message: &Message, answers: &mut VecDeque<Message>) {
    if let Message::Message(y) = message {
        answers.push_back(Message::Ok(y.clone()));
    }
}

impl EchoInput {
    fn bytes(&self, peer: &mut Peer<EchoCodec>) -> Vec<u8> {
        match self {
            Self::Hello => frame(b""),
            Self::Message(x) => frame(&[b"message ", &word(*x)[..]].concat()),
            Self::Ok(x) => frame(&[b"ok ", &word(*x)[..]].concat()),
            Self::Large(length) => frame(&[b"message ", &vec![b'x'; (*length).into()][..]].concat()),
            Self::Error(code) => frame(format!("error {} text", ERRORS[usize::from(*code) % ERRORS.len()]).as_bytes()),
            Self::EmptyLine => b"\n".to_vec(),
            Self::LineMessage(x) => [b"message ", &word(*x)[..], b"\r\n"].concat(),
            Self::LineOk(x) => [b"ok ", &word(*x)[..], b"\n"].concat(),
            Self::Answers(most) => peer.answers((*most).into()),
            Self::Any(bytes) => bytes.clone(),
        }
    }
}

const ERRORS: [&str; 4] = ["busy", "not-held", "unknown-request", "what"];

/// Few bodies, so that equal ones meet: one is empty, and one cannot be sent in a line.
fn word(x: u8) -> Vec<u8> {
    match x % 8 {
        0 => Vec::new(),
        1 => b"a\nb".to_vec(),
        x => vec![b'0' + x],
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let length = payload.len() as u32;
    [&length.to_be_bytes(), payload].concat()
}
