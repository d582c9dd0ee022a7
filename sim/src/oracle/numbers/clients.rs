//! The rules of clients: what they request, which notice each reply causes, when they retry and give
//! up.

use std::collections::{BTreeMap, VecDeque};
use std::slice::Iter;

use echosphere_core::numbers::{ClientConfig, Command, Failure, Message, Notice, StreamSpec, Total};
use echosphere_core::wire::ErrorCode;
use echosphere_core::{Action, CloseReason, ConnId, DialToken, Event, Machine, Time};

use super::machines::SimClient;
use super::sequence::checksum;
use super::streams::is_retried;
use crate::marks::{Mark, Marks};
use crate::oracle::attempts::{AttemptRule, Attempts};
use crate::words;

/// One host's client, in one of its lives.
#[derive(Debug)]
pub(super) struct ClientModel {
    config: ClientConfig,
    marks: Marks,
    now: Time,
    draining: bool,
    /// Some attempt has connected.
    connected: bool,
    gets: BTreeMap<u64, Get>,
    /// Timers set so far.
    set: u64,
    /// Notices that the driver has not passed on yet.
    notices: VecDeque<Notice>,
}

/// A stream that was asked for.
#[derive(Debug)]
struct Get {
    want: StreamSpec,
    /// What an earlier run of the caller got: how many, if that is known, and their checksum.
    before: Option<(u16, u64)>,
    /// What has come since, in order.
    got: Vec<u64>,
    began: bool,
    request: Message,
    /// Replies to it that were no errors.
    replies: usize,
    attempts: Attempts,
    stage: Stage,
    /// When what is waited for is due, and which timer that is.
    due: Option<(Time, u64)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Pause,
    Dialling(DialToken),
    Open(ConnId),
}

type ActionIter<'a> = Iter<'a, Action<Message, Notice>>;

impl Get {
    const fn new(want: StreamSpec, attempts: Attempts) -> Self {
        let known = !matches!(want, StreamSpec::Session { after: Some(_), .. });
        Self {
            want,
            before: if known { Some((0, 0)) } else { None },
            got: Vec::new(),
            began: false,
            request: Message::End,
            replies: 0,
            attempts,
            stage: Stage::Pause,
            due: None,
        }
    }

    fn count(&self) -> Option<u16> {
        self.before.map(|(count, _)| count + self.got.len() as u16)
    }

    fn last(&self) -> Option<u64> {
        let (StreamSpec::Stateless { after, .. } | StreamSpec::Session { after, .. }) = self.want;
        self.got.last().copied().or(after)
    }

    fn checksum(&self) -> Option<u64> {
        let (_, before) = self.before?;
        Some(checksum(&[&self.got[..], &[before]].concat()))
    }

    /// What is to be asked for on a new connection.
    fn next_request(&self) -> Message {
        match self.want {
            StreamSpec::Stateless { .. } => self.last().map_or(Message::Start, Message::Continue),
            StreamSpec::Session { uuid, n, .. } if !self.began && self.count() == Some(0) => {
                Message::StartSession { uuid, n }
            }
            StreamSpec::Session { uuid, .. } => Message::ContinueSession {
                uuid,
                last: self.last().unwrap_or(0),
                count: self.count(),
            },
        }
    }

    /// How many replies there are before the first number.
    const fn head(&self) -> usize {
        if matches!(self.request, Message::ContinueSession { .. }) {
            2
        } else {
            0
        }
    }

