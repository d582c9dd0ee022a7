//! Those who connect and speak no protocol: what they say, and what `docs/PROTOCOL.md` has them told, in which framing and in
//! which order. Their words share no code with the codecs.

use bytes::{Buf, BytesMut};
use echosphere_core::DialToken;

use super::World;
use super::case::{Talk, nanos};
use super::conn::{Arrival, Conn};
use super::net::{Nanos, Net, What};
use crate::marks::{Mark, Marks};
use crate::oracle::System;
use crate::side::Side;

/// Whoever dials counts from 0; this is nobody's.
const NO_TOKEN: DialToken = DialToken(u64::MAX);

/// One of them, with what it was told.
#[derive(Debug)]
pub(super) struct Stranger {
    talk: Talk,
    /// What it must be told, in this order; the last comes before the end.
    expected: &'static [&'static str],
    /// How an error begins in a frame.
    error: &'static [u8],
    /// Lines that it hears may be those of a body.
    bodies: bool,
    /// When it began to connect.
    since: Nanos,
    /// It is connected, and has said all that it says.
    spoke: bool,
    /// Bytes of a frame or line that is not whole.
    heard: BytesMut,
    /// Whether it is told in lines, once that is known.
    lines: Option<bool>,
    /// The codes of the errors that it was told.
    told: Vec<String>,
    /// The server had not read all that it said when it finished.
    unread: bool,
    /// It has left, or is about to.
    over: bool,
}

impl Talk {
    const fn says(self) -> &'static [u8] {
        match self {
            Self::Nothing => b"",
            Self::Half => b"\0\0\0\x05me",
            Self::Hello => b"\0\0\0\0",
            Self::Unknown => b"\0\0\0\x05\xEEwhat",
            Self::HelloUnknown => b"\0\0\0\0\0\0\0\x05\xEEwhat",
            Self::TooLong => b"\0\0\0\0\0\xFF\xFF\xFFx",
            Self::Cut => b"\0\0\0\0\0\0\0\x05me",
            Self::Web => b"GET / HTTP/1.1\r\n",
        }
    }

    /// The codes that it is told. `greets` says that whoever does not say in time what they want is given up, and that what is no
    /// request ends a connection.
    const fn is_told(self, greets: bool) -> &'static [&'static str] {
        match self {
            Self::Nothing | Self::Half => &["handshake-timeout"],
            Self::Hello if greets => &["handshake-timeout"],
            Self::Hello => &["idle-timeout"],
            Self::Unknown | Self::HelloUnknown | Self::Web if greets => &["unknown-request"],
            Self::Unknown | Self::HelloUnknown | Self::Web => &["unknown-request", "idle-timeout"],
            Self::TooLong => &["frame-too-long"],
            Self::Cut => &["truncated"],
        }
    }

    /// Whether it says no whole frame.
    const fn is_no_start(self) -> bool {
        matches!(self, Self::Nothing | Self::Half)
    }
}

impl Stranger {
    fn new<S: System>(talk: Talk, since: Nanos) -> Self {
        Self {
            talk,
            expected: talk.is_told(S::greets()),
            error: S::error_frame(),
            bodies: S::bodies_of_lines(),
            since,
            spoke: false,
            heard: BytesMut::new(),
            lines: None,
            told: Vec::new(),
            unread: false,
            over: false,
        }
    }

    /// The server finishes. `all_read` says that no byte is under way to it, `end_read` that it has read the end of the stream.
    pub(super) fn finished(&mut self, all_read: bool, end_read: bool) {
        self.unread = !(self.spoke && all_read && (end_read || self.talk != Talk::Cut));
    }

