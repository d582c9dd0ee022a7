use alloc::vec::Vec;

use crate::machine::DialToken;
use crate::{CloseReason, ConnId};

/// What a driver has to do after calling an [`Endpoint`](super::Endpoint). Owned by the driver, appended to by every call.
#[derive(Debug)]
pub struct Effects<N> {
    /// Connections to write to: do what [`want`](super::Endpoint::want) says until it wants nothing or the socket is full.
    pub flush: Vec<ConnId>,
    /// Connections whose sockets are to be dropped now, and why each ended, for logs.
    pub release: Vec<(ConnId, CloseReason)>,
    /// Attempts to connect to be started, and answered by [`dialled`](super::Endpoint::dialled) or
    /// [`dial_failed`](super::Endpoint::dial_failed).
    pub dial: Vec<DialToken>,
    /// Attempts to connect to be given up, and not answered.
    pub abandon: Vec<DialToken>,
    /// What the local caller is told.
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
