//! Those who connect and speak no protocol: what they say, and what `docs/PROTOCOL.md` has them told. Their words share
//! no code with the codecs.

use bytes::{Buf, BytesMut};
use echosphere_core::DialToken;

use super::World;
use super::case::Talk;
use super::conn::Arrival;
use super::net::{Net, What};
use crate::marks::{Mark, Marks};
use crate::oracle::System;
use crate::side::Side;

/// Whoever dials counts from 0; this is nobody's.
const NO_TOKEN: DialToken = DialToken(u64::MAX);

/// What may come before any other word: not all was heard, or there was no room or no time.
const ANYBODY: [&str; 3] = ["handshake-timeout", "full", "shutting-down"];

/// One of them, with what it is still to be told.
#[derive(Debug)]
pub(super) struct Stranger {
    talk: Talk,
    /// Bytes of a frame or line that is not whole.
    heard: BytesMut,
    /// Whether it is told in lines, once that is known.
    lines: Option<bool>,
    /// The code of the first error that it was told.
    told: Option<String>,
    /// It has left, or is about to.
    over: bool,
}

impl Talk {
    const fn says(self) -> &'static [u8] {
        match self {
            Self::Nothing => b"",
            Self::Hello => b"\0\0\0\0",
            Self::Unknown => b"\0\0\0\x05\xEEwhat",
            Self::HelloUnknown => b"\0\0\0\0\0\0\0\x05\xEEwhat",
            Self::TooLong => b"\0\0\0\0\0\xFF\xFF\xFFx",
            Self::Cut => b"\0\0\0\0\0\0\0\x05me",
            Self::Web => b"GET / HTTP/1.1\r\n",
        }
    }

    /// The code of the first error that it must be told, and one that may come instead.
    const fn is_told(self) -> [&'static str; 2] {
        match self {
            Self::Nothing => ["handshake-timeout"; 2],
            Self::Hello => ["idle-timeout"; 2],
            Self::Unknown | Self::Web => ["unknown-request"; 2],
            // Silence between a hello and what follows it may be too long.
            Self::HelloUnknown => ["unknown-request", "idle-timeout"],
            Self::TooLong => ["frame-too-long", "idle-timeout"],
            Self::Cut => ["truncated", "idle-timeout"],
        }
    }
}

impl Stranger {
    fn new(talk: Talk) -> Self {
        Self {
            talk,
            heard: BytesMut::new(),
            lines: None,
            told: None,
            over: false,
        }
    }

    /// Takes what was heard, frame by frame or line by line.
    fn hear(&mut self, bytes: &[u8], marks: &Marks) {
        self.heard.extend_from_slice(bytes);
        let Some(&first) = self.heard.first() else { return };
        let lines = *self.lines.get_or_insert(first != 0);
        loop {
            let (start, len) = if lines {
                match self.heard.iter().position(|byte| *byte == b'\n') {
                    Some(end) => (0, end + 1),
                    None => return,
                }
            } else {
                match self.heard.first_chunk() {
                    Some(length) => (4, 4 + u32::from_be_bytes(*length) as usize),
                    None => return,
                }
            };
            if self.heard.len() < len {
                return;
            }
            let payload = &self.heard[start..len];
            let error = payload.strip_prefix(b"error ").or(payload.strip_prefix(b"\xFF"));
            if payload.starts_with(b"message ") {
                marks.hit(Mark::StrangerHolds);
            }
            if let (Some(error), None) = (error, &self.told) {
                marks.hit(Mark::StrangerTold);
                let code = error.split(|byte| *byte == b' ').next().unwrap_or_default();
                self.told = Some(String::from_utf8_lossy(code).into_owned());
            }
            self.heard.advance(len);
        }
    }

    /// What it was told is what it should be. `over` says that the server has finished.
    fn check(&self, over: bool) -> Result<(), String> {
        let expected = self.talk.is_told();
        match self.told.as_deref() {
            Some(code) if expected.contains(&code) || ANYBODY.contains(&code) => Ok(()),
            Some(code) => Err(format!(
                "a stranger who says {:?} is told {code}, should be told {}",
                self.talk, expected[0]
            )),
            None if over && !self.over => Err(format!(
                "a stranger who says {:?} is left without a word, should be told {}",
                self.talk, expected[0]
            )),
            None => Ok(()),
        }
    }
}

impl<S: System> World<'_, S> {
    /// Somebody beside a host's clients connects.
    pub(super) fn stranger_comes(&mut self, host: usize, talk: Talk) {
        self.net.marks.hit(Mark::Stranger);
        let talk = match talk {
            Talk::Web if !S::refuses_lines() => Talk::Unknown,
            talk => talk,
        };
        let index = self.net.dial(host, NO_TOKEN);
        self.net.conns[index].stranger = Some(Box::new(Stranger::new(talk)));
    }

    /// Something reaches a stranger.
    pub(super) fn stranger(&mut self, index: usize, what: What) {
        let net = &mut self.net;
        let result = match what {
            What::Answer(.., true) => {
                speak(net, index);
                Ok(())
            }
            What::Answer(..) => {
                leave(net, index);
                Ok(())
            }
            What::Arrive(..) => {
                self.input.clear();
                arrive(net, index, &mut self.input)
            }
            _ => Ok(()),
        };
        self.watch.borrow_mut().check(result);
    }

    /// All of them leave.
    pub(super) fn strangers_leave(&mut self) {
        let net = &mut self.net;
        let here = |(index, conn): (usize, &super::conn::Conn)| conn.stranger.is_some().then_some(index);
        for index in net.conns.iter().filter_map(here).collect::<Vec<_>>() {
            let conn = &mut net.conns[index];
            let silent = conn.dead || conn.ends[Side::Server as usize].id.is_none();
            if let Some(stranger) = &mut conn.stranger {
                stranger.over = true;
            }
            let finished = conn.ends[Side::Client as usize].fin_sent;
            if silent {
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
    let Some(stranger) = net.conns[index].stranger.as_deref().filter(|stranger| !stranger.over) else {
        net.reset(index, Side::Client);
        leave(net, index);
        return;
    };
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

fn arrive(net: &mut Net, index: usize, input: &mut BytesMut) -> Result<(), String> {
    let Some(arrival) = net.arrive(index, Side::Server, input) else {
        return Ok(());
    };
    let conn = &mut net.conns[index];
    let serial = conn.serial;
    let crashed = conn.ends[Side::Server as usize].crashed;
    if std::mem::take(&mut conn.ends[Side::Server as usize].blocked) {
        net.at(net.now, What::Writable(index as u32, serial, true));
    }
    let conn = &mut net.conns[index];
    let Some(stranger) = conn.stranger.as_deref_mut().filter(|_| conn.attempted) else {
        if arrival == Arrival::Data {
            net.reset(index, Side::Client);
        }
        net.forget_if_over(index);
        return Ok(());
    };
    match arrival {
        Arrival::Data => {
            stranger.hear(input, &net.marks);
            stranger.check(false)
        }
        Arrival::Fin => {
            let result = stranger.check(!crashed);
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

/// Nothing is heard or said any more.
fn leave(net: &mut Net, index: usize) {
    net.conns[index].attempted = false;
    net.forget_if_over(index);
}
