use super::api::{StreamSpec, Total};
use super::message::Message;
use super::sequence::Checksum;

/// A client's progress in one stream: what it requests next and which reply it expects.
#[derive(Debug)]
pub(super) struct Progress {
    spec: StreamSpec,
    /// Numbers received; `None` until the server has sent the count of an earlier run.
    count: Option<u16>,
    last: Option<u64>,
    /// The sum of a stateless stream.
    sum: u128,
    /// The checksum of a session; `None` until the server has sent that of an earlier run.
    checksum: Option<Checksum>,
    /// Whether the client has asked to begin the session.
    begun: bool,
    awaited: Awaited,
    /// Whether the next number is the first after a resumption.
    resuming: bool,
}

/// What the next reply is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// The count of numbers so far.
    Count,
    /// The checksum so far.
    Checksum,
    /// A number or, after the last one, the checksum.
    Number,
}

/// The result of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing to report.
    Continue,
    /// A number for the caller.
    Number { place: u16, number: u64 },
    /// The stream is complete.
    Done(Total),
    /// The reply does not fit the request or an earlier reply.
    Violation,
}

impl Progress {
    pub(super) const fn new(spec: StreamSpec) -> Self {
        let (count, last, checksum) = match spec {
            StreamSpec::Session { after: Some(last), .. } => (None, Some(last), None),
            StreamSpec::Session { after: None, .. } => (Some(0), None, Some(Checksum(0))),
            StreamSpec::Stateless { after, .. } => (Some(0), after, None),
        };
        Self {
            spec,
            count,
            last,
            sum: 0,
            checksum,
            begun: false,
            awaited: Awaited::Number,
            resuming: false,
        }
    }

    /// The request to send on a new connection.
    pub(super) const fn request(&mut self) -> Message {
        match self.spec {
            StreamSpec::Stateless { .. } => {
                self.awaited = Awaited::Number;
                self.resuming = self.last.is_some();
                match self.last {
                    None => Message::Start,
                    Some(last) => Message::Continue(last),
                }
            }
            // If the server has not received the request to begin, it answers with an error.
            StreamSpec::Session { .. } if self.begun || !self.at_begin() => self.resume(),
            StreamSpec::Session { .. } => self.begin(),
        }
    }

    /// The request to begin instead, if the session to resume does not exist and no number was received.
    pub(super) fn begin_instead(&mut self) -> Option<Message> {
        (self.awaited == Awaited::Count && self.at_begin()).then(|| self.begin())
    }

    const fn at_begin(&self) -> bool {
        matches!(self.count, Some(0))
    }

    const fn begin(&mut self) -> Message {
        self.begun = true;
        self.awaited = Awaited::Number;
        self.resuming = false;
        match self.spec {
            StreamSpec::Session { uuid, n, .. } => Message::StartSession { uuid, n },
            StreamSpec::Stateless { .. } => Message::Start,
        }
    }

    const fn resume(&mut self) -> Message {
        self.awaited = Awaited::Count;
        self.resuming = true;
        let last = match self.last {
            Some(last) => last,
            None => 0,
        };
        match self.spec {
            StreamSpec::Session { uuid, .. } => Message::ContinueSession {
                uuid,
                last,
                count: self.count,
            },
            StreamSpec::Stateless { .. } => Message::Continue(last),
        }
    }

    /// The count of numbers before a resumption, if the next reply is the first number after it.
    pub(super) fn resumed(&mut self) -> Option<u16> {
        if !self.resuming || self.awaited != Awaited::Number {
            return None;
        }
        self.resuming = false;
        self.count
    }

    /// Handles a reply.
    pub(super) fn take(&mut self, value: u64) -> Step {
        match (self.awaited, self.spec) {
            (Awaited::Count, StreamSpec::Session { n, .. }) => self.take_count(n, value),
            (Awaited::Checksum, _) => self.take_checksum(value),
            (_, StreamSpec::Session { n, .. }) => self.take_of_session(n, value),
            (_, StreamSpec::Stateless { .. }) => self.take_plain(value),
        }
    }

    fn take_count(&mut self, n: u16, value: u64) -> Step {
        match u16::try_from(value) {
            Ok(count) if count <= n && self.count.is_none_or(|known| known == count) => {
                self.count = Some(count);
                self.awaited = Awaited::Checksum;
                Step::Continue
            }
            _ => Step::Violation,
        }
    }

    fn take_checksum(&mut self, value: u64) -> Step {
        match Checksum::from_value(value) {
            Some(sent) if self.checksum.is_none_or(|known| known == sent) => {
                self.checksum = Some(sent);
                self.awaited = Awaited::Number;
                Step::Continue
            }
            _ => Step::Violation,
        }
    }

    fn take_of_session(&mut self, n: u16, value: u64) -> Step {
        let (Some(count), Some(checksum)) = (self.count, self.checksum) else {
            return Step::Violation;
        };
        if count == n {
            let valid = u64::from(checksum.value()) == value;
            return Step::Done(Total::Checksum { value, valid });
        }
        let Ok(number) = u32::try_from(value) else {
            return Step::Violation;
        };
        self.checksum = Some(checksum.plus(number));
        self.next(value)
    }

    fn take_plain(&mut self, value: u64) -> Step {
        if self.last.is_some_and(|last| last.wrapping_mul(3) != value) {
            return Step::Violation;
        }
        self.sum += u128::from(value);
        self.next(value)
    }

    const fn next(&mut self, number: u64) -> Step {
        let place = match self.count {
            Some(count) => count + 1,
            None => 1,
        };
        self.count = Some(place);
        self.last = Some(number);
        Step::Number { place, number }
    }

    /// The total of a stateless stream that is complete.
    pub(super) fn total(&self) -> Option<Total> {
        match self.spec {
            StreamSpec::Stateless { n, .. } if self.count == Some(n) => Some(Total::Sum(self.sum)),
            _ => None,
        }
    }
}
