//! The rules of the server: the exact result of each event, except the first number of a stateless
//! stream.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use echosphere_core::numbers::{Message, Mode, ServerConfig, ServerCounters, Uuid};
use echosphere_core::wire::ErrorCode;
use echosphere_core::{Action, CloseReason, ConnId, Event, Time};

use super::machines::SimServer;
use super::sequence::Sequences;
use crate::marks::{Mark, Marks};
use crate::observe::{ActionOf, EventOf};
use crate::words;

mod checks;
mod ends;

/// The largest first number.
pub(super) const LARGEST_FIRST: u64 = 255;
/// Bytes of all keepalives that a connection has before its stream, at most.
const KEEPALIVES: usize = 100;

#[derive(Debug)]
pub(super) struct ServerModel {
    config: ServerConfig,
    /// Bytes that may wait for long for one connection.
    max_backlog: usize,
    deep: bool,
    marks: Marks,
    sequences: Sequences,
    draining: bool,
    now: Time,
    peers: BTreeMap<ConnId, Peer>,
    sessions: BTreeMap<Uuid, Session>,
    /// Sessions that were lost with earlier lives.
    lost: BTreeSet<Uuid>,
    counters: ServerCounters,
    /// What is to follow from the event, for each connection in order.
    owed: BTreeMap<ConnId, Vec<Owed>>,
    /// The first number that the event has each connection be sent.
    said: BTreeMap<ConnId, u64>,
    /// The first numbers that were drawn.
    pub(super) drawn: Vec<u64>,
}

#[derive(Debug)]
struct Peer {
    stream: Option<Stream>,
    /// Bytes that it was ever sent, at most: no more can wait.
    sent: usize,
    finished: bool,
    behind: bool,
    /// The next number of its stream waits for it to read.
    held_back: bool,
}

#[derive(Clone, Copy, Debug)]
enum Stream {
    /// Its next number, unless the server has drawn that and not sent it yet.
    Plain {
        next: Option<u64>,
        due: Time,
    },
    Session {
        uuid: Uuid,
        due: Time,
    },
    /// All of a session was sent.
    Ended(Uuid),
}

impl Peer {
    const fn new() -> Self {
        Self {
            stream: None,
            sent: KEEPALIVES,
            finished: false,
            behind: false,
            held_back: false,
        }
    }
}

impl Stream {
    const fn due(&mut self) -> Option<&mut Time> {
        match self {
            Self::Plain { due, .. } | Self::Session { due, .. } => Some(due),
            Self::Ended(_) => None,
        }
    }

    /// The session that is sent, or was.
    const fn session(&self) -> Option<Uuid> {
        match self {
            Self::Plain { .. } => None,
            Self::Session { uuid, .. } | Self::Ended(uuid) => Some(*uuid),
        }
    }
}

#[derive(Debug)]
struct Session {
    n: u16,
    /// The place that was sent last, and the highest that ever was.
    place: u16,
    reached: u16,
    /// The highest place that a client has proven.
    proven: u16,
    gone_on_with: bool,
    ended: bool,
    /// Whose it is, or when it is discarded.
    held: Result<ConnId, Time>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Owed {
    Number(u64),
    Error(ErrorCode),
    Close(CloseReason),
    Finish,
}

impl fmt::Display for Owed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "number {number}"),
            Self::Error(code) => write!(f, "error {code}"),
            Self::Close(reason) => write!(f, "close ({})", words::why(*reason)),
            Self::Finish => f.write_str("finish"),
        }
    }
}

impl ServerModel {
    pub(super) fn new(config: ServerConfig, max_backlog: usize, deep: bool, marks: Marks) -> Self {
        Self {
            config,
            max_backlog,
            deep,
            marks,
            sequences: Sequences::default(),
            draining: false,
            now: Time::ZERO,
            peers: BTreeMap::new(),
            sessions: BTreeMap::new(),
            lost: BTreeSet::new(),
            counters: ServerCounters::default(),
            owed: BTreeMap::new(),
            said: BTreeMap::new(),
            drawn: Vec::new(),
        }
    }

