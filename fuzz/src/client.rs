use echosphere_core::echo::{self, Command, EchoCodec, Notice};
use echosphere_core::endpoint::Endpoint;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::peer::word;
use crate::plan::Settings;
use crate::world::{MAX_MESSAGE, Subject};

pub(crate) type Client = echo::Client<ChaCha8Rng>;

impl Subject for Client {
    fn endpoint(settings: &Settings) -> Endpoint<Self, EchoCodec> {
        let rng = ChaCha8Rng::seed_from_u64(settings.seed.into());
        let client = Self::new(settings.client(), rng);
        Endpoint::new(client, EchoCodec::dialled(MAX_MESSAGE), settings.link())
    }

    fn command(id: u64, what: u16) -> Option<Command> {
        let x = match u8::try_from(what) {
            Ok(x) => word(x),
            Err(_) => vec![b'x'; what.into()],
        };
        Some(Command::Send { id, x: x.into() })
    }

    fn ended(notice: &Notice) -> Option<u64> {
        match notice {
            Notice::Acknowledged { id, .. } | Notice::GaveUp { id, .. } => Some(*id),
            Notice::Retrying { .. } => None,
        }
    }

    fn check(&self) {
        let counters = self.counters();
        let ended = counters.acknowledged + counters.gave_up;
        assert_eq!(counters.commands, ended + self.under_way() as u64);
    }
}
