//! The rules of clients: each message has one result, and it is true.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use echosphere_core::chat::{ClientConfig, Command, Failure, Message, Notice, SendError};
use echosphere_core::wire::ErrorCode;
use echosphere_core::{Action, CloseReason, ConnId, Event, Machine, Time};

use super::connecting::Connecting;
use super::machines::{Read, SimClient};
use super::sessions::{Answers, Sending, Sessions};
use super::words::unsaid;
use super::workload::{Planned, place};
use crate::marks::{Mark, Marks};
use crate::observe::{ActionOf, EventOf};
use crate::words;

#[derive(Debug)]
pub(super) struct ClientsModel {
    marks: Marks,
    /// How many bytes may be sent and not answered.
    window: usize,
    /// Messages that are planned and have not come to an end, by their place in the plan.
    open: BTreeSet<u64>,
    hosts: BTreeMap<usize, Host>,
}

#[derive(Debug, Default)]
struct Host {
    life: u64,
    session: Option<usize>,
    leaving: bool,
    connected: bool,
    /// The server has welcomed its present connection.
    welcomed: bool,
    draining: bool,
    undelivered: usize,
    /// Which of the client's sessions it is.
    ordinal: u64,
    /// The connection on which it was welcomed.
    conn: Option<ConnId>,
    /// Messages received, and those read by the caller; and how many must be read before it leaves.
    heard: u64,
    read: u64,
    to_read: u64,
    sending: Sending,
    answers: Answers,
    notices: VecDeque<Notice>,
    /// `None` before its first life.
    connecting: Option<Connecting>,
}

impl ClientsModel {
    pub(super) fn new(planned: &[Planned], window: usize, marks: Marks) -> Self {
        let says = (0..)
            .zip(planned)
            .filter(|(_, planned)| matches!(planned, Planned::Say { .. }));
        Self {
            marks,
            window,
            open: says.map(|(number, _)| number).collect(),
            hosts: BTreeMap::new(),
        }
    }

    /// A host begins a new life, whose number this returns.
    pub(super) fn restart(&mut self, host: usize, config: ClientConfig) -> u64 {
        let entry = self.hosts.entry(host).or_default();
        let life = entry.life + 1;
        *entry = Host {
            life,
            connecting: Some(Connecting::new(config)),
            ..Host::default()
        };
        life
    }

    /// Whether this message has come to an end.
    pub(super) fn is_done(&self, number: u64) -> bool {
        !self.open.contains(&number)
    }