    /// Takes a reply. Returns the notices, or how the stream ends.
    fn hear(&mut self, key: u64, value: u64) -> (Vec<Notice>, Option<Result<Total, Failure>>) {
        self.replies += 1;
        let confused = (Vec::new(), Some(Err(Failure::ProtocolViolation)));
        let head = self.head();
        match (self.want, self.replies) {
            (StreamSpec::Session { n, .. }, 1) if head == 2 => {
                if value > n.into() || self.count().is_some_and(|count| u64::from(count) != value) {
                    return confused;
                }
                if self.before.is_none() {
                    self.before = Some((value as u16, u64::MAX));
                }
                return (Vec::new(), None);
            }
            (StreamSpec::Session { .. }, 2) if head == 2 => {
                if value >= 123_456 {
                    return confused;
                }
                if let Some((_, unknown @ u64::MAX)) = &mut self.before {
                    *unknown = value;
                }
                if self.checksum() != Some(value) {
                    return confused;
                }
                return (Vec::new(), None);
            }
            _ => {}
        }
        let mut told = Vec::new();
        let count = self.count().unwrap_or(0);
        let goes_on = !matches!(self.request, Message::Start | Message::StartSession { .. });
        if goes_on && self.replies == head + 1 {
            told.push(Notice::Resumed {
                key,
                count: count.into(),
            });
        }
        match self.want {
            StreamSpec::Session { n, .. } if count == n => {
                let valid = self.checksum() == Some(value);
                return (told, Some(Ok(Total::Checksum { value, valid })));
            }
            StreamSpec::Session { .. } if value > u32::MAX.into() => {
                return (told, Some(Err(Failure::ProtocolViolation)));
            }
            StreamSpec::Stateless { .. } if self.last().is_some_and(|last| last.wrapping_mul(3) != value) => {
                return (told, Some(Err(Failure::ProtocolViolation)));
            }
            _ => {}
        }
        self.got.push(value);
        told.push(Notice::Number {
            key,
            place: u32::from(count) + 1,
            number: value,
        });
        (told, None)
    }

    /// What a stateless stream comes to, if that was its last number.
    fn total(&self) -> Option<Total> {
        match self.want {
            StreamSpec::Stateless { n, .. } if self.got.len() == usize::from(n) => {
                Some(Total::Sum(self.got.iter().map(|&number| u128::from(number)).sum()))
            }
            _ => None,
        }
    }
}

impl ClientModel {
    pub(super) const fn new(config: ClientConfig, marks: Marks) -> Self {
        Self {
            config,
            marks,
            now: Time::ZERO,
            draining: false,
            connected: false,
            gets: BTreeMap::new(),
            set: 0,
            notices: VecDeque::new(),
        }
    }

    pub(super) fn step(
        &mut self,
        client: &SimClient,
        event: &Event<Message, Command>,
        actions: &[Action<Message, Notice>],
    ) -> Result<(), String> {
        self.now = client.now;
        let actual = &mut actions.iter();
        match event {
            Event::Command(Command::Get { key, stream: want }) => self.get(*key, *want, actual)?,
            Event::Opened(conn, opened) => {
                let key = self.at(opened.dial.map(Stage::Dialling));
                let key = key.ok_or_else(|| format!("{conn:?} opens, and no stream dialled it"))?;
                self.opened(key, *conn, actual)?;
            }
            Event::DialFailed(token, error) => {
                let key = self.at(Some(Stage::Dialling(*token)));
                let key = key.ok_or_else(|| format!("dial {} fails, and was not pending", token.0))?;
                self.retry(key, &Failure::Dial(*error), true, actual)?;
            }
            Event::Received(conn, message) => {
                let key = self.at(Some(Stage::Open(*conn)));
                let key = key.ok_or_else(|| format!("a message from {conn:?}, which belongs to no stream"))?;
                match message {
                    Message::Number(value) => self.heard(key, *conn, *value, actual)?,
                    Message::Error(code, text) => {
                        let why = Failure::Rejected(*code, text.clone());
                        self.refused(key, *conn, *code, why, actual)?;
                    }
                    other => return Err(format!("a client receives a request: {}", words::brief(other))),
                }
            }
            Event::Closed(conn, reason) => {
                let key = self.at(Some(Stage::Open(*conn)));
                let key = key.ok_or_else(|| format!("{conn:?} closes, and belongs to no stream"))?;
                self.retry(key, &Failure::Closed(*reason), false, actual)?;
            }
            Event::PeerFinished(conn) => {
                return Err(format!("{conn:?} stays open, though its server has finished sending"));
            }
            Event::Deadline => self.expire(actual)?,
            Event::Drain => {
                self.draining = true;
                for key in self.gets.keys().copied().collect::<Vec<_>>() {
                    self.end(key, Err(Failure::ShuttingDown), actual)?;
                }
            }
        }
        if let Some(more) = actual.next() {
            return Err(format!("a client did this without a reason: {}", words::action(more)));
        }
        let told = actions.iter().filter_map(|action| match action {
            Action::Notify(notice) => Some(notice.clone()),
            _ => None,
        });
        self.notices.extend(told);
        self.compare(client)
    }

