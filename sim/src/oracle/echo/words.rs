//! Events and actions with each X replaced by its number, and the network's only rule.

use std::cell::Cell;
use std::{fmt, ptr};

use bytes::Bytes;
use echosphere_core::echo::{Command, Message, Notice};
use echosphere_core::wire::ErrorCode;
use echosphere_core::{Action, CloseReason, ConnId, Event};
use hashbrown::HashTable;
use smallvec::SmallVec;

use crate::trace::{Brief, brief_bytes, quick_hash};
use crate::words;

/// An X, by its number in the plan.
pub(crate) type X = u32;

/// Every X of a run, numbered.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    /// All short ones in one piece, as very many would lie all over the memory.
    short: Vec<u8>,
    long: Vec<Bytes>,
    /// How long each is, and where it begins in `short`, or which of `long` it is.
    places: Vec<(u32, u32)>,
    numbers: HashTable<X>,
    /// The one found last, as what was received is often sent on.
    last: Cell<X>,
}

/// Bytes that a short body has at most.
const SHORT: usize = 64;

impl Bodies {
    /// With room for `count`.
    pub(super) fn for_many(count: usize) -> Self {
        Self {
            places: Vec::with_capacity(count),
            numbers: HashTable::with_capacity(count),
            ..Self::default()
        }
    }

    /// The number of `x`, which is the next one if it is new.
    pub(super) fn add(&mut self, x: &Bytes) -> X {
        if let Some(number) = self.number(x) {
            return number;
        }
        let number = self.places.len() as X;
        let place = if x.len() <= SHORT {
            self.short.extend_from_slice(x);
            self.short.len() - x.len()
        } else {
            self.long.push(x.clone());
            self.long.len() - 1
        };
        self.places.push((x.len() as u32, place as u32));
        let hash = |number: &X| quick_hash(body(*number, &self.places, &self.short, &self.long));
        self.numbers.insert_unique(quick_hash(x), number, hash);
        number
    }

    pub(super) fn number(&self, x: &[u8]) -> Option<X> {
        let last = self.last.get();
        if !self.places.is_empty() && self.is(last, x) {
            return Some(last);
        }
        let number = self
            .numbers
            .find(quick_hash(x), |number| self.is(*number, x))
            .copied()?;
        self.last.set(number);
        Some(number)
    }

    fn is(&self, number: X, x: &[u8]) -> bool {
        self.places[number as usize].0 as usize == x.len() && self.get(number) == x
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (X, &[u8])> {
        (0..).zip(&self.places).map(|(number, _)| (number, self.get(number)))
    }

    /// `rule` with each X that models know by its number in words: `X number 7` is `X "hello 64"`. `of_message` says which X
    /// a message of the plan has.
    pub(super) fn spell(&self, rule: &str, of_message: &[X]) -> String {
        let mut spelled = String::new();
        let mut rest = rule;
        while let Some(at) = rest.find("number ") {
            let (before, after) = rest.split_at(at + "number ".len());
            let digits = after.find(|c: char| !c.is_ascii_digit()).unwrap_or(after.len());
            let number = after[..digits].parse::<usize>().ok();
            let is_x = before.ends_with("X number ");
            let x = number.and_then(|number| {
                if is_x {
                    Some(number as X)
                } else {
                    of_message.get(number).copied()
                }
            });
            let x = x.filter(|x| (*x as usize) < self.len());
            let kept = if is_x {
                before.len() - "number ".len()
            } else {
                before.len()
            };
            spelled += &before[..kept];
            if !is_x {
                spelled += &after[..digits];
            }
            if let Some(x) = x {
                spelled += if is_x { "" } else { " (" };
                brief_bytes(self.get(x), &mut spelled);
                spelled += if is_x { "" } else { ")" };
            }
            rest = &after[digits..];
        }
        spelled + rest
    }

    fn get(&self, number: X) -> &[u8] {
        body(number, &self.places, &self.short, &self.long)
    }

    pub(super) const fn len(&self) -> usize {
        self.places.len()
    }
}

fn body<'a>(number: X, places: &[(u32, u32)], short: &'a [u8], long: &'a [Bytes]) -> &'a [u8] {
    let (len, place) = places[number as usize];
    let (len, place) = (len as usize, place as usize);
    if len <= SHORT {
        &short[place..place + len]
    } else {
        &long[place]
    }
}

/// Puts numbers into the words of one event and of what followed from it.
#[derive(Debug)]
pub(super) struct Numbers<'a> {
    bodies: &'a Bodies,
    /// The body found last: what is sent on is often the very memory that was received.
    last: Cell<Option<(*const [u8], X)>>,
}

impl<'a> Numbers<'a> {
    pub(super) const fn of(bodies: &'a Bodies) -> Self {
        let last = Cell::new(None);
        Self { bodies, last }
    }

    pub(super) fn said(&self, message: &Message) -> Result<Payload, String> {
        Ok(match message {
            Message::Message(body) => Payload::Message(self.number(body)?),
            Message::Ok(body) => Payload::Ok(self.number(body)?),
            Message::Error(code, _) => Payload::Error(*code),
        })
    }

    fn number(&self, x: &[u8]) -> Result<X, String> {
        if let Some((last, number)) = self.last.get()
            && ptr::eq(last, x)
        {
            return Ok(number);
        }
        let Some(number) = self.bodies.number(x) else {
            let mut shown = String::new();
            brief_bytes(x, &mut shown);
            return Err(format!("an X that no client sent: {shown}"));
        };
        self.last.set(Some((x, number)));
        Ok(number)
    }
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Payload {
    Message(X),
    Ok(X),
    Error(ErrorCode),
}

impl fmt::Display for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Message(x) => write!(f, "message X number {x}"),
            Self::Ok(x) => write!(f, "ok X number {x}"),
            Self::Error(code) => write!(f, "error {code}"),
        }
    }
}

