use super::api::{StreamSpec, Total};
use super::message::Message;
use super::sequence::Checksum;

/// How far a client has come with one stream, and what it asks and expects next.
#[derive(Debug)]
pub(super) struct Progress {
    want: StreamSpec,
    /// Numbers got; `None` until the server has said how many an earlier run got.
    count: Option<u16>,
    last: Option<u64>,
    /// Of a stateless stream.
    sum: u128,
    /// Of a session; `None` until the server has said that of an earlier run.
    checksum: Option<Checksum>,
    /// The session has been asked to begin.
    begun: bool,
    awaited: Awaited,
    /// The next number is the first since the stream was gone on with.
    resuming: bool,
}

/// What the next reply says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Awaited {
    /// How many numbers have come.
    Count,
    /// The checksum of those.
    Checksum,
    /// A number, or at the end the checksum.
    Number,
}

/// What follows from a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    On,
    /// The caller has one more number.
    Number { place: u16, number: u64 },
    /// All has come.
    Done(Total),
    /// The reply does not fit what was asked, or what came before.
    Confused,
}

impl Progress {
    pub(super) const fn new(want: StreamSpec) -> Self {
        let (count, last, checksum) = match want {
            StreamSpec::Session { after: Some(last), .. } => (None, Some(last), None),
            StreamSpec::Session { after: None, .. } => (Some(0), None, Some(Checksum(0))),
            StreamSpec::Stateless { after, .. } => (Some(0), after, None),
        };
        Self {
            want,
            count,
            last,
            sum: 0,
            checksum,
            begun: false,
            awaited: Awaited::Number,
            resuming: false,
        }
    }

    /// What to ask for on a new connection.
    pub(super) const fn request(&mut self) -> Message {
        match self.want {
            StreamSpec::Stateless { .. } => {
                self.awaited = Awaited::Number;
                self.resuming = self.last.is_some();
                match self.last {
                    None => Message::Start,
                    Some(last) => Message::Continue(last),
                }
            }
            // Whether the server has heard of it: an error tells.
            StreamSpec::Session { .. } if self.begun || !self.at_begin() => self.go_on(),
            StreamSpec::Session { .. } => self.begin(),
        }
    }

    /// What to ask for instead, when there is no session to go on with: to begin it, if nothing has come of it.
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
        match self.want {
            StreamSpec::Session { uuid, n, .. } => Message::StartSession { uuid, n },
            StreamSpec::Stateless { .. } => Message::Start,
        }
    }

    const fn go_on(&mut self) -> Message {
        self.awaited = Awaited::Count;
        self.resuming = true;
        let last = match self.last {
            Some(last) => last,
            None => 0,
        };
        match self.want {
            StreamSpec::Session { uuid, .. } => Message::ContinueSession {
                uuid,
                last,
                count: self.count,
            },
            StreamSpec::Stateless { .. } => Message::Continue(last),
        }
    }

    /// After how many numbers the stream goes on with the next reply, if that is new to the caller.
    pub(super) fn resumed(&mut self) -> Option<u16> {
        if !self.resuming || self.awaited != Awaited::Number {
            return None;
        }
        self.resuming = false;
        self.count
    }

    /// Takes a reply.
    pub(super) fn take(&mut self, value: u64) -> Step {
        match (self.awaited, self.want) {
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
                Step::On
            }
            _ => Step::Confused,
        }
    }

    fn take_checksum(&mut self, value: u64) -> Step {
        match Checksum::from_value(value) {
            Some(said) if self.checksum.is_none_or(|known| known == said) => {
                self.checksum = Some(said);
                self.awaited = Awaited::Number;
                Step::On
            }
            _ => Step::Confused,
        }
    }

    fn take_of_session(&mut self, n: u16, value: u64) -> Step {
        let (Some(count), Some(checksum)) = (self.count, self.checksum) else {
            return Step::Confused;
        };
        if count == n {
            let valid = u64::from(checksum.value()) == value;
            return Step::Done(Total::Checksum { value, valid });
        }
        let Ok(number) = u32::try_from(value) else {
            return Step::Confused;
        };
        self.checksum = Some(checksum.plus(number));
        self.next(value)
    }

    fn take_plain(&mut self, value: u64) -> Step {
        if self.last.is_some_and(|last| last.wrapping_mul(3) != value) {
            return Step::Confused;
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

    /// What a stateless stream comes to, once it has all its numbers.
    pub(super) fn total(&self) -> Option<Total> {
        match self.want {
            StreamSpec::Stateless { n, .. } if self.count == Some(n) => Some(Total::Sum(self.sum)),
            _ => None,
        }
    }
}