    pub(super) fn restart(&mut self) {
        self.draining = false;
        self.now = Time::ZERO;
        self.peers.clear();
        self.lost.extend(std::mem::take(&mut self.sessions).into_keys());
        self.counters = ServerCounters::default();
        self.owed.clear();
    }

    /// Checks that `actions` are what `event` must lead to.
    pub(super) fn step(
        &mut self,
        server: &SimServer,
        event: &EventOf<SimServer>,
        actions: &[ActionOf<SimServer>],
    ) -> Result<(), String> {
        self.now = server.now;
        let numbers = actions.iter().rev().filter_map(|action| match action {
            Action::Send(conn, Message::Number(number)) => Some((*conn, *number)),
            _ => None,
        });
        self.said = numbers.collect();
        for (conn, peer) in &mut self.peers {
            peer.behind = server.behind.contains(conn);
            if peer.behind && peer.sent <= self.max_backlog {
                return Err(format!("{conn:?} is behind, having been sent {} bytes", peer.sent));
            }
        }
        match event {
            Event::Opened(conn, _) if self.draining => self.owe(*conn, Owed::Close(CloseReason::ShuttingDown)),
            Event::Opened(conn, opened) => {
                if opened.text {
                    self.marks.hit(Mark::NumbersInLines);
                }
                if self.peers.insert(*conn, Peer::new()).is_some() {
                    return Err(format!("{conn:?} opened twice"));
                }
            }
            Event::Received(conn, request) => self.asked(*conn, request)?,
            Event::Closed(conn, reason) => self.closed(*conn, *reason)?,
            Event::PeerFinished(conn) => match self.peers.get_mut(conn) {
                Some(peer) if !matches!(peer.stream, None | Some(Stream::Ended(_))) => peer.finished = true,
                _ => {
                    return Err(format!(
                        "{conn:?} stays open without a stream, though its peer has finished sending"
                    ));
                }
            },
            Event::Deadline => self.expire(),
            Event::Drain => self.drain(),
            Event::DialFailed(..) => {}
            Event::Command(never) => match *never {},
        }
        self.settle(actions)?;
        self.compare(server)
    }

    fn owe(&mut self, conn: ConnId, what: Owed) {
        self.owed.entry(conn).or_default().push(what);
    }

    fn refuse(&mut self, conn: ConnId, code: ErrorCode) {
        self.counters.refused += 1;
        self.owe(conn, Owed::Error(code));
    }

    fn asked(&mut self, conn: ConnId, request: &Message) -> Result<(), String> {
        let peer = self.peers.get(&conn);
        let peer = peer.ok_or_else(|| format!("a request from {conn:?}, which is not connected"))?;
        if *request == Message::End {
            self.end(conn);
            return Ok(());
        }
        if matches!(peer.stream, Some(Stream::Ended(_))) {
            self.marks.hit(Mark::AskedAfterTheEnd);
            return Ok(());
        }
        if peer.stream.is_some() {
            self.marks.hit(Mark::AlreadyRunning);
            self.refuse(conn, ErrorCode::AlreadyRunning);
            return Ok(());
        }
        let stateless = matches!(request, Message::Start | Message::Continue(_));
        if self.config.mode == (if stateless { Mode::Stateful } else { Mode::Stateless }) {
            self.marks.hit(Mark::WrongMode);
            self.refuse(conn, ErrorCode::WrongMode);
            return Ok(());
        }
        match *request {
            Message::Start => self.start_plain(conn, None),
            Message::Continue(last) => self.start_plain(conn, Some(last.wrapping_mul(3))),
            Message::StartSession { uuid, n } => self.start_session(conn, uuid, n),
            Message::ContinueSession { uuid, last, count } => self.go_on(conn, uuid, last, count),
            Message::End | Message::Number(_) | Message::Error(..) => {
                return Err(format!(
                    "{conn:?} receives a message that is no request: {}",
                    words::brief(request)
                ));
            }
        }
        Ok(())
    }

