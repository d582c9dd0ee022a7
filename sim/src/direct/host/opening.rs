//! How a host accepts, refuses and opens connections.

use echosphere_core::wire::{Codec, ErrorCode, Outbox, WireError};
use echosphere_core::{ConnId, DialError, Principal};

use super::{Half, Host, Socket};
use crate::direct::history::EndOf;
use crate::direct::net::Net;
use crate::direct::rules::{Backlog, Spoken};
use crate::marks::Mark;
use crate::observe::Observable;
use crate::role::Role;

impl<M: Observable, C: Codec<Message = M::Message> + Clone> Host<M, C> {
    /// An attempt to connect has reached this host.
    pub(in crate::direct) fn accept(&mut self, net: &mut Net, index: usize) {
        let now = self.local(net.now);
        match self.endpoint.as_mut().map(|endpoint| endpoint.accept(now)) {
            Some(Ok(id)) => {
                self.check_accepted();
                self.open(net, index, id);
                let negotiates = net.conns[index].stranger.is_none() && net.decisions.chance(net.rates.negotiation);
                if negotiates {
                    net.negotiate(index);
                } else {
                    net.answer(index, true);
                }
            }
            Some(Err(refusal)) => self.refuse(net, index, &refusal),
            None if self.dark => {
                net.conns[index].dead = true;
                net.forget_if_over(index);
            }
            None => {
                net.answer(index, false);
            }
        }
    }

    /// The negotiation of a connection is over.
    pub(in crate::direct) fn negotiated(&mut self, net: &mut Net, index: usize) {
        let id = net.conns[index].ends[self.role as usize].id;
        let (Some(endpoint), Some(id), true) = (&mut self.endpoint, id, net.conns[index].negotiating) else {
            return;
        };
        if net.decisions.chance(net.rates.failed_negotiation) {
            net.marks.hit(Mark::FailedNegotiation);
            endpoint.negotiation_failed(id);
            return;
        }
        (net.conns[index].negotiating, net.conns[index].named) = (false, true);
        endpoint.negotiated(id, principal_of(net, index));
        net.answer(index, true);
    }

    /// The connection is known to the machine, with the principal that its own negotiation found.
    pub(super) fn check_principal(&mut self, net: &Net, index: usize, id: ConnId) {
        let found = self.endpoint.as_ref().and_then(|endpoint| endpoint.principal(id));
        let named = net.conns[index].named && self.role == Role::Server;
        let expected = named.then(|| principal_of(net, index));
        let kept = found == expected.as_ref();
        let result = kept
            .then_some(())
            .ok_or_else(|| format!("{id:?} has the principal {found:?}, should have {expected:?}"));
        self.check(result);
    }

    /// Tells a peer why it is not let in, and closes. A host that drains has mostly stopped listening.
    fn refuse(&mut self, net: &mut Net, index: usize, refusal: &WireError) {
        if refusal.code == ErrorCode::Full {
            self.check_refused();
        } else if net.decisions.chance(0.9) {
            net.answer(index, false);
            return;
        }
        if !net.answer(index, true) {
            return;
        }
        let codec = self.endpoint.as_ref().map(|endpoint| endpoint.codec().clone());
        let mut farewell = Outbox::new();
        if let Some(mut codec) = codec {
            codec.encode_error(refusal.code, &refusal.text, &mut farewell);
        }
        net.send(index, self.role, farewell.chunks(), farewell.len());
        net.finish(index, self.role);
    }

    /// The answer to an attempt to connect has reached this host.
    pub(in crate::direct) fn answered(&mut self, net: &mut Net, index: usize, yes: bool) {
        let token = net.conns[index].token;
        let now = self.local(net.now);
        let ours = self.dials.get(&token) == Some(&index);
        match &mut self.endpoint {
            Some(endpoint) if ours => {
                self.dials.remove(&token);
                net.conns[index].attempted = false;
                if yes {
                    match endpoint.dialled(now, token) {
                        Some(id) => self.open(net, index, id),
                        None => self.check(Err("an attempt that was not abandoned is unknown".to_owned())),
                    }
                } else {
                    endpoint.dial_failed(now, token, DialError::Refused);
                    net.forget_if_over(index);
                }
            }
            // The attempt was abandoned.
            _ => {
                if yes && self.dark {
                    net.die(index);
                } else if yes {
                    net.reset(index, self.role);
                }
                net.forget_if_over(index);
            }
        }
    }

    fn open(&mut self, net: &mut Net, index: usize, id: ConnId) {
        let slot = id.slot as usize;
        if slot >= self.sockets.len() {
            self.sockets.resize_with(slot + 1, || None);
        }
        let now = self.local(net.now);
        let spoken = Spoken::since(now);
        let before = self.sockets[slot].replace(Socket {
            id,
            index,
            spoken,
            backlog: Backlog::default(),
            met: self.role == Role::Client,
            used: now,
            stuck: false,
            slow: false,
            half: Half::default(),
        });
        self.open += usize::from(before.is_none());
        self.most_open = self.most_open.max(self.open);
        net.conns[index].ends[self.role as usize].id = Some(id);
        if let Some(ends) = &mut net.ends {
            ends.push(EndOf {
                conn: net.conns[index].serial,
                who: self.number,
                life: self.life,
                id,
            });
        }
    }
}

fn principal_of(net: &Net, index: usize) -> Principal {
    Principal::new(&net.conns[index].serial.to_string())
}
