//! Checks a host's sockets against the rules of connections.

use echosphere_core::wire::{Codec, ErrorCode, Framing};
use echosphere_core::{CloseReason, ConnId, Time};

use super::{Host, Socket};
use crate::direct::conn::Arrival;
use crate::direct::net::{MILLISECOND, Nanos, Net};
use crate::direct::rules::SharedView;
use crate::marks::Mark;
use crate::observe::Observable;
use crate::oracle::silence::HOUR;
use crate::role::Role;
use crate::words;

impl<M: Observable, C: Codec<Message = M::Message> + Clone> Host<M, C> {
    pub(super) fn check(&mut self, result: Result<(), String>) {
        if let Err(rule) = result
            && self.broken.is_none()
        {
            self.broken = Some(self.whose().names_in(&rule));
        }
    }

    /// Checks the ends of connections that the machine received. `after` is what has just come on one of them,
    /// and whether the machine knew it.
    pub(super) fn check_ended(&mut self, net: &Net, now: Time, after: Option<(ConnId, bool, Arrival)>) {
        let ended = self.view.borrow_mut().take_ended();
        if ended.is_empty() && after.is_none_or(|(.., arrival)| arrival == Arrival::Data) {
            return;
        }
        for &(id, reason) in &ended {
            let arrival = after.filter(|(on, ..)| *on == id).map(|(.., arrival)| arrival);
            let socket = self.sockets.get(id.slot as usize).and_then(Option::as_ref);
            let socket = socket.filter(|socket| socket.id == id);
            // Who speaks lines sends no keepalives, and is sent none.
            let lines = socket.is_some_and(|socket| net.conns[socket.index].lines);
            let expectable = match reason {
                CloseReason::PeerClosed | CloseReason::Finished => true,
                CloseReason::IdleTimeout => lines,
                CloseReason::Reset => socket.is_some_and(|socket| socket.spoken.may_be_broken_off(now, &self.link)),
                _ => false,
            };
            if let Some(socket) = socket {
                let expected = match arrival {
                    Some(Arrival::Fin) if lines && self.bodies_of_lines => {
                        // Where such a body ends is not seen here.
                        (self.role == Role::Server).then_some(CloseReason::PeerClosed)
                    }
                    Some(Arrival::Fin) if socket.spoken.frames.is_mid_frame() => {
                        Some(CloseReason::Malformed(ErrorCode::Truncated))
                    }
                    Some(Arrival::Fin) => Some(CloseReason::PeerClosed),
                    Some(Arrival::Reset) => Some(CloseReason::Reset),
                    Some(Arrival::Data) | None => None,
                };
                let mut result = socket.spoken.check_end(now, reason, expected, lines, &self.link);
                let by_peer = [CloseReason::PeerClosed, CloseReason::Reset].contains(&reason);
                if by_peer && arrival.is_none_or(|arrival| arrival == Arrival::Data) {
                    result = result.and(Err(format!(
                        "{id:?} ended ({}), and its peer sent nothing of the kind",
                        words::why(reason)
                    )));
                }
                if let (Role::Client, CloseReason::Malformed(code)) = (self.role, reason)
                    && code != ErrorCode::Truncated
                {
                    result = result.and(Err(format!("{id:?} was sent bytes that cannot be decoded: {code}")));
                }
                if reason == CloseReason::Malformed(ErrorCode::Truncated) {
                    net.marks.hit(Mark::Truncated);
                }
                if reason == CloseReason::PartialLimit && !socket.half.refused {
                    let other = "closed for its half-received message, which is within the bound or not the largest";
                    result = result.and(Err(other.to_owned()));
                }
                if reason == CloseReason::SlowConsumer {
                    result = result.and(socket.backlog.check_dropped(now, &self.link));
                }
                self.check(result);
                if let Some(socket) = self.sockets.get_mut(id.slot as usize).and_then(Option::as_mut) {
                    socket.slow = reason == CloseReason::SlowConsumer;
                }
            }
            if self.calm && !expectable {
                self.check(Err(format!(
                    "{id:?} ended ({}) in a run without faults",
                    words::why(reason)
                )));
            }
        }
        // A connection may go on whose peer has finished sending, and the machine is told that too. What its caller reads
        // in the same step may then end it.
        let finished = self.view.borrow().last_peer_finished();
        if let Some((id, true, arrival)) = after
            && arrival != Arrival::Data
            && !(arrival == Arrival::Fin && finished == Some(id))
            && !ended.iter().any(|(ended, _)| *ended == id)
        {
            self.check(Err(format!(
                "the {} of {id:?} arrived, and the machine did not receive it",
                if arrival == Arrival::Fin { "end" } else { "reset" }
            )));
        }
    }

    /// Notes which connections the machine has finished.
    pub(super) fn note_finished(&mut self, net: &Net) {
        let finished = self.view.borrow_mut().take_finished();
        for id in finished {
            let now = self.local(net.now);
            let socket = self.sockets.get_mut(id.slot as usize).and_then(Option::as_mut);
            if let Some(socket) = socket.filter(|socket| socket.id == id) {
                socket.spoken.finishing = Some(now);
            }
        }
    }

    /// Whether whatever it dials is spoken to in lines.
    fn types(&self) -> bool {
        let codec = self.endpoint.as_ref().map(|endpoint| endpoint.codec());
        codec.and_then(Codec::framing) == Some(Framing::Lines)
    }

