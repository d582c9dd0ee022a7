//! Shared by the tests of endpoints.

use echosphere_core::endpoint::{Effect, Endpoint};
use echosphere_core::wire::Codec;
use echosphere_core::{CloseReason, ConnId, DialTarget, DialToken, Machine};

/// What a driver must do, by kind, oldest first.
#[derive(Debug)]
pub(crate) struct Effects<N> {
    pub(crate) notices: Vec<N>,
    pub(crate) abandon: Vec<DialToken>,
    pub(crate) release: Vec<(ConnId, CloseReason)>,
    pub(crate) flush: Vec<ConnId>,
    pub(crate) dial: Vec<(DialToken, DialTarget)>,
}

impl<N> Effects<N> {
    /// Polls all effects of an endpoint.
    pub(crate) fn of<M, C>(endpoint: &mut Endpoint<M, C>) -> Self
    where
        M: Machine<Notice = N>,
        C: Codec<Message = M::Message> + Clone,
    {
        let mut effects = Self {
            notices: Vec::new(),
            abandon: Vec::new(),
            release: Vec::new(),
            flush: Vec::new(),
            dial: Vec::new(),
        };
        while let Some(effect) = endpoint.poll_effect() {
            match effect {
                Effect::Notify(notice) => effects.notices.push(notice),
                Effect::AbandonDial(token) => effects.abandon.push(token),
                Effect::Release(id, reason) => effects.release.push((id, reason)),
                Effect::Flush(id) => effects.flush.push(id),
                Effect::Dial(token, target) => effects.dial.push((token, target)),
            }
        }
        effects
    }
}
