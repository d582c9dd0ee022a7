use alloc::vec::Vec;

use crate::machine::DialToken;
use crate::{CloseReason, ConnId};

/// What a driver must do after calling an [`Endpoint`](super::Endpoint). Owned by the driver; every call appends to it.
#[derive(Debug)]
pub struct Effects<N> {
    /// Connections to flush: follow [`socket_action`](super::Endpoint::socket_action) until it returns `Nothing` or the
    /// socket is full.
    pub flush: Vec<ConnId>,
    /// Connections whose sockets must be dropped, and why each ended, for logs.
    pub release: Vec<(ConnId, CloseReason)>,
    /// Attempts to start, each answered by [`dialled`](super::Endpoint::dialled) or
    /// [`dial_failed`](super::Endpoint::dial_failed).
    pub dial: Vec<DialToken>,
    /// Attempts to abandon, without an answer.
    pub abandon: Vec<DialToken>,
    /// Notices to the local caller.
    pub notices: Vec<N>,
}

impl<N> Default for Effects<N> {
    fn default() -> Self {
        Self {
            flush: Vec::new(),
            release: Vec::new(),
            dial: Vec::new(),
            abandon: Vec::new(),
            notices: Vec::new(),
        }
    }
}