    /// Checks that the machine receives all that the other side's machine sent, in order; and
    /// notes what it sent itself.
    pub(super) fn check_order(&mut self, net: &mut Net) {
        if self.view.borrow().passed.is_empty() {
            return;
        }
        let (view, types) = (SharedView::clone(&self.view), self.types());
        let now = self.local(net.now);
        for passed in view.borrow_mut().passed.drain(..) {
            let socket = self.sockets.get_mut(passed.conn.slot as usize).and_then(Option::as_mut);
            let Some(socket) = socket.filter(|socket| socket.id == passed.conn) else {
                continue;
            };
            if now.since(std::mem::replace(&mut socket.used, now)) >= HOUR {
                net.marks.hit(Mark::SilentForAnHour);
            }
            let conn = &mut net.conns[socket.index];
            if passed.by_length && (conn.lines || types) {
                continue;
            }
            // A server may take what is left of a line for one that is whole, when its sender has crashed.
            let crashed = conn.ends[self.role as usize].fin_heard && conn.ends[self.role.other() as usize].crashed;
            let cut = crashed && conn.lines && self.bodies_of_lines && self.role == Role::Server;
            if let (true, Some((bytes, last))) = (passed.heard, passed.part) {
                socket.half.take_part(bytes, last);
            }
            let pipes = &mut conn.pipes;
            if !passed.heard {
                socket.backlog.more += passed.size;
                pipes[self.role as usize].said.extend(passed.digest);
            } else if passed.digest.is_some()
                && pipes[self.role.other() as usize].said.pop_front() != passed.digest
                && !cut
            {
                self.check(Err(format!(
                    "{:?}: the machine did not receive the message that was sent next",
                    passed.conn
                )));
            }
        }
    }

    /// A socket is let go of. That breaks its connection off, unless it had finished, or its peer has broken it off; it may, if what
    /// was to be written before the end could not be.
    pub(super) fn check_released(&mut self, net: &Net, socket: &Socket) {
        let finished = net.conns[socket.index].ends[self.role as usize].fin_sent;
        if !finished && !socket.stuck && !socket.slow {
            self.check(Err(format!("{:?} was reset instead of closed cleanly", socket.id)));
        }
    }

    /// A connection is let in.
    pub(super) fn check_accepted(&mut self) {
        let held = self.open;
        if held >= self.link.max_connections {
            self.check(Err(format!(
                "a connection was accepted beside {held} others, which is too many"
            )));
        }
    }

    /// A connection is not let in because there are enough.
    pub(super) fn check_refused(&mut self) {
        let held = self.open;
        if held < self.link.max_connections {
            self.check(Err(format!(
                "a connection was refused as one too many beside only {held} others"
            )));
        }
    }

    /// The connection was written to.
    pub(super) fn check_backlog(&mut self, net: &Net, id: ConnId) {
        let now = self.local(net.now);
        let socket = self.sockets.get_mut(id.slot as usize).and_then(Option::as_mut);
        let outbox = self.endpoint.as_ref().and_then(|endpoint| endpoint.outbox(id));
        if let (Some(socket), Some(outbox)) = (socket.filter(|socket| socket.id == id), outbox) {
            let known = self.view.borrow().knows(id);
            let result = socket.backlog.wrote(now, outbox.len(), known, &self.link);
            self.check(result);
        }
    }

    /// The end of the stream has arrived: the machine must have received everything before it.
    pub(super) fn check_all_heard(&mut self, net: &Net, index: usize) {
        let from = self.role.other() as usize;
        let conn = &net.conns[index];
        let left = conn.pipes[from].said.len();
        if left > 0 && !conn.ends[from].crashed {
            self.check(Err(format!(
                "a connection closed cleanly, and {left} messages that were sent on it were not received"
            )));
        }
    }

    /// Checks silences: keepalives are sent, and time-outs end them.
    pub(in crate::direct) fn check_silence(&mut self, net: &Net) {
        if self.endpoint.is_none() || self.paused_until + MILLISECOND > net.now {
            return;
        }
        let now = self.local(net.now);
        let (mut result, types) = (Ok(()), self.types());
        for socket in self.sockets.iter().flatten() {
            if socket.is_fresh(now, &self.link) {
                continue;
            }
            let conn = &net.conns[socket.index];
            let end = &conn.ends[self.role as usize];
            let lines = conn.lines || types;
            if self.view.borrow().knows(socket.id) {
                result = result.and(socket.backlog.check_kept(now, &self.link));
                let fin_sent = end.fin_sent || end.blocked || socket.stuck;
                let finishing = socket.spoken.check_finishing(now, fin_sent, &self.link);
                result = result.and(finishing.map_err(|rule| format!("{:?}: {rule}", socket.id)));
            }
            if !end.fin_sent && !socket.stuck {
                let kept = socket.spoken.check_kept(now, lines, socket.met, &self.link);
                result = result.and(kept.map_err(|rule| format!("{:?}: {rule}", socket.id)));
            }
            if !end.blocked && !end.fin_sent && self.view.borrow().knows(socket.id) {
                let silence = socket.spoken.check_silence(now, lines, &self.link);
                result = result.and(silence.map_err(|rule| format!("{:?}: {rule}", socket.id)));
            }
        }
        self.check(result);
    }

    /// The timer rings. What is due is done when it has rung, so it does not ring again and again.
    pub(super) fn check_wakes(&mut self, now: Nanos) {
        /// Far more than there are connections that could have a time-out of their own within a millisecond.
        const WAKES: u32 = 100_000;
        let (millisecond, count) = &mut self.wakes;
        if *millisecond != now / MILLISECOND {
            (*millisecond, *count) = (now / MILLISECOND, 0);
        }
        *count += 1;
        if *count > WAKES {
            self.check(Err("its timer fires again and again without effect".to_owned()));
        }
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
