//! One endpoint under test, with its driver, peers and caller.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::BytesMut;
use echosphere_core::connection::SocketAction;
use echosphere_core::endpoint::{Effect, Endpoint};
use echosphere_core::{ConnId, DialError, DialToken, Machine, Time};

use crate::peer::Peer;
use crate::plan::{Settings, Step, Which};
use crate::subject::Subject;
use crate::watched::Watched;

/// Bytes that may exceed [`ConnectionConfig::max_outbox`](echosphere_core::connection::ConnectionConfig::max_outbox): the
/// error that is sent before a connection closes.
const LAST_ERROR: usize = 200;
/// The most deadlines in one step: pauses between retries may be as short as a nanosecond.
const MAX_DEADLINES: usize = 1000;
/// The most calls of [`Endpoint::expire`] at one time until nothing is due.
const MAX_CALLS: u32 = 3;

struct Socket<M: Subject> {
    peer: Peer<M::Codec>,
    /// Whether the driver will flush it: an effect requested it, or the socket is full.
    due: bool,
    shut_down: bool,
}

pub(crate) struct World<M: Subject> {
    endpoint: Endpoint<Watched<M>, M::Codec>,
    settings: Settings,
    now: Time,
    sockets: BTreeMap<ConnId, Socket<M>>,
    released: BTreeSet<ConnId>,
    dialling: Vec<DialToken>,
    commands: u64,
    ended: BTreeSet<u64>,
}

fn new_peer<M: Subject>() -> Peer<M::Codec> {
    Peer::new(M::peer_codec(), M::LINES_FOR_PEOPLE)
}

impl<M: Subject> World<M> {
    pub(crate) fn new(settings: Settings) -> Self {
        let machine = Watched::new(M::new(&settings));
        Self {
            endpoint: Endpoint::new(machine, M::codec(), settings.connection()),
            settings,
            now: Time::ZERO,
            sockets: BTreeMap::new(),
            released: BTreeSet::new(),
            dialling: Vec::new(),
            commands: 0,
            ended: BTreeSet::new(),
        }
    }

    pub(crate) fn step(&mut self, step: &Step<M::Input>) {
        match step {
            Step::Accept => {
                if let Ok(id) = self.endpoint.accept(self.now) {
                    self.opened(id);
                }
            }
            Step::Receive(which, input) => self.receive(*which, input),
            Step::Fin(which) => {
                if let Some(id) = self.pick(*which) {
                    self.endpoint.peer_closed(self.now, id);
                }
            }
            Step::Fail(which) => {
                if let Some(id) = self.pick(*which) {
                    self.endpoint.failed(self.now, id);
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
                    let id = self.endpoint.dialled(self.now, token);
                    self.opened(id.expect("the attempt is not abandoned"));
                }
            }
            Step::DialFailed(which, refused) => {
                if let Some(token) = self.answered(*which) {
                    let error = if *refused {
                        DialError::Refused
                    } else {
                        DialError::Unreachable
                    };
                    self.endpoint.dial_failed(self.now, token, error);
                }
            }
            Step::Drain => self.endpoint.drain(self.now),
            Step::CloseAll => self.endpoint.close_all(self.now),
        }
        self.settle();
        self.check();
    }

    /// Closes everything and lets every deadline pass. Then nothing may be left.
    pub(crate) fn finish(mut self) {
        self.step(&Step::Drain);
        while !self.dialling.is_empty() {
            self.step(&Step::DialFailed(0, true));
        }
        self.step(&Step::CloseAll);
        assert!(self.endpoint.machine().is_zero(), "the machine is not at zero");
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
        assert!(self.endpoint.is_zero(), "the endpoint is not at zero");
        assert!(self.sockets.is_empty(), "a socket is not released");
        assert_eq!(self.ended.len() as u64, self.commands, "a command has not ended");
    }

    /// Picks a connection: an open one in the lower half of choices, a released one in the upper half.
    fn pick(&self, Which(which): Which) -> Option<ConnId> {
        let choice = usize::from(which & 0x7f);
        if which < 0x80 {
            let place = choice.checked_rem(self.sockets.len())?;
            self.sockets.keys().nth(place).copied()
        } else {
            let place = choice.checked_rem(self.released.len())?;
            self.released.iter().nth(place).copied()
        }
    }

    fn opened(&mut self, id: ConnId) {
        assert!(!self.released.contains(&id), "{id:?} is used again");
        let socket = Socket {
            peer: new_peer::<M>(),
            due: false,
            shut_down: false,
        };
        assert!(self.sockets.insert(id, socket).is_none(), "{id:?} is used twice");
    }

