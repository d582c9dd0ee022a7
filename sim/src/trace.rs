//! The trace of a run: a rolling hash over all events and actions, and optionally a line for each
//! event.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write;
use std::hash::{Hash, Hasher};
use std::io::{self, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use echosphere_core::{Action, Event};

use crate::words::{self, Whose};

/// Lines kept for a failure's message.
const RECENT: usize = 20;
/// Bytes shown of a long body.
const SHOWN: usize = 12;

/// Something with a short text that is the same in every run of a seed.
pub trait Brief {
    /// Appends the words.
    fn brief(&self, line: &mut String);
}

impl Brief for Infallible {
    fn brief(&self, _: &mut String) {
        match *self {}
    }
}

/// Appends a body: short ones in full, long ones by their start, length and hash.
pub fn brief_bytes(bytes: &[u8], line: &mut String) {
    if bytes.len() <= 2 * SHOWN {
        put(line, format_args!("\"{}\"", bytes.escape_ascii()));
    } else {
        let hash = hash(0, bytes);
        let start = bytes[..SHOWN].escape_ascii();
        put(line, format_args!("\"{start}\"…({} bytes, {hash:016x})", bytes.len()));
    }
}

fn put(line: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = line.write_fmt(what);
}

static PRINT_ALL: AtomicBool = AtomicBool::new(false);

/// Has every event of every run printed from here on, as `SIM_TRACE=1` in the environment does.
pub fn print_all() {
    PRINT_ALL.store(true, Ordering::Relaxed);
}

/// Which lines are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lines {
    /// None: the hash is enough.
    None,
    /// The last ones.
    Recent,
    /// The last ones, and all are printed to stderr.
    Print,
}

impl Lines {
    /// [`Lines::Print`] if all are to be printed, else these.
    #[must_use]
    pub fn or_print(self) -> Self {
        if PRINT_ALL.load(Ordering::Relaxed) || std::env::var_os("SIM_TRACE").is_some_and(|value| value != "0") {
            Self::Print
        } else {
            self
        }
    }
}

/// The rolling hash and the last lines.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    recent: VecDeque<String>,
    lines: Lines,
}

impl Trace {
    /// An empty trace. The hash does not depend on `lines`.
    #[must_use]
    pub const fn new(lines: Lines) -> Self {
        Self {
            hash: 0,
            events: 0,
            recent: VecDeque::new(),
            lines,
        }
    }

    /// Notes an event of a machine and what it did.
    pub(crate) fn step<M: Brief + Hash, C: Brief + Hash, N: Brief + Hash>(
        &mut self,
        at: Duration,
        whose: Whose,
        event: &Event<M, C>,
        actions: &[Action<M, N>],
    ) {
        self.mix(&(at.as_nanos() as u64, whose.host, event, actions));
        self.line(at, whose.host, |line| {
            let mut words = words::event(event);
            for done in actions {
                words += " → ";
                words += &words::action(done);
            }
            line.push_str(&whose.names_in(&words));
        });
    }

    /// Notes something that was done to the network or the hosts. Its words are not hashed: they are for people.
    pub fn note(&mut self, at: Duration, what: &str) {
        self.mix(&at);
        self.line(at, "—", |line| line.push_str(what));
    }

    fn mix(&mut self, what: &impl Hash) {
        let mut hasher = Mixer::<false>(self.hash);
        what.hash(&mut hasher);
        self.hash = hasher.0;
        self.events += 1;
    }

    fn line(&mut self, at: Duration, host: &str, write: impl FnOnce(&mut String)) {
        if self.lines == Lines::None {
            return;
        }
        let oldest = (self.recent.len() == RECENT).then(|| self.recent.pop_front()).flatten();
        let mut line = oldest.unwrap_or_default();
        line.clear();
        put(
            &mut line,
            format_args!("{:>4}.{:06} {host:<8} ", at.as_secs(), at.subsec_micros()),
        );
        write(&mut line);
        if self.lines == Lines::Print {
            // A closed stderr is no failure of the run.
            let _ = writeln!(io::stderr(), "{line}");
        }
        self.recent.push_back(line);
    }

    /// The hash of all events so far.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// How many there were.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The last lines, oldest first.
    pub fn recent(&self) -> impl Iterator<Item = &str> {
        self.recent.iter().map(String::as_str)
    }
}

