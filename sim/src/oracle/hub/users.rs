//! The rules of users: each request is sent once and has one result, deliveries are passed on, and a
//! session reconnects as every client does.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::slice::Iter;
use std::time::Duration;

use echosphere_core::hub::{Client, ClientConfig, Command, Failure, Message, Notice, Request};
use echosphere_core::{Action, CloseReason, ConnId, DialToken, Event, Machine, Time};
use rand_chacha::ChaCha8Rng;

use super::{Planned, mark_plan};
use crate::marks::{Mark, Marks};
use crate::oracle::attempts::{AttemptRule, Attempts};
use crate::oracle::clocked::Clocked;
use crate::words;

mod answers;
mod losses;

/// What a host of users runs.
pub(super) type SimClient = Clocked<Client<ChaCha8Rng>>;

type ActionIter<'a> = Iter<'a, Action<Message, Notice>>;

#[derive(Debug)]
pub(super) struct UsersModel {
    marks: Marks,
    /// What is planned and has not come to an end.
    open: BTreeSet<u64>,
    hosts: BTreeMap<usize, Host>,
    pub(super) now: Option<Duration>,
    /// Until when each host did nothing.
    paused: BTreeMap<usize, Duration>,
}

/// What a host has in its present life.
#[derive(Debug)]
struct Host {
    config: ClientConfig,
    now: Time,
    draining: bool,
    /// Some attempt has connected.
    connected: bool,
    sessions: BTreeMap<u64, Session>,
    /// Tokens that were used.
    tokens: BTreeSet<DialToken>,
    /// Timers set so far.
    set: u64,
    /// Notices that the driver has not passed on yet.
    notices: VecDeque<Notice>,
}

#[derive(Debug)]
struct Session {
    stage: Stage,
    /// When what is waited for is due, and which timer that is.
    due: Option<(Time, u64)>,
    attempts: Attempts,
    leaving: bool,
    /// Its user's id on the present connection, once it is known.
    id: Option<u64>,
    /// Not answered, oldest first.
    asks: VecDeque<Ask>,
    /// The hub's last words on the present connection.
    told: Option<Failure>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Pause,
    Dialling(DialToken),
    Open(ConnId),
}

#[derive(Debug)]
struct Ask {
    number: u64,
    request: Request,
    /// When it was sent, by the host's clock, and by the run's.
    sent: Option<(Time, Option<Duration>)>,
}

impl UsersModel {
    pub(super) fn new(planned: &[Planned], marks: Marks) -> Self {
        mark_plan(planned, &marks);
        Self {
            marks,
            open: (0..planned.len() as u64).collect(),
            hosts: BTreeMap::new(),
            now: None,
            paused: BTreeMap::new(),
        }
    }

    pub(super) fn pauses(&mut self, host: usize, until: Duration) {
        self.paused.insert(host, until);
    }

    /// A host begins a new life.
    pub(super) fn restart(&mut self, host: usize, config: ClientConfig) {
        let new = Host {
            config,
            now: Time::ZERO,
            draining: false,
            connected: false,
            sessions: BTreeMap::new(),
            tokens: BTreeSet::new(),
            set: 0,
            notices: VecDeque::new(),
        };
        self.hosts.insert(host, new);
    }

    pub(super) fn is_done(&self, number: u64) -> bool {
        !self.open.contains(&number)
    }

    pub(super) fn step(
        &mut self,
        host: usize,
        users: &SimClient,
        event: &Event<Message, Command>,
        actions: &[Action<Message, Notice>],
    ) -> Result<(), String> {
        self.check_given_up(host)?;
        let (marks, run_now) = (&self.marks, self.now);
        let host = self.hosts.get_mut(&host).ok_or("a host that has not begun")?;
        host.now = users.now;
        let mut step = Step { host, marks, run_now };
        step.take(event, &mut actions.iter())?;
        let told = actions.iter().filter_map(|action| match action {
            Action::Notify(notice) => Some(notice.clone()),
            _ => None,
        });
        host.notices.extend(told);
        host.compare(users)
    }

    /// The driver passed on what its machine had to tell.
    pub(super) fn told(&mut self, host: usize, notice: &Notice) -> Result<(), String> {
        let said = self.hosts.get_mut(&host).and_then(|host| host.notices.pop_front());
        if said.as_ref() != Some(notice) {
            return Err(format!(
                "the caller received: {}; the machine's notice was: {}",
                words::brief(notice),
                words::or_none(said.as_ref().map(words::brief))
            ));
        }
        match notice {
            Notice::Answered { ask, .. } | Notice::Unanswered { ask, .. } => {
                if !self.open.remove(ask) {
                    return Err(format!("number {ask} has two results"));
                }
            }
            Notice::Ended { session, .. } => {
                self.open.remove(session);
            }
            Notice::Connected { .. } | Notice::Received { .. } | Notice::Retrying { .. } => {}
        }
        Ok(())
    }

    pub(super) fn unfinished(&self) -> Option<String> {
        let first = self.open.first()?;
        let count = self.open.len();
        Some(format!(
            "{count} requests and sessions have not finished, among them number {first}"
        ))
    }

