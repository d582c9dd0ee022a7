//! Rules of connections that hold for every protocol, from the sections on framing and silence of
//! `docs/PROTOCOL.md`.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use echosphere_core::connection::ConnectionConfig;
use echosphere_core::{Action, CloseReason, ConnId, Event, Time};
use smallvec::SmallVec;

use super::World;
use super::host::{Observer, Speech};
use crate::hosts::{CLIENTS, SERVER};
use crate::observe::Observable;
use crate::oracle::typed::Typing;
use crate::oracle::{Carried, System};
use crate::scenario::LATENCY_MAX;
use crate::trace::digest;
use crate::words;

/// What a check may be late by, as clocks are read at different moments.
const SLACK: Duration = Duration::from_millis(5);

/// The connections as a machine sees them.
#[derive(Debug, Default)]
pub(super) struct MachineView {
    /// The known ones, as generations by slot: opened, and neither ended nor closed by the machine.
    known: Vec<Option<u32>>,
    /// Those that have ended since this was last emptied.
    ended: SmallVec<[(ConnId, CloseReason); 2]>,
    /// Those that it finished since this was last emptied.
    finished: SmallVec<[ConnId; 2]>,
    /// The last open one whose peer has finished sending.
    peer_finished: Option<ConnId>,
    /// Messages received and sent since this was last emptied.
    pub(super) passed: Vec<Passed>,
}

/// A message that a machine received or sent.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) conn: ConnId,
    pub(super) heard: bool,
    /// What it is; `None` for what connections say by themselves.
    pub(super) digest: Option<u64>,
    /// Only on the wire in length framing.
    pub(super) by_length: bool,
    /// Its bytes on the wire, at most.
    pub(super) size: usize,
    /// If it is a part of a body: its bytes, and whether it is the last.
    pub(super) part: Option<(usize, bool)>,
}

pub(super) type SharedView = Rc<RefCell<MachineView>>;

impl MachineView {
    pub(super) fn knows(&self, id: ConnId) -> bool {
        self.known.get(id.slot as usize) == Some(&Some(id.generation))
    }

    fn learn(&mut self, id: ConnId) {
        let slot = id.slot as usize;
        self.known.resize(self.known.len().max(slot + 1), None);
        self.known[slot] = Some(id.generation);
    }

    fn forget(&mut self, id: ConnId) {
        if let Some(known) = self.known.get_mut(id.slot as usize) {
            known.take_if(|generation| *generation == id.generation);
        }
    }

    /// Why the connection has ended, if it has since this was last emptied.
    pub(super) fn end_of(&self, id: ConnId) -> Option<CloseReason> {
        let ended = self.ended.iter().find(|(of, _)| *of == id);
        ended.map(|(_, reason)| *reason)
    }

    pub(super) fn take_finished(&mut self) -> SmallVec<[ConnId; 2]> {
        std::mem::take(&mut self.finished)
    }

    pub(super) const fn last_peer_finished(&self) -> Option<ConnId> {
        self.peer_finished
    }

    pub(super) fn take_ended(&mut self) -> SmallVec<[(ConnId, CloseReason); 2]> {
        std::mem::take(&mut self.ended)
    }
}

/// Notes a machine's events in `view` before `observer` sees them.
pub(super) fn listening<M: Observable>(view: SharedView, speech: Speech<M>, mut observer: Observer<M>) -> Observer<M> {
    Box::new(move |machine, event, actions| {
        let mut noted = view.borrow_mut();
        let passed = |conn, heard, message: &M::Message| {
            let (size, carried) = (speech.size)(message);
            Passed {
                conn,
                heard,
                digest: (carried != Carried::ByConnections).then(|| digest(message)),
                by_length: carried == Carried::ByLength,
                size,
                part: (speech.part)(machine, message),
            }
        };
        match *event {
            Event::Opened(id, _) => {
                noted.learn(id);
            }
            Event::Closed(id, reason) => {
                noted.forget(id);
                noted.ended.push((id, reason));
            }
            Event::PeerFinished(id) => noted.peer_finished = Some(id),
            Event::Received(id, ref message) => noted.passed.push(passed(id, true, message)),
            _ => {}
        }
        for action in actions {
            match action {
                Action::Close(id, _) => noted.forget(*id),
                Action::Finish(id) => noted.finished.push(*id),
                Action::Send(id, message) => noted.passed.push(passed(*id, false, message)),
                _ => {}
            }
        }
        drop(noted);
        observer(machine, event, actions);
    })
}

/// Follows one direction of a connection, frame by frame.
#[derive(Default)]
pub(super) struct Frames {
    framing: Option<Framing>,
    mid_frame: bool,
    ended: bool,
}

enum Framing {
    /// With what follows them, if incomplete requests are counted.
    Lines(Option<Box<dyn Typing>>),
    /// How many bytes of the length are there, and the length so far; then how many bytes of payload are missing. And how
    /// many bytes of the frame have come.
    Length { header: usize, left: usize, come: usize },
}

