//! The rules of users: each request is sent once and answered once, or the caller is told that it was not; what arrives is
//! passed on.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use echosphere_core::hub::{Client, Command, Message, Notice, Reply, Request};
use echosphere_core::{Action, CloseReason, ConnId, DialToken, Event};
use rand_chacha::ChaCha8Rng;

use super::{Planned, mark_plan};
use crate::marks::{Mark, Marks};
use crate::observe::{ActionOf, EventOf};
use crate::scenario::RESPONSE_TIMEOUT;

/// What a time may be off by, as clocks are read at different moments.
const SLACK: Duration = Duration::from_millis(5);

type Machine = Client<ChaCha8Rng>;

#[derive(Debug)]
pub(super) struct UsersModel {
    marks: Marks,
    /// What is planned and has not come to an end.
    open: BTreeSet<u64>,
    /// By host and number.
    sessions: BTreeMap<(usize, u64), Session>,
    /// What the machine said and its driver has not passed on yet, by host.
    notices: BTreeMap<usize, VecDeque<Notice>>,
    /// Attempts to connect that are under way, by host. Whose they are is known once they succeed.
    dials: BTreeSet<(usize, DialToken)>,
    pub(super) now: Option<Duration>,
    /// Until when each host did nothing.
    paused: BTreeMap<usize, Duration>,
    /// Hosts that drain.
    draining: BTreeSet<usize>,
}

#[derive(Debug, Default)]
struct Session {
    conn: Option<ConnId>,
    leaving: bool,
    id: Option<u64>,
    /// Not answered, oldest first: its number, what it was, and when it was sent.
    asks: VecDeque<(u64, Request, Option<Duration>)>,
}

impl UsersModel {
    pub(super) fn new(planned: &[Planned], marks: Marks) -> Self {
        mark_plan(planned, &marks);
        Self {
            marks,
            open: (0..planned.len() as u64).collect(),
            sessions: BTreeMap::new(),
            notices: BTreeMap::new(),
            dials: BTreeSet::new(),
            now: None,
            paused: BTreeMap::new(),
            draining: BTreeSet::new(),
        }
    }

    pub(super) fn pauses(&mut self, host: usize, until: Duration) {
        self.paused.insert(host, until);
    }

    /// No request has waited for its answer for longer than it may, by a clock that goes too slow.
    fn check_given_up(&self, host: usize) -> Result<(), String> {
        let Some(now) = self.now else {
            return Ok(());
        };
        let paused = self.paused.get(&host).copied().unwrap_or_default();
        let over = |sent: Duration| now > (sent + RESPONSE_TIMEOUT.mul_f64(1.12)).max(paused) + SLACK;
        let oldest = self.of_host(host).filter_map(|session| session.asks.front());
        match oldest
            .filter_map(|(ask, _, sent)| Some((ask, (*sent)?)))
            .find(|(_, sent)| over(*sent))
        {
            Some((ask, sent)) => Err(format!("number {ask} has waited for its answer for {:?}", now - sent)),
            None => Ok(()),
        }
    }

    pub(super) fn restart(&mut self, host: usize) {
        self.sessions.retain(|(of, _), _| *of != host);
        self.notices.remove(&host);
        self.dials.retain(|(of, _)| *of != host);
        self.draining.remove(&host);
    }

    pub(super) fn is_done(&self, number: u64) -> bool {
        !self.open.contains(&number)
    }

    pub(super) fn is_zero(&self, host: usize) -> bool {
        self.sessions.range((host, 0)..=(host, u64::MAX)).next().is_none()
    }

    pub(super) fn step(
        &mut self,
        host: usize,
        event: &EventOf<Machine>,
        actions: &[ActionOf<Machine>],
    ) -> Result<(), String> {
        self.check_given_up(host)?;
        let mut owed = self.hear(host, event)?;
        let mut opened = match event {
            Event::Opened(conn, _) => Some(*conn),
            _ => None,
        };
        for action in actions {
            match action {
                Action::Dial(token) => self.dialled(host, *token)?,
                Action::AbandonDial(token) => {
                    self.marks.hit(Mark::DialAbandoned);
                    self.dial_over(host, *token)?;
                }
                Action::Send(conn, message) => self.sent(host, *conn, message)?,
                Action::Close(conn, reason) => self.closed(host, *conn, *reason)?,
                Action::Finish(conn) => return Err(format!("a user finishes {conn:?}")),
                Action::Notify(notice) => {
                    if let Notice::Connected { session } = notice {
                        let entry = self.sessions.get_mut(&(host, *session));
                        let entry = entry.filter(|entry| entry.conn.is_none());
                        let entry = entry.ok_or_else(|| format!("session {session} is connected, and need not be"))?;
                        entry.conn = Some(opened.take().ok_or("a session is connected out of nothing")?);
                    }
                    self.notified(host, notice, &mut owed)?;
                    self.notices.entry(host).or_default().push_back(notice.clone());
                }
            }
        }
        if opened.is_some() {
            return Err("a connection that no session takes".into());
        }
        let unconnected = self.of_host(host).filter(|session| session.conn.is_none()).count();
        if self
            .dials
            .range((host, DialToken(0))..=(host, DialToken(u64::MAX)))
            .count()
            > unconnected
        {
            return Err("more attempts to connect than sessions that want one".into());
        }
        if let Some(reply) = owed {
            return Err(format!("the caller was not told of {reply:?}"));
        }
        // Those that are connected wait for their answers, all others end.
        if self.draining.contains(&host) && self.of_host(host).any(|session| session.conn.is_none()) {
            return Err("a user drains, and a session goes on without a connection".into());
        }
        let unsent = self.of_host(host).find(|session| {
            let open = session.conn.is_some();
            open && session.asks.iter().any(|(.., sent)| sent.is_none())
        });
        if unsent.is_some() {
            return Err("a session is connected, and has not sent what it was asked to".into());
        }
        let idle = |session: &Session| session.leaving && session.conn.is_some() && session.asks.is_empty();
        if self.of_host(host).any(idle) {
            return Err("a session is to leave, has nothing to wait for, and stays".into());
        }
        Ok(())
    }