    /// The stream that is at this stage.
    fn at(&self, stage: Option<Stage>) -> Option<u64> {
        let mut all = self.gets.iter();
        all.find(|(_, get)| Some(get.stage) == stage).map(|(key, _)| *key)
    }

    fn of(&mut self, key: u64) -> Result<&mut Get, String> {
        self.gets.get_mut(&key).ok_or_else(|| format!("stream {key} is over"))
    }

    fn wait(&mut self, key: u64, until: Option<Time>) -> Result<(), String> {
        let set = self.set + 1;
        let due = &mut self.of(key)?.due;
        // One that stays as it is keeps its turn among those of the same moment.
        if due.map(|(at, _)| at) != until {
            *due = until.map(|until| (until, set));
            self.set = set;
        }
        Ok(())
    }

    fn get(&mut self, key: u64, want: StreamSpec, actual: &mut ActionIter<'_>) -> Result<(), String> {
        if self.gets.contains_key(&key) {
            return Ok(());
        }
        let rule = AttemptRule {
            steps: self.config.backoff,
            attempt: self.config.response_timeout,
            all: Some(self.config.give_up_after),
            insists: self.config.retry_refused,
        };
        self.gets.insert(key, Get::new(want, Attempts::begins(rule, self.now)));
        if self.draining {
            return self.end(key, Err(Failure::ShuttingDown), actual);
        }
        self.dial(key, actual)
    }

    fn dial(&mut self, key: u64, actual: &mut ActionIter<'_>) -> Result<(), String> {
        let Some(Action::Dial(token, _)) = actual.next() else {
            return Err(format!("stream {key} should be connected, and is not dialled"));
        };
        if self.at(Some(Stage::Dialling(*token))).is_some() {
            return Err(format!("dial {} is used twice", token.0));
        }
        let now = self.now;
        let get = self.of(key)?;
        get.stage = Stage::Dialling(*token);
        let until = get.attempts.until(now);
        self.wait(key, Some(until))
    }

    fn opened(&mut self, key: u64, conn: ConnId, actual: &mut ActionIter<'_>) -> Result<(), String> {
        self.connected = true;
        let get = self.of(key)?;
        get.stage = Stage::Open(conn);
        let request = get.next_request();
        self.ask(key, conn, request, actual)
    }

    fn ask(&mut self, key: u64, conn: ConnId, request: Message, actual: &mut ActionIter<'_>) -> Result<(), String> {
        let get = self.of(key)?;
        get.began |= matches!(request, Message::StartSession { .. });
        get.request = request.clone();
        get.replies = 0;
        must(actual, &Action::Send(conn, request))?;
        let now = self.now;
        let until = self.of(key)?.attempts.until(now);
        self.wait(key, Some(until))
    }

    fn heard(&mut self, key: u64, conn: ConnId, value: u64, actual: &mut ActionIter<'_>) -> Result<(), String> {
        self.wait(key, None)?;
        let get = self.of(key)?;
        get.attempts.proves();
        let (told, end) = get.hear(key, value);
        let total = get.total();
        for notice in told {
            if matches!(notice, Notice::Resumed { .. }) {
                self.marks.hit(Mark::WentOn);
            }
            must(actual, &Action::Notify(notice))?;
        }
        if let Some(total) = total {
            must(actual, &Action::Send(conn, Message::End))?;
            return self.end(key, Ok(total), actual);
        }
        end.map_or(Ok(()), |end| self.end(key, end, actual))
    }

    fn refused(
        &mut self,
        key: u64,
        conn: ConnId,
        code: ErrorCode,
        why: Failure,
        actual: &mut ActionIter<'_>,
    ) -> Result<(), String> {
        let get = self.of(key)?;
        let asked_by_count = get.replies == 0 && matches!(get.request, Message::ContinueSession { count: Some(0), .. });
        if let (ErrorCode::UnknownSession, true, StreamSpec::Session { uuid, n, .. }) = (code, asked_by_count, get.want)
        {
            self.marks.hit(Mark::BegunInstead);
            return self.ask(key, conn, Message::StartSession { uuid, n }, actual);
        }
        if code == ErrorCode::Full {
            self.marks.hit(Mark::ToldFull);
        }
        if is_retried(code) {
            must(actual, &Action::Close(conn, CloseReason::Finished))?;
            return self.retry(key, &why, false, actual);
        }
        self.end(key, Err(why), actual)
    }

