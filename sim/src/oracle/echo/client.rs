//! The rules of clients: each message on a connection of its own until its ok has come, each `message Y` answered at
//! most once, and a natural end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use echosphere_core::echo::{Command, Failure, Notice};
use echosphere_core::random::Backoff;
use echosphere_core::wire::ErrorCode;
use echosphere_core::{CloseReason, ConnId};

use super::Echo;
use super::words::{Did, Heard, Said, X};
use crate::marks::{Mark, Marks};

#[derive(Debug)]
pub(super) struct ClientModel {
    pub(super) retries: u64,
    pub(super) natural_closes: u64,
    marks: Marks,
    /// What each message says.
    says: Vec<X>,
    /// Those whose caller has not been told that they are acknowledged.
    open: BTreeSet<u64>,
    /// Those that a host has been asked to send, in its present life, and that it has not said are acknowledged.
    under_way: BTreeSet<(usize, u64)>,
    conns: BTreeMap<(usize, ConnId), Conn>,
    /// Hosts whose clients say more than they should.
    rude: Vec<usize>,
    backoff: Backoff,
    /// Since the run began, if the driver says.
    pub(super) now: Option<Duration>,
    /// When each attempt that is to follow one that failed may begin, by host.
    pauses: BTreeSet<(usize, Duration, u64)>,
}

#[derive(Debug, Default)]
struct Conn {
    /// What it sent, once it has.
    sent: Option<X>,
    /// What it was sent and has not answered.
    owes: Vec<X>,
}

impl ClientModel {
    pub(super) fn new(echo: &Echo, says: Vec<X>, marks: Marks) -> Self {
        Self {
            retries: 0,
            natural_closes: 0,
            marks,
            open: (0..says.len() as u64).collect(),
            says,
            under_way: BTreeSet::new(),
            conns: BTreeMap::new(),
            rude: echo.rude.clone(),
            backoff: echo.client.backoff,
            now: None,
            pauses: BTreeSet::new(),
        }
    }

    pub(super) fn restart(&mut self, host: usize) {
        self.under_way.retain(|(of, _)| *of != host);
        self.conns.retain(|(of, _), _| *of != host);
        self.pauses.retain(|(of, ..)| *of != host);
    }

    pub(super) fn is_done(&self, id: u64) -> bool {
        !self.open.contains(&id)
    }

    /// Whether a host has no message under way and no connection.
    pub(super) fn is_zero(&self, host: usize) -> bool {
        let conn = |slot, generation| ConnId { slot, generation };
        let all = (host, conn(0, 0))..=(host, conn(u32::MAX, u32::MAX));
        self.of_host(host).next().is_none() && self.conns.range(all).next().is_none()
    }

    fn of_host(&self, host: usize) -> impl Iterator<Item = u64> {
        self.under_way.range((host, 0)..(host + 1, 0)).map(|(_, id)| *id)
    }

    pub(super) fn open(&self) -> usize {
        self.open.len()
    }

    pub(super) fn first_open(&self) -> Option<u64> {
        self.open.first().copied()
    }

