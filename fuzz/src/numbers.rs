//! The numbers server and client.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use arbitrary::Arbitrary;
use echosphere_core::numbers::{
    self, Checksum, ClientConfig, Command, Message, Mode, Notice, NumbersCodec, Sequence, ServerConfig, StreamSpec,
    Uuid,
};
use rand_chacha::ChaCha8Rng;

use crate::peer::{Input, Peer};
use crate::plan::{Settings, body, error};
use crate::subject::Subject;

pub(crate) type Server = numbers::Server<ChaCha8Rng>;
pub(crate) type Client = numbers::Client<ChaCha8Rng>;

const TYPED: [&str; 7] = [
    "\n",
    "START\n",
    "CONTINUE 3\r\n",
    "END\n",
    "START 00000000-0000-0000-0000-000000000001 3\n",
    "CONTINUE 00000000-0000-0000-0000-000000000001 0\n",
    "CONTINUE x\n",
];
const LAST_ERRORS: [&str; 2] = ["error shutting-down text\n", "error full text\n"];
/// Numbers that a peer has ready at a time.
const READY: usize = 20;

#[derive(Arbitrary, Debug)]
pub(crate) enum Request {
    Start,
    Continue(u8),
    StartSession(u8, u8),
    /// Resumes after this many numbers; the claimed count may differ.
    ContinueSession(u8, u8, Option<u8>),
    End,
}

impl Request {
    fn message(&self) -> Message {
        match *self {
            Self::Start => Message::Start,
            Self::Continue(last) => Message::Continue(u64::from(last) + 1),
            Self::StartSession(name, n) => Message::StartSession {
                uuid: uuid(name.into()),
                n: u16::from(n) + 1,
            },
            Self::ContinueSession(name, got, count) => {
                let uuid = uuid(name.into());
                let last = last_of(uuid, got.into()).unwrap_or_default();
                let count = count.map(u16::from);
                Message::ContinueSession { uuid, last, count }
            }
            Self::End => Message::End,
        }
    }
}

#[derive(Arbitrary, Debug)]
pub(crate) enum Reply {
    Number(u64),
    Small(u8),
    Error(u8),
}

impl Reply {
    fn message(&self) -> Message {
        match *self {
            Self::Number(number) => Message::Number(number),
            Self::Small(number) => Message::Number(number.into()),
            Self::Error(code) => Message::Error(error(code), body(4_u8)),
        }
    }
}

/// Few uuids, so that they are used again.
fn uuid(name: u64) -> Uuid {
    Uuid::from_u64_pair(name % 4, 1)
}

fn last_of(uuid: Uuid, count: u16) -> Option<u64> {
    Sequence::new(uuid).after(count.checked_sub(1)?).next().map(u64::from)
}

impl Subject for Server {
    type Codec = NumbersCodec;
    type Input = Input<Request>;

    const LINES_FOR_PEOPLE: bool = true;

    fn new(settings: &Settings) -> Self {
        let config = ServerConfig {
            mode: match settings.ack_delay % 8 {
                0 => Mode::Stateless,
                1 => Mode::Stateful,
                _ => Mode::Both,
            },
            period: settings.time(0).max(Duration::from_millis(100)),
            session_ttl: settings.time(1),
            unacknowledged_ttl: settings.time(2),
            max_sessions: settings.max_flights.into(),
        };
        Self::new(config, settings.rng())
    }

    fn codec() -> NumbersCodec {
        NumbersCodec::accepted()
    }

    fn peer_codec() -> NumbersCodec {
        NumbersCodec::dialled()
    }

    fn encode(input: &Input<Request>, peer: &mut Peer<Self::Codec>) -> Vec<u8> {
        peer.write(input, |request, _| request.message(), &TYPED)
    }

    fn answer(_: &Message, _: &mut u64, _: &mut VecDeque<Message>) {}

    fn command(_: u64, _: u16) -> Option<Infallible> {
        None
    }

    fn ended(notice: &Infallible) -> Option<u64> {
        match *notice {}
    }

    fn check(&self, settings: &Settings) {
        self.audit().expect("the audit passes");
        assert!(self.sessions() <= settings.max_flights.into());
    }
}

impl Subject for Client {
    type Codec = NumbersCodec;
    type Input = Input<Reply>;

    fn new(settings: &Settings) -> Self {
        let config = ClientConfig {
            response_timeout: settings.time(0),
            give_up_after: settings.time(3),
            backoff: settings.backoff(),
            retry_refused: settings.retry_refused(),
        };
        Self::new(config, settings.rng())
    }

    fn codec() -> NumbersCodec {
        NumbersCodec::dialled()
    }

    fn peer_codec() -> NumbersCodec {
        NumbersCodec::accepted()
    }

    fn encode(input: &Input<Reply>, peer: &mut Peer<Self::Codec>) -> Vec<u8> {
        peer.write(input, |reply, _| reply.message(), &LAST_ERRORS)
    }

    fn answer(message: &Message, _: &mut u64, answers: &mut VecDeque<Message>) {
        let mut answer = |number: u64| answers.push_back(Message::Number(number));
        match *message {
            Message::Start => plain(1).for_each(answer),
            Message::Continue(last) => plain(last).skip(1).for_each(answer),
            Message::StartSession { uuid, n } => session(uuid, 0, n).for_each(answer),
            Message::ContinueSession { uuid, last, count } => {
                let mut sequence = Sequence::new(uuid);
                let count = count
                    .or_else(|| sequence.count_to_latest(last, READY as u16))
                    .unwrap_or(0);
                let checksum = sequence
                    .after(0)
                    .take(count.into())
                    .fold(Checksum::default(), Checksum::plus);
                answer(count.into());
                answer(checksum.value().into());
                session(uuid, count, u16::MAX).for_each(answer);
            }
            Message::End | Message::Number(_) | Message::Error(..) => {}
        }
    }

    fn command(key: u64, what: u16) -> Option<Command> {
        let n = what % 8 + 1;
        let name = u64::from(what / 8 % 4);
        let after = what / 32 % 4;
        let stream = if what < 1 << 15 {
            let after = Some(after.into()).filter(|after| *after != 0);
            StreamSpec::Stateless { n, after }
        } else {
            let uuid = uuid(name);
            let after = last_of(uuid, after);
            StreamSpec::Session { uuid, n, after }
        };
        Some(Command::Get { key, stream })
    }

    fn ended(notice: &Notice) -> Option<u64> {
        match notice {
            Notice::Done { key, .. } | Notice::Failed { key, .. } => Some(*key),
            _ => None,
        }
    }

    fn check(&self, _: &Settings) {
        let counters = self.counters();
        assert!(counters.done + counters.failed <= counters.asked);
    }
}

fn plain(first: u64) -> impl Iterator<Item = u64> {
    std::iter::successors(Some(first), |number| Some(number.wrapping_mul(3))).take(READY)
}

/// The numbers of a session of `n` after the first `count`, and its checksum, up to [`READY`].
fn session(uuid: Uuid, count: u16, n: u16) -> impl Iterator<Item = u64> {
    let mut sequence = Sequence::new(uuid);
    let all: Vec<u32> = sequence.after(0).take(READY.min(n.into())).collect();
    let checksum = all.iter().copied().fold(Checksum::default(), Checksum::plus);
    let numbers = all.into_iter().skip(count.into()).map(u64::from);
    numbers.chain((usize::from(n) <= READY).then_some(checksum.value().into()))
}
