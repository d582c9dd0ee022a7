//! The interface between a machine under test and the world that exercises it.

use std::collections::VecDeque;
use std::fmt::Debug;

use arbitrary::Arbitrary;
use echosphere_core::Machine;
use echosphere_core::wire::Codec;

use crate::peer::Peer;
use crate::plan::Settings;

/// A machine under test.
pub(crate) trait Subject: Machine<Message: Debug> + Sized {
    type Codec: Codec<Message = Self::Message> + Clone;
    /// What a peer can send to it.
    type Input: for<'a> Arbitrary<'a>;

    /// Whether its text to a peer in lines is for people and cannot be decoded.
    const LINES_FOR_PEOPLE: bool = false;

    fn new(settings: &Settings) -> Self;

    fn codec() -> Self::Codec;

    /// The codec of its peers.
    fn peer_codec() -> Self::Codec;

    /// Encodes what a peer sends.
    fn encode(input: &Self::Input, peer: &mut Peer<Self::Codec>) -> Vec<u8>;

    /// Appends the correct answers of a peer to `message`. `progress` is the peer's, in a unit of the protocol.
    fn answer(message: &Self::Message, progress: &mut u64, answers: &mut VecDeque<Self::Message>);

    /// A command of its caller, if it has one. `id` is new.
    fn command(id: u64, what: u16) -> Option<Self::Command>;

    /// Whether a notice reports the end of a command.
    fn is_awaited(_: &Self::Command) -> bool {
        true
    }

    /// The id of the command whose end a notice reports.
    fn ended(notice: &Self::Notice) -> Option<u64>;

    /// Checks its invariants.
    fn check(&self, settings: &Settings);
}