    pub(super) fn step(
        &mut self,
        sessions: &mut Sessions,
        host: usize,
        client: &SimClient,
        event: &EventOf<SimClient>,
        actions: &[ActionOf<SimClient>],
    ) -> Result<(), String> {
        let entry = self.hosts.entry(host).or_default();
        if let Some(connecting) = &mut entry.connecting {
            connecting.step(&self.marks, client, event, actions)?;
        }
        match event {
            Event::Command(Command::Connect) if entry.session.is_none() => {
                *entry = Host {
                    session: Some(sessions.begin()),
                    ordinal: entry.ordinal + 1,
                    life: entry.life,
                    draining: entry.draining,
                    notices: std::mem::take(&mut entry.notices),
                    connecting: entry.connecting.take(),
                    ..Host::default()
                };
            }
            Event::Command(Command::Send { key, body }) => {
                let refused = actions.iter().find_map(|action| match action {
                    Action::Notify(Notice::Refused { key: of, why }) if of == key => Some(*why),
                    _ => None,
                });
                let expected = match (entry.session, entry.leaving) {
                    (None, _) => Some(SendError::NoPeer),
                    (Some(_), true) => Some(SendError::Leaving),
                    (Some(session), false) => {
                        sessions.say(session, *key, body);
                        None
                    }
                };
                if refused != expected {
                    return Err(format!(
                        "message {key} is refused for this reason: {}; should be for: {}",
                        words::or_none(refused.map(unsaid)),
                        words::or_none(expected.map(unsaid))
                    ));
                }
            }
            Event::Command(Command::Leave) => entry.leaves(),
            Event::Drain => {
                entry.leaves();
                entry.draining = true;
            }
            Event::Received(conn, Message::Welcome { received }) => entry.welcomed(*conn, *received),
            Event::Opened(conn, _) if client.types => entry.welcomed(*conn, 0),
            Event::Opened(..) => entry.welcomed = false,
            Event::Closed(conn, _) => {
                if entry.conn == Some(*conn) && entry.answers.are_withheld() {
                    self.marks.hit(Mark::LostWhileWithheld);
                }
                entry.closed(*conn);
            }
            Event::Received(_, message) if entry.connected => {
                if let Message::Taken { .. } = message {
                    entry.sending.answered();
                }
                entry.answers.came(message);
            }
            _ => {}
        }
        let session = entry.session;
        let mut reads = client.reads.iter().peekable();
        for (at, action) in actions.iter().enumerate() {
            while let Some(read) = reads.next_if(|read| read.after <= at) {
                entry.reads(sessions, read);
            }
            match action {
                Action::Send(_, message) => entry.sends(sessions, message)?,
                Action::Close(conn, reason) => {
                    entry.closed(*conn);
                    if *reason == CloseReason::TimedOut {
                        self.marks.hit(Mark::ResponseTimeout);
                    }
                }
                Action::AbandonDial(_) => self.marks.hit(Mark::DialAbandoned),
                Action::Dial(..) if entry.draining => {
                    return Err("an attempt to connect, though the client drains".into());
                }
                Action::Notify(notice) => {
                    entry.told(sessions, &self.marks, client.now, event, notice)?;
                    entry.notices.push_back(notice.clone());
                }
                _ => {}
            }
        }
        if let (Event::Received(_, Message::Welcome { received }), Some(session)) = (event, session) {
            let delivered = sessions.get(session).delivered as u64;
            if delivered != *received {
                return Err(format!(
                    "the server says that it has read {received} messages; the client knows of {delivered}"
                ));
            }
        }
        reads.for_each(|read| entry.reads(sessions, read));
        if let (Some(conn), Some(_)) = (entry.conn, entry.session) {
            entry.answers.check(conn, entry.read, actions)?;
            if entry.answers.are_withheld() {
                self.marks.hit(Mark::AnswerWithheld);
            }
        }
        entry.sending.note(client.now, self.window, actions)?;
        if entry.session.is_none() != client.inner.is_zero() {
            return Err(format!("host {host} and the model disagree on whether it is at zero"));
        }
        Ok(())
    }

    /// The driver passed on what its machine had to tell.
    pub(super) fn told(&mut self, host: usize, notice: &Notice) -> Result<(), String> {
        let entry = self.hosts.entry(host).or_default();
        let said = entry.notices.pop_front();
        if said.as_ref() != Some(notice) {
            return Err(format!(
                "the caller received: {}; the machine's notice was: {}",
                words::brief(notice),
                words::or_none(said.as_ref().map(words::brief))
            ));
        }
        if let Notice::Acknowledged { key, .. } | Notice::Unacknowledged { key, .. } | Notice::Refused { key, .. } =
            notice
            && !self.open.remove(&place(*key))
        {
            return Err(format!("message {key} is finished twice"));
        }
        Ok(())
    }

    pub(super) fn unfinished(&self) -> Option<String> {
        let busy = self.hosts.iter().find(|(_, host)| host.session.is_some());
        match (self.open.first(), busy) {
            (Some(first), _) => Some(format!("{} messages, among them number {first}", self.open.len())),
            (None, Some((host, _))) => Some(format!("the session of host {host}")),
            (None, None) => None,
        }
    }

    pub(super) fn ends(&self) -> Result<(), String> {
        self.unfinished().map_or(Ok(()), Err)
    }
}

impl Host {
    fn leaves(&mut self) {
        self.leaving = true;
        self.to_read = self.heard;
    }

    fn welcomed(&mut self, conn: ConnId, received: u64) {
        self.conn = Some(conn);
        self.sending = Sending::after(received);
        self.answers = Answers::default();
        self.welcomed = true;
    }

