//! What the machines on both sides receive and do, in short words.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use bytes::BytesMut;
use echosphere_core::echo::{EchoCodec, Message, Notice};
use echosphere_core::wire::{Codec, Decoded, MAX_FRAME};
use echosphere_core::{Action, ConnId, Event};
use sim::observe::{ActionOf, EventOf};

use crate::player::{Player, Server};

/// The result of a run: one line for each side, the client's with the notices to its caller.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) server: String,
    pub(crate) client: String,
}

#[derive(Default)]
pub(crate) struct Log {
    server: BTreeMap<ConnId, Vec<String>>,
    client: Vec<String>,
    /// What a client that speaks raw bytes has read, whose pieces differ between networks.
    read: BytesMut,
}

pub(crate) type SharedLog = Arc<Mutex<Log>>;

impl Log {
    pub(crate) fn server(&mut self, event: &EventOf<Server>, actions: &[ActionOf<Server>]) {
        match event {
            Event::Opened(id, _) => self.server_says(*id, "opened".to_owned()),
            Event::Received(id, message) => self.server_says(*id, words(message)),
            Event::Closed(id, reason) => self.server_says(*id, format!("{reason:?}")),
            _ => {}
        }
        for action in actions {
            if let Action::Close(id, reason) = action {
                self.server_says(*id, format!("closes: {reason:?}"));
            }
        }
    }

    pub(crate) fn client(&mut self, event: &EventOf<Player>, actions: &[ActionOf<Player>], raw: bool) {
        match event {
            Event::Opened(..) => self.client.push("opened".to_owned()),
            Event::Received(_, Message::Message(bytes)) if raw => self.read.extend_from_slice(bytes),
            Event::Received(_, message) => self.client.push(words(message)),
            Event::DialFailed(_, error) => self.client.push(format!("{error:?}")),
            Event::Closed(_, reason) => self.client_ends(format!("{reason:?}")),
            _ => {}
        }
        for action in actions {
            match action {
                Action::Close(_, reason) => self.client_ends(format!("closes: {reason:?}")),
                Action::Notify(Notice::GaveUp { failure, .. }) => self.client.push(format!("gave up: {failure:?}")),
                _ => {}
            }
        }
    }

    /// Whether `x` has been forwarded to the client, which it leaves unanswered.
    pub(crate) fn waits(&self) -> bool {
        self.read.ends_with(b"message x\n")
    }

    pub(crate) fn said(&self) -> Outcome {
        let server: Vec<String> = self.server.values().map(|conn| conn.join(", ")).collect();
        let or_nothing = |line: String| if line.is_empty() { "nothing".to_owned() } else { line };
        Outcome {
            server: or_nothing(server.join("; ")),
            client: or_nothing(self.client.join(", ")),
        }
    }

    fn server_says(&mut self, id: ConnId, what: String) {
        self.server.entry(id).or_default().push(what);
    }

    /// First what it has read, message by message.
    fn client_ends(&mut self, how: String) {
        let mut codec = EchoCodec::accepted(MAX_FRAME);
        while let Some(decoded) = codec.decode(&mut self.read).unwrap() {
            if let Decoded::Message(message) = decoded {
                self.client.push(words(&message));
            }
        }
        self.client.push(how);
    }
}

fn words(message: &Message) -> String {
    let (word, x) = match message {
        Message::Message(x) => ("message", x),
        Message::Ok(x) => ("ok", x),
        Message::Error(code, _) => return format!("error {code}"),
    };
    match std::str::from_utf8(x) {
        Ok(short) if x.len() < 20 => format!("{word} {short}"),
        _ => format!("{word} of {} bytes", x.len()),
    }
}