impl Frames {
    /// Takes the next bytes. Says how many frames they complete; of lines, how many requests, if `typing` follows them.
    pub(super) fn take(&mut self, mut bytes: &[u8], typing: Option<fn() -> Box<dyn Typing>>) -> usize {
        let Some((&first, &last)) = bytes.first().zip(bytes.last()) else {
            return 0;
        };
        let framing = self.framing.get_or_insert_with(|| match first {
            0 => Framing::Length {
                header: 0,
                left: 0,
                come: 0,
            },
            _ => Framing::Lines(typing.map(|follow| follow())),
        });
        let (header, left, come) = match framing {
            Framing::Lines(lines) => {
                self.mid_frame = last != b'\n';
                return lines.as_mut().map_or(0, |lines| lines.take(bytes));
            }
            Framing::Length { header, left, come } => (header, left, come),
        };
        let mut whole = 0;
        while let Some(&byte) = bytes.first() {
            let mut taken = 1;
            if *header < 4 {
                *left = *left << 8 | usize::from(byte);
                *header += 1;
            } else {
                taken = bytes.len().min(*left);
                *left -= taken;
            }
            bytes = &bytes[taken..];
            *come += taken;
            if *header == 4 && *left == 0 {
                *header = 0;
                *come = 0;
                whole += 1;
            }
        }
        self.mid_frame = *header > 0;
        whole
    }

    /// Notes that no more comes: what is left of lines is one, too.
    pub(super) const fn end(&mut self) {
        self.ended = true;
    }

    pub(super) const fn is_mid_frame(&self) -> bool {
        self.mid_frame
    }

    /// Bytes that have come of a frame or request that is not whole.
    pub(super) fn unfinished(&self) -> usize {
        match &self.framing {
            Some(Framing::Lines(_)) if self.ended => 0,
            Some(Framing::Lines(lines)) => lines.as_ref().map_or(0, |lines| lines.unfinished()),
            Some(Framing::Length { come, .. }) => *come,
            None => 0,
        }
    }
}

/// When a socket last received and sent something, by its host's clock.
pub(super) struct Spoken {
    pub(super) heard: Time,
    pub(super) said: Time,
    opened: Time,
    pub(super) frames: Frames,
    /// When the end of what the other side sends arrived, if the connection stayed open.
    pub(super) finished: Option<Time>,
    /// Since when its machine waits for the other side to close, having sent all it had.
    pub(super) finishing: Option<Time>,
}

/// How long a peer may be silent, who speaks lines or not.
const fn idle_timeout(lines: bool, link: &ConnectionConfig) -> Duration {
    if lines {
        link.idle_timeout_text
    } else {
        link.idle_timeout
    }
}

impl Spoken {
    pub(super) fn since(now: Time) -> Self {
        Self {
            heard: now,
            said: now,
            opened: now,
            frames: Frames::default(),
            finished: None,
            finishing: None,
        }
    }

    /// The connection ended for this reason, and should have for the `expected` one, if that is known. `lines` says whether
    /// its client speaks them.
    pub(super) fn check_end(
        &self,
        now: Time,
        reason: CloseReason,
        expected: Option<CloseReason>,
        lines: bool,
        link: &ConnectionConfig,
    ) -> Result<(), String> {
        if expected.is_some_and(|expected| expected != reason) {
            return Err(format!(
                "a connection ended ({}), should have ended ({})",
                words::why(reason),
                words::or_none(expected.map(words::why))
            ));
        }
        let idle = idle_timeout(lines, link);
        let silence = now.since(self.heard);
        if reason == CloseReason::IdleTimeout && self.finished.is_some() {
            return Err("closed as idle, though its peer has finished sending".to_owned());
        }
        if reason == CloseReason::IdleTimeout && silence < idle {
            return Err(format!(
                "closed as idle, {silence:?} after its peer last sent something"
            ));
        }
        let waited = self.finishing.map(|since| now.since(since));
        if reason == CloseReason::TimedOut && waited.is_none_or(|waited| waited < link.idle_timeout) {
            return Err(format!("the peer's end was awaited for {waited:?} only"));
        }
        Ok(())
    }

    /// None of the time-outs that the checks below are about can be over.
    pub(super) fn is_fresh(&self, now: Time, met: bool, link: &ConnectionConfig) -> bool {
        let begun = met || now.since(self.opened) <= link.handshake_timeout;
        let idle = link.idle_timeout.min(link.idle_timeout_text);
        begun
            && self.finishing.is_none()
            && now.since(self.heard) <= idle
            && now.since(self.said) <= link.keepalive_interval
    }

    /// Whether the peer may break the connection off though nothing goes wrong: it has sent FIN, and its linger time is over
    /// while this side still sends (PROTOCOL.md, The end). FIN may take longer than the reset.
    pub(super) fn may_be_broken_off(&self, now: Time, link: &ConnectionConfig) -> bool {
        self.finished
            .is_some_and(|finished| now.since(finished) + LATENCY_MAX >= link.linger)
    }

