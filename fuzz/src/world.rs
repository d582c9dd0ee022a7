//! One endpoint, and all that its driver, its peers and its caller can do.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Debug;
use std::time::Duration;

use arbitrary::Arbitrary;
use bytes::BytesMut;
use echosphere_core::connection::SocketAction;
use echosphere_core::endpoint::{Effects, Endpoint};
use echosphere_core::wire::Codec;
use echosphere_core::{ConnId, DialError, DialToken, Machine, Time};

use crate::peer::Peer;
use crate::plan::{Settings, Step, Which};
use crate::watched::Watched;

/// What may wait over [`ConnectionConfig::max_outbox`](echosphere_core::connection::ConnectionConfig::max_outbox): an error that is
/// told to a peer that is given up.
const FAREWELL: usize = 200;
/// Deadlines that one step lets come: pauses between retries may be as short as a nanosecond.
const MAX_DEADLINES: usize = 1000;
/// Calls of [`Endpoint::expire`] at one moment until nothing is due any more.
const MAX_CALLS: u32 = 3;

/// A machine to be fuzzed.
pub(crate) trait Subject: Machine<Message: Debug> + Sized {
    type Codec: Codec<Message = Self::Message> + Clone;
    /// What a peer may say to it.
    type Said: for<'a> Arbitrary<'a>;

    /// Whether a peer that speaks lines is sent what only people can read.
    const PEOPLE: bool = false;

    fn new(settings: &Settings) -> Self;

    fn codec() -> Self::Codec;

    /// What its peers speak.
    fn peer() -> Self::Codec;

    fn say(said: &Self::Said, peer: &mut Peer<Self>) -> Vec<u8>;

    /// Appends what a peer that keeps to the protocol says to `message`; `said` is its note of how far it has come.
    fn answer(message: &Self::Message, said: &mut u64, answers: &mut VecDeque<Self::Message>);

    /// What its caller asks, if it has one; `id` is new.
    fn command(id: u64, what: u16) -> Option<Self::Command>;

    /// Whether a notice says how the command has ended.
    fn is_awaited(_: &Self::Command) -> bool {
        true
    }

    /// The id of the command that has ended.
    fn ended(notice: &Self::Notice) -> Option<u64>;

    fn check(&self, settings: &Settings);
}

struct Socket<M: Subject> {
    peer: Peer<M>,
    /// The driver was told to flush, or the socket is full: it will be flushed.
    due: bool,
    shut_down: bool,
}

pub(crate) struct World<M: Subject> {
    endpoint: Endpoint<Watched<M>, M::Codec>,
    effects: Effects<M::Notice>,
    settings: Settings,
    now: Time,
    sockets: BTreeMap<ConnId, Socket<M>>,
    gone: BTreeSet<ConnId>,
    dialling: Vec<DialToken>,
    commands: u64,
    ended: BTreeSet<u64>,
}

impl<M: Subject> World<M> {
    pub(crate) fn new(settings: Settings) -> Self {
        let machine = Watched::new(M::new(&settings));
        Self {
            endpoint: Endpoint::new(machine, M::codec(), settings.link()),
            effects: Effects::default(),
            settings,
            now: Time::ZERO,
            sockets: BTreeMap::new(),
            gone: BTreeSet::new(),
            dialling: Vec::new(),
            commands: 0,
            ended: BTreeSet::new(),
        }
    }

    pub(crate) fn step(&mut self, step: &Step<M::Said>) {
        match step {
            Step::Accept => {
                if let Ok(id) = self.endpoint.accept(self.now) {
                    self.opened(id);
                }
            }
            Step::Receive(which, said) => self.receive(*which, said),
            Step::Fin(which) => {
                if let Some(id) = self.pick(*which) {
                    self.endpoint.peer_closed(self.now, id, &mut self.effects);
                }
            }
            Step::Fail(which) => {
                if let Some(id) = self.pick(*which) {
                    self.endpoint.failed(self.now, id, &mut self.effects);
                }
            }
            Step::Write(which, most) => {
                if let Some(id) = self.pick(*which) {
                    self.write(id, (*most).into());
                }
            }
            Step::Pass(time) => self.pass((*time).into()),
            Step::Command(what) => self.command(*what),
            Step::Dialled(which) => {
                if let Some(token) = self.answered(*which) {
                    let id = self.endpoint.dialled(self.now, token, &mut self.effects);
                    self.opened(id);
                }
            }
            Step::DialFailed(which, refused) => {
                if let Some(token) = self.answered(*which) {
                    let error = if *refused {
                        DialError::Refused
                    } else {
                        DialError::Unreachable
                    };
                    self.endpoint.dial_failed(self.now, token, error, &mut self.effects);
                }
            }
            Step::Drain => self.endpoint.drain(self.now, &mut self.effects),
            Step::CloseAll => self.endpoint.close_all(self.now, &mut self.effects),
        }
        self.settle();
        self.check();
    }

    /// Everything is closed and everything comes to its end; then nothing may be left.
    pub(crate) fn finish(mut self) {
        self.step(&Step::Drain);
        while !self.dialling.is_empty() {
            self.step(&Step::DialFailed(0, true));
        }
        self.step(&Step::CloseAll);
        assert!(self.endpoint.machine().is_zero(), "nothing waits for anything");
        let ids: Vec<ConnId> = self.sockets.keys().copied().collect();
        for id in ids {
            self.write(id, usize::MAX);
            self.settle();
            self.check();
        }
        while self.endpoint.next_deadline().is_some() {
            self.pass(Duration::MAX);
        }
        self.check();
        assert!(self.endpoint.is_zero(), "nothing is left");
        assert!(self.sockets.is_empty(), "every socket is released");
        assert_eq!(self.ended.len() as u64, self.commands, "every command has ended");
    }

