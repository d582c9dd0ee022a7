//! The machines with callers that read each message, at once or some time later.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use echosphere_core::chat::{Client, Command, Message, Notice, Server, ServerCommand};
use echosphere_core::{Action, Actions, ConnId, Event, Machine, Time};
use rand_chacha::ChaCha8Rng;

/// What an answer begins with.
pub(super) const ANSWER: &[u8] = b"re: ";

/// A message that a caller read.
#[derive(Clone, Copy, Debug)]
pub struct Read {
    /// Its session, as the machine counts them.
    pub session: u64,
    /// Its id.
    pub id: u64,
    /// The caller answered it.
    pub answered: bool,
    /// The number of the step's actions before it.
    pub after: usize,
}

/// A server whose caller answers every message when it reads it.
#[derive(Debug)]
pub struct SimServer {
    /// The server.
    pub inner: Server,
    /// When it took its last event, by its own clock.
    pub now: Time,
    /// What was read in the course of its last event.
    pub reads: Vec<Read>,
    reader: Reader,
    said: u64,
    /// Sessions begun, and whether the last is open.
    sessions: u64,
    open: bool,
    /// The last message received in the last session.
    pub(super) heard: u64,
}

/// A client whose caller reads every message.
#[derive(Debug)]
pub struct SimClient {
    /// The client.
    pub inner: Client<ChaCha8Rng>,
    /// A typing client: it receives no welcome and sends at once.
    pub types: bool,
    /// When it took its last event, by its own clock.
    pub now: Time,
    /// What was read in the course of its last event.
    pub reads: Vec<Read>,
    reader: Reader,
}

/// A caller that reads each message `lag` after it was received.
#[derive(Debug)]
struct Reader {
    lag: Duration,
    /// When each message is due, its session and its id, and its body.
    unread: VecDeque<(Time, (u64, u64), Bytes)>,
}

impl Reader {
    const fn new(lag: Duration) -> Self {
        let unread = VecDeque::new();
        Self { lag, unread }
    }

    fn hear(&mut self, now: Time, actions: &[Action<Message, Notice>]) {
        for action in actions {
            if let Action::Notify(Notice::Received { session, id, body }) = action {
                let message = (now + self.lag, (*session, *id), body.clone());
                self.unread.push_back(message);
            }
        }
    }

    /// The next message that is to be read by now.
    fn read(&mut self, now: Time) -> Option<((u64, u64), Bytes)> {
        if self.due()? > now {
            return None;
        }
        self.unread.pop_front().map(|(_, which, body)| (which, body))
    }

    fn due(&self) -> Option<Time> {
        self.unread.front().map(|(due, ..)| *due)
    }
}

impl SimServer {
    pub(super) const fn new(inner: Server, lag: Duration) -> Self {
        Self {
            inner,
            now: Time::ZERO,
            reads: Vec::new(),
            reader: Reader::new(lag),
            said: 0,
            sessions: 0,
            heard: 0,
            open: false,
        }
    }

    /// Notes what the server tells its caller.
    fn told(&mut self, actions: &[Action<Message, Notice>]) {
        for action in actions {
            match action {
                Action::Notify(Notice::Connected { resumed: false }) => {
                    self.sessions += 1;
                    self.heard = 0;
                    self.open = true;
                }
                Action::Notify(Notice::Received { id, .. }) => self.heard = *id,
                Action::Notify(Notice::Ended { .. }) => self.open = false,
                _ => {}
            }
        }
        self.reader.hear(self.now, actions);
    }
}

impl SimClient {
    pub(super) const fn new(inner: Client<ChaCha8Rng>, types: bool, lag: Duration) -> Self {
        Self {
            inner,
            types,
            now: Time::ZERO,
            reads: Vec::new(),
            reader: Reader::new(lag),
        }
    }
}

impl Machine for SimServer {
    type Message = Message;
    type Command = ServerCommand;
    type Notice = Notice;

    fn handle(&mut self, now: Time, event: Event<Message, ServerCommand>, out: &mut Actions<Message, Notice>) {
        self.now = now;
        self.reads.clear();
        let begin = out.as_slice().len();
        self.inner.handle(now, event, out);
        self.told(&out.as_slice()[begin..]);
        while let Some(((session, id), body)) = self.reader.read(now) {
            let before = out.as_slice().len();
            let read = ServerCommand::Read { session, id };
            self.inner.handle(now, Event::Command(read), out);
            self.told(&out.as_slice()[before..]);
            // Otherwise its sender has left.
            let answered = self.open && session == self.sessions;
            let after = before - begin;
            self.reads.push(Read {
                session,
                id,
                answered,
                after,
            });
            if answered {
                let (key, body) = (self.said, [ANSWER, &body].concat().into());
                self.said += 1;
                self.inner
                    .handle(now, Event::Command(ServerCommand::Send { key, body }), out);
            }
        }
    }

    fn partial_bytes(&self, id: ConnId) -> usize {
        self.inner.partial_bytes(id)
    }

    fn keeps_open_after_fin(&self, id: ConnId) -> bool {
        self.inner.keeps_open_after_fin(id)
    }

    fn next_deadline(&self) -> Option<Time> {
        let both = [self.inner.next_deadline(), self.reader.due()];
        both.into_iter().flatten().min()
    }

    fn is_zero(&self) -> bool {
        self.inner.is_zero() && self.reader.unread.is_empty()
    }
}

impl Machine for SimClient {
    type Message = Message;
    type Command = Command;
    type Notice = Notice;

    fn handle(&mut self, now: Time, event: Event<Message, Command>, out: &mut Actions<Message, Notice>) {
        self.now = now;
        self.reads.clear();
        let before = out.as_slice().len();
        let opened = match event {
            Event::Opened(conn, _) if self.types => Some(conn),
            _ => None,
        };
        self.inner.handle(now, event, out);
        if let Some(conn) = opened {
            let welcome = Message::Welcome { received: 0 };
            self.inner.handle(now, Event::Received(conn, welcome), out);
        }
        self.reader.hear(now, &out.as_slice()[before..]);
        while let Some(((session, id), _)) = self.reader.read(now) {
            self.reads.push(Read {
                session,
                id,
                answered: false,
                after: out.as_slice().len() - before,
            });
            self.inner
                .handle(now, Event::Command(Command::Read { session, id }), out);
        }
    }

    fn partial_bytes(&self, id: ConnId) -> usize {
        self.inner.partial_bytes(id)
    }

    fn next_deadline(&self) -> Option<Time> {
        let both = [self.inner.next_deadline(), self.reader.due()];
        both.into_iter().flatten().min()
    }

    fn is_zero(&self) -> bool {
        self.inner.is_zero() && self.reader.unread.is_empty()
    }
}
