//! The hub and its users.

use std::collections::VecDeque;
use std::convert::Infallible;

use arbitrary::Arbitrary;
use echosphere_core::hub::{self, ClientConfig, Command, HubCodec, Message, Notice, Reply, Request, Unsent};
use rand_chacha::ChaCha8Rng;

use crate::peer::{Input, Peer};
use crate::plan::{Settings, body, error};
use crate::subject::Subject;

pub(crate) type Server = hub::Server;
pub(crate) type Client = hub::Client<ChaCha8Rng>;

const TYPED: [&str; 11] = [
    "\n",
    "identity\n",
    "list\r\n",
    "echo some text\n",
    "relay 1,2 some text\n",
    "relay\n",
    "1, 2,3\n",
    "2,1 7\n",
    "a line\n\n",
    "a body\n",
    "relay x\n",
];
const LAST_ERRORS: [&str; 2] = ["error shutting-down text\n", "error full text\n"];
/// Few session numbers, so that they are used again.
const SESSIONS: u16 = 4;

#[derive(Arbitrary, Debug)]
pub(crate) enum Ask {
    Identity,
    List,
    Echo(u16),
    /// To the receivers in this bit set of the first eight users; twice if true.
    Relay(u8, bool, u16),
}

impl Ask {
    fn request(&self) -> Request {
        match *self {
            Self::Identity => Request::Identity,
            Self::List => Request::List,
            Self::Echo(length) => Request::Echo(body(length)),
            Self::Relay(to, twice, length) => {
                let ids = (1..=8).filter(|id| to >> (id - 1) & 1 == 1);
                let again = ids.clone().filter(|_| twice);
                Request::Relay {
                    to: ids.chain(again).collect(),
                    body: body(length),
                }
            }
        }
    }
}

#[derive(Arbitrary, Debug)]
pub(crate) enum Answer {
    Identity(u8),
    List(u8),
    Echo(u16),
    Relayed(u8),
    Error(u8),
    Delivery(u8, u16),
}

impl Answer {
    fn reply(&self) -> Reply {
        match *self {
            Self::Identity(id) => Reply::Identity(id.into()),
            Self::List(users) => Reply::List((0..u64::from(users)).collect()),
            Self::Echo(length) => Reply::Echo(body(length)),
            Self::Relayed(sent) => Reply::Relayed {
                sent,
                unsent: vec![(1, Unsent::Unknown), (2, Unsent::TooSlow)],
            },
            Self::Error(code) => Reply::Error(error(code), body(4_u8)),
            Self::Delivery(from, length) => Reply::Delivery {
                from: from.into(),
                body: body(length),
            },
        }
    }
}

impl Subject for Server {
    type Codec = HubCodec;
    type Input = Input<Ask>;

    const LINES_FOR_PEOPLE: bool = true;

    fn new(_: &Settings) -> Self {
        Self::new()
    }

    fn codec() -> HubCodec {
        HubCodec::accepted()
    }

    fn peer_codec() -> HubCodec {
        HubCodec::dialled()
    }

    fn encode(input: &Input<Ask>, peer: &mut Peer<Self::Codec>) -> Vec<u8> {
        peer.write(input, |ask, _| Message::Request(ask.request()), &TYPED)
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
        assert!(self.user_count() <= settings.connection().max_connections);
    }
}

impl Subject for Client {
    type Codec = HubCodec;
    type Input = Input<Answer>;

    fn new(settings: &Settings) -> Self {
        let config = ClientConfig {
            response_timeout: settings.time(0),
            connect_timeout: settings.time(3),
            attempt_timeout: settings.time(4),
            backoff: settings.backoff(),
            retry_refused: settings.retry_refused(),
            reconnect: settings.ack_delay & 3 != 0,
        };
        Self::new(config, settings.rng())
    }

    fn codec() -> HubCodec {
        HubCodec::dialled()
    }

    fn peer_codec() -> HubCodec {
        HubCodec::accepted()
    }

    fn encode(input: &Input<Answer>, peer: &mut Peer<Self::Codec>) -> Vec<u8> {
        peer.write(input, |answer, _| Message::Reply(answer.reply()), &LAST_ERRORS)
    }

    fn answer(message: &Message, _: &mut u64, answers: &mut VecDeque<Message>) {
        let Message::Request(request) = message else { return };
        let reply = match request {
            Request::Identity => Reply::Identity(1),
            Request::List => Reply::List([2, 3].into_iter().collect()),
            Request::Echo(body) => Reply::Echo(body.clone()),
            Request::Relay { to, .. } => Reply::Relayed {
                sent: to.len() as u8,
                unsent: Vec::new(),
            },
        };
        answers.push_back(Message::Reply(reply));
    }

    fn command(id: u64, what: u16) -> Option<Command> {
        let session = (what % SESSIONS).into();
        let request = match what / SESSIONS % 8 {
            0 => return Some(Command::Connect { session }),
            1 => return Some(Command::Leave { session }),
            2 => Request::Identity,
            3 => Request::List,
            4 => Request::Echo(body(what)),
            _ => Ask::Relay(what as u8, true, what).request(),
        };
        let ask = id;
        Some(Command::Ask { session, ask, request })
    }

    fn is_awaited(command: &Command) -> bool {
        matches!(command, Command::Ask { .. })
    }

    fn ended(notice: &Notice) -> Option<u64> {
        match notice {
            Notice::Answered { ask, .. } | Notice::Unanswered { ask, .. } => Some(*ask),
            _ => None,
        }
    }

    fn check(&self, _: &Settings) {
        let counters = self.counters();
        assert!(counters.answered <= counters.asked && counters.failed <= counters.sessions);
    }
}
