//! The machines of the cases: the real server, and clients that are the real one or send raw bytes.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use echosphere_core::echo::{self, ClientConfig, Command, EchoCodec, MAX_MESSAGE, Message, Notice, ServerConfig};
use echosphere_core::random::Backoff;
use echosphere_core::wire::{Codec, Decoded, ErrorCode, Outbox, WireError};
use echosphere_core::{Action, Actions, CloseReason, ConnId, DialTarget, DialToken, Event, Machine, Time};
use rand_chacha::ChaCha8Rng;
use sim::dice::{Purpose, rng};

pub(crate) type Server = echo::Server<ChaCha8Rng>;

/// What a client that speaks raw bytes does, in this order.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Do {
    Say(&'static [u8]),
    /// Waits until that is the last it has read.
    Hear(&'static [u8]),
    Close,
}

/// A client: the real one, or one with a script, which connects once.
#[derive(Debug)]
pub(crate) enum Player {
    Echo(Box<echo::Client<ChaCha8Rng>>),
    Raw(Script),
}

#[derive(Debug)]
pub(crate) struct Script {
    left: std::slice::Iter<'static, Do>,
    waits_for: Option<&'static [u8]>,
    dialling: bool,
    conn: Option<ConnId>,
    read: Vec<u8>,
}

pub(crate) fn server() -> (Server, Speech) {
    let server = Server::new(ServerConfig::default(), rng(1, Purpose::Machine(0, 0)));
    (server, Speech::Echo(EchoCodec::accepted(MAX_MESSAGE)))
}

/// The real client tries once; one with a script never again.
pub(crate) fn client(script: Option<&'static [Do]>, response_timeout: Duration) -> (Player, Speech) {
    let Some(script) = script else {
        let config = ClientConfig {
            response_timeout,
            // The next attempt would come too late.
            give_up_after: Some(response_timeout),
            backoff: Backoff {
                first: 10 * response_timeout,
                max: 10 * response_timeout,
            },
            ..ClientConfig::default()
        };
        let client = echo::Client::new(config, rng(1, Purpose::Machine(1, 0)));
        let codec = EchoCodec::dialled(MAX_MESSAGE);
        return (Player::Echo(Box::new(client)), Speech::Echo(codec));
    };
    let script = Script {
        left: script.iter(),
        waits_for: None,
        dialling: false,
        conn: None,
        read: Vec::new(),
    };
    (Player::Raw(script), Speech::Raw)
}

impl Script {
    fn handle(&mut self, event: Event<Message, Command>, actions: &mut Actions<Message, Notice>) {
        match event {
            Event::Command(_) => {
                self.dialling = true;
                actions.push(Action::Dial(DialToken(0), DialTarget::default()));
            }
            Event::Opened(id, _) => {
                self.dialling = false;
                self.conn = Some(id);
            }
            Event::Received(_, Message::Message(bytes)) => self.read.extend_from_slice(&bytes),
            Event::Closed(..) => self.conn = None,
            Event::DialFailed(..) => self.dialling = false,
            _ => {}
        }
        self.go_on(actions);
    }

    fn go_on(&mut self, actions: &mut Actions<Message, Notice>) {
        while let Some(id) = self.conn {
            if self.waits_for.is_some_and(|last| !self.read.ends_with(last)) {
                return;
            }
            self.waits_for = None;
            match self.left.next() {
                Some(Do::Say(bytes)) => {
                    actions.push(Action::Send(id, Message::Message(Bytes::from_static(bytes))));
                }
                Some(Do::Hear(bytes)) => self.waits_for = Some(bytes),
                Some(Do::Close) => {
                    self.conn = None;
                    actions.push(Action::Close(id, CloseReason::Finished));
                }
                None => return,
            }
        }
    }
}

impl Machine for Player {
    type Message = Message;
    type Command = Command;
    type Notice = Notice;

    fn handle(&mut self, now: Time, event: Event<Message, Command>, actions: &mut Actions<Message, Notice>) {
        match self {
            Self::Echo(client) => client.handle(now, event, actions),
            Self::Raw(script) => script.handle(event, actions),
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        match self {
            Self::Echo(client) => client.next_deadline(),
            Self::Raw(_) => None,
        }
    }

    fn is_zero(&self) -> bool {
        match self {
            Self::Echo(client) => client.is_zero(),
            Self::Raw(script) => script.conn.is_none() && !script.dialling,
        }
    }
}

/// Echo's codec; or none: whatever is read is one message, and a message is written as it is.
#[derive(Clone, Debug)]
pub(crate) enum Speech {
    Echo(EchoCodec),
    Raw,
}

impl Codec for Speech {
    type Message = Message;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Decoded<Message>>, WireError> {
        match self {
            Self::Echo(codec) => codec.decode(input),
            Self::Raw if input.is_empty() => Ok(None),
            Self::Raw => Ok(Some(Decoded::Message(Message::Message(input.split().freeze())))),
        }
    }

    fn encode(&mut self, message: &Message, output: &mut Outbox) {
        match (self, message) {
            (Self::Echo(codec), _) => codec.encode(message, output),
            (Self::Raw, Message::Message(bytes)) => output.put_shared(bytes),
            (Self::Raw, _) => {}
        }
    }

    fn encode_keepalive(&mut self, output: &mut Outbox) {
        if let Self::Echo(codec) = self {
            codec.encode_keepalive(output);
        }
    }

    fn encode_error(&mut self, code: ErrorCode, text: &str, output: &mut Outbox) {
        if let Self::Echo(codec) = self {
            codec.encode_error(code, text, output);
        }
    }

    fn is_text(&self) -> bool {
        match self {
            Self::Echo(codec) => codec.is_text(),
            Self::Raw => true,
        }
    }
}