pub(crate) fn brief_event<M: Brief, C: Brief>(event: &Event<M, C>, line: &mut String) {
    match event {
        Event::Opened(id, opened) => match opened.dial {
            Some(token) => put(line, format_args!("opened {id:?} by dial {}", token.0)),
            None => put(
                line,
                format_args!("opened {id:?}{}", if opened.text { " (text)" } else { "" }),
            ),
        },
        Event::Received(id, message) => {
            put(line, format_args!("from {id:?} "));
            message.brief(line);
        }
        Event::Closed(id, reason) => put(line, format_args!("{id:?} ended ({})", words::why(*reason))),
        Event::PeerFinished(id) => put(line, format_args!("{id:?} has finished sending")),
        Event::DialFailed(token, error) => {
            put(
                line,
                format_args!("dial {} failed ({})", token.0, words::not_connected(*error)),
            );
        }
        Event::Command(command) => command.brief(line),
        Event::Drain => line.push_str("drain"),
        Event::Deadline => line.push_str("deadline"),
    }
}

pub(crate) fn brief_action<M: Brief, N: Brief>(action: &Action<M, N>, line: &mut String) {
    match action {
        Action::Dial(token, _) => put(line, format_args!("dial {}", token.0)),
        Action::AbandonDial(token) => put(line, format_args!("abandon dial {}", token.0)),
        Action::Send(id, message) => {
            put(line, format_args!("to {id:?} "));
            message.brief(line);
        }
        Action::Close(id, reason) => put(line, format_args!("close {id:?} ({})", words::why(*reason))),
        Action::Notify(notice) => notice.brief(line),
        Action::Finish(id) => put(line, format_args!("finish {id:?}")),
    }
}

/// Not for adversaries: multiply and fold, eight bytes at a time.
const fn mix(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    product ^ product >> 29
}

/// The same for any number of bytes. The last word overlaps the one before.
fn hash(start: u64, bytes: &[u8]) -> u64 {
    let hash = mix(start, bytes.len() as u64 + 1);
    if let Some(last) = bytes.last_chunk::<8>() {
        let (words, rest) = bytes.as_chunks::<8>();
        let words = if rest.is_empty() {
            &words[..words.len() - 1]
        } else {
            words
        };
        let hash = words
            .iter()
            .fold(hash, |hash, word| mix(hash, u64::from_le_bytes(*word)));
        mix(hash, u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let word = u64::from(u32::from_le_bytes(*first)) << 32 | u64::from(u32::from_le_bytes(*last));
        mix(hash, word)
    } else {
        let word = bytes.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        mix(hash, word)
    }
}

/// A number for all of it, long bodies included.
pub(crate) fn digest(what: &impl Hash) -> u64 {
    let mut hasher = Mixer::<true>(0);
    what.hash(&mut hasher);
    hasher.0
}

/// A hash of a body for look-ups, of its ends if it is long.
pub(crate) fn quick_hash(bytes: &[u8]) -> u64 {
    let mut hasher = Mixer::<false>(0);
    hasher.write(bytes);
    // Tables look at the top bits too, which the last fold leaves as they are.
    hasher.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// [`hash`] in the interface of the standard library.
#[derive(Debug, Default)]
pub(crate) struct Mixer<const WHOLE: bool = false>(u64);

/// Of longer bodies only the ends are hashed, unless `WHOLE` is set: all bytes are compared where they are received.
const HASHED: usize = 256;

impl<const WHOLE: bool> Hasher for Mixer<WHOLE> {
    fn write(&mut self, bytes: &[u8]) {
        if bytes.len() <= 2 * HASHED {
            self.0 = hash(self.0, bytes);
        } else if WHOLE {
            // Four at once, as each step waits for the one before it.
            let (blocks, rest) = bytes.as_chunks::<32>();
            let mut lanes = [self.0, 1, 2, 3];
            for block in blocks {
                for (lane, word) in lanes.iter_mut().zip(block.as_chunks::<8>().0) {
                    *lane = mix(*lane, u64::from_le_bytes(*word));
                }
            }
            self.0 = hash(lanes.into_iter().fold(bytes.len() as u64, mix), rest);
        } else {
            let (start, end) = (&bytes[..HASHED], &bytes[bytes.len() - HASHED..]);
            self.0 = hash(hash(mix(self.0, bytes.len() as u64), start), end);
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = mix(self.0, word);
    }

    fn write_u8(&mut self, word: u8) {
        self.write_u64(word.into());
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_isize(&mut self, word: isize) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