    /// One that is gone for the upper half of choices.
    fn pick(&self, Which(which): Which) -> Option<ConnId> {
        let choice = usize::from(which & 0x7f);
        if which < 0x80 {
            let place = choice.checked_rem(self.sockets.len())?;
            self.sockets.keys().nth(place).copied()
        } else {
            let place = choice.checked_rem(self.gone.len())?;
            self.gone.iter().nth(place).copied()
        }
    }

    fn opened(&mut self, id: ConnId) {
        assert!(!self.gone.contains(&id), "{id:?} is used again");
        let socket = Socket {
            peer: Peer::new(),
            due: false,
            shut_down: false,
        };
        assert!(self.sockets.insert(id, socket).is_none(), "{id:?} is used twice");
    }

    fn receive(&mut self, which: Which, said: &M::Said) {
        let Some(id) = self.pick(which) else {
            return;
        };
        let bytes = match self.sockets.get_mut(&id) {
            Some(socket) => socket.peer.write(said),
            None => Peer::<M>::new().write(said),
        };
        let mut input = BytesMut::from(&bytes[..]);
        self.endpoint.receive(self.now, id, &mut input, &mut self.effects);
        assert!(input.is_empty(), "all input is taken");
    }

    fn write(&mut self, id: ConnId, most: usize) {
        self.endpoint.begin_flush(id);
        let Some(socket) = self.sockets.get_mut(&id) else {
            assert_eq!(self.endpoint.socket_action(id), SocketAction::Nothing, "{id:?} is gone");
            return;
        };
        if self.endpoint.socket_action(id) == SocketAction::Write {
            let outbox = self.endpoint.outbox(id).expect("it wants to be written");
            let mut bytes = outbox.chunks().collect::<Vec<_>>().concat();
            bytes.truncate(most);
            socket.peer.read(&bytes);
            self.endpoint.wrote(id, bytes.len());
        }
        if self.endpoint.socket_action(id) == SocketAction::Shutdown {
            assert!(!socket.shut_down, "{id:?} is shut down twice");
            assert!(socket.peer.has_read_all(), "the stream ends inside a frame");
            socket.shut_down = true;
            self.endpoint.shut_down(self.now, id, &mut self.effects);
        }
        socket.due = self.endpoint.socket_action(id) != SocketAction::Nothing;
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        let mut left = MAX_DEADLINES;
        let mut calls = 0;
        while let Some(due) = self.endpoint.next_deadline().filter(|&due| due <= until && left > 0) {
            // A second call for the connections that the machine's deadline closed, without any time to linger.
            calls = if due > self.now { 1 } else { calls + 1 };
            assert!(calls <= MAX_CALLS, "time stands still");
            self.now = self.now.max(due);
            self.endpoint.expire(self.now, &mut self.effects);
            self.settle();
            left -= 1;
        }
        if left > 0 && time < Duration::MAX {
            self.now = until;
        }
    }

    fn command(&mut self, what: u16) {
        if let Some(command) = M::command(self.commands, what) {
            self.commands += u64::from(M::is_awaited(&command));
            self.endpoint.command(self.now, command, &mut self.effects);
        }
    }

    fn answered(&mut self, which: u8) -> Option<DialToken> {
        let place = usize::from(which).checked_rem(self.dialling.len())?;
        Some(self.dialling.remove(place))
    }

    /// The driver notes what it is to do.
    fn settle(&mut self) {
        for (id, _) in self.effects.release.drain(..) {
            assert!(self.sockets.remove(&id).is_some(), "{id:?} is released and not held");
            self.gone.insert(id);
        }
        for id in self.effects.flush.drain(..) {
            match self.sockets.get_mut(&id) {
                Some(socket) => socket.due = true,
                None => assert!(self.gone.contains(&id), "{id:?} was never there"),
            }
        }
        for token in self.effects.dial.drain(..) {
            assert!(!self.dialling.contains(&token), "{token:?} is used twice");
            self.dialling.push(token);
        }
        for token in self.effects.abandon.drain(..) {
            let place = self.dialling.iter().position(|&other| other == token);
            self.dialling.remove(place.expect("what is abandoned was asked for"));
        }
        for id in self.effects.notices.drain(..).filter_map(|notice| M::ended(&notice)) {
            assert!(id < self.commands, "{id} was never asked");
            assert!(self.ended.insert(id), "{id} ends twice");
        }
    }

    fn check(&self) {
        let config = self.settings.link();
        let max_outbox = config.max_outbox;
        let partial = self.endpoint.partial_bytes();
        assert!(partial <= config.max_partial_bytes, "{partial} bytes are half received");
        assert!(partial == 0 || !self.sockets.is_empty(), "{partial} bytes are nobody's");
        assert_eq!(self.endpoint.connections(), self.sockets.len());
        assert_eq!(
            self.endpoint.timers(),
            self.sockets.len(),
            "each connection has one timer"
        );
        for (&id, socket) in &self.sockets {
            let want = self.endpoint.socket_action(id);
            assert!(
                want == SocketAction::Nothing || socket.due,
                "nobody was told to flush {id:?}"
            );
            let waiting = self.endpoint.outbox(id).map_or(0, |outbox| outbox.len());
            assert!(waiting == 0 || !socket.shut_down, "{id:?} is sent to after its end");
            assert!(waiting <= max_outbox + FAREWELL, "{waiting} bytes wait for {id:?}");
        }
        for &id in self.gone.iter().rev().take(4) {
            assert!(self.endpoint.outbox(id).is_none(), "{id:?} is gone");
        }
        self.endpoint.machine().inner.check(&self.settings);
    }
}