    /// There is a pause, or no time for one.
    fn retry(&mut self, key: u64, why: &Failure, refused: bool, actual: &mut ActionIter<'_>) -> Result<(), String> {
        let (now, connected) = (self.now, self.connected);
        let get = self.of(key)?;
        get.stage = Stage::Pause;
        get.due = None;
        get.attempts.fails(now, refused && !connected);
        let broken = |rule: String| format!("stream {key}: {rule}");
        match actual.next() {
            Some(Action::Notify(Notice::Retrying {
                key: of,
                failure: said,
                after,
            })) if *of == key && said == why => {
                let until = get.attempts.pauses(now, *after).map_err(broken)?;
                self.wait(key, Some(until))
            }
            Some(Action::Notify(Notice::Failed { key: of, failure })) if *of == key && failure == why => {
                get.attempts.gives_up(now).map_err(broken)?;
                self.marks.hit(Mark::GaveUp);
                self.gets.remove(&key);
                Ok(())
            }
            other => Err(format!(
                "stream {key} should pause or give up ({}), and the client does: {}",
                words::brief(why),
                words::list(other.map(words::action))
            )),
        }
    }

    fn expire(&mut self, actual: &mut ActionIter<'_>) -> Result<(), String> {
        loop {
            let due = self.gets.iter().filter_map(|(key, get)| Some((get.due?, *key))).min();
            let Some((_, key)) = due.filter(|((at, _), _)| *at <= self.now) else {
                return Ok(());
            };
            let get = self.of(key)?;
            get.due = None;
            match get.stage {
                Stage::Pause => self.dial(key, actual)?,
                Stage::Dialling(token) => {
                    self.marks.hit(Mark::DialAbandoned);
                    must(actual, &Action::AbandonDial(token))?;
                    self.retry(key, &Failure::TimedOut, false, actual)?;
                }
                Stage::Open(conn) => {
                    self.marks.hit(Mark::ResponseTimeout);
                    must(actual, &Action::Close(conn, CloseReason::TimedOut))?;
                    self.retry(key, &Failure::TimedOut, false, actual)?;
                }
            }
        }
    }

    /// The stream is over, and what it had goes with it.
    fn end(&mut self, key: u64, outcome: Result<Total, Failure>, actual: &mut ActionIter<'_>) -> Result<(), String> {
        match self.of(key)?.stage {
            Stage::Pause => {}
            Stage::Dialling(token) => must(actual, &Action::AbandonDial(token))?,
            Stage::Open(conn) => must(actual, &Action::Close(conn, CloseReason::Finished))?,
        }
        self.gets.remove(&key);
        let notice = match outcome {
            Ok(total) => Notice::Done { key, total },
            Err(failure) => Notice::Failed { key, failure },
        };
        must(actual, &Action::Notify(notice))
    }

    fn compare(&self, client: &SimClient) -> Result<(), String> {
        let due = self.gets.values().filter_map(|get| get.due).min();
        let (is, should) = (client.inner.next_deadline(), due.map(|(at, _)| at));
        if is != should {
            let (is, should) = (words::moment(is), words::moment(should));
            return Err(format!("the client's next deadline is {is}, should be {should}"));
        }
        if client.inner.is_zero() != self.gets.is_empty() {
            let count = self.gets.len();
            return Err(format!(
                "with {count} streams, the client is wrong on whether it is at zero"
            ));
        }
        Ok(())
    }

    /// The driver passed on what its machine had to tell.
    pub(super) fn told(&mut self, notice: &Notice) -> Result<(), String> {
        let said = self.notices.pop_front();
        if said.as_ref() != Some(notice) {
            return Err(format!(
                "the caller received: {}; the machine's notice was: {}",
                words::brief(notice),
                words::or_none(said.as_ref().map(words::brief))
            ));
        }
        Ok(())
    }

    pub(super) fn ends(&self) -> Result<(), String> {
        match self.gets.keys().next() {
            None => Ok(()),
            Some(key) => Err(format!("stream {key} is left")),
        }
    }
}

fn must(actual: &mut ActionIter<'_>, action: &Action<Message, Notice>) -> Result<(), String> {
    match actual.next() {
        Some(next) if next == action => Ok(()),
        other => {
            let (action, other) = (words::action(action), words::list(other.map(words::action)));
            Err(format!("a client should do: {action}; it does: {other}"))
        }
    }
}