impl<N: Brief> fmt::Display for ModelAction<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Send(id, said) => write!(f, "to {id:?} {said}"),
            Self::Close(id, reason) => write!(f, "close {id:?} ({})", words::why(*reason)),
            Self::Notify(notice) => f.write_str(&words::brief(*notice)),
            Self::Dial => f.write_str("dial"),
            Self::AbandonDial => f.write_str("abandon a dial"),
        }
    }
}

/// An event.
#[derive(Debug)]
pub(super) enum ModelEvent<'a, C> {
    Opened { id: ConnId, dialled: bool, text: bool },
    Received(ConnId, Payload),
    Closed(ConnId),
    Command(&'a C),
    Drain,
    Other,
}

/// An action.
#[derive(Clone, Copy, Debug)]
pub(super) enum ModelAction<'a, N> {
    Send(ConnId, Payload),
    Close(ConnId, CloseReason),
    Notify(&'a N),
    Dial,
    AbandonDial,
}

pub(super) fn model_event<C>(
    event: &Event<Message, C>,
    said: impl Fn(&Message) -> Result<Payload, String>,
) -> Result<ModelEvent<'_, C>, String> {
    Ok(match event {
        Event::Opened(id, opened) => ModelEvent::Opened {
            id: *id,
            dialled: opened.dial.is_some(),
            text: opened.text,
        },
        Event::Received(id, message) => ModelEvent::Received(*id, said(message)?),
        Event::Closed(id, _) => ModelEvent::Closed(*id),
        Event::Command(command) => ModelEvent::Command(command),
        Event::Drain => ModelEvent::Drain,
        Event::PeerFinished(_) | Event::DialFailed(..) | Event::Deadline => ModelEvent::Other,
    })
}

pub(super) fn model_actions<N>(
    actions: &[Action<Message, N>],
    said: impl Fn(&Message) -> Result<Payload, String>,
) -> Result<SmallVec<[ModelAction<'_, N>; 4]>, String> {
    let mut done = SmallVec::with_capacity(actions.len());
    for action in actions {
        done.push(match action {
            Action::Send(id, message) => ModelAction::Send(*id, said(message)?),
            Action::Close(id, reason) => ModelAction::Close(*id, *reason),
            Action::Notify(notice) => ModelAction::Notify(notice),
            Action::Dial(..) => ModelAction::Dial,
            Action::AbandonDial(_) => ModelAction::AbandonDial,
            Action::Finish(id) => return Err(format!("{id:?} is to be finished, which echo never does")),
        });
    }
    Ok(done)
}

/// What was sent and what arrived, of each X.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) to_server: Flow,
    pub(super) to_client: Flow,
}

/// One way of it: how many more were sent than arrived.
#[derive(Debug)]
pub(super) struct Flow {
    messages: Vec<u32>,
    oks: Vec<u32>,
}

impl Wire {
    pub(super) fn new(xs: usize) -> Self {
        let flow = || Flow {
            messages: vec![0; xs],
            oks: vec![0; xs],
        };
        Self {
            to_server: flow(),
            to_client: flow(),
        }
    }
}

impl Flow {
    pub(super) fn sent(&mut self, said: Payload) {
        match said {
            Payload::Message(x) => self.messages[x as usize] += 1,
            Payload::Ok(x) => self.oks[x as usize] += 1,
            Payload::Error(_) => {}
        }
    }

    /// What was sent and has not arrived.
    pub(super) fn under_way(&self) -> u64 {
        self.messages
            .iter()
            .chain(&self.oks)
            .map(|&count| u64::from(count))
            .sum()
    }

    pub(super) fn arrives(&mut self, said: Payload) -> Result<(), String> {
        let under_way = match said {
            Payload::Message(x) => &mut self.messages[x as usize],
            Payload::Ok(x) => &mut self.oks[x as usize],
            Payload::Error(_) => return Ok(()),
        };
        *under_way = under_way
            .checked_sub(1)
            .ok_or_else(|| format!("{said} arrived more often than it was sent"))?;
        Ok(())
    }
}

impl Brief for Message {
    fn brief(&self, line: &mut String) {
        match self {
            Self::Message(x) => {
                line.push_str("message ");
                brief_bytes(x, line);
            }
            Self::Ok(x) => {
                line.push_str("ok ");
                brief_bytes(x, line);
            }
            Self::Error(code, _) => {
                line.push_str("error ");
                line.push_str(code.as_str());
            }
        }
    }
}

impl Brief for Command {
    fn brief(&self, line: &mut String) {
        let Self::Send { key: id, x } = self;
        line.push_str(&format!("send number {id}: "));
        brief_bytes(x, line);
    }
}

impl Brief for Notice {
    fn brief(&self, line: &mut String) {
        *line += &match self {
            Self::Acknowledged {
                key: id,
                round_trip,
                retries,
                ..
            } => {
                format!("number {id} is acknowledged in {round_trip:?}, after {retries} retries")
            }
            Self::Retrying {
                key: id,
                failure,
                after,
            } => {
                format!("number {id} is retried in {after:?}: {}", words::brief(failure))
            }
            Self::GaveUp {
                key: id,
                failure,
                attempts,
            } => {
                format!(
                    "number {id} is given up after {attempts} attempts: {}",
                    words::brief(failure)
                )
            }
        };
    }
}
