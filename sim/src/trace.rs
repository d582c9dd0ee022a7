//! The trace of a run: a line for every event, a rolling hash over all lines, and the last lines themselves.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt::Write;
use std::time::Duration;

use echosphere_core::{Action, Event};

/// Lines kept for a failure's message.
const RECENT: usize = 20;
/// Bytes shown of a long body.
const SHOWN: usize = 12;

/// Something that can be told in a few words that are the same in every run of a seed.
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

/// The rolling hash and the last lines.
#[derive(Debug)]
pub struct Trace {
    hash: u64,
    events: u64,
    recent: VecDeque<String>,
    print: bool,
}

impl Trace {
    /// An empty trace; `print` copies every line to stderr.
    #[must_use]
    pub const fn new(print: bool) -> Self {
        Self {
            hash: 0,
            events: 0,
            recent: VecDeque::new(),
            print,
        }
    }

    /// Notes an event of a machine and what it did.
    pub fn step<M: Brief, C: Brief, N: Brief>(
        &mut self,
        at: Duration,
        host: &str,
        event: &Event<M, C>,
        actions: &[Action<M, N>],
    ) {
        self.line(at, host, |line| {
            brief_event(event, line);
            for action in actions {
                line.push_str(" → ");
                brief_action(action, line);
            }
        });
    }

    /// Notes something that was done to the network or the hosts.
    pub fn note(&mut self, at: Duration, what: &str) {
        self.line(at, "—", |line| line.push_str(what));
    }

    fn line(&mut self, at: Duration, host: &str, write: impl FnOnce(&mut String)) {
        let oldest = (self.recent.len() == RECENT).then(|| self.recent.pop_front()).flatten();
        let mut line = oldest.unwrap_or_default();
        line.clear();
        put(
            &mut line,
            format_args!("{:>4}.{:06} {host:<8} ", at.as_secs(), at.subsec_micros()),
        );
        write(&mut line);
        self.hash = hash(self.hash, line.as_bytes());
        self.events += 1;
        if self.print {
            eprintln!("{line}");
        }
        self.recent.push_back(line);
    }

    /// The hash of all lines so far.
    #[must_use]
    pub const fn hash(&self) -> u64 {
        self.hash
    }

    /// How many lines there were.
    #[must_use]
    pub const fn events(&self) -> u64 {
        self.events
    }

    /// The last lines, oldest first.
    pub fn recent(&self) -> impl Iterator<Item = &str> {
        self.recent.iter().map(String::as_str)
    }
}

fn brief_event<M: Brief, C: Brief>(event: &Event<M, C>, line: &mut String) {
    match event {
        Event::Opened(id, opened) => match opened.dial {
            Some(token) => put(line, format_args!("opened {id:?} by dial {}", token.0)),
            None => put(
                line,
                format_args!("opened {id:?}{}", if opened.text { " (text)" } else { "" }),
            ),
        },
        Event::Received(id, message) => {
            put(line, format_args!("{id:?} says "));
            message.brief(line);
        }
        Event::Closed(id, reason) => put(line, format_args!("closed {id:?} {reason:?}")),
        Event::DialFailed(token, error) => put(line, format_args!("dial {} failed: {error:?}", token.0)),
        Event::Command(command) => command.brief(line),
        Event::Drain => line.push_str("drain"),
        Event::Deadline => line.push_str("deadline"),
    }
}

fn brief_action<M: Brief, N: Brief>(action: &Action<M, N>, line: &mut String) {
    match action {
        Action::Dial(token) => put(line, format_args!("dial {}", token.0)),
        Action::AbandonDial(token) => put(line, format_args!("abandon dial {}", token.0)),
        Action::Send(id, message) => {
            put(line, format_args!("{id:?} "));
            message.brief(line);
        }
        Action::Close(id, reason) => put(line, format_args!("close {id:?} {reason:?}")),
        Action::Notify(notice) => notice.brief(line),
    }
}

/// Not for adversaries: multiply and fold, eight bytes at a time.
fn hash(start: u64, bytes: &[u8]) -> u64 {
    let mix = |hash: u64, word: u64| {
        let product = (hash ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        product ^ product >> 29
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let mut hash = mix(start, bytes.len() as u64 + 1);
    for word in words {
        hash = mix(hash, u64::from_le_bytes(*word));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(hash, u64::from_le_bytes(last))
}