    fn closed(&mut self, conn: ConnId) {
        self.conn.take_if(|open| *open == conn);
    }

    /// The caller has read a message.
    fn reads(&mut self, sessions: &mut Sessions, read: &Read) {
        if let Some(session) = self.session
            && read.session == self.ordinal
        {
            self.read = read.id;
            sessions.get_mut(session).answers_read += 1;
        }
    }

    fn sends(&self, sessions: &mut Sessions, message: &Message) -> Result<(), String> {
        let session = self.session.ok_or("something is sent without a session")?;
        match *message {
            Message::Begin { session: number } if number != 0 => sessions.number(session, number),
            Message::Resume { received, .. } => {
                if received == self.read {
                    Ok(())
                } else {
                    Err(format!(
                        "it reports {received} messages as read; read were {}",
                        self.read
                    ))
                }
            }
            _ => Ok(()),
        }
    }

    fn told(
        &mut self,
        sessions: &mut Sessions,
        marks: &Marks,
        now: Time,
        event: &EventOf<SimClient>,
        notice: &Notice,
    ) -> Result<(), String> {
        if let Notice::Refused { .. } = notice {
            return Ok(());
        }
        let session = self
            .session
            .ok_or_else(|| format!("a notice without a session: {}", words::brief(notice)))?;
        match notice {
            Notice::Connected { resumed } => {
                if *resumed != self.connected {
                    return Err("the notice is wrong on whether the session is resumed".into());
                }
                self.connected = true;
            }
            Notice::Received { session: of, id, body } => {
                self.heard += 1;
                if (*of, *id) != (self.ordinal, self.heard) {
                    return Err(format!("answer {id} of session {of} is received out of order"));
                }
                sessions.answered(session, body)?;
            }
            Notice::Acknowledged { key, id, round_trip } => {
                let entry = sessions.get_mut(session);
                let index = entry.delivered;
                entry.delivered += 1;
                let next = entry.said.get(index).map(|(key, _)| *key);
                if next != Some(*key) || *id != index as u64 + 1 || entry.read <= index {
                    return Err(format!("message {key} is reported as acknowledged out of order"));
                }
                match (round_trip, event) {
                    (Some(took), Event::Received(_, Message::Taken { .. })) => self.sending.check(now, *id, *took)?,
                    (None, Event::Received(_, Message::Welcome { .. })) => marks.hit(Mark::DeliveredBefore),
                    _ => return Err("an acknowledgement is reported after the wrong event".into()),
                }
            }
            Notice::Unacknowledged { key, sent } => {
                self.undelivered += 1;
                marks.hit(if *sent {
                    Mark::PerhapsDelivered
                } else {
                    Mark::NotDelivered
                });
                sessions.undelivered(session, *key, *sent)?;
            }
            Notice::Ended { failure } => {
                let entry = sessions.get_mut(session);
                if entry.delivered + self.undelivered != entry.said.len() {
                    return Err("a session ends without a result for each message".into());
                }
                if failure.is_none() && (self.undelivered > 0 || self.read < self.to_read) {
                    return Err("a session is left before all messages are acknowledged in both directions".into());
                }
                not_confused(failure.as_ref(), self.welcomed)?;
                self.session = None;
            }
            _ => {}
        }
        Ok(())
    }
}

/// No side breaks the protocol in these runs, so neither may report that. A server that is busy once it has
/// `welcomed` a client ends that connection, and not the session.
fn not_confused(failure: Option<&Failure>, welcomed: bool) -> Result<(), String> {
    match failure {
        Some(Failure::Rejected(ErrorCode::Busy, _)) if welcomed => {
            Err("a session ends as the server is busy, though it had welcomed this connection".into())
        }
        Some(Failure::Rejected(ErrorCode::Busy | ErrorCode::UnknownSession | ErrorCode::ShuttingDown, _)) => Ok(()),
        Some(failure @ (Failure::ProtocolViolation | Failure::Rejected(..) | Failure::OtherProtocol(_))) => {
            Err(format!(
                "a session ends though no side breaks the protocol: {}",
                words::brief(failure)
            ))
        }
        _ => Ok(()),
    }
}