    fn of_host(&self, host: usize) -> impl Iterator<Item = &Session> {
        self.sessions
            .range((host, 0)..=(host, u64::MAX))
            .map(|(_, session)| session)
    }

    fn on(&mut self, host: usize, conn: ConnId) -> Result<(u64, &mut Session), String> {
        let mut all = self.sessions.range_mut((host, 0)..=(host, u64::MAX));
        let found = all.find(|(_, session)| session.conn == Some(conn));
        let ((_, number), session) = found.ok_or_else(|| format!("{conn:?} of host {host} is no session's"))?;
        Ok((*number, session))
    }

    /// Takes note of an event. Returns the reply that the caller must be told of.
    fn hear(&mut self, host: usize, event: &EventOf<Machine>) -> Result<Option<Reply>, String> {
        match event {
            Event::Opened(_, opened) => self.dial_over(host, opened.dial.unwrap_or(DialToken(0)))?,
            Event::DialFailed(token, _) => self.dial_over(host, *token)?,
            Event::Received(conn, Message::Reply(reply)) => {
                self.on(host, *conn)?;
                let words = matches!(reply, Reply::Error(code, _) if code.is_temporary());
                return Ok((!words).then(|| reply.clone()));
            }
            Event::Received(..) => return Err("a user is asked something".into()),
            Event::Closed(conn, _) => self.on(host, *conn)?.1.conn = None,
            Event::Command(Command::Connect { session }) => {
                self.sessions.entry((host, *session)).or_default();
            }
            Event::Command(Command::Ask { session, ask, request }) => {
                let request = request.clone();
                match self
                    .sessions
                    .get_mut(&(host, *session))
                    .filter(|session| !session.leaving)
                {
                    Some(session) => session.asks.push_back((*ask, request, None)),
                    None => self.marks.hit(Mark::AskedTooLate),
                }
            }
            Event::Command(Command::Leave { session }) => {
                if let Some(session) = self.sessions.get_mut(&(host, *session)) {
                    session.leaving = true;
                }
            }
            Event::Drain => {
                self.draining.insert(host);
                let sessions = self.sessions.range_mut((host, 0)..=(host, u64::MAX));
                sessions.for_each(|(_, session)| session.leaving = true);
            }
            Event::Deadline => {}
        }
        Ok(None)
    }

    fn dialled(&mut self, host: usize, token: DialToken) -> Result<(), String> {
        if self.draining.contains(&host) {
            return Err("an attempt to connect, though the user drains".into());
        }
        let new = self.dials.insert((host, token));
        new.then_some(()).ok_or_else(|| format!("{token:?} is used twice"))
    }

    fn dial_over(&mut self, host: usize, token: DialToken) -> Result<(), String> {
        let was = self.dials.remove(&(host, token));
        was.then_some(()).ok_or_else(|| format!("{token:?} is not under way"))
    }

    fn sent(&mut self, host: usize, conn: ConnId, message: &Message) -> Result<(), String> {
        let now = self.now.unwrap_or_default();
        let (number, session) = self.on(host, conn)?;
        let next = session.asks.iter_mut().find(|(.., sent)| sent.is_none());
        match (next, message) {
            (Some((_, request, sent)), Message::Request(said)) if said == request => {
                *sent = Some(now);
                Ok(())
            }
            _ => Err(format!("session {number} sends what it was not asked to, or not now")),
        }
    }

    fn closed(&mut self, host: usize, conn: ConnId, reason: CloseReason) -> Result<(), String> {
        let (_, session) = self.on(host, conn)?;
        session.conn = None;
        let done = session.leaving && session.asks.is_empty();
        match reason {
            CloseReason::Finished if done => self.marks.hit(Mark::LeftAfterAll),
            CloseReason::TimedOut if !session.asks.is_empty() => self.marks.hit(Mark::ResponseTimeout),
            reason => {
                return Err(format!(
                    "{conn:?} closed as {reason:?}, all answered and to leave: {done}"
                ));
            }
        }
        Ok(())
    }