    pub(super) fn ends(&self) -> Result<(), String> {
        let left = self
            .hosts
            .iter()
            .find_map(|(host, of)| Some((host, of.sessions.keys().next()?)));
        left.map_or(Ok(()), |(host, number)| {
            Err(format!("session {number} of host {host} is left"))
        })
    }
}

impl Host {
    fn compare(&self, users: &SimClient) -> Result<(), String> {
        let due = self.sessions.values().filter_map(|session| session.due).min();
        let (is, should) = (users.next_deadline(), due.map(|(at, _)| at));
        if is != should {
            return Err(format!(
                "a user's next deadline is {}, should be {}",
                words::moment(is),
                words::moment(should)
            ));
        }
        if users.is_zero() != self.sessions.is_empty() {
            return Err(format!(
                "there are {} sessions, and the users are wrong on whether they are at zero",
                self.sessions.len()
            ));
        }
        Ok(())
    }

    const fn rule(&self) -> AttemptRule {
        AttemptRule {
            steps: self.config.backoff,
            attempt: self.config.attempt_timeout,
            all: Some(self.config.connect_timeout),
            insists: self.config.retry_refused,
        }
    }
}

/// One event at one host, and what it must lead to.
struct Step<'a> {
    host: &'a mut Host,
    marks: &'a Marks,
    run_now: Option<Duration>,
}

