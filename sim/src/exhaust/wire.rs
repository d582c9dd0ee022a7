//! Hosts with their endpoints, and connections that hold segments until a decision delivers them.

use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;
use echosphere_core::connection::{ConnectionConfig, SocketAction};
use echosphere_core::echo::Message;
use echosphere_core::endpoint::{Effect, Endpoint};
use echosphere_core::{ConnId, DialError, DialToken, Machine, Time};

use super::hash::stir;
use crate::oracle::echo::Words;
use crate::role::Role;
use crate::trace::brief_bytes;

/// The server's number among the hosts.
pub(super) const SERVER: usize = usize::MAX;

#[derive(Debug)]
pub(super) enum Segment {
    /// The client asks for a connection.
    Dial,
    /// The server's answers.
    Accepted,
    Refused,
    Data(Vec<u8>),
    Fin,
    Reset,
}

impl Segment {
    const fn code(&self) -> u64 {
        match self {
            Self::Dial => 0,
            Self::Accepted => 1,
            Self::Refused => 2,
            Self::Fin => 3,
            Self::Reset => 4,
            Self::Data(bytes) => 5 + bytes.len() as u64,
        }
    }

    pub(super) fn words(&self) -> String {
        let words = match self {
            Self::Data(bytes) => {
                let mut line = String::new();
                brief_bytes(bytes, &mut line);
                return line;
            }
            Self::Dial => "an attempt to connect",
            Self::Accepted => "the connection is accepted",
            Self::Refused => "the connection is refused",
            Self::Fin => "the end of the stream",
            Self::Reset => "a reset",
        };
        words.to_owned()
    }
}

/// One connection, or an attempt at one.
#[derive(Debug)]
pub(super) struct Conn {
    pub(super) client: usize,
    pub(super) token: DialToken,
    /// Which of the client's lives it belongs to.
    life: u32,
    /// The client waits for the answer.
    dialling: bool,
    /// What each side calls it, while it has it open.
    ids: [Option<ConnId>; 2],
    fin_sent: [bool; 2],
    under_way: [VecDeque<Segment>; 2],
    broken: bool,
}

impl Conn {
    pub(super) fn is_quiet(&self) -> bool {
        self.under_way.iter().all(VecDeque::is_empty)
    }

    pub(super) fn has_under_way(&self, from: Role) -> bool {
        !self.under_way[from as usize].is_empty()
    }

    pub(super) fn first(&self, from: Role) -> Option<&Segment> {
        self.under_way[from as usize].front()
    }

    pub(super) fn take(&mut self, from: Role) -> Option<Segment> {
        self.under_way[from as usize].pop_front()
    }

    pub(super) fn can_break(&self) -> bool {
        !self.broken && (self.dialling || self.ids.iter().any(Option::is_some))
    }

    fn send(&mut self, from: Role, segment: Segment) {
        if !self.broken {
            self.under_way[from as usize].push_back(segment);
        }
    }

    /// Loses what is under way, and tells both sides.
    pub(super) fn break_off(&mut self) {
        self.under_way.iter_mut().for_each(VecDeque::clear);
        if self.broken {
            return;
        }
        if self.dialling {
            self.send(Role::Server, Segment::Refused);
        } else if self.ids[Role::Client as usize].is_some() {
            self.send(Role::Server, Segment::Reset);
        }
        if self.ids[Role::Server as usize].is_some() {
            self.send(Role::Client, Segment::Reset);
        }
        self.broken = true;
    }

    /// This side has crashed; the other receives the end.
    pub(super) fn lose(&mut self, role: Role) {
        self.ids[role as usize] = None;
        self.dialling &= role == Role::Server;
        if self.broken {
            // It is about to be told, or has been.
            self.under_way[role.other() as usize].clear();
        } else {
            self.break_off();
        }
    }

    /// A hash of its name and state. The bytes in flight follow from their sender's events.
    pub(super) fn state(&self) -> u128 {
        let flags = [self.broken, self.dialling, self.ids[0].is_some(), self.ids[1].is_some()];
        let flags = flags.iter().fold(0, |flags, flag| flags << 1 | u64::from(*flag));
        let mut state = stir(self.name(), flags);
        for segments in &self.under_way {
            state = stir(state, segments.len() as u64);
            for segment in segments {
                state = stir(state, segment.code());
            }
        }
        state
    }

    fn name(&self) -> u128 {
        stir(stir(self.client as u128 + 1, self.token.0), self.life.into())
    }
}

/// A host.
pub(super) struct Node<M: Machine<Message = Message>> {
    pub(super) number: usize,
    pub(super) life: u32,
    pub(super) endpoint: Endpoint<M, Words>,
    /// A hash of all its events, in order.
    pub(super) history: u128,
    conns: BTreeMap<ConnId, usize>,
    dials: BTreeMap<DialToken, usize>,
}

