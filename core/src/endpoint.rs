//! A machine with its connections, their codecs, buffers and time-outs: everything between a socket and a machine.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::mem;

use bytes::BytesMut;

use crate::buffers::Buffers;
use crate::connection::{Connection, ConnectionConfig, Expiry, SocketAction};
use crate::connections::Connections;
use crate::counters::ConnectionCounters;
use crate::machine::{Actions, DialToken, Event, Machine, Opened};
use crate::wire::{Codec, Decoded, ErrorCode, Outbox, WireError};
use crate::{Action, CloseReason, ConnId, Time};

pub use self::effects::Effect;
use self::effects::Effects;

mod draining;
mod effects;
mod finishing;
mod opening;
mod partial;

/// A machine with its connections. Pure: takes bytes and times, returns bytes and [`Effect`]s.
#[derive(Debug)]
pub struct Endpoint<M: Machine, C: Codec<Message = M::Message>> {
    machine: M,
    codec: C,
    connections: Connections<C>,
    dialling: BTreeSet<DialToken>,
    draining: bool,
    counters: ConnectionCounters,
    actions: Actions<M::Message, M::Notice>,
    effects: Effects<M::Notice>,
    /// Reused for its memory.
    applied: Vec<Action<M::Message, M::Notice>>,
    overflowed: Vec<ConnId>,
    buffers: Buffers,
}

impl<M: Machine, C: Codec<Message = M::Message> + Clone> Endpoint<M, C> {
    /// Each connection gets a clone of `codec`.
    pub fn new(machine: M, codec: C, config: ConnectionConfig) -> Self {
        Self {
            machine,
            codec,
            connections: Connections::new(config),
            dialling: BTreeSet::new(),
            draining: false,
            counters: ConnectionCounters::default(),
            actions: Actions::new(),
            effects: Effects::new(),
            applied: Vec::new(),
            overflowed: Vec::new(),
            buffers: Buffers::new(),
        }
    }

    /// Handles bytes from the peer, which are ignored after its end of stream. Consumes all of `input`.
    pub fn receive(&mut self, now: Time, id: ConnId, input: &mut BytesMut) {
        self.counters.bytes_in += input.len() as u64;
        self.note_received(now, id);
        let mut any = false;
        loop {
            let Some(connection) = self
                .connections
                .get_mut(id)
                .filter(|connection| connection.is_reading())
            else {
                // An earlier message may have closed the connection: the rest is ignored.
                input.clear();
                return;
            };
            let undecoded = connection.is_undecoded();
            let protocol = undecoded.then(|| connection.peer_protocol(input)).flatten();
            let next = match protocol {
                Some(protocol) if !protocol.is_ours() => Err(ErrorCode::UnknownRequest.into()),
                _ if connection.begins_tls(input) => Err(ErrorCode::TlsUnsupported.into()),
                _ => connection.next(input),
            };
            match next {
                Ok(None) => break,
                Ok(Some(Decoded::Invalid(_))) | Err(_) if undecoded => {
                    self.counters.malformed += 1;
                    self.lose(now, id, CloseReason::OtherProtocol(protocol), None);
                }
                Ok(Some(decoded)) => {
                    any = true;
                    if let Decoded::Message(_) = decoded {
                        connection.note_decoded();
                    }
                    self.decoded(now, id, decoded);
                }
                Err(error) => {
                    self.counters.malformed += 1;
                    let reason = CloseReason::Malformed(error.code);
                    self.lose(now, id, reason, Some(error));
                }
            }
        }
        self.note_partial(now, id, any);
    }

    /// Bytes that were received before may have arrived as late as `by`: the idle time-out counts from then. For
    /// drivers that read the clock first and the bytes later.
    pub fn note_received(&mut self, by: Time, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(id) {
            connection.note_received(by);
        }
    }

    /// Handles a complete frame.
    fn decoded(&mut self, now: Time, id: ConnId, decoded: Decoded<M::Message>) {
        if let Some(connection) = self.connections.get_mut(id)
            && connection.complete_handshake()
        {
            let text = connection.is_text();
            let principal = self.connections.principal(id).cloned();
            let opened = Opened {
                dial: None,
                text,
                principal,
            };
            // The other time-outs may be shorter than the handshake's.
            self.connections.arm_if_sooner(id);
            self.handle(now, Event::Opened(id, opened));
            if !self.connections.get(id).is_some_and(Connection::is_in_use) {
                return;
            }
        }
        match decoded {
            Decoded::Keepalive => {}
            Decoded::Message(message) => {
                self.counters.messages_in += 1;
                self.handle(now, Event::Received(id, message));
            }
            Decoded::Invalid(error) => {
                self.counters.invalid += 1;
                self.append(now, id, |connection| connection.send_error(now, &error));
                self.drop_overflowed(now);
            }
        }
    }