impl Step<'_> {
    fn take(&mut self, event: &Event<Message, Command>, actual: &mut ActionIter<'_>) -> Result<(), String> {
        match event {
            Event::Command(Command::Connect { session }) => self.connect(*session, actual)?,
            Event::Command(Command::Ask { session, ask, request }) => self.ask(*session, *ask, request, actual)?,
            Event::Command(Command::Leave { session }) => self.leave(*session, actual)?,
            Event::Opened(conn, opened) => {
                let number = self.at(opened.dial.map(Stage::Dialling));
                let number = number.ok_or_else(|| format!("{conn:?} opens, and no session dialled it"))?;
                self.opened(number, *conn, actual)?;
            }
            Event::DialFailed(token, error) => {
                let number = self.at(Some(Stage::Dialling(*token)));
                let number = number.ok_or_else(|| format!("dial {} fails, and was not pending", token.0))?;
                self.fails(number, &Failure::Dial(*error), None, actual)?;
            }
            Event::Received(conn, Message::Reply(reply)) => {
                let number = self.at(Some(Stage::Open(*conn)));
                let number = number.ok_or_else(|| format!("a message from {conn:?}, which belongs to no session"))?;
                self.heard(number, reply, actual)?;
            }
            Event::Received(..) => return Err("a user receives a request".into()),
            Event::Closed(conn, reason) => {
                let number = self.at(Some(Stage::Open(*conn)));
                let number = number.ok_or_else(|| format!("{conn:?} closes, and belongs to no session"))?;
                let told = self.of(number)?.told.take();
                let failure = told.unwrap_or(Failure::Closed(*reason));
                self.fails(number, &failure, None, actual)?;
            }
            Event::PeerFinished(_) => {
                return Err("a user's connection stays open, though its hub has finished sending".into());
            }
            Event::Deadline => self.expire(actual)?,
            Event::Drain => self.drain(actual)?,
        }
        match actual.next() {
            None => Ok(()),
            Some(more) => Err(format!("a user did this without a reason: {}", words::action(more))),
        }
    }

    /// The session that is at this stage.
    fn at(&self, stage: Option<Stage>) -> Option<u64> {
        let mut all = self.host.sessions.iter();
        all.find(|(_, session)| Some(session.stage) == stage)
            .map(|(number, _)| *number)
    }

    fn of(&mut self, number: u64) -> Result<&mut Session, String> {
        let session = self.host.sessions.get_mut(&number);
        session.ok_or_else(|| format!("session {number} is over"))
    }

    fn wait(&mut self, number: u64, until: Option<Time>) -> Result<(), String> {
        self.host.set += 1;
        let set = self.host.set;
        let session = self.of(number)?;
        // A timer that is right already is left alone.
        if session.due.map(|(at, _)| at) != until {
            session.due = until.map(|until| (until, set));
        }
        Ok(())
    }

    fn connect(&mut self, number: u64, actual: &mut ActionIter<'_>) -> Result<(), String> {
        if self.host.sessions.contains_key(&number) {
            return Ok(());
        }
        if self.host.draining {
            let failure = Some(Failure::ShuttingDown);
            return must(
                actual,
                &Action::Notify(Notice::Ended {
                    session: number,
                    failure,
                }),
            );
        }
        let session = Session {
            stage: Stage::Pause,
            due: None,
            attempts: Attempts::begins(self.host.rule(), self.host.now),
            leaving: false,
            id: None,
            asks: VecDeque::new(),
            told: None,
        };
        self.host.sessions.insert(number, session);
        self.dial(number, actual)
    }

    fn dial(&mut self, number: u64, actual: &mut ActionIter<'_>) -> Result<(), String> {
        let Some(Action::Dial(token, _)) = actual.next() else {
            return Err(format!("session {number} should be connected, and is not dialled"));
        };
        if !self.host.tokens.insert(*token) {
            return Err(format!("dial {} is used twice", token.0));
        }
        let now = self.host.now;
        let session = self.of(number)?;
        session.stage = Stage::Dialling(*token);
        let until = session.attempts.until(now);
        self.wait(number, Some(until))
    }

    fn opened(&mut self, number: u64, conn: ConnId, actual: &mut ActionIter<'_>) -> Result<(), String> {
        let sent = Some((self.host.now, self.run_now));
        let marks = self.marks;
        self.host.connected = true;
        let session = self.of(number)?;
        if session.attempts.failures() > 0 && session.id.is_some() {
            marks.hit(Mark::UserCameBack);
        }
        session.stage = Stage::Open(conn);
        session.id = None;
        session.told = None;
        must(actual, &Action::Notify(Notice::Connected { session: number }))?;
        for ask in &mut session.asks {
            ask.sent = sent;
            must(actual, &Action::Send(conn, Message::Request(ask.request.clone())))?;
        }
        self.settle(number, actual)
    }

    fn ask(&mut self, number: u64, ask: u64, request: &Request, actual: &mut ActionIter<'_>) -> Result<(), String> {
        let now = (self.host.now, self.run_now);
        let Some(session) = self.host.sessions.get_mut(&number).filter(|session| !session.leaving) else {
            self.marks.hit(Mark::AskedTooLate);
            return self.unanswered(number, ask, actual);
        };
        let mut sent = None;
        if let Stage::Open(conn) = session.stage {
            must(actual, &Action::Send(conn, Message::Request(request.clone())))?;
            sent = Some(now);
        }
        session.asks.push_back(Ask {
            number: ask,
            request: request.clone(),
            sent,
        });
        self.settle(number, actual)
    }

    fn unanswered(&self, session: u64, ask: u64, actual: &mut ActionIter<'_>) -> Result<(), String> {
        self.marks.hit(Mark::Unanswered);
        must(actual, &Action::Notify(Notice::Unanswered { session, ask }))
    }

    fn leave(&mut self, number: u64, actual: &mut ActionIter<'_>) -> Result<(), String> {
        match self.host.sessions.get_mut(&number) {
            Some(session) => session.leaving = true,
            None => return Ok(()),
        }
        self.settle(number, actual)
    }

    /// A session that is to leave does so once all is answered; one that is connected waits for its oldest answer.
    fn settle(&mut self, number: u64, actual: &mut ActionIter<'_>) -> Result<(), String> {
        let (marks, config) = (self.marks, self.host.config.clone());
        let session = self.of(number)?;
        if session.leaving && session.asks.is_empty() {
            if let Stage::Open(_) = session.stage {
                marks.hit(Mark::LeftAfterAll);
            }
            self.let_go(number, CloseReason::Finished, actual)?;
            return self.ends(number, None, actual);
        }
        if !matches!(session.stage, Stage::Open(_)) {
            return Ok(());
        }
        let oldest = session.asks.front().and_then(|ask| ask.sent);
        let (last, proven) = (session.attempts.last(), session.attempts.is_proven());
        let due = oldest.map(|(sent, _)| {
            let due = sent + config.response_timeout;
            // Who comes back gives up in time, whatever it waits for; not if it waited for nothing then.
            if config.reconnect && !proven && sent < last {
                due.min(last)
            } else {
                due
            }
        });
        self.wait(number, due)
    }

    fn expire(&mut self, actual: &mut ActionIter<'_>) -> Result<(), String> {
        loop {
            let all = self.host.sessions.iter();
            let due = all.filter_map(|(number, session)| Some((session.due?, *number))).min();
            let Some((_, number)) = due.filter(|((at, _), _)| *at <= self.host.now) else {
                return Ok(());
            };
            let marks = self.marks;
            let session = self.of(number)?;
            session.due = None;
            match session.stage {
                Stage::Pause => self.dial(number, actual)?,
                Stage::Dialling(_) => {
                    marks.hit(Mark::DialAbandoned);
                    self.fails(number, &Failure::TimedOut, Some(CloseReason::TimedOut), actual)?;
                }
                Stage::Open(_) => {
                    marks.hit(Mark::ResponseTimeout);
                    self.fails(number, &Failure::TimedOut, Some(CloseReason::TimedOut), actual)?;
                }
            }
        }
    }

    fn drain(&mut self, actual: &mut ActionIter<'_>) -> Result<(), String> {
        self.host.draining = true;
        for number in self.host.sessions.keys().copied().collect::<Vec<_>>() {
            if matches!(self.of(number)?.stage, Stage::Open(_)) {
                self.leave(number, actual)?;
            } else {
                self.let_go(number, CloseReason::ShuttingDown, actual)?;
                self.ends(number, Some(&Failure::ShuttingDown), actual)?;
            }
        }
        Ok(())
    }
}

fn must(actual: &mut ActionIter<'_>, action: &Action<Message, Notice>) -> Result<(), String> {
    match actual.next() {
        Some(next) if next == action => Ok(()),
        other => Err(format!(
            "a user should do: {}; it does: {}",
            words::action(action),
            words::list(other.map(words::action))
        )),
    }
}
