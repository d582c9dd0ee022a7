//! The real client, which can be made to send more than it should.

use echosphere_core::echo::{Client, Command, Message, Notice};
use echosphere_core::random::unit;
use echosphere_core::{Action, Actions, Event, Machine, Time};
use rand_chacha::ChaCha8Rng;

/// The real client. A rude one sends messages twice, and oks that answer nothing; and it receives oks to what it
/// never sent, which are to have no effect.
#[derive(Debug)]
pub struct SimClient {
    client: Client<ChaCha8Rng>,
    rude: Option<ChaCha8Rng>,
}

impl SimClient {
    pub(super) const fn new(client: Client<ChaCha8Rng>, rude: Option<ChaCha8Rng>) -> Self {
        Self { client, rude }
    }
}

impl Machine for SimClient {
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