    /// Checks that a connection is not kept beyond its idle or handshake time-out. `met`: its machine has known it.
    pub(super) fn check_kept(&self, now: Time, lines: bool, met: bool, link: &ConnectionConfig) -> Result<(), String> {
        let idle = idle_timeout(lines, link);
        let (silence, age) = (now.since(self.heard), now.since(self.opened));
        if met && self.finished.is_none() && silence > idle + SLACK {
            return Err(format!(
                "not closed as idle, {silence:?} after its peer last sent something"
            ));
        }
        if !met && age > link.handshake_timeout + SLACK {
            return Err(format!(
                "not closed, though its peer has sent no whole frame in {age:?}"
            ));
        }
        Ok(())
    }

    /// A machine waits for the other side to close, having sent all it had.
    pub(super) fn check_finishing(&self, now: Time, fin_sent: bool, link: &ConnectionConfig) -> Result<(), String> {
        let Some(waits) = self.finishing.map(|since| now.since(since)) else {
            return Ok(());
        };
        if waits > link.idle_timeout + SLACK {
            return Err(format!("not closed, though its peer has not closed in {waits:?}"));
        }
        if !fin_sent && waits > SLACK {
            return Err(format!("no end of stream was sent in {waits:?}"));
        }
        Ok(())
    }

    /// A machine knows the connection, and nothing waits to be written to it.
    pub(super) fn check_silence(&self, now: Time, lines: bool, link: &ConnectionConfig) -> Result<(), String> {
        let silence = now.since(self.said);
        if !lines && silence > link.keepalive_interval + SLACK {
            return Err(format!("nothing was sent for {silence:?}, not even a keepalive"));
        }
        Ok(())
    }
}

/// What waits to be written to a socket.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    /// Bytes that were left when it was last written to.
    pub(super) left: usize,
    /// Bytes that its machine sent since, at most.
    pub(super) more: usize,
    /// Since when more was left than may be for long.
    pub(super) long_since: Option<Time>,
}

impl Backlog {
    /// Notes the bytes that are left after writing.
    pub(super) fn wrote(&mut self, now: Time, left: usize, known: bool, link: &ConnectionConfig) -> Result<(), String> {
        self.left = left;
        self.more = 0;
        if left <= link.max_backlog {
            self.long_since = None;
        } else {
            self.long_since.get_or_insert(now);
        }
        if known && left > link.max_outbox {
            return Err(format!("{left} bytes wait to be written, which is over the bound"));
        }
        Ok(())
    }

    /// The host has just been kept from running, and looks at its time-outs. What is over for long begins again, since nothing could
    /// be written. Returns whether it does.
    pub(super) fn resumed(&mut self, now: Time, link: &ConnectionConfig) -> bool {
        let timeout = link.backlog_timeout;
        let late = |since| now.since(since) > timeout + timeout / 10;
        let again = self.long_since.is_some_and(late);
        if again {
            self.long_since = Some(now);
        }
        again
    }

    /// The connection was dropped because its peer does not read.
    pub(super) fn check_dropped(&self, now: Time, link: &ConnectionConfig) -> Result<(), String> {
        /// Keepalives, and errors that a connection sends by itself.
        const OTHERS: usize = 512;
        let at_most = self.left + self.more + OTHERS;
        let long = self
            .long_since
            .is_some_and(|since| now.since(since) + SLACK >= link.backlog_timeout);
        if long || at_most > link.max_outbox {
            return Ok(());
        }
        Err(format!(
            "dropped as a slow consumer with at most {at_most} bytes waiting; allowed are {} at any time and {} for long",
            link.max_outbox, link.max_backlog
        ))
    }

    /// It was not dropped.
    pub(super) fn check_kept(&self, now: Time, link: &ConnectionConfig) -> Result<(), String> {
        match self.long_since {
            Some(since) if now.since(since) > link.backlog_timeout + SLACK => Err(format!(
                "not dropped, though more than {} bytes have waited to be written for {:?}",
                link.max_backlog,
                now.since(since)
            )),
            _ => Ok(()),
        }
    }
}

impl<S: System> World<'_, S> {
    pub(super) fn not_at_zero(&self) -> Option<String> {
        if !self.server.is_zero() {
            return Some(format!("the server is not at zero: {}", self.server.describe()));
        }
        let client = self.clients.iter().find(|client| !client.is_zero())?;
        Some(format!(
            "client {} is not at zero: {}",
            client.number,
            client.describe()
        ))
    }

    /// A rule of connections that was broken, by whomever.
    pub(super) fn broken(&mut self) -> Result<(), String> {
        // Asked after every event.
        if self.server.broken.is_none() && self.clients.iter().all(|client| client.broken.is_none()) {
            return Ok(());
        }
        let clients = self
            .clients
            .iter_mut()
            .map(|client| (CLIENTS[client.number], &mut client.broken));
        let mut all = clients.chain([(SERVER, &mut self.server.broken)]);
        let broken = all.find_map(|(name, broken)| Some((name, broken.take()?)));
        broken.map_or(Ok(()), |(name, rule)| Err(format!("{name}: {rule}")))
    }

    pub(super) fn check_silence(&mut self) -> Result<(), String> {
        for client in &mut self.clients {
            client.check_silence(&self.net);
        }
        self.server.check_silence(&self.net);
        self.broken()
    }
}
