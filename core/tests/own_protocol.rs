//! A protocol that is not part of core, with error codes of its own: a counter that sells tickets.

#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use echosphere_core::connection::{ConnectionConfig, SocketAction};
use echosphere_core::endpoint::Endpoint;
use echosphere_core::wire::{Codec, CustomCode, Decoded, ErrorClass, ErrorCode, Framer, Outbox, WireError};
use echosphere_core::{Action, Actions, CloseReason, ConnId, Event, Machine, Time};

static CODES: [CustomCode; 3] = [
    CustomCode {
        name: "sold-out",
        class: ErrorClass::Temporary,
        text: "all tickets are sold; ask again later",
    },
    CustomCode {
        name: "no-such-seat",
        class: ErrorClass::Request,
        text: "the hall has no such seat",
    },
    CustomCode {
        name: "banned",
        class: ErrorClass::Fatal,
        text: "nothing is sold to this customer",
    },
];
const SOLD_OUT: ErrorCode = ErrorCode::Custom(&CODES[0]);
const NO_SUCH_SEAT: ErrorCode = ErrorCode::Custom(&CODES[1]);
const BANNED: ErrorCode = ErrorCode::Custom(&CODES[2]);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Message {
    /// `seat N`, from the customer and back.
    Seat(u32),
    /// `error CODE TEXT`
    Error(ErrorCode, Bytes),
}

#[derive(Clone, Debug)]
struct TicketCodec(Framer);

impl Codec for TicketCodec {
    type Message = Message;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Decoded<Message>>, WireError> {
        let Some(payload) = self.0.next(input)? else {
            return Ok(None);
        };
        if payload.is_empty() {
            return Ok(Some(Decoded::Keepalive));
        }
        let words = std::str::from_utf8(&payload).unwrap_or("");
        let mut words = words.splitn(3, ' ');
        Ok(Some(match (words.next(), words.next(), words.next()) {
            (Some("seat"), Some(number), None) => match number.parse() {
                Ok(number) => Decoded::Message(Message::Seat(number)),
                Err(_) => Decoded::Invalid(NO_SUCH_SEAT.into()),
            },
            (Some("error"), Some(code), Some(text)) => {
                let code = ErrorCode::parse_with(code.as_bytes(), &CODES);
                Decoded::Message(Message::Error(code, Bytes::copy_from_slice(text.as_bytes())))
            }
            // This one is refused in a way that ends the connection.
            (Some("steal"), ..) => return Err(WireError::new(BANNED, "thieves are not served")),
            _ => Decoded::Invalid(WireError::new(ErrorCode::UnknownRequest, "expected `seat N`")),
        }))
    }

    fn encode(&mut self, message: &Message, output: &mut Outbox) {
        match message {
            Message::Seat(number) => self.0.write(format!("seat {number}").as_bytes(), &Bytes::new(), output),
            Message::Error(code, text) => self.0.write_error(b"error ", *code, text, output),
        }
    }

    fn encode_error(&mut self, code: ErrorCode, text: &str, output: &mut Outbox) {
        self.encode(&Message::Error(code, Bytes::copy_from_slice(text.as_bytes())), output);
    }

    fn framer(&self) -> Option<&Framer> {
        Some(&self.0)
    }
}

/// Sells the seats below 10, two at most.
#[derive(Default)]
struct Counter {
    sold: Vec<u32>,
    ended: Vec<CloseReason>,
}

impl Machine for Counter {
    type Message = Message;
    type Command = ();
    type Notice = ();

    fn handle(&mut self, _: Time, event: Event<Message, ()>, actions: &mut Actions<Message, ()>) {
        let refusal = |code: ErrorCode| Message::Error(code, code.describe().into());
        match event {
            Event::Received(id, Message::Seat(seat)) => {
                let answer = match seat {
                    13 => return actions.push(Action::Close(id, CloseReason::Malformed(BANNED))),
                    10.. => refusal(NO_SUCH_SEAT),
                    _ if self.sold.len() == 2 => refusal(SOLD_OUT),
                    seat => {
                        self.sold.push(seat);
                        Message::Seat(seat)
                    }
                };
                actions.push(Action::Send(id, answer));
            }
            Event::Closed(_, reason) => self.ended.push(reason),
            _ => {}
        }
    }

