//! What a host's sockets see, held against the rules of connections.

use echosphere_core::wire::Codec;
use echosphere_core::{CloseReason, ConnId, Time};

use super::Host;
use crate::direct::net::{Arrival, MILLISECOND, Net};
use crate::observe::Observable;

impl<M: Observable, C: Codec<Message = M::Message> + Clone> Host<M, C> {
    fn check(&mut self, result: Result<(), String>) {
        if let Err(rule) = result {
            self.broken.get_or_insert(rule);
        }
    }

    /// Checks what the machine was told of connections that have ended. `after` is what has just come on one of them,
    /// and whether the machine knew it.
    pub(super) fn check_ended(&mut self, net: &Net, now: Time, after: Option<(ConnId, bool, Arrival)>) {
        let ended = self.told.borrow_mut().take_ended();
        for &(id, reason) in &ended {
            let arrival = after.filter(|(on, ..)| *on == id).map(|(.., arrival)| arrival);
            let socket = self.sockets.get(id.slot as usize).and_then(Option::as_ref);
            if let Some(socket) = socket.filter(|socket| socket.id == id) {
                let lines = net.conns[socket.index].lines;
                let result = socket.spoken.check_end(now, reason, arrival, lines, &self.link);
                self.check(result);
            }
            if self.calm && reason != CloseReason::PeerClosed {
                self.check(Err(format!("{id:?} ended as {reason:?}, though nothing goes wrong")));
            }
        }
        if let Some((id, true, arrival)) = after
            && arrival != Arrival::Data
            && !ended.iter().any(|(ended, _)| *ended == id)
        {
            self.check(Err(format!(
                "{arrival:?} of {id:?} has come, and the machine was not told"
            )));
        }
    }

    /// Checks that nobody is kept waiting for a sign of life.
    pub(in crate::direct) fn check_silence(&mut self, net: &Net) {
        if self.endpoint.is_none() || self.paused_until + MILLISECOND > net.now {
            return;
        }
        let now = self.local(net.now);
        let mut result = Ok(());
        for socket in self.sockets.iter().flatten() {
            let conn = &net.conns[socket.index];
            let end = &conn.ends[self.side as usize];
            if !end.blocked && !end.fin_sent && self.told.borrow().knows(socket.id) {
                let silence = socket.spoken.check_silence(now, conn.lines, &self.link);
                result = result.and(silence.map_err(|rule| format!("{:?}: {rule}", socket.id)));
            }
        }
        self.check(result);
    }

    /// Every connection has one timer, and there are no others.
    pub(super) fn check_timers(&mut self) {
        let counts = self
            .endpoint
            .as_ref()
            .map(|endpoint| (endpoint.connections(), endpoint.timers()));
        if let Some((connections, timers)) = counts
            && connections != timers
        {
            self.check(Err(format!("{connections} connections have {timers} timers")));
        }
    }
}