impl<M: Machine<Message = Message>> Node<M> {
    pub(super) fn new(number: usize, life: u32, machine: M, words: Words, link: ConnectionConfig) -> Self {
        Self {
            number,
            life,
            endpoint: Endpoint::new(machine, words, link),
            history: 0,
            conns: BTreeMap::new(),
            dials: BTreeMap::new(),
        }
    }

    const fn role(&self) -> Role {
        if self.number == SERVER {
            Role::Server
        } else {
            Role::Client
        }
    }

    /// It receives an event of this kind on this connection.
    pub(super) fn note(&mut self, kind: u64, conn: Option<&Conn>, now: Time) {
        let name = conn.map_or(0, Conn::name);
        self.history = stir(stir(self.history, kind) ^ name, now.as_nanos());
    }

    /// A segment of the other side has arrived.
    pub(super) fn take(&mut self, conns: &mut [Conn], at: usize, segment: Segment, now: Time) {
        let conn = &mut conns[at];
        self.note(4, Some(conn), now);
        let role = self.role();
        match (segment, conn.ids[role as usize]) {
            (Segment::Dial, _) => match self.endpoint.accept(now) {
                Ok(id) => {
                    conn.ids[role as usize] = Some(id);
                    self.conns.insert(id, at);
                    conn.send(role, Segment::Accepted);
                }
                Err(_) => conn.send(role, Segment::Refused),
            },
            (Segment::Accepted, _) if conn.dialling => {
                conn.dialling = false;
                self.dials.remove(&conn.token);
                let id = self.endpoint.dialled(now, conn.token);
                conn.ids[role as usize] = id;
                self.conns.extend(id.map(|id| (id, at)));
            }
            (Segment::Refused, _) if conn.dialling => {
                conn.dialling = false;
                self.dials.remove(&conn.token);
                let error = DialError::Refused;
                self.endpoint.dial_failed(now, conn.token, error);
            }
            (Segment::Data(data), Some(id)) => {
                let mut input = BytesMut::from(&data[..]);
                self.endpoint.receive(now, id, &mut input);
            }
            (Segment::Fin, Some(id)) => self.endpoint.peer_closed(now, id),
            (Segment::Reset, Some(id)) => {
                conn.under_way[role as usize].retain(|segment| matches!(segment, Segment::Reset));
                conn.broken = true;
                self.endpoint.failed(now, id);
            }
            (Segment::Accepted | Segment::Data(_), None) => conn.send(role, Segment::Reset),
            // There is no peer to notify.
            _ => {}
        }
    }

    /// Does what the endpoint requests. Returns the notices.
    pub(super) fn settle(&mut self, conns: &mut Vec<Conn>, now: Time) -> Vec<M::Notice> {
        let mut notices = Vec::new();
        while let Some(effect) = self.endpoint.poll_effect() {
            match effect {
                Effect::Notify(notice) => notices.push(notice),
                Effect::AbandonDial(token) => {
                    if let Some(at) = self.dials.remove(&token) {
                        conns[at].dialling = false;
                    }
                }
                Effect::Release(id, _) => self.release(conns, id),
                Effect::Flush(id) => self.flush(conns, id, now),
                Effect::Dial(token, _) => {
                    self.dials.insert(token, conns.len());
                    conns.push(Conn {
                        client: self.number,
                        token,
                        life: self.life,
                        dialling: true,
                        ids: [None; 2],
                        fin_sent: [false; 2],
                        under_way: [VecDeque::from([Segment::Dial]), VecDeque::new()],
                        broken: false,
                    });
                }
            }
        }
        notices
    }

    fn release(&mut self, conns: &mut [Conn], id: ConnId) {
        let role = self.role();
        if let Some(at) = self.conns.remove(&id) {
            conns[at].ids[role as usize] = None;
            if !conns[at].fin_sent[role as usize] {
                conns[at].send(role, Segment::Reset);
            }
        }
    }

    fn flush(&mut self, conns: &mut [Conn], id: ConnId, now: Time) {
        let role = self.role();
        let Some(conn) = self.conns.get(&id).and_then(|at| conns.get_mut(*at)) else {
            return;
        };
        loop {
            match self.endpoint.socket_action(id) {
                SocketAction::Nothing => return,
                SocketAction::Shutdown => {
                    conn.fin_sent[role as usize] = true;
                    conn.send(role, Segment::Fin);
                    self.endpoint.shut_down(now, id);
                }
                SocketAction::Write => {
                    let Some(outbox) = self.endpoint.outbox(id) else {
                        return;
                    };
                    let data: Vec<u8> = outbox.chunks().flatten().copied().collect();
                    self.endpoint.wrote(id, data.len());
                    conn.send(role, Segment::Data(data));
                }
            }
        }
    }
}