    fn start_plain(&mut self, conn: ConnId, next: Option<u64>) {
        self.counters.streams += 1;
        self.stream(conn, Stream::Plain { next, due: self.now });
    }

    /// Sends the stream to the connection from now on.
    fn stream(&mut self, conn: ConnId, stream: Stream) {
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.stream = Some(stream);
        }
        self.send_due(conn);
    }

    fn start_session(&mut self, conn: ConnId, uuid: Uuid, n: u16) {
        if let Some(session) = self.sessions.get(&uuid) {
            let begin_again = session.n == n && session.held.is_err() && !session.gone_on_with && !session.ended;
            if !begin_again {
                self.marks.hit(Mark::UuidTaken);
                self.refuse(conn, ErrorCode::UuidTaken);
                return;
            }
            self.marks.hit(Mark::BegunAgain);
        } else if self.sessions.len() >= self.config.max_sessions {
            self.marks.hit(Mark::TooManySessions);
            self.refuse(conn, ErrorCode::TooManySessions);
            return;
        } else {
            self.counters.sessions += 1;
        }
        let session = Session {
            n,
            place: 0,
            reached: 0,
            proven: 0,
            gone_on_with: false,
            ended: false,
            held: Ok(conn),
        };
        self.sessions.insert(uuid, session);
        self.stream(conn, Stream::Session { uuid, due: self.now });
    }

    fn go_on(&mut self, conn: ConnId, uuid: Uuid, last: u64, count: Option<u16>) {
        let Some(session) = self.sessions.get_mut(&uuid) else {
            if self.lost.contains(&uuid) {
                self.marks.hit(Mark::SessionLost);
            }
            self.refuse(conn, ErrorCode::UnknownSession);
            return;
        };
        let sent = self.sequences.first(uuid, session.reached);
        let places = (1..).zip(sent).filter(|(_, number)| **number == last);
        let places: Vec<u16> = places.map(|(place, _)| place).collect();
        let proven = match count {
            Some(0) => Some(0),
            Some(count) => places.contains(&count).then_some(count),
            None => places.last().copied(),
        };
        let Some(place) = proven else {
            self.marks.hit(Mark::NotProven);
            self.refuse(conn, ErrorCode::BadNumber);
            return;
        };
        if count.is_none() && places.len() > 1 {
            self.marks.hit(Mark::LatestPlace);
        }
        if place < session.reached {
            self.marks.hit(Mark::ResumedWithFewer);
        }
        if place < session.proven {
            self.marks.hit(Mark::LateContinue);
        }
        if session.ended {
            self.marks.hit(Mark::ChecksumAgain);
        }
        session.proven = session.proven.max(place);
        session.place = place;
        session.gone_on_with = true;
        match std::mem::replace(&mut session.held, Ok(conn)) {
            Ok(before) => {
                self.marks.hit(Mark::SessionTakenOver);
                self.counters.taken_over += 1;
                let peer = self.peers.remove(&before);
                if matches!(peer.and_then(|peer| peer.stream), Some(Stream::Ended(_))) {
                    self.marks.hit(Mark::EndTakenOver);
                } else {
                    self.owe(before, Owed::Error(ErrorCode::TakenOver));
                }
                self.owe(before, Owed::Close(CloseReason::Finished));
            }
            Err(until) if until <= self.now => self.marks.hit(Mark::InTimeThoughOver),
            Err(until) if until.since(self.now) <= self.config.period => self.marks.hit(Mark::JustInTime),
            Err(_) => {}
        }
        self.counters.resumed += 1;
        self.owe(conn, Owed::Number(place.into()));
        let checksum = self.sequences.checksum(uuid, place);
        self.owe(conn, Owed::Number(checksum));
        self.stream(conn, Stream::Session { uuid, due: self.now });
    }

    fn discard(&mut self, uuid: Uuid) {
        self.marks.hit(Mark::SessionExpired);
        self.counters.expired += 1;
        self.sessions.remove(&uuid);
    }

    /// Sends what is due to the connection, if it takes more.
    fn send_due(&mut self, conn: ConnId) {
        let Some(Peer {
            stream,
            behind,
            held_back,
            finished,
            ..
        }) = self.peers.get_mut(&conn)
        else {
            return;
        };
        let Some(stream) = stream else {
            return;
        };
        let period = self.config.period;
        let Some(due) = stream.due() else {
            return;
        };
        *due = if *due + period > self.now {
            *due + period
        } else {
            self.now + period
        };
        *held_back = *behind;
        if *behind {
            self.marks.hit(Mark::HeldBack);
            self.counters.held_back += 1;
            return;
        }
        if *finished {
            self.marks.hit(Mark::FinishedSender);
        }
        self.counters.numbers += 1;
        match stream {
            Stream::Plain { next, .. } => {
                // What was drawn is seen when it is sent; what was not is owed something else.
                let number = next.unwrap_or_else(|| match self.said.get(&conn) {
                    Some(&number @ 1..=LARGEST_FIRST) => {
                        self.marks.hit(Mark::FirstDrawn);
                        self.drawn.push(number);
                        number
                    }
                    _ => 0,
                });
                *next = Some(number.wrapping_mul(3));
                self.owe(conn, Owed::Number(number));
            }
            Stream::Session { uuid, .. } => {
                let uuid = *uuid;
                self.send_of_session(conn, uuid);
            }
            Stream::Ended(_) => {}
        }
    }

    fn send_of_session(&mut self, conn: ConnId, uuid: Uuid) {
        let Some(session) = self.sessions.get_mut(&uuid) else {
            return;
        };
        if self.draining {
            self.marks.hit(Mark::SentInDrain);
        }
        if session.place < session.n {
            session.place += 1;
            session.reached = session.reached.max(session.place);
            let number = self.sequences.at(uuid, session.place);
            self.owe(conn, Owed::Number(number));
            return;
        }
        session.ended = true;
        let checksum = self.sequences.checksum(uuid, session.n);
        self.counters.finished += 1;
        self.owe(conn, Owed::Number(checksum));
        if self.draining {
            self.owe(conn, Owed::Close(CloseReason::Finished));
            self.peers.remove(&conn);
            self.sessions.remove(&uuid);
            return;
        }
        // Whether that arrives is not known before the client has closed.
        self.owe(conn, Owed::Finish);
        if let Some(peer) = self.peers.get_mut(&conn) {
            peer.stream = Some(Stream::Ended(uuid));
        }
    }

    fn expire(&mut self) {
        let now = self.now;
        let over = self
            .sessions
            .iter()
            .filter(|(_, session)| session.held.is_err_and(|until| until <= now));
        for uuid in over.map(|(uuid, _)| *uuid).collect::<Vec<_>>() {
            self.discard(uuid);
        }
        let due = self.peers.iter_mut().filter_map(|(conn, peer)| {
            let due = *peer.stream.as_mut()?.due()?;
            (due <= now).then_some(*conn)
        });
        for conn in due.collect::<Vec<_>>() {
            self.send_due(conn);
        }
    }

    fn drain(&mut self) {
        self.draining = true;
        let session = |peer: &Peer| matches!(peer.stream, Some(Stream::Session { .. }));
        let endless = self.peers.iter().filter(|(_, peer)| !session(peer));
        for conn in endless.map(|(conn, _)| *conn).collect::<Vec<_>>() {
            let stream = self.peers.remove(&conn).and_then(|peer| peer.stream);
            if let Some(Stream::Ended(uuid)) = stream {
                self.sessions.remove(&uuid);
            }
            self.owe(conn, Owed::Close(CloseReason::ShuttingDown));
        }
        self.sessions.retain(|_, session| session.held.is_ok());
    }
}
