//! Strangers on modelled connections: peers that speak no protocol.

use std::time::Duration;

use echosphere_core::DialToken;

use super::World;
use super::conn::{Arrival, Conn};
use super::net::{Nanos, Net, Scheduled};
use crate::marks::Mark;
use crate::oracle::System;
use crate::role::Role;
use crate::strangers::{Stranger, StrangerKind};

/// Clients count their dials from 0 and never reach this.
const NO_TOKEN: DialToken = DialToken(u64::MAX);

/// A connection that one of them makes.
#[derive(Debug)]
pub(super) struct Visit {
    stranger: Stranger,
    /// When it began to connect.
    since: Nanos,
    /// It is connected, and has sent everything.
    spoke: bool,
    /// The server had not read all that the stranger sent when it finished.
    unread: bool,
    /// It has left, or is about to.
    over: bool,
}

impl Visit {
    /// The server finishes. `all_read` says that no byte is under way to it, `end_read` that it has read the end of the stream.
    pub(super) fn finished(&mut self, all_read: bool, end_read: bool) {
        self.unread = !(self.spoke && all_read && (end_read || !self.stranger.ends()));
    }
}

impl<S: System> World<'_, S> {
    /// A stranger connects from a host of clients.
    pub(super) fn stranger_comes(&mut self, host: usize, kind: StrangerKind) {
        self.net.marks.hit(Mark::Stranger);
        let index = self.net.dial(host, NO_TOKEN);
        self.net.conns[index].stranger = Some(Box::new(Visit {
            stranger: Stranger::new::<S>(kind, &self.system.link(self.case.link())),
            since: self.net.now,
            spoke: false,
            unread: false,
            over: false,
        }));
    }

    /// Something reaches a stranger.
    pub(super) fn stranger(&mut self, index: usize, what: Scheduled) {
        match what {
            Scheduled::Answer(.., true) => speak(&mut self.net, index),
            Scheduled::Answer(..) => leave(&mut self.net, index),
            Scheduled::Arrive(..) => {
                let result = self.stranger_hears(index);
                self.watch.borrow_mut().check(self.server.whose(), result);
            }
            _ => {}
        }
    }

    fn stranger_hears(&mut self, index: usize) -> Result<(), String> {
        self.input.clear();
        let net = &mut self.net;
        let Some(arrival) = net.arrive(index, Role::Server, &mut self.input) else {
            return Ok(());
        };
        net.unblock(index, Role::Server);
        let conn = &mut net.conns[index];
        let crashed = conn.ends[Role::Server as usize].crashed;
        let Some(visit) = conn.stranger.as_deref_mut().filter(|_| conn.attempted) else {
            if arrival == Arrival::Data {
                net.reset(index, Role::Client);
            }
            net.forget_if_over(index);
            return Ok(());
        };
        match arrival {
            Arrival::Data => {
                let age = Duration::from_nanos(net.now - visit.since);
                let patience = self.system.link(self.case.link()).handshake_timeout;
                if let Some(note) = visit.stranger.hear(&self.input, age, patience, &net.marks)? {
                    self.note(&note, None);
                }
                Ok(())
            }
            Arrival::Fin => {
                let result = if crashed || visit.over {
                    Ok(())
                } else {
                    visit.stranger.check(visit.unread)
                };
                conn.ends[Role::Client as usize].fin_heard = true;
                if !conn.ends[Role::Client as usize].fin_sent {
                    net.finish(index, Role::Client);
                }
                leave(net, index);
                result
            }
            Arrival::Reset => {
                conn.ends[Role::Client as usize].fin_sent = true;
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
            let alone = conn.dead || conn.ends[Role::Server as usize].id.is_none();
            let finished = conn.ends[Role::Client as usize].fin_sent;
            if let Some(visit) = &mut conn.stranger {
                visit.over = true;
            }
            if alone {
                leave(net, index);
            } else if !finished {
                if net.decisions.chance(0.5) {
                    net.finish(index, Role::Client);
                } else {
                    net.reset(index, Role::Client);
                    leave(net, index);
                }
            }
        }
    }
}

/// The connection is open: sends everything there is to send.
fn speak(net: &mut Net, index: usize) {
    let visit = net.conns[index].stranger.as_deref_mut();
    let Some(visit) = visit.filter(|visit| !visit.over) else {
        net.reset(index, Role::Client);
        leave(net, index);
        return;
    };
    visit.spoke = true;
    let ends = visit.stranger.ends();
    let mut left = visit.stranger.says();
    while !left.is_empty() {
        let mut len = left.len();
        if net.decisions.chance(net.rates.split) {
            len = 1 + net.decisions.below(len as u64) as usize;
        }
        let (now, later) = left.split_at(len);
        net.send(index, Role::Client, [now].into_iter(), len);
        left = later;
    }
    if ends {
        net.finish(index, Role::Client);
    }
}

/// Nothing is sent or received any more.
fn leave(net: &mut Net, index: usize) {
    net.conns[index].attempted = false;
    net.forget_if_over(index);
}