    fn next_deadline(&self) -> Option<Time> {
        None
    }

    fn is_zero(&self) -> bool {
        true
    }
}

type Server = Endpoint<Counter, TicketCodec>;

fn server() -> (Server, ConnId) {
    let codec = TicketCodec(Framer::accepted(100));
    let mut server = Endpoint::new(Counter::default(), codec, ConnectionConfig::default());
    let id = server.accept(Time::ZERO).unwrap();
    (server, id)
}

fn read(server: &mut Server, id: ConnId) -> Vec<u8> {
    let bytes = server.outbox(id).unwrap().chunks().collect::<Vec<_>>().concat();
    server.wrote(id, bytes.len());
    bytes
}

/// Types lines. Returns the answer.
fn typed(server: &mut Server, id: ConnId, lines: &str) -> String {
    server.receive(Time::ZERO, id, &mut BytesMut::from(lines));
    String::from_utf8(read(server, id)).unwrap()
}

#[test]
fn a_refusal_is_sent_with_the_protocols_own_code() {
    let (mut server, id) = server();
    assert_eq!(typed(&mut server, id, "seat 1\nseat 2\n"), "seat 1\nseat 2\n");
    assert_eq!(
        typed(&mut server, id, "seat 3\n"),
        "error sold-out all tickets are sold; ask again later\n"
    );
    let no_such_seat = "error no-such-seat the hall has no such seat\n";
    assert_eq!(typed(&mut server, id, "seat 10\n"), no_such_seat);
    assert_eq!(typed(&mut server, id, "seat ten\n"), no_such_seat);
    assert_eq!(server.counters().invalid, 1, "the codec has refused the last one");
    assert_eq!(server.socket_action(id), SocketAction::Nothing, "the connection stays");
}

#[test]
fn a_connection_is_closed_with_the_protocols_own_code() {
    for (line, sent, ended) in [
        (
            "steal 1\n",
            "error banned thieves are not served\n",
            Some(CloseReason::Malformed(BANNED)),
        ),
        ("seat 13\n", "error banned nothing is sold to this customer\n", None),
    ] {
        let (mut server, id) = server();
        typed(&mut server, id, "\n");
        assert_eq!(typed(&mut server, id, line), sent);
        assert_eq!(server.socket_action(id), SocketAction::Shutdown);
        assert_eq!(server.machine().ended, Vec::from_iter(ended));
    }
    let reason = CloseReason::Malformed(BANNED);
    assert_eq!(
        reason.to_string(),
        "the peer sent bytes that cannot be decoded (banned)"
    );
}

#[test]
fn a_client_recognises_the_codes_in_either_framing() {
    for (code, retryable) in [(SOLD_OUT, true), (NO_SUCH_SEAT, false), (BANNED, false)] {
        for mut sender in [TicketCodec(Framer::dialled(100)), TicketCodec(Framer::accepted(100))] {
            let mut outbox = Outbox::new();
            sender.encode_error(code, code.describe(), &mut outbox);
            let mut input: BytesMut = outbox.chunks().flatten().collect();
            let mut client = TicketCodec(Framer::dialled(100));
            let Some(Decoded::Message(Message::Error(received, text))) = client.decode(&mut input).unwrap() else {
                panic!("no error");
            };
            assert_eq!(received, code);
            assert_eq!(received.is_retryable(), retryable, "{code}");
            assert_eq!(text, code.describe());
        }
    }
}

#[test]
fn the_tables_codes_keep_their_names() {
    static SHADOW: [CustomCode; 1] = [CustomCode {
        name: "busy",
        class: ErrorClass::Fatal,
        text: "busy in another way",
    }];
    assert_eq!(ErrorCode::parse_with(b"busy", &SHADOW), ErrorCode::Busy);
    assert_eq!(ErrorCode::parse_with(b"sold-out", &SHADOW), ErrorCode::Unknown);
    for &code in ErrorCode::ALL {
        assert_eq!(ErrorCode::parse_with(code.as_str().as_bytes(), &CODES), code);
    }
}
