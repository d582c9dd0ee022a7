//! What happens to a session when its connection ends.

use std::time::Duration;

use echosphere_core::{CloseReason, ConnId};

use super::{Owed, Peer, ServerModel, Stream};
use crate::marks::Mark;

impl ServerModel {
    /// The connection is known to be no more; its session is kept for some time from now on.
    pub(super) fn left(&mut self, conn: ConnId, reason: CloseReason) -> Option<Peer> {
        let peer = self.peers.remove(&conn)?;
        let Some(uuid) = peer.stream.and_then(|stream| stream.session()) else {
            return Some(peer);
        };
        if self.draining {
            self.sessions.remove(&uuid);
        } else if let Some(session) = self.sessions.get_mut(&uuid) {
            // Who had finished sending before the end has no way to acknowledge it.
            let more = match reason {
                CloseReason::Finished => self.config.unacknowledged_ttl,
                _ => Duration::ZERO,
            };
            session.held = Err(self.now + self.config.session_ttl + more);
        }
        Some(peer)
    }

    pub(super) fn end(&mut self, conn: ConnId) {
        let stream = self.peers.remove(&conn).and_then(|peer| peer.stream);
        if let Some(uuid) = stream.and_then(|stream| stream.session()) {
            self.marks.hit(Mark::SessionEnded);
            self.sessions.remove(&uuid);
        }
        self.owe(conn, Owed::Close(CloseReason::Finished));
    }

    pub(super) fn closed(&mut self, conn: ConnId, reason: CloseReason) -> Result<(), String> {
        let peer = self.left(conn, reason);
        let peer = peer.ok_or_else(|| format!("{conn:?} closed, and was not connected"))?;
        let ended = matches!(peer.stream, Some(Stream::Ended(_)));
        if peer.held_back {
            self.marks.hit(Mark::LostWhileHeldBack);
        }
        match reason {
            CloseReason::Finished | CloseReason::TimedOut if !ended => {
                return Err(format!("{conn:?} ended as {reason:?}, and was not finished"));
            }
            CloseReason::Finished if !peer.finished => {
                return Err(format!(
                    "{conn:?} is finished, though its peer has not finished sending"
                ));
            }
            CloseReason::PeerClosed if ended => self.marks.hit(Mark::EndAcknowledged),
            CloseReason::TimedOut => self.marks.hit(Mark::EndNotAcknowledged),
            CloseReason::Finished => self.marks.hit(Mark::EndToFinishedSender),
            CloseReason::PeerClosed if peer.stream.is_some() => {
                return Err(format!(
                    "the stream of {conn:?} ended because its peer has finished sending"
                ));
            }
            _ => {}
        }
        if peer.finished && reason == CloseReason::IdleTimeout {
            return Err(format!(
                "{conn:?} was closed as idle, though its peer has finished sending"
            ));
        }
        Ok(())
    }
}
