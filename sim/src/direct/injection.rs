//! Begins and ends the faults of a case.

use std::time::Duration;

use super::World;
use super::case::{Fault, Rates, nanos};
use super::history::Turn;
use super::net::Scheduled;
use crate::marks::Mark;
use crate::oracle::{Oracle, System};
use crate::role::Role;

impl<S: System> World<'_, S> {
    /// Begins a fault, and plans its end.
    pub(super) fn begin(&mut self, at: usize) {
        let (_, fault) = self.case.faults[at];
        self.note(&self.words(fault), Some((Turn::Begins(at), fault)));
        let now = self.net.now;
        let lasts = match fault {
            Fault::Slow(host, extra, lasts) => {
                self.hit(Mark::LatencySpike);
                self.net.links[host].extra += nanos(extra);
                lasts
            }
            Fault::Clog(host, lasts) => {
                self.hit(Mark::Hold);
                self.hold(host, &Role::BOTH);
                lasts
            }
            Fault::Partition(host, lasts) => {
                self.hit(Mark::Partition);
                self.cut(host, &Role::BOTH);
                lasts
            }
            Fault::PartitionToServer(host, lasts) => {
                self.hit(Mark::PartitionToServer);
                self.cut(host, &[Role::Client]);
                lasts
            }
            Fault::PartitionToClient(host, lasts) => {
                self.hit(Mark::PartitionToClient);
                self.cut(host, &[Role::Server]);
                lasts
            }
            Fault::Reset(host, share) => {
                for index in self.net.open(Some(host)) {
                    if self.net.decisions.chance(share) {
                        self.hit(Mark::ConnReset);
                        for role in Role::BOTH {
                            self.net.reset(index, role);
                        }
                    }
                }
                return;
            }
            Fault::HalfOpen(host, share) => {
                for index in self.net.open(Some(host)) {
                    if self.net.decisions.chance(share) {
                        self.hit(Mark::HalfOpen);
                        self.net.die(index);
                    }
                }
                return;
            }
            Fault::ClientCrash(host, lasts) => {
                if self.clients[host].is_up() {
                    self.hit(Mark::ClientCrash);
                }
                self.clients[host].crash(&mut self.net, false);
                lasts
            }
            Fault::ClientPowerLoss(host, lasts) => {
                if self.clients[host].is_up() {
                    self.hit(Mark::ClientPowerLoss);
                }
                self.clients[host].crash(&mut self.net, true);
                lasts
            }
            Fault::ServerCrash(lasts) => {
                if self.server.is_up() {
                    self.hit(Mark::ServerCrash);
                }
                self.server.crash(&mut self.net, false);
                lasts
            }
            Fault::ServerPowerLoss(lasts) => {
                if self.server.is_up() {
                    self.hit(Mark::ServerPowerLoss);
                }
                self.server.crash(&mut self.net, true);
                lasts
            }
            Fault::ServerDrain(lasts) => {
                if self.server.is_up() {
                    self.hit(Mark::ServerDrain);
                }
                self.server.drain(&mut self.net, &mut Vec::new());
                lasts
            }
            Fault::ClientDrain(host, lasts) => {
                if self.clients[host].is_up() {
                    self.hit(Mark::ClientDrain);
                }
                self.drain_client(host);
                lasts
            }
            Fault::Narrow(host, byte, lasts) => {
                self.hit(Mark::Narrow);
                self.net.links[host].byte += nanos(byte);
                lasts
            }
            Fault::Stranger(host, kind) => {
                self.stranger_comes(host, kind);
                return;
            }
            Fault::Pause(host, lasts) => {
                self.hit(Mark::Pause);
                let until = (now + nanos(lasts)).min(nanos(self.case.safety));
                let paused = match self.clients.get_mut(host) {
                    Some(client) => &mut client.paused_until,
                    None => &mut self.server.paused_until,
                };
                *paused = until.max(*paused);
                let until = Duration::from_nanos(*paused);
                if host < self.case.hosts {
                    self.watch.borrow_mut().oracle.pauses(host, until);
                }
                return;
            }
        };
        self.lasting[at] = true;
        self.net.at(now + nanos(lasts), Scheduled::End(at as u32));
    }

    /// Ends a fault, unless the network was healed before.
    pub(super) fn end(&mut self, at: usize) {
        if !std::mem::take(&mut self.lasting[at]) {
            return;
        }
        let (_, fault) = self.case.faults[at];
        self.note(&format!("over: {}", self.words(fault)), Some((Turn::Ends(at), fault)));
        match fault {
            Fault::Slow(host, extra, _) => self.net.links[host].extra -= nanos(extra),
            Fault::Narrow(host, byte, _) => self.net.links[host].byte -= nanos(byte),
            Fault::Clog(host, _) => {
                self.hit(Mark::Release);
                for role in Role::BOTH {
                    self.net.release(host, role);
                }
            }
            Fault::Partition(host, _) => self.mend(host, &Role::BOTH),
            Fault::PartitionToServer(host, _) => self.mend(host, &[Role::Client]),
            Fault::PartitionToClient(host, _) => self.mend(host, &[Role::Server]),
            Fault::ClientCrash(host, _) | Fault::ClientPowerLoss(host, _) => {
                if !self.clients[host].is_up() {
                    self.start_client(host);
                }
            }
            Fault::ServerDrain(_) => {
                if self.server.is_up() {
                    self.server.crash(&mut self.net, false);
                    self.start_server();
                }
            }
            Fault::ClientDrain(host, _) => {
                if self.clients[host].is_up() {
                    self.clients[host].crash(&mut self.net, false);
                    self.start_client(host);
                }
            }
            Fault::ServerCrash(_) | Fault::ServerPowerLoss(_) => {
                if !self.server.is_up() {
                    self.start_server();
                }
            }
            Fault::Reset(..) | Fault::HalfOpen(..) | Fault::Pause(..) | Fault::Stranger(..) => {}
        }
    }

    /// Ends all faults, and lets nothing go wrong from here on.
    pub(super) fn heal(&mut self) {
        self.note("all faults end", None);
        for at in 0..self.lasting.len() {
            self.end(at);
        }
        self.net.rates = Rates::SOUND;
        self.strangers_leave();
        // Who waits for room has it now.
        for index in self.net.open(None) {
            for role in Role::BOTH {
                self.net.unblock(index, role);
            }
        }
    }

    fn hold(&mut self, host: usize, roles: &[Role]) {
        for &role in roles {
            self.net.links[host].held[role as usize] += 1;
        }
    }

    fn cut(&mut self, host: usize, roles: &[Role]) {
        self.hold(host, roles);
        for &role in roles {
            self.net.links[host].cut[role as usize] += 1;
        }
    }

    fn mend(&mut self, host: usize, roles: &[Role]) {
        for &role in roles {
            self.net.links[host].cut[role as usize] -= 1;
            self.net.release(host, role);
        }
    }

    fn words(&self, fault: Fault) -> String {
        match fault {
            Fault::Pause(host, lasts) if host == self.case.hosts => format!("the server pauses, for {lasts:?}"),
            fault => fault.to_string(),
        }
    }

    fn hit(&self, mark: Mark) {
        self.net.marks.hit(mark);
    }

    pub(super) fn note(&self, what: &str, turn: Option<(Turn, Fault)>) {
        let now = Duration::from_nanos(self.net.now);
        let watch = &mut *self.watch.borrow_mut();
        watch.trace.note(now, what);
        if let Some(history) = &mut watch.history {
            history.note(now, what, turn);
        }
    }
}
