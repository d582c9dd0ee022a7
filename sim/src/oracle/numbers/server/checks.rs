//! Compares a server's actions and state with the model's.

use std::collections::{BTreeMap, BTreeSet};

use echosphere_core::numbers::Message;
use echosphere_core::{Action, ConnId, Machine};

use super::{Owed, ServerModel, SimServer, Stream};
use crate::observe::ActionOf;
use crate::words;

/// Bytes of a number on the wire, at most.
const NUMBER: usize = 24;
/// The same of an error.
const ERROR: usize = 500;

impl ServerModel {
    /// Checks that what was done is what was owed.
    pub(super) fn settle(&mut self, actions: &[ActionOf<SimServer>]) -> Result<(), String> {
        let mut done: BTreeMap<ConnId, Vec<Owed>> = BTreeMap::new();
        for action in actions {
            let (conn, what) = match action {
                Action::Send(conn, Message::Number(number)) => (*conn, Owed::Number(*number)),
                Action::Send(conn, Message::Error(code, _)) => (*conn, Owed::Error(*code)),
                Action::Close(conn, reason) => (*conn, Owed::Close(*reason)),
                Action::Finish(conn) => (*conn, Owed::Finish),
                other => return Err(format!("the server does: {}", words::action(other))),
            };
            if let Some(peer) = self.peers.get_mut(&conn) {
                peer.sent += if matches!(what, Owed::Error(_)) { ERROR } else { NUMBER };
            }
            done.entry(conn).or_default().push(what);
        }
        let owed = std::mem::take(&mut self.owed);
        if done != owed {
            let conns: BTreeSet<&ConnId> = done.keys().chain(owed.keys()).collect();
            let differ = conns.into_iter().find(|conn| done.get(conn) != owed.get(conn));
            let on = |all: &BTreeMap<ConnId, Vec<Owed>>| {
                words::list(differ.and_then(|conn| all.get(conn)).into_iter().flatten())
            };
            return Err(format!(
                "the server does on {}: {}; should do: {}",
                words::conn(differ.copied()),
                on(&done),
                on(&owed)
            ));
        }
        Ok(())
    }

    pub(super) fn compare(&mut self, server: &SimServer) -> Result<(), String> {
        if self.deep {
            server.inner.audit()?;
        }
        if *server.inner.counters() != self.counters {
            let both = server.inner.counters().iter().zip(self.counters.iter());
            let wrong = both.filter(|((_, is), (_, should))| is != should);
            let wrong = wrong.map(|((name, is), (_, should))| format!("{name} is {is}, should be {should}"));
            return Err(format!("the server's counters are wrong: {}", words::list(wrong)));
        }
        let streams = self.peers.values_mut().filter_map(|peer| peer.stream.as_mut());
        let sessions = self.sessions.values().filter_map(|session| session.held.err());
        let due = streams.filter_map(Stream::due).map(|due| *due);
        let next = due.chain(sessions).min();
        if server.next_deadline() != next {
            let is = server.next_deadline();
            return Err(format!(
                "the server's next deadline is {}, should be {}",
                words::moment(is),
                words::moment(next)
            ));
        }
        if server.inner.sessions() != self.sessions.len() {
            let (is, should) = (server.inner.sessions(), self.sessions.len());
            return Err(format!("{is} sessions are kept, should be {should}"));
        }
        let zero = self.peers.is_empty() && self.sessions.is_empty();
        if server.is_zero() != zero {
            let not = if zero { " not" } else { "" };
            return Err(format!("the server wrongly reports that it is{not} at zero"));
        }
        Ok(())
    }

    pub(in crate::oracle::numbers) fn ends(&self) -> Result<(), String> {
        match (self.peers.keys().next(), self.sessions.keys().next()) {
            (None, None) => Ok(()),
            (conn, session) => Err(format!(
                "the run is over, and the server still has connection {} and session {}",
                words::or_none(conn.map(|conn| format!("{conn:?}"))),
                words::or_none(session)
            )),
        }
    }
}
