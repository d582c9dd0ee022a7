//! What a host of clients runs: the real client, which may be made to say more than it should, in the real framing or
//! in lines.

use bytes::BytesMut;
use echosphere_core::echo::{Client, Command, EchoCodec, Message, Notice};
use echosphere_core::random::unit;
use echosphere_core::wire::{Codec, Decoded, ErrorCode, Framing, Outbox, WireError};
use echosphere_core::{Action, Actions, Event, Machine, Time};
use rand_chacha::ChaCha8Rng;

/// The real client. One that is rude sends messages twice, and oks that nobody asked for; and it hears oks to what it
/// never sent, which are to have no effect.
#[derive(Debug)]
pub struct Player {
    client: Client<ChaCha8Rng>,
    rude: Option<ChaCha8Rng>,
}

impl Player {
    pub(super) const fn new(client: Client<ChaCha8Rng>, rude: Option<ChaCha8Rng>) -> Self {
        Self { client, rude }
    }
}

impl Machine for Player {
    type Message = Message;
    type Command = Command;
    type Notice = Notice;

    fn handle(&mut self, now: Time, event: Event<Message, Command>, actions: &mut Actions<Message, Notice>) {
        let before = actions.as_slice().len();
        if let (Some(rng), Event::Received(id, Message::Message(y))) = (&mut self.rude, &event)
            && !y.is_empty()
            && unit(rng) < 0.3
        {
            let mut other = y.to_vec();
            other[0] ^= 0x80;
            let ok = Message::Ok(other.into());
            self.client.handle(now, Event::Received(*id, ok), actions);
        }
        self.client.handle(now, event, actions);
        let Some(rng) = &mut self.rude else {
            return;
        };
        let mut more = Vec::new();
        for action in &actions.as_slice()[before..] {
            match action {
                Action::Send(id, Message::Message(x)) => {
                    if unit(rng) < 0.4 {
                        more.push((*id, Message::Message(x.clone())));
                    }
                    if unit(rng) < 0.2 {
                        more.push((*id, Message::Ok(x.clone())));
                    }
                }
                Action::Send(id, ok @ Message::Ok(_)) if unit(rng) < 0.2 => more.push((*id, ok.clone())),
                Action::Close(closed, _) => more.retain(|(id, _)| id != closed),
                _ => {}
            }
        }
        for (id, message) in more {
            actions.push(Action::Send(id, message));
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        self.client.next_deadline()
    }

    fn is_zero(&self) -> bool {
        self.client.is_zero()
    }
}

/// How a connection's bytes are made and read.
#[derive(Clone, Debug)]
pub enum Words {
    /// By the real codec.
    Real(EchoCodec),
    /// As a person would, in lines, every other of which ends in CR LF. Shares no code with the real codec.
    Lines {
        /// Lines said so far.
        said: u64,
    },
}

impl Codec for Words {
    type Message = Message;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Decoded<Message>>, WireError> {
        if let Self::Real(codec) = self {
            return codec.decode(input);
        }
        let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
            return Ok(None);
        };
        let line = input.split_to(end + 1).freeze();
        let line = line.slice(..end);
        Ok(Some(if line.is_empty() {
            Decoded::Keepalive
        } else if let Some(at) = starts(&line, "message ") {
            Decoded::Message(Message::Message(line.slice(at..)))
        } else if let Some(at) = starts(&line, "ok ") {
            Decoded::Message(Message::Ok(line.slice(at..)))
        } else {
            let words = String::from_utf8_lossy(&line).into_owned();
            let mut words = words.splitn(3, ' ');
            match (words.next(), words.next(), words.next()) {
                (Some("error"), Some(code), Some(text)) => {
                    let code = ErrorCode::parse(code.as_bytes());
                    Decoded::Message(Message::Error(code, text.to_owned().into()))
                }
                _ => Decoded::Invalid(ErrorCode::UnknownRequest.into()),
            }
        }))
    }

    fn encode(&mut self, message: &Message, output: &mut Outbox) {
        match (self, message) {
            (Self::Real(codec), _) => codec.encode(message, output),
            (Self::Lines { said }, Message::Message(x)) => put_line(said, b"message ", x, output),
            (Self::Lines { said }, Message::Ok(x)) => put_line(said, b"ok ", x, output),
            (Self::Lines { said }, Message::Error(code, text)) => {
                put_line(said, format!("error {} ", code.as_str()).as_bytes(), text, output);
            }
        }
    }

    fn encode_keepalive(&mut self, output: &mut Outbox) {
        match self {
            Self::Real(codec) => codec.encode_keepalive(output),
            Self::Lines { said } => put_line(said, b"", b"", output),
        }
    }

    fn encode_error(&mut self, code: ErrorCode, text: &str, output: &mut Outbox) {
        match self {
            Self::Real(codec) => codec.encode_error(code, text, output),
            Self::Lines { said } => put_line(
                said,
                format!("error {} ", code.as_str()).as_bytes(),
                text.as_bytes(),
                output,
            ),
        }
    }

    fn framing(&self) -> Option<Framing> {
        match self {
            Self::Real(codec) => codec.framing(),
            Self::Lines { .. } => Some(Framing::Lines),
        }
    }
}

fn starts(line: &[u8], word: &str) -> Option<usize> {
    line.starts_with(word.as_bytes()).then_some(word.len())
}

fn put_line(said: &mut u64, head: &[u8], body: &[u8], output: &mut Outbox) {
    *said += 1;
    output.put(head);
    output.put(body);
    output.put(if said.is_multiple_of(2) { b"\r\n" } else { b"\n" });
}

/// Whether a line can carry X.
pub(super) fn fits_a_line(x: &[u8]) -> bool {
    !x.contains(&b'\n') && !x.ends_with(b"\r")
}