    fn receive(&mut self, which: Which, input: &M::Input) {
        let Some(id) = self.pick(which) else {
            return;
        };
        let bytes = match self.sockets.get_mut(&id) {
            Some(socket) => {
                let bytes = M::encode(input, &mut socket.peer);
                socket.peer.sent(&bytes);
                bytes
            }
            None => M::encode(input, &mut new_peer::<M>()),
        };
        let mut input = BytesMut::from(&bytes[..]);
        self.endpoint.receive(self.now, id, &mut input);
        assert!(input.is_empty(), "some input is left");
    }

    fn write(&mut self, id: ConnId, most: usize) {
        let Some(socket) = self.sockets.get_mut(&id) else {
            assert_eq!(
                self.endpoint.socket_action(id),
                SocketAction::Nothing,
                "{id:?} was released"
            );
            return;
        };
        if self.endpoint.socket_action(id) == SocketAction::Write {
            let outbox = self.endpoint.outbox(id).expect("a connection to write has an outbox");
            let mut bytes = outbox.chunks().collect::<Vec<_>>().concat();
            bytes.truncate(most);
            socket.peer.read(&bytes, M::answer);
            self.endpoint.wrote(id, bytes.len());
        }
        if self.endpoint.socket_action(id) == SocketAction::Shutdown {
            assert!(!socket.shut_down, "{id:?} is shut down twice");
            assert!(socket.peer.has_read_all(), "the stream ends inside a frame");
            socket.shut_down = true;
            self.endpoint.shut_down(self.now, id);
        }
        socket.due = self.endpoint.socket_action(id) != SocketAction::Nothing;
    }

    fn pass(&mut self, time: Duration) {
        let until = self.now + time;
        let mut left = MAX_DEADLINES;
        let mut calls = 0;
        while let Some(due) = self.endpoint.next_deadline().filter(|&due| due <= until && left > 0) {
            // With a linger of zero, connections that the machine closes at its deadline need a second call.
            calls = if due > self.now { 1 } else { calls + 1 };
            assert!(calls <= MAX_CALLS, "expire makes no progress");
            self.now = self.now.max(due);
            self.endpoint.expire(self.now);
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
            self.endpoint.command(self.now, command);
        }
    }

    fn answered(&mut self, which: u8) -> Option<DialToken> {
        let place = usize::from(which).checked_rem(self.dialling.len())?;
        Some(self.dialling.remove(place))
    }

    /// Applies the effects as a driver does.
    fn settle(&mut self) {
        while let Some(effect) = self.endpoint.poll_effect() {
            match effect {
                Effect::Notify(notice) => {
                    if let Some(id) = M::ended(&notice) {
                        assert!(id < self.commands, "{id} is not a command");
                        assert!(self.ended.insert(id), "{id} ends twice");
                    }
                }
                Effect::AbandonDial(token) => {
                    let place = self.dialling.iter().position(|&other| other == token);
                    self.dialling.remove(place.expect("an abandoned attempt was started"));
                }
                Effect::Release(id, _) => {
                    assert!(self.sockets.remove(&id).is_some(), "{id:?} is released and not held");
                    self.released.insert(id);
                }
                Effect::Flush(id) => {
                    let socket = self.sockets.get_mut(&id);
                    socket.expect("only open connections are flushed").due = true;
                }
                Effect::Dial(token, _) => {
                    assert!(!self.dialling.contains(&token), "{token:?} is used twice");
                    self.dialling.push(token);
                }
            }
        }
    }

    fn check(&self) {
        let config = self.settings.connection();
        let max_outbox = config.max_outbox;
        let partial = self.endpoint.partial_bytes();
        assert!(
            partial <= config.max_partial_bytes,
            "{partial} partial bytes are over the limit"
        );
        assert!(
            partial == 0 || !self.sockets.is_empty(),
            "{partial} partial bytes without a connection"
        );
        assert_eq!(self.endpoint.connections(), self.sockets.len());
        assert_eq!(
            self.endpoint.timers(),
            self.sockets.len(),
            "each connection has one timer"
        );
        for (&id, socket) in &self.sockets {
            let action = self.endpoint.socket_action(id);
            assert!(action == SocketAction::Nothing || socket.due, "{id:?} is not flushed");
            let waiting = self.endpoint.outbox(id).map_or(0, |outbox| outbox.len());
            assert!(
                waiting == 0 || !socket.shut_down,
                "bytes wait for {id:?} after its end of stream"
            );
            assert!(waiting <= max_outbox + LAST_ERROR, "{waiting} bytes wait for {id:?}");
        }
        for &id in self.released.iter().rev().take(4) {
            assert!(self.endpoint.outbox(id).is_none(), "{id:?} was released");
        }
        self.endpoint.machine().inner.check(&self.settings);
    }
}