    /// Takes what was heard, frame by frame or line by line.
    fn hear(&mut self, bytes: &[u8], marks: &Marks) -> Result<(), String> {
        self.heard.extend_from_slice(bytes);
        while let Some(payload) = self.next() {
            let error: &[u8] = if self.lines == Some(true) {
                b"error "
            } else {
                self.error
            };
            if let Some(error) = payload.strip_prefix(error) {
                let code = error.split(|byte| *byte == b' ').next().unwrap_or_default();
                if self.expected.first().map(|code| code.as_bytes()) == Some(code) {
                    marks.hit(Mark::StrangerTold);
                }
                self.told.push(String::from_utf8_lossy(code).into_owned());
            } else if self.talk.is_no_start() || payload.is_empty() && self.lines == Some(true) && !self.bodies {
                return Err(
                    self.wrong("something else than an error, though it has not begun, or a keepalive in a line")
                );
            } else if payload.starts_with(b"message ") {
                marks.hit(Mark::StrangerHolds);
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Option<BytesMut> {
        let lines = *self.lines.get_or_insert(*self.heard.first()? != 0);
        if lines {
            let end = self.heard.iter().position(|byte| *byte == b'\n')?;
            let mut line = self.heard.split_to(end + 1);
            line.truncate(end);
            return Some(line);
        }
        let length = u32::from_be_bytes(*self.heard.first_chunk()?) as usize;
        if self.heard.len() < 4 + length {
            return None;
        }
        self.heard.advance(4);
        Some(self.heard.split_to(length))
    }

    /// Checks all that it was told, at the end.
    fn check(&self) -> Result<(), String> {
        if !self.heard.is_empty() {
            return Err(self.wrong("half a frame or line"));
        }
        let told = self.told.iter().map(String::as_str);
        let right = told
            .clone()
            .zip(self.expected)
            .take_while(|(told, code)| told == *code)
            .count();
        let rest: Vec<&str> = told.skip(right).collect();
        let more = right < self.expected.len();
        // Whoever is not let in is told so before they have said anything.
        let at_the_door = self.told.len() == 1 && ["full", "shutting-down"].contains(&&*self.told[0]);
        let told_right = match rest[..] {
            [] => !more,
            ["full"] => at_the_door,
            ["shutting-down"] => more,
            // Those who only listen are silent, too.
            ["idle-timeout"] if self.talk == Talk::Hello => more,
            ["handshake-timeout" | "idle-timeout"] => more && self.unread,
            _ => false,
        };
        if !told_right {
            return Err(self.wrong("that"));
        }
        let types = matches!(self.talk, Talk::Nothing | Talk::Web);
        let in_lines = self.lines.unwrap_or(types);
        // What was not read showed no framing.
        if in_lines != types && !(in_lines && (self.unread || at_the_door)) {
            return Err(self.wrong("that in the other framing"));
        }
        Ok(())
    }

    fn wrong(&self, what: &str) -> String {
        format!(
            "a stranger who says {:?} is told {:?}, should be told {:?}: {what}",
            self.talk, self.told, self.expected
        )
    }
}

impl<S: System> World<'_, S> {
    /// Somebody beside a host's clients connects.
    pub(super) fn stranger_comes(&mut self, host: usize, talk: Talk) {
        self.net.marks.hit(Mark::Stranger);
        // Where a line begins a talk, what a browser says is no mistake.
        let talk = match talk {
            Talk::Web if S::greets() => Talk::Unknown,
            talk => talk,
        };
        let index = self.net.dial(host, NO_TOKEN);
        self.net.conns[index].stranger = Some(Box::new(Stranger::new::<S>(talk, self.net.now)));
    }

    /// Something reaches a stranger.
    pub(super) fn stranger(&mut self, index: usize, what: What) {
        match what {
            What::Answer(.., true) => speak(&mut self.net, index),
            What::Answer(..) => leave(&mut self.net, index),
            What::Arrive(..) => {
                let result = self.stranger_hears(index);
                self.watch.borrow_mut().check(result);
            }
            _ => {}
        }
    }

    fn stranger_hears(&mut self, index: usize) -> Result<(), String> {
        self.input.clear();
        let net = &mut self.net;
        let Some(arrival) = net.arrive(index, Side::Server, &mut self.input) else {
            return Ok(());
        };
        net.unblock(index, Side::Server);
        let conn = &mut net.conns[index];
        let crashed = conn.ends[Side::Server as usize].crashed;
        let Some(stranger) = conn.stranger.as_deref_mut().filter(|_| conn.attempted) else {
            if arrival == Arrival::Data {
                net.reset(index, Side::Client);
            }
            net.forget_if_over(index);
            return Ok(());
        };
        match arrival {
            Arrival::Data => {
                let before = stranger.told.len();
                stranger.hear(&self.input, &net.marks)?;
                let (talk, new) = (stranger.talk, stranger.told[before..].join(", "));
                let early = net.now - stranger.since;
                let handshake = nanos(self.system.link(self.case.link()).handshake_timeout);
                // By a clock that goes too fast.
                if talk.is_no_start() && new == "handshake-timeout" && early < handshake / 10 * 9 {
                    return Err(format!("a stranger is given up {early} ns after it began to connect"));
                }
                if !new.is_empty() {
                    self.note(&format!("a stranger who says {talk:?} is told {new}"), None);
                }
                Ok(())
            }
            Arrival::Fin => {
                let result = if crashed || stranger.over {
                    Ok(())
                } else {
                    stranger.check()
                };
                conn.ends[Side::Client as usize].fin_heard = true;
                if !conn.ends[Side::Client as usize].fin_sent {
                    net.finish(index, Side::Client);
                }
                leave(net, index);
                result
            }
            Arrival::Reset => {
                conn.ends[Side::Client as usize].fin_sent = true;
                leave(net, index);
                Ok(())
            }
        }
    }

    /// All of them leave.
    pub(super) fn strangers_leave(&mut self) {
        let net = &mut self.net;
        let here = |(index, conn): (usize, &Conn)| conn.stranger.is_some().then_some(index);
        for index in net.conns.iter().filter_map(here).collect::<Vec<_>>() {
            let conn = &mut net.conns[index];
            let alone = conn.dead || conn.ends[Side::Server as usize].id.is_none();
            let finished = conn.ends[Side::Client as usize].fin_sent;
            if let Some(stranger) = &mut conn.stranger {
                stranger.over = true;
            }
            if alone {
                leave(net, index);
            } else if !finished {
                if net.decisions.chance(0.5) {
                    net.finish(index, Side::Client);
                } else {
                    net.reset(index, Side::Client);
                    leave(net, index);
                }
            }
        }
    }
}

/// The connection is there: all that is to be said is.
fn speak(net: &mut Net, index: usize) {
    let stranger = net.conns[index].stranger.as_deref_mut();
    let Some(stranger) = stranger.filter(|stranger| !stranger.over) else {
        net.reset(index, Side::Client);
        leave(net, index);
        return;
    };
    stranger.spoke = true;
    let talk = stranger.talk;
    let mut left = talk.says();
    while !left.is_empty() {
        let mut len = left.len();
        if net.decisions.chance(net.rates.split) {
            len = 1 + net.decisions.below(len as u64) as usize;
        }
        let (now, later) = left.split_at(len);
        net.send(index, Side::Client, [now].into_iter(), len);
        left = later;
    }
    if talk == Talk::Cut {
        net.finish(index, Side::Client);
    }
}

/// Nothing is heard or said any more.
fn leave(net: &mut Net, index: usize) {
    net.conns[index].attempted = false;
    net.forget_if_over(index);
}