    /// The socket has failed: reset, or another error of reading or writing.
    pub fn failed(&mut self, now: Time, id: ConnId) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        let in_use = connection.is_in_use();
        if !connection.is_closing() {
            self.counters.resets += 1;
        }
        self.release(id, CloseReason::Reset);
        if in_use {
            self.handle(now, Event::Closed(id, CloseReason::Reset));
        }
    }

    /// What to do next with the connection's socket.
    #[must_use]
    pub fn socket_action(&self, id: ConnId) -> SocketAction {
        self.connections
            .get(id)
            .map_or(SocketAction::Nothing, Connection::socket_action)
    }

    /// What waits to be written to the connection; `None` if it has ended.
    #[must_use]
    pub fn outbox(&self, id: ConnId) -> Option<&Outbox> {
        self.connections.get(id).map(|connection| &connection.outbox)
    }

    /// The first `written` bytes of the outbox were written.
    pub fn wrote(&mut self, id: ConnId, written: usize) {
        let Some((connection, config)) = self.connections.with_config(id) else {
            return;
        };
        if connection.wrote(written, config) {
            self.actions.set_backlogged(id, false);
        }
        self.buffers.take_back(&mut connection.outbox);
        self.counters.bytes_out += written as u64;
    }

    /// Handles a command of the local caller.
    pub fn command(&mut self, now: Time, command: M::Command) {
        self.handle(now, Event::Command(command));
    }

    /// When to call [`Endpoint::expire`] at the latest.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Time> {
        match (self.connections.next_deadline(), self.machine.next_deadline()) {
            (Some(connections), Some(machine)) => Some(connections.min(machine)),
            (connections, machine) => connections.or(machine),
        }
    }

    /// Whether a deadline is due at `now` that can end something (other than a keepalive). If so, the driver must first
    /// read everything that has arrived by `now` and write what can be written, however long that takes, and pass `now`
    /// as the time of every call until then: the peers were in time.
    #[must_use]
    pub fn must_settle(&self, now: Time) -> bool {
        self.machine.next_deadline().is_some_and(|due| due <= now) || self.connections.must_end(now)
    }

    /// Handles everything that is due at `now`. See [`Endpoint::must_settle`] for what must be done before.
    pub fn expire(&mut self, now: Time) {
        let config = *self.connections.config();
        while let Some(id) = self.connections.pop_due(now) {
            let Some(connection) = self.connections.get_mut(id) else {
                continue;
            };
            match connection.expire(now, &config) {
                Expiry::Nothing => self.connections.arm(id),
                Expiry::Keepalive => {
                    self.counters.keepalives += 1;
                    self.buffers.lend(&mut connection.outbox);
                    connection.send_keepalive();
                    self.mark_for_flush(id);
                    self.connections.arm(id);
                }
                Expiry::Close(reason) => {
                    match reason {
                        CloseReason::HandshakeTimeout => self.counters.handshake_timeouts += 1,
                        _ => self.counters.idle_timeouts += 1,
                    }
                    self.lose(now, id, reason, None);
                }
                Expiry::SlowConsumer => {
                    self.drop_slow_consumer(now, id);
                    self.drop_overflowed(now);
                }
                Expiry::Unanswered => {
                    self.counters.lingered += 1;
                    self.release(id, CloseReason::TimedOut);
                    self.handle(now, Event::Closed(id, CloseReason::TimedOut));
                }
                Expiry::Release => {
                    self.counters.lingered += 1;
                    self.release(id, CloseReason::TimedOut);
                }
            }
        }
        if self.machine.next_deadline().is_some_and(|due| due <= now) {
            self.handle(now, Event::Deadline);
        }
    }

    /// Whether the machine is at zero, and no connection, attempt or timer is left.
    #[must_use]
    pub fn is_zero(&self) -> bool {
        self.machine.is_zero() && self.connections.is_empty() && self.dialling.is_empty()
    }

    /// The number of connections, including those in handshake and those that are closing.
    #[must_use]
    pub const fn connections(&self) -> usize {
        self.connections.len()
    }

    /// The number of timers of connections.
    #[must_use]
    pub fn timers(&self) -> usize {
        self.connections.timer_count()
    }

    /// What the connections have done.
    #[must_use]
    pub const fn counters(&self) -> &ConnectionCounters {
        &self.counters
    }

    /// The codec of new connections.
    #[must_use]
    pub const fn codec(&self) -> &C {
        &self.codec
    }

    /// The machine.
    #[must_use]
    pub const fn machine(&self) -> &M {
        &self.machine
    }

    fn handle(&mut self, now: Time, event: Event<M::Message, M::Command>) {
        self.machine.handle(now, event, &mut self.actions);
        self.apply(now);
        if !self.overflowed.is_empty() {
            self.drop_overflowed(now);
        }
    }

    fn apply(&mut self, now: Time) {
        let mut actions = mem::take(&mut self.applied);
        self.actions.swap(&mut actions);
        for action in actions.drain(..) {
            match action {
                Action::Send(id, message) => self.send(now, id, &message),
                Action::Close(id, reason) => {
                    if let Some(connection) = self.connections.get(id).filter(|connection| !connection.is_closing()) {
                        self.counters.closed_by_us += u64::from(!connection.is_finishing());
                        self.close(now, id, reason, reason.error_code().map(WireError::from));
                    }
                }
                Action::Finish(id) => self.finish(now, id),
                Action::Dial(token, target) => {
                    self.dialling.insert(token);
                    self.effects.dial.push_back((token, target));
                }
                Action::AbandonDial(token) => {
                    self.dialling.remove(&token);
                    self.effects.abandon_dial(token);
                }
                Action::Notify(notice) => self.effects.notices.push_back(notice),
            }
        }
        self.applied = actions;
    }

    fn send(&mut self, now: Time, id: ConnId, message: &M::Message) {
        if self.append(now, id, |connection| connection.send(now, message)) {
            self.counters.messages_out += 1;
        }
    }

    /// Calls `put` to append to the outbox of an open connection, schedules a flush, and checks the limits of the
    /// outbox. `false` if the connection is not open.
    fn append(&mut self, now: Time, id: ConnId, put: impl FnOnce(&mut Connection<C>)) -> bool {
        let Some((connection, config)) = self
            .connections
            .with_config(id)
            .filter(|(connection, _)| connection.is_open())
        else {
            return false;
        };
        self.buffers.lend(&mut connection.outbox);
        put(connection);
        if !mem::replace(&mut connection.flush_scheduled, true) {
            self.effects.flush.push_back(id);
        }
        if connection.outbox.len() > config.max_outbox {
            self.overflowed.push(id);
        } else if connection.note_backlog(now, config) {
            self.connections.arm(id);
            self.actions.set_backlogged(id, true);
        }
        true
    }

    /// Drops the connections whose outbox is over its limit. The machine is notified and may send more on others.
    fn drop_overflowed(&mut self, now: Time) {
        while let Some(id) = self.overflowed.pop() {
            if self
                .connections
                .get(id)
                .is_some_and(|connection| !connection.is_closing())
            {
                self.drop_slow_consumer(now, id);
            }
        }
    }

    fn drop_slow_consumer(&mut self, now: Time, id: ConnId) {
        self.counters.slow_consumers += 1;
        self.release(id, CloseReason::SlowConsumer);
        self.machine
            .handle(now, Event::Closed(id, CloseReason::SlowConsumer), &mut self.actions);
        self.apply(now);
    }

    /// Ends a connection that the machine has not closed. `error` is more specific than `reason`.
    fn lose(&mut self, now: Time, id: ConnId, reason: CloseReason, error: Option<WireError>) {
        let Some(connection) = self.connections.get(id).filter(|connection| !connection.is_closing()) else {
            return;
        };
        let in_use = connection.is_in_use();
        let by_us = reason == CloseReason::ShuttingDown && !connection.is_finishing();
        self.counters.closed_by_us += u64::from(by_us);
        let error = error.or_else(|| reason.error_code().map(WireError::from));
        self.close(now, id, reason, error);
        if in_use {
            self.handle(now, Event::Closed(id, reason));
        }
    }

    fn close(&mut self, now: Time, id: ConnId, reason: CloseReason, error: Option<WireError>) {
        let Some(connection) = self.connections.get_mut(id) else {
            return;
        };
        // Nothing can be sent after the end of stream.
        if let Some(error) = error.filter(|_| !connection.is_finishing()) {
            self.buffers.lend(&mut connection.outbox);
            connection.send_error(now, &error);
        }
        connection.start_closing(now, reason);
        if connection.is_over() {
            self.release(id, reason);
            return;
        }
        self.connections.forget_partial(id);
        self.connections.arm(id);
        self.mark_for_flush(id);
    }

    fn mark_for_flush(&mut self, id: ConnId) {
        if let Some(connection) = self.connections.get_mut(id)
            && !mem::replace(&mut connection.flush_scheduled, true)
        {
            self.effects.flush.push_back(id);
        }
    }

    /// Removes a connection; its id becomes stale. `reason` applies if the connection was not closing.
    fn release(&mut self, id: ConnId, reason: CloseReason) {
        let reason = self
            .connections
            .get(id)
            .and_then(Connection::closing_reason)
            .unwrap_or(reason);
        if self.connections.remove(id) {
            self.actions.set_backlogged(id, false);
            self.effects.release.push_back((id, reason));
        }
    }
}