    pub(super) fn step(
        &mut self,
        host: usize,
        event: &Heard<'_, Command>,
        actions: &[Did<'_, Notice>],
    ) -> Result<(), String> {
        self.hear(host, event)?;
        for action in actions {
            match *action {
                Did::Send(conn, said) => self.send(host, conn, said)?,
                Did::Close(conn, reason) => self.close(host, conn, reason, event)?,
                Did::Notify(notice) => self.notify(host, notice, event)?,
                Did::AbandonDial => self.marks.hit(Mark::DialAbandoned),
                Did::Dial => self.dial(host, event)?,
            }
        }
        let retries = |action: &Did<'_, _>| matches!(action, Did::Notify(Notice::Retrying { .. }));
        if matches!(event, Heard::Closed(_)) && !actions.iter().any(retries) {
            return Err("a connection ended before its ok, and the client does not try again".into());
        }
        if let Some(id) = self.acknowledged_by(host, event) {
            return Err(format!("{id:?} got its ok and did not end"));
        }
        Ok(())
    }

    fn hear(&mut self, host: usize, event: &Heard<'_, Command>) -> Result<(), String> {
        match *event {
            Heard::Opened { id, dialled, .. } => {
                if !dialled || self.conns.insert((host, id), Conn::default()).is_some() {
                    return Err(format!("{id:?} opened twice, or not by a dial"));
                }
            }
            Heard::Received(id, said) => {
                let conn = self.conn(host, id)?;
                match said {
                    Said::Message(y) => conn.owes.push(y),
                    Said::Ok(_) => {}
                    Said::Error(ErrorCode::NotHeld) => {
                        if !self.rude.contains(&host) {
                            return Err("a client's ok was not-held".into());
                        }
                        self.marks.hit(Mark::NotHeld);
                    }
                    Said::Error(_) => {}
                }
            }
            Heard::Closed(id) => {
                self.conn(host, id)?;
                self.conns.remove(&(host, id));
            }
            Heard::Command(&Command::Send { id, .. }) => {
                if !self.open.contains(&id) || !self.under_way.insert((host, id)) {
                    return Err(format!("message number {id} is asked for twice"));
                }
            }
            Heard::Drain | Heard::Other => {}
        }
        Ok(())
    }

    /// The connection on which the ok to its own message came with this event, if it is still open.
    fn acknowledged_by(&self, host: usize, event: &Heard<'_, Command>) -> Option<ConnId> {
        let Heard::Received(id, Said::Ok(x)) = *event else {
            return None;
        };
        let conn = self.conns.get(&(host, id))?;
        (conn.sent == Some(x)).then_some(id)
    }

    fn conn(&mut self, host: usize, id: ConnId) -> Result<&mut Conn, String> {
        let conn = self.conns.get_mut(&(host, id));
        conn.ok_or_else(|| format!("{id:?} of host {host} is not open"))
    }

    fn send(&mut self, host: usize, id: ConnId, said: Said) -> Result<(), String> {
        let is_wanted = |x| self.of_host(host).any(|id| self.says[id as usize] == x);
        match said {
            Said::Message(x) if !is_wanted(x) => Err(format!("sent X number {x}, which nobody asked for")),
            Said::Message(x) => match self.conn(host, id)?.sent.replace(x) {
                None => Ok(()),
                Some(before) if before == x && self.rude.contains(&host) => Ok(()),
                Some(_) => Err(format!("{id:?} sent two messages")),
            },
            Said::Ok(y) => {
                let rude = self.rude.contains(&host);
                let owes = &mut self.conn(host, id)?.owes;
                let Some(at) = owes.iter().position(|owed| *owed == y) else {
                    if rude {
                        return Ok(());
                    }
                    return Err(format!(
                        "{id:?} answered X number {y}, which it was not sent or has answered"
                    ));
                };
                owes.swap_remove(at);
                Ok(())
            }
            Said::Error(_) => Err("a client sent an error".into()),
        }
    }

    fn close(
        &mut self,
        host: usize,
        id: ConnId,
        reason: CloseReason,
        event: &Heard<'_, Command>,
    ) -> Result<(), String> {
        let natural = self.acknowledged_by(host, event) == Some(id);
        if natural != (reason == CloseReason::Finished) {
            return Err(format!("{id:?} closed as {reason:?}, having got its ok: {natural}"));
        }
        self.natural_closes += u64::from(natural);
        self.conn(host, id)?;
        self.conns.remove(&(host, id));
        Ok(())
    }

    fn notify(&mut self, host: usize, notice: &Notice, event: &Heard<'_, Command>) -> Result<(), String> {
        match notice {
            Notice::Acknowledged { id, .. } => {
                // That this connection had sent X, and has ended by its ok, was checked when it closed.
                match *event {
                    Heard::Received(_, Said::Ok(x)) if self.says[*id as usize] == x => {}
                    _ => return Err(format!("message number {id} acknowledged without its ok")),
                }
                if !self.under_way.remove(&(host, *id)) {
                    return Err(format!("message number {id} acknowledged twice"));
                }
            }
            Notice::Retrying { id, failure, after } => {
                self.retries += 1;
                if *after > self.backoff.max || *after < self.backoff.first / 2 {
                    return Err(format!("message number {id} pauses for {after:?}"));
                }
                // A clock that goes too fast makes it shorter.
                let until = self.now.unwrap_or_default() + after.mul_f64(0.9);
                self.pauses.insert((host, until, *id));
                if *failure == Failure::TimedOut {
                    self.marks.hit(Mark::ResponseTimeout);
                }
            }
            Notice::GaveUp { .. } => return Err(format!("{notice:?}, though it should never")),
        }
        Ok(())
    }

    /// An attempt begins because it is asked for, or because the pause after another is over.
    fn dial(&mut self, host: usize, event: &Heard<'_, Command>) -> Result<(), String> {
        if matches!(event, Heard::Command(_)) {
            return Ok(());
        }
        let of_host = (host, Duration::ZERO, 0)..(host + 1, Duration::ZERO, 0);
        let Some(&first) = self.pauses.range(of_host).next() else {
            return Err("an attempt that nobody waits for".into());
        };
        self.pauses.remove(&first);
        match self.now {
            Some(now) if now < first.1 => Err(format!("an attempt {:?} too early", first.1 - now)),
            _ => Ok(()),
        }
    }

    /// The caller was told by the driver.
    pub(super) fn told(&mut self, host: usize, notice: &Notice) -> Result<(), String> {
        let Notice::Acknowledged { id, .. } = notice else {
            return Ok(());
        };
        if self.under_way.contains(&(host, *id)) || !self.open.remove(id) {
            return Err(format!(
                "the caller was told of message number {id} twice, or before its time"
            ));
        }
        Ok(())
    }

    pub(super) fn ends(&self) -> Result<(), String> {
        if self.conns.is_empty() && self.under_way.is_empty() && self.natural_closes == self.says.len() as u64 {
            Ok(())
        } else {
            let (conns, under_way, closes) = (&self.conns, &self.under_way, self.natural_closes);
            Err(format!(
                "left at the clients: {conns:?}, {under_way:?}; natural closes: {closes}"
            ))
        }
    }
}