    fn notified(&mut self, host: usize, notice: &Notice, owed: &mut Option<Reply>) -> Result<(), String> {
        match notice {
            Notice::Connected { .. } => {}
            Notice::Answered {
                session,
                ask,
                reply,
                round_trip,
            } => {
                if owed.take().as_ref() != Some(reply) {
                    return Err(format!(
                        "session {session} was told of an answer that has not just come"
                    ));
                }
                self.answered(host, *session, *ask, reply, *round_trip)?;
            }
            Notice::Delivered { session, from, body } => {
                let delivery = Reply::Delivery {
                    from: *from,
                    body: body.clone(),
                };
                if owed.take() != Some(delivery) {
                    return Err(format!("session {session} was told of a body that has not just come"));
                }
                self.marks.hit(Mark::Delivered);
            }
            Notice::Unanswered { session, ask } => {
                self.marks.hit(Mark::Unanswered);
                if let Some(entry) = self.sessions.get_mut(&(host, *session)) {
                    if entry.conn.is_some() && !entry.leaving {
                        return Err(format!("session {session} gives up number {ask}, and is connected"));
                    }
                    entry.asks.retain(|(number, ..)| number != ask);
                }
            }
            Notice::Retrying { session, .. } => {
                let entry = self.sessions.get(&(host, *session));
                if entry.is_none_or(|entry| entry.conn.is_some()) {
                    return Err(format!("session {session} tries again to connect, and need not"));
                }
            }
            Notice::Ended { session, .. } => {
                let entry = self.sessions.remove(&(host, *session));
                let entry = entry.ok_or_else(|| format!("session {session} ends, and is none"))?;
                if entry.conn.is_some() || !entry.asks.is_empty() {
                    return Err(format!("session {session} ends with a connection or requests left"));
                }
            }
        }
        Ok(())
    }

    fn answered(&mut self, host: usize, session: u64, ask: u64, reply: &Reply, took: Duration) -> Result<(), String> {
        let now = self.now;
        let entry = self
            .sessions
            .get_mut(&(host, session))
            .ok_or("an answer for no session")?;
        let Some((number, request, Some(sent))) = entry.asks.pop_front() else {
            return Err(format!("session {session} has asked nothing"));
        };
        if number != ask {
            return Err(format!("number {ask} is answered, and {number} was asked before"));
        }
        let fits = match (&request, reply) {
            (Request::Identity, Reply::Identity(id)) => *entry.id.get_or_insert(*id) == *id,
            (Request::List, Reply::List(ids)) => {
                let ids: Vec<u64> = ids.iter().collect();
                ids.is_sorted_by(|a, b| a < b) && entry.id.is_none_or(|id| !ids.contains(&id))
            }
            (Request::Echo(body), Reply::Echo(same)) => body == same,
            (Request::Relay { to, .. }, Reply::Relayed { sent, unsent }) => {
                let named: BTreeSet<u64> = to.iter().collect();
                usize::from(*sent) + unsent.len() == named.len()
            }
            _ => false,
        };
        if !fits {
            return Err(format!("{request:?} is answered by {reply:?}"));
        }
        if let Some(now) = now {
            // A host's clock goes up to a tenth too fast or too slow.
            let (least, most) = ((now - sent).mul_f64(0.9), (now - sent).mul_f64(1.12));
            if took + SLACK < least || took > most + SLACK {
                return Err(format!(
                    "a round trip of {took:?} is said of one that took {:?}",
                    now - sent
                ));
            }
        }
        Ok(())
    }

    /// The driver passed on what its machine had to tell.
    pub(super) fn told(&mut self, host: usize, notice: &Notice) -> Result<(), String> {
        let said = self.notices.get_mut(&host).and_then(VecDeque::pop_front);
        if said.as_ref() != Some(notice) {
            return Err(format!("the caller was told {notice:?}, the machine said {said:?}"));
        }
        match notice {
            Notice::Answered { ask, .. } | Notice::Unanswered { ask, .. } => {
                if !self.open.remove(ask) {
                    return Err(format!("number {ask} is answered, or not, twice"));
                }
            }
            Notice::Ended { session, .. } => {
                self.open.remove(session);
            }
            Notice::Connected { .. } | Notice::Delivered { .. } | Notice::Retrying { .. } => {}
        }
        Ok(())
    }

    pub(super) fn unfinished(&self) -> Option<String> {
        let first = self.open.first()?;
        let count = self.open.len();
        Some(format!(
            "{count} requests and sessions have not come to an end, among them number {first}"
        ))
    }

    pub(super) fn ends(&self) -> Result<(), String> {
        match self.sessions.keys().next() {
            None => Ok(()),
            Some((host, number)) => Err(format!("session {number} of host {host} is left")),
        }
    }
}
