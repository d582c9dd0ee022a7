//! Checks half-received messages against section "Half-received messages" of `docs/PROTOCOL.md`.

use std::cmp::Reverse;

use echosphere_core::wire::Codec;
use echosphere_core::{CloseReason, ConnId, Time};

use super::{Host, Socket};
use crate::direct::net::Net;
use crate::marks::Mark;
use crate::observe::Observable;
use crate::oracle::partial::rounded;
use crate::role::Role;
use crate::scenario::LINK;

/// What one connection has received of a message that is not whole.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// Bytes of a body's parts, of which the last has not come.
    parts: usize,
    /// When the frame began that is not whole, or the latest one was.
    since: Time,
    /// What it counts with; nothing once its connection is closing.
    counted: usize,
    /// Its connection had to be sent `busy`.
    pub(super) refused: bool,
}

impl Half {
    pub(super) const fn take_part(&mut self, bytes: usize, last: bool) {
        self.parts = if last { 0 } else { self.parts + bytes };
    }
}

impl<M: Observable, C: Codec<Message = M::Message> + Clone> Host<M, C> {
    /// Whether the bound can be met in this run. In others nothing is compared, for speed.
    pub(super) fn is_bounded(&self) -> bool {
        self.role == Role::Server && self.link.max_partial_bytes < LINK.max_partial_bytes
    }

    fn socket(&self, id: ConnId) -> Option<&Socket> {
        let socket = self.sockets.get(id.slot as usize)?.as_ref();
        socket.filter(|socket| socket.id == id)
    }

    fn half(&mut self, id: ConnId) -> Option<&mut Half> {
        let socket = self.sockets.get_mut(id.slot as usize)?.as_mut();
        socket.filter(|socket| socket.id == id).map(|socket| &mut socket.half)
    }

    /// Whether the connection is not closing: its machine knows it, or it has not begun and is sent nothing.
    fn goes_on(&self, net: &Net, socket: &Socket) -> bool {
        let outbox = self.endpoint.as_ref().and_then(|endpoint| endpoint.outbox(socket.id));
        let silent = outbox.is_some_and(|outbox| outbox.is_empty());
        let finished = net.conns[socket.index].ends[self.role as usize].fin_sent;
        self.view.borrow().knows(socket.id) || !socket.met && silent && !finished
    }

    /// The connections that have just been refused for their half-received messages.
    fn take_refused(&mut self) -> Vec<ConnId> {
        let total = self
            .endpoint
            .as_ref()
            .map_or(0, |endpoint| endpoint.counters().refused_partial);
        if total == std::mem::replace(&mut self.refused, total) {
            return Vec::new();
        }
        let view = self.view.borrow();
        let sockets = self.halves.iter().filter_map(|id| self.socket(*id));
        let refused = sockets.filter(|socket| match view.end_of(socket.id) {
            Some(reason) => reason == CloseReason::PartialLimit,
            // A connection that has not begun is sent nothing but the last error.
            None => !socket.met && !view.knows(socket.id) && self.says_busy(socket),
        });
        refused.map(|socket| socket.id).collect()
    }

    fn says_busy(&self, socket: &Socket) -> bool {
        let outbox = self.endpoint.as_ref().and_then(|endpoint| endpoint.outbox(socket.id));
        let words = outbox.map(|outbox| outbox.chunks().collect::<Vec<_>>().concat());
        words.is_some_and(|words| words.windows(5).any(|five| five == b"busy "))
    }

    /// Notes what a connection counts with, on which something has just come that completes a message or not.
    fn count(&mut self, now: Time, id: ConnId, whole: bool) {
        let Some(socket) = self.socket(id) else {
            return;
        };
        let counted = rounded(socket.spoken.frames.unfinished()) + rounded(socket.half.parts);
        let Some(half) = self.half(id) else {
            return;
        };
        let before = std::mem::replace(&mut half.counted, counted);
        if whole || before == 0 {
            half.since = now;
        }
        if before == 0 && counted > 0 {
            self.halves.push(id);
        }
    }

    /// Something has come on this connection, which completes a message or not. If all half-received ones hold too much
    /// now, the largest have been refused, and no others.
    pub(super) fn check_partial(&mut self, net: &Net, now: Time, id: ConnId, whole: bool) {
        if !self.is_bounded() {
            return;
        }
        self.count(now, id, whole);
        let mut refused = self.take_refused();
        let mut held = Vec::new();
        for of in &self.halves {
            let Some(socket) = self.socket(*of).filter(|socket| socket.half.counted > 0) else {
                continue;
            };
            if refused.contains(of) || self.goes_on(net, socket) {
                held.push((socket.half.counted, Reverse(socket.half.since), *of));
            } else if *of != id && !refused.is_empty() {
                // It was closed because another was, or before that; which, is not seen here.
                for id in refused {
                    self.half(id).into_iter().for_each(|half| half.refused = true);
                }
                return;
            }
        }
        let bound = self.link.max_partial_bytes;
        let mut total: usize = held.iter().map(|(counted, ..)| counted).sum();
        while total > bound {
            // Of those that began at the same moment, any may be refused.
            let is_refused = |id| refused.contains(&id);
            let largest = held
                .iter()
                .max_by_key(|(counted, since, id)| (*counted, *since, is_refused(*id)));
            let Some(&(counted, _, id)) = largest else {
                return;
            };
            if !is_refused(id) {
                self.check(Err(format!(
                    "half-received messages hold {total} bytes, which is more than {bound}, and the largest, of {counted} bytes \
                     on {id:?}, is not refused"
                )));
                return;
            }
            net.marks.hit(Mark::PartialRefused);
            held.retain(|(.., other)| *other != id);
            refused.retain(|other| *other != id);
            if let Some(half) = self.half(id) {
                half.refused = true;
            }
            total -= counted;
        }
        if let Some(id) = refused.first() {
            self.check(Err(format!(
                "{id:?} is sent busy for its half-received message, though the others hold {total} bytes of the {bound} allowed"
            )));
        }
    }

    /// What half-received messages hold is within the bound, and what the connections that go on have received.
    pub(super) fn check_partials(&mut self, net: &Net) {
        if !self.is_bounded() {
            return;
        }
        let mut expected = 0;
        let mut halves = std::mem::take(&mut self.halves);
        halves.retain(|id| {
            let goes_on = self.socket(*id).is_some_and(|socket| self.goes_on(net, socket));
            let Some(half) = self.half(*id) else {
                return false;
            };
            if !goes_on {
                half.counted = 0;
            }
            expected += half.counted;
            half.counted > 0
        });
        self.halves = halves;
        let held = self.endpoint.as_ref().map_or(0, |endpoint| endpoint.partial_bytes());
        let bound = self.link.max_partial_bytes;
        if held > bound {
            self.check(Err(format!(
                "half-received messages hold {held} bytes, which is more than {bound}"
            )));
        }
        if held != expected {
            self.check(Err(format!(
                "half-received messages are counted with {held} bytes, should be {expected}"
            )));
        }
    }
}
