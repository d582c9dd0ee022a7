//! The streams of open connections.

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use echosphere_core::connection::SocketAction;
use echosphere_core::wire::Codec;
use echosphere_core::{CloseReason, ConnId, Machine, Time};
use tokio::io::AsyncWrite;
use tokio_util::io::poll_read_buf;
use tracing::field::display;

use super::{Driver, DriverKey};
use crate::net::{Answered, BoxStream, Negotiation, Peer};
use crate::write::poll_write;

/// The log message of a connection that was accepted, or made.
pub(super) const ACCEPTED: &str = "connection accepted";
pub(super) const CONNECTED: &str = "connected";

/// Most bytes of one read.
const READ_BYTES: usize = 64 * 1024;

pub(super) struct OpenConnection {
    pub(super) id: ConnId,
    peer: Peer,
    channel: Channel,
    waker: Waker,
    reading: bool,
    write_blocked: bool,
    /// Whether bytes were written since the stream was flushed.
    unflushed: bool,
}

/// What connects to the peer.
pub(super) enum Channel {
    Open(BoxStream),
    Negotiating(Negotiation<BoxStream>),
}

impl OpenConnection {
    pub(super) fn log_end(&self, reason: CloseReason) {
        let (id, peer, told) = (self.id, &self.peer, reason.error_code().map(display));
        tracing::info!(conn = ?id, %peer, transport = peer.transport, reason = reason.name(), told, "connection closed");
    }

    fn log_begin(&self, message: &'static str) {
        let (id, peer) = (self.id, &self.peer);
        tracing::info!(conn = ?id, %peer, transport = peer.transport, "{message}");
    }

    /// Writes everything that the stream has buffered.
    fn poll_flush(&mut self) -> Poll<io::Result<()>> {
        if self.unflushed
            && let Channel::Open(stream) = &mut self.channel
        {
            ready!(Pin::new(stream).poll_flush(&mut Context::from_waker(&self.waker)))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<M, C> Driver<M, C>
where
    M: Machine,
    C: Codec<Message = M::Message> + Clone,
    M::Notice: 'static,
{
    /// `begin` is the message that is logged when the stream is open.
    pub(super) fn insert(&mut self, id: ConnId, peer: Peer, channel: Channel, begin: &'static str) {
        let slot = id.slot as usize;
        if slot >= self.conns.len() {
            self.conns.resize_with(slot + 1, || None);
        }
        let waker = Waker::from(self.ready.waker(DriverKey::Conn(id.slot)));
        // Data may have arrived, and no waker is registered with the stream yet.
        waker.wake_by_ref();
        let conn = self.conns[slot].insert(OpenConnection {
            id,
            peer,
            channel,
            waker,
            reading: true,
            write_blocked: false,
            unflushed: false,
        });
        if let Channel::Open(_) = conn.channel {
            conn.log_begin(begin);
        }
    }

    /// Reads a connection that is ready, or continues its negotiation. `false` if there may be more to read.
    pub(super) fn conn_ready(&mut self, now: Time, slot: u32) -> bool {
        let Some(conn) = self.conns.get_mut(slot as usize).and_then(Option::as_mut) else {
            return true;
        };
        if mem::take(&mut conn.write_blocked) {
            self.endpoint.writable(conn.id);
        }
        if let Channel::Negotiating(negotiation) = &mut conn.channel {
            let Poll::Ready(result) = negotiation.as_mut().poll(&mut Context::from_waker(&conn.waker)) else {
                return true;
            };
            match result {
                Ok((peer, stream)) => {
                    if let Some(principal) = &peer.principal {
                        self.endpoint.negotiated(conn.id, principal.clone());
                    }
                    (conn.peer, conn.channel) = (peer, Channel::Open(stream));
                    conn.log_begin(ACCEPTED);
                }
                Err(error) if Answered::is(&error) => {
                    let (peer, transport) = (&conn.peer, conn.peer.transport);
                    tracing::debug!(%peer, transport, %error, "no connection");
                    self.endpoint.negotiation_answered(conn.id);
                    return true;
                }
                Err(error) => {
                    if let Some(left_out) = self.failures.due() {
                        let (peer, transport) = (&conn.peer, conn.peer.transport);
                        tracing::warn!(%peer, transport, %error, left_out, "handshake failed");
                    }
                    self.endpoint.negotiation_failed(conn.id);
                    return true;
                }
            }
        }
        for _ in 0..self.budgets.reads.max(1) {
            let Channel::Open(stream) = &mut conn.channel else {
                return true;
            };
            if !conn.reading {
                return true;
            }
            self.scratch.clear();
            self.scratch.reserve(READ_BYTES);
            let mut cx = Context::from_waker(&conn.waker);
            match poll_read_buf(Pin::new(stream), &mut cx, &mut self.scratch) {
                Poll::Pending => return true,
                Poll::Ready(Ok(0)) => {
                    conn.reading = false;
                    self.endpoint.peer_closed(now, conn.id);
                }
                Poll::Ready(Ok(_)) => {
                    self.heard.push(conn.id);
                    self.endpoint.receive(now, conn.id, &mut self.scratch);
                }
                Poll::Ready(Err(_)) => {
                    conn.reading = false;
                    self.endpoint.failed(now, conn.id);
                }
            }
        }
        conn.waker.wake_by_ref();
        false
    }

    pub(super) fn flush(&mut self, now: Time, id: ConnId) {
        let Some(conn) = self.conns[id.slot as usize].as_mut().filter(|conn| conn.id == id) else {
            return;
        };
        while !conn.write_blocked {
            let action = self.endpoint.socket_action(id);
            let Channel::Open(stream) = &mut conn.channel else {
                // Nothing can be said to a peer before the negotiation is over.
                if action != SocketAction::Nothing {
                    self.endpoint.failed(now, id);
                }
                return;
            };
            let mut cx = Context::from_waker(&conn.waker);
            let step = match action {
                SocketAction::Write => match self.endpoint.outbox(id) {
                    Some(outbox) => {
                        conn.unflushed = true;
                        poll_write(Pin::new(stream), &mut cx, outbox.chunks()).map_ok(Step::Wrote)
                    }
                    None => return,
                },
                SocketAction::Nothing | SocketAction::Shutdown if conn.unflushed => {
                    conn.poll_flush().map_ok(|()| Step::Flushed)
                }
                SocketAction::Nothing => return,
                SocketAction::Shutdown => Pin::new(stream).poll_shutdown(&mut cx).map_ok(|()| Step::ShutDown),
            };
            match step {
                Poll::Pending => conn.write_blocked = true,
                Poll::Ready(Ok(Step::Wrote(written))) => self.endpoint.wrote(id, written),
                Poll::Ready(Ok(Step::Flushed)) => {}
                Poll::Ready(Ok(Step::ShutDown)) => self.endpoint.shut_down(now, id),
                Poll::Ready(Err(_)) => {
                    self.endpoint.failed(now, id);
                    return;
                }
            }
        }
    }
}

/// What was done with a stream.
enum Step {
    Wrote(usize),
    Flushed,
    ShutDown,
}
